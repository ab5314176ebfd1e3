"""Who is to be offered what is wanted: by turns between namespaces, in slices, bounded in bytes.

A push and its answer cost 100 µs of CPU (`./dev bench push`), so thousands of them in a row would
keep answers and all other work waiting; and a large snapshot to thousands of sidecars would be
gigabytes in buffers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from pannier_operator.streams.session import Session

log = logging.getLogger("pannier_operator.streams")

SLICE: Final = 0.005
"""Seconds of pushing after which everything else gets its turn."""
MOST_FLYING: Final = 64 * 1024 * 1024
"""Bytes of pushes that are sent and not answered; the others wait."""


class Outbox:
    """Sessions in the order of their turns, and the task that goes through them."""

    def __init__(self, offer: Callable[[Session], None], *, most_flying: int = MOST_FLYING) -> None:
        """`offer(session)` sends what the session is to run now, or nothing."""
        self._offer = offer
        self._most_flying = most_flying
        self._due: dict[str, dict[Session, None]] = {}
        """By namespace, in the order of turns."""
        self._task: asyncio.Task[None] | None = None
        self.flying = 0
        """Bytes sent and not answered."""

    def add(self, session: Session) -> None:
        """It is to be offered what is wanted; twice is once."""
        self._due.setdefault(session.audience.namespace, {})[session] = None
        self._start()

    def discard(self, session: Session) -> None:
        """It is gone."""
        sessions = self._due.get(session.audience.namespace)
        if sessions is not None:
            sessions.pop(session, None)

    def flies(self, session: Session, size: int) -> None:
        """A push of `size` bytes was sent to it."""
        session.flying = size
        self.flying += size

    def lands(self, session: Session) -> bool:
        """Its push is answered, or will not be; whether there was one."""
        landed = session.flying > 0
        self.flying -= session.flying
        session.flying = 0
        self._start()
        return landed

    async def stop(self) -> None:
        """Forget everybody."""
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _start(self) -> None:
        if self._task is None and self._due and self.flying <= self._most_flying:
            self._task = asyncio.create_task(self._go_through(), name="pushing")

    async def _go_through(self) -> None:
        """One session of a namespace, then one of the next."""
        began = monotonic()
        try:
            while self._due and self.flying <= self._most_flying:
                namespace = next(iter(self._due))
                sessions = self._due.pop(namespace)
                if sessions:
                    session = next(iter(sessions))
                    del sessions[session]
                    if sessions:
                        self._due[namespace] = sessions
                    try:
                        self._offer(session)
                    except Exception:
                        log.exception("%r could not be offered what it is to run", session)
                if monotonic() - began > SLICE:
                    await asyncio.sleep(0)
                    began = monotonic()
        finally:
            self._task = None
