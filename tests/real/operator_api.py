"""What the tests of the operator's parts share: an API client, the CRD, and waiting in a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = {
    "plural": "storebackends",
    "singular": "storebackend",
    "kind": "StoreBackend",
    "listKind": "StoreBackendList",
}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
VERSION = {
    "name": "v1alpha1",
    "served": True,
    "storage": True,
    "subresources": {"status": {}},
    "schema": {
        "openAPIV3Schema": {"type": "object", "properties": {"spec": ANYTHING, "status": ANYTHING}}
    },
}


@asynccontextmanager
async def api_client(
    plane: ControlPlane, kubeconfig: Path | None = None
) -> AsyncIterator[ApiClient]:
    """A client as the operator has it: the administrator, or who the kubeconfig says."""
    client = await config.new_client_from_config(str(kubeconfig or plane.kubeconfig))
    async with client:
        yield client


def storebackend_definition(plane: ControlPlane) -> None:
    """See to it that the API server knows StoreBackends."""
    try:
        plane.api.call("GET", f"{DEFINITION}/storebackends.pannier.dev")
    except ApiError:
        spec = {
            "group": "pannier.dev",
            "scope": "Namespaced",
            "names": NAMES,
            "versions": [VERSION],
        }
        metadata = {"name": "storebackends.pannier.dev"}
        plane.api.call("POST", DEFINITION, {"metadata": metadata, "spec": spec})
    deadline = time.monotonic() + 30
    while not _is_served(plane):
        assert time.monotonic() < deadline, "StoreBackends are not served within 30 s"
        time.sleep(0.1)


def _is_served(plane: ControlPlane) -> bool:
    try:
        plane.api.call("GET", "/apis/pannier.dev/v1alpha1/storebackends?limit=1")
    except ApiError:
        return False
    return True


async def until(holds: Callable[[], Any], seconds: float = 60, what: str = "") -> None:
    """Return once `holds()` is true, which may block shortly; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or holds}"
        await asyncio.sleep(0.05)
