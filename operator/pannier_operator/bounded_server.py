"""aiohttp's server with a bound on how many connections it holds: those beyond are hung up on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web


class BoundedServer(web.Server):
    """One that takes a connection only while `has_room()`."""

    def __init__(self, handler: Any, *, has_room: Callable[[], bool], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._has_room = has_room

    @property
    def held(self) -> int:
        """Connections that are past their TLS handshake."""
        return len(self._connections)

    def __call__(self) -> Any:
        return super().__call__() if self._has_room() else _HangUp()


class _HangUp(asyncio.Protocol):
    """There is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()  # uvloop's is none by its class
