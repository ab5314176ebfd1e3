"""A pool driver that does no I/O: what the core asks for is listed, and answered by the test."""

from __future__ import annotations

from typing import Any

from pannier.errors import PannierError
from pannier.pool.core import PoolCore
from pannier.pool.settings import PoolSettings
from pannier.pool.slots import Check, Close, GiveUp, Grant, Leak, Open, Refuse, Slot
from pannier.pool.tickets import Ticket


class Connector:
    """A connection on paper."""

    count = 0

    def __init__(self) -> None:
        Connector.count += 1
        self.number = Connector.count

    def __repr__(self) -> str:
        return f"<Connector {self.number}>"


class Borrower:
    """Who asked for a connection, and what came of it."""

    def __init__(self, pool: PoolOnPaper, name: object = None) -> None:
        self.pool = pool
        self.name = name
        self.connector: Any = None
        self.errors: list[PannierError] = []
        self.refused_operations = 0
        self.ticket: Ticket | None = None

    def granted(self, connector: Any) -> None:
        assert self.connector is None, "granted twice"
        self.connector = connector
        self.pool.granted.append(self)

    def refused(self, error: PannierError, count: int) -> None:
        self.errors.append(error)
        self.refused_operations += count

    @property
    def error(self) -> PannierError | None:
        """The one error it got, if any."""
        assert len(self.errors) <= 1
        return self.errors[0] if self.errors else None

    @property
    def waits(self) -> bool:
        """Whether it has neither a connection nor an error."""
        return self.connector is None and not self.errors


class PoolOnPaper:
    """A core, a clock that only the test moves, and lists of what the core wants done."""

    def __init__(
        self,
        *,
        quick_checks: bool = True,
        shared: bool = False,
        random: Any = lambda: 0.5,
        **settings: Any,
    ) -> None:
        self.core = PoolCore(
            PoolSettings(**settings),
            name="shop",
            random=random,
            quick_checks=quick_checks,
            shared=shared,
        )
        self.now = 1000.0
        self.dials: list[Slot] = []
        self.given_up: list[Slot] = []
        self.checks: list[Check] = []
        self.closed: list[tuple[Any, str]] = []
        self.granted: list[Borrower] = []
        self.leaks: list[Leak] = []
        self.seen_dead: set[Any] = set()
        """Connectors whose socket shows at once that it is dead."""

    def act(self) -> None:
        """List what the core wants, and carry out what needs no I/O."""
        while self.core.actions:
            action = self.core.actions.popleft()
            if isinstance(action, Grant):
                action.ticket.collected = True
                action.ticket.granted(action.connector)
            elif isinstance(action, Refuse):
                action.ticket.refused(action.error, action.count)
            elif isinstance(action, Open):
                self.dials.append(action.slot)
            elif isinstance(action, GiveUp):
                self.dials.remove(action.slot)
                self.given_up.append(action.slot)
            elif isinstance(action, Close):
                self.closed.append((action.connector, action.reason))
            elif isinstance(action, Leak):
                self.leaks.append(action)
            elif isinstance(action, Check) and action.quick:
                alive = action.slot.connector not in self.seen_dead
                self.core.checked(action.slot, alive, self.now)
            else:
                assert isinstance(action, Check)
                self.checks.append(action)

    def borrow(self, weight: int = 1, *, where: object = None) -> Borrower:
        """Ask as a driver does: take, look, or stand in line. Raises what refuses at once."""
        borrower = Borrower(self)
        place = None
        connector = self.core.take(self.now, where) if weight == 1 else None
        if connector is not None:
            if connector not in self.seen_dead:
                borrower.granted(connector)
                self.act()
                return borrower
            place = self.core.dud(connector, self.now)
        try:
            borrower.ticket = self.core.enqueue(
                self.now,
                borrower.granted,
                borrower.refused,
                weight=weight,
                where=where,
                place=place,
            )
        finally:
            self.act()
        return borrower

    def give_back(self, borrower: Borrower, *, broken: bool = False) -> None:
        connector, borrower.connector = borrower.connector, None
        self.core.release(connector, self.now, broken=broken)
        self.act()

    def join(self, borrower: Borrower, weight: int = 1) -> bool:
        assert borrower.ticket is not None
        joined = self.core.join(borrower.ticket, self.now, weight)
        self.act()
        return joined

    def leave(self, borrower: Borrower, position: int | None = None) -> None:
        assert borrower.ticket is not None
        self.core.leave(borrower.ticket, position)
        self.act()

    def dial_succeeds(self, slot: Slot | None = None) -> Connector:
        """Answer the oldest dial (or that one)."""
        slot = slot or self.dials[0]
        self.dials.remove(slot)
        connector = Connector()
        self.core.opened(slot, connector, self.now)
        self.act()
        return connector

    def dial_fails(self, error: BaseException | None = None) -> None:
        slot = self.dials.pop(0)
        self.core.open_failed(slot, error or ConnectionRefusedError(111, "refused"), self.now)
        self.act()

    def check_ends(self, alive: bool = True) -> None:
        """Answer the oldest round trip."""
        check = self.checks.pop(0)
        self.core.checked(check.slot, alive, self.now)
        self.act()

    def fill(self, count: int) -> list[Borrower]:
        """`count` borrowers, each with a connection of its own."""
        borrowers = [self.borrow() for _ in range(count)]
        while self.dials:
            self.dial_succeeds()
        assert all(borrower.connector is not None for borrower in borrowers)
        return borrowers

    def lay_by(self, count: int) -> None:
        """Have `count` idle connections."""
        for borrower in self.fill(count):
            self.give_back(borrower)

    def wait(self, seconds: float) -> None:
        """Move the clock, ticking whenever the core asked for it, as a driver does."""
        end = self.now + seconds
        for _ in range(10_000):
            if self.core.due > end:
                break
            self.now = max(self.now, self.core.due)
            self.core.tick(self.now)
            self.act()
            assert self.core.due > self.now, "the core is due again at the same moment"
        else:
            raise AssertionError("the core ticks without end")
        self.now = end

    def tick(self) -> None:
        self.core.tick(self.now)
        self.act()

    def reconfigure(self, **changes: Any) -> None:
        self.core.reconfigure(self.now, **changes)
        self.act()

    def shut_down(self, timeout: float = 5.0) -> None:
        self.core.shutdown(self.now, self.now + timeout)
        self.act()

    @property
    def stats(self) -> dict[str, int]:
        return self.core.stats()

    @property
    def gauges(self) -> tuple[int, int, int, int]:
        """In use, idle, opening, pending."""
        stats = self.core.stats()
        return stats["in_use"], stats["idle"], stats["opening"], stats["pending"]

    def closed_for(self, reason: str) -> int:
        """How many were closed for the reason; the counter must say the same."""
        listed = sum(given == reason for _, given in self.closed)
        assert self.core.counters.closed[reason] == listed  # type: ignore[index]
        return listed
