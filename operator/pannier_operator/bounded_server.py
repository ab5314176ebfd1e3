"""aiohttp's server with a bound on how many connections it holds: those beyond are hung up on.

What is no HTTP is logged by its kind alone: aiohttp's text quotes what was sent, a token too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger("pannier_operator.server")


class BoundedServer(web.Server):
    """One that takes a connection only while `has_room()`."""

    def __init__(self, handler: Any, *, has_room: Callable[[], bool], **settings: Any) -> None:
        super().__init__(handler, logger=_Discreet(log, {}), **settings)
        self._has_room = has_room

    @property
    def held(self) -> int:
        """Connections that are past their TLS handshake."""
        return len(self._connections)

    def __call__(self) -> Any:
        return super().__call__() if self._has_room() else _HangUp()


class _Discreet(logging.LoggerAdapter[logging.Logger]):
    """Leaves out the exception where it quotes what a client sent."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        error = kwargs.get("exc_info")
        if isinstance(error, HttpProcessingError):
            kwargs["exc_info"] = None
            msg = f"{msg}: {type(error).__name__}"
        return msg, kwargs


class _HangUp(asyncio.Protocol):
    """There is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()  # uvloop's is none by its class
