"""How connections are let go whose pool was dropped, or whose event loop is gone."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from pannier.pool import hooks
from pannier.pool.core import PoolCore

logger = logging.getLogger("pannier.pool")

inherited: list[object] = []
"""What a forked child got from its parent: kept, never touched, so that no finalizer runs on it."""


def close_ended(connector: Any, task: asyncio.Task[None]) -> None:
    """A close that was cancelled is made good without a goodbye."""
    if task.cancelled():
        hooks.abandon(connector)


def dropped(core: list[PoolCore], loop: asyncio.AbstractEventLoop, process: int) -> None:
    """The pool was dropped without a shutdown: close what it had idle."""
    if process == os.getpid():
        part_from([slot.connector for slot in core[0].idle], loop)
    else:
        inherited.append((core, loop))


def part_from(connectors: list[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Close connectors of a loop: on it where it can still run, else without a goodbye."""
    if not connectors:
        return
    if not loop.is_closed():
        try:
            loop.call_soon_threadsafe(_close_on, loop, connectors)
            return
        except RuntimeError:
            pass
    for connector in connectors:
        hooks.abandon(connector)


_closing: set[asyncio.Task[None]] = set()


def _close_on(loop: asyncio.AbstractEventLoop, connectors: list[Any]) -> None:
    task = loop.create_task(_close_all(connectors), name="pannier: close a dropped pool")
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _close_all(connectors: list[Any]) -> None:
    for connector in connectors:
        try:
            await connector.disconnect()
        except Exception as error:
            logger.debug("A close failed: %r", error)
