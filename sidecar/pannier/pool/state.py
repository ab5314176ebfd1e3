"""What a pool knows: its settings, its connections, who waits, and when it must wake. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from pannier.pool.backoff import Backoff
from pannier.pool.counters import PoolCounters
from pannier.pool.refusals import Figures
from pannier.pool.settings import PoolSettings
from pannier.pool.slots import Action, Slot
from pannier.pool.tickets import WaitingLine
from pannier.pool.timings import PoolTimings


class PoolState:
    """The state of one pool, and its figures; `pannier.pool.core` decides on it."""

    def __init__(
        self,
        settings: PoolSettings,
        *,
        name: str,
        random: Callable[[], float],
        quick_checks: bool = True,
        shared: bool = False,
    ) -> None:
        """`quick_checks`: the driver can look at a socket without a round trip.

        `shared`: a connection serves any number of holders at once (the SINGLE mode).
        """
        self.settings = settings
        self.name = name
        self.counters = PoolCounters()
        self.timings = PoolTimings()
        self.actions: deque[Action] = deque()
        self.due = inf
        """When `tick` must be called next; never later than that, perhaps earlier."""
        self.idle: deque[Slot] = deque()
        """Longest unused first; borrowed from the other end, so that the surplus ages."""
        self.leases: dict[int, Slot] = {}
        """In use, by the connector's id."""
        self.retired: dict[int, Slot] = {}
        """Broken ones of a shared pool that still have holders; they count as closed."""
        self.checking: set[Slot] = set()
        self.opening: set[Slot] = set()
        self.line = WaitingLine()
        self.pending = 0
        """Operations that wait in line, those included whose connection is dialed or checked."""
        self.closing = False
        self._random = random
        self._quick_checks = quick_checks
        self._shared = shared
        self._shrinking = False
        """Whether more connections may exist than the lowered max_connections allows."""
        self._backoff = Backoff(random)
        self._sequence = 0
        self._reap_due = inf
        self._drain_by = inf
        self._surrendered: dict[int, Any] = {}

    # What others read ---------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """In use + idle + opening."""
        return len(self.leases) + len(self.checking) + len(self.idle) + len(self.opening)

    @property
    def in_use(self) -> int:
        """Borrowed, or set aside for a borrower while it is checked."""
        return len(self.leases) + len(self.checking)

    @property
    def drained(self) -> bool:
        """Whether the pool is shut down and nothing of it is out."""
        out = self.leases or self.retired or self.checking or self.opening
        return self.closing and not out

    def figures(self, now: float) -> Figures:
        """The gauges, and the longest wait, for an error's text."""
        longest = now - self.line.head.arrivals[0] if self.line else 0.0
        return Figures(
            name=self.name,
            max=self.settings.max_connections,
            in_use=self.in_use,
            checking=len(self.checking),
            idle=len(self.idle),
            opening=len(self.opening),
            pending=self.pending,
            longest_wait=longest,
        )

    def described(self) -> str:
        """The pool in a line, for a repr."""
        of = self.settings.max_connections
        end = ", CLOSED" if self.closing else ""
        return (
            f"{self.name}: {self.in_use} in use, {len(self.idle)} idle, "
            f"{len(self.opening)} opening of {of}, {self.pending} pending{end}"
        )

    def stats(self) -> dict[str, int]:
        """The gauges `max in_use idle opening pending`, and the counters."""
        counters = self.counters
        return {
            "max": self.settings.max_connections,
            "in_use": self.in_use,
            "idle": len(self.idle),
            "opening": len(self.opening),
            "pending": self.pending,
            "timeouts": counters.timeouts,
            "rejected": counters.rejected,
            "closed": sum(counters.closed.values()),
            "leaks": counters.leaks,
        }

    def _may_dial(self, now: float) -> bool:
        if self.total >= self.settings.max_connections:
            return False
        return not self._backoff.failures or (not self.opening and now >= self._backoff.next_at)

    # When to wake -------------------------------------------------------------------------------

    def _due_by(self, moment: float) -> None:
        if moment < self.due:
            self.due = moment

    def _set_due(self) -> None:
        settings = self.settings
        self._reap_due = min((slot.dies_at for slot in self.idle), default=inf)
        if len(self.idle) > settings.min_idle:
            self._reap_due = min(self._reap_due, self.idle[0].since + settings.idle_timeout)
        self.due = self._reap_due
        if self.line:
            self._due_by(self.line.head.arrivals[0] + settings.connection_timeout)
        if settings.leak_threshold is not None:
            for slot in self.leases.values():
                if not slot.leaked:
                    self._due_by(slot.since + settings.leak_threshold)
        if self.closing and not self.drained:
            self._due_by(self._drain_by)
