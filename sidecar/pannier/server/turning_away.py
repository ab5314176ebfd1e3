"""What a client over `--max-clients` gets: one clear answer, and the close of its connection."""

from __future__ import annotations

import asyncio
from typing import cast

from pannier.server.answers import CLOSE, encode
from pannier.server.problems import problem
from pannier.server.refusals import Overloaded

PATIENCE = 1.0
"""Seconds the client has to ask, and then to take the answer."""
MOST = 64
"""Clients turned away politely at once; further ones are just closed."""


class TurningAway(asyncio.Protocol):
    """Answers whatever comes with `overloaded`, and reads no more than it must."""

    __slots__ = ("_loop", "_timer", "_transport")

    now = 0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        TurningAway.now += 1
        if TurningAway.now > MOST:
            self._transport.abort()
            return
        self._timer = self._loop.call_later(PATIENCE, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._transport = None
        refusal = Overloaded("As many clients are connected as --max-clients allows; close some.")
        transport.write(encode(problem(refusal), connection=CLOSE))
        if transport.can_write_eof():
            transport.write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        TurningAway.now -= 1
        if self._timer is not None:
            self._timer.cancel()
