"""What the tests of the operator's parts share: an API client, and waiting beside a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from tests.real.kubernetes_parts.control_plane import ControlPlane


@asynccontextmanager
async def api_client(
    plane: ControlPlane, kubeconfig: Path | None = None
) -> AsyncIterator[ApiClient]:
    """A client as the operator has it: the administrator, or who the kubeconfig says."""
    client = await config.new_client_from_config(str(kubeconfig or plane.kubeconfig))
    async with client:
        yield client


async def until(holds: Callable[[], Any], seconds: float = 60, what: str = "") -> None:
    """Return once `holds()` is true, which may block shortly; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or holds}"
        await asyncio.sleep(0.05)
