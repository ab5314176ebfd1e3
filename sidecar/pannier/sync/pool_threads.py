"""Parts of the threading driver: who waits, the critical section, what a dropped pool leaves."""

from __future__ import annotations

import _thread
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from pannier.errors import PannierError
from pannier.pool.core import PoolCore

Note = Callable[[Any], None]
"""What the keeper is asked to do with the pool, where it is still there."""


class Waiter:
    """A thread that waits for its turn. Its lock is C code: safe to release in a finalizer."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn = _thread.allocate_lock()
        self._turn.acquire()

    def wait(self, timeout: float) -> bool:
        """Whether the answer came within `timeout` seconds."""
        return self._turn.acquire(timeout=timeout)

    def granted(self, connector: Any) -> None:
        """The ticket holds the connector."""
        self._turn.release()

    def refused(self, error: PannierError, count: int) -> None:
        """The ticket holds the error."""
        self._turn.release()


class Remains:
    """What is left to close when a pool was dropped; it must not refer to the pool."""

    __slots__ = ("core", "keeper", "process")

    def __init__(self, core: PoolCore) -> None:
        self.core = core
        self.keeper: SimpleQueue[Note | list[Any]] | None = None
        self.process = os.getpid()


class Decision:
    """The critical section, in which the core is asked, and what may interrupt it."""

    __slots__ = ("_remains", "_sweep", "depth", "late", "lock")

    def __init__(self, remains: Remains, sweep: Note) -> None:
        self.lock = threading.RLock()
        self.depth = 0
        self.late: deque[tuple[Any, bool]] = deque()
        """Given back by a finalizer that interrupted a decision: (connector, broken)."""
        self._remains = remains
        self._sweep = sweep

    def __enter__(self) -> Decision:
        self.lock.acquire()
        if self.depth:
            self.lock.release()
            raise RuntimeError(
                "A finalizer that interrupted the pool may give connectors back, and nothing else."
            )
        self.depth = 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.depth = 0
        if self.late and self._remains.keeper is not None:
            self._remains.keeper.put(self._sweep)
        self.lock.release()
