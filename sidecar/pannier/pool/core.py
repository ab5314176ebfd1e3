"""Every decision of the pool: who gets which connection, what to dial, check, close, or refuse.

Pure: it takes `now` (seconds of a clock that never goes back) and a source of randomness, does no
I/O, and queues in `actions` what a driver (asyncio, threading) is to do. The driver answers with
`opened`, `open_failed` and `checked`, and calls `tick` when `due` has come. One caller at a time.

A connection's life: dialed (`opening`), then in turn borrowed (`leases`), `idle`, or set aside for
those in line and asked whether it is alive (`checking`, counted as in use), then closed. A dial or
a check belongs to nobody: what comes of it goes to whoever has waited longest by then. Between two
calls these hold: an idle connection is checked for each who waits, and nobody waits where no
connection exists, none is dialed, and none may be dialed now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pannier.errors import NotBorrowed, PannierError
from pannier.pool import refusals
from pannier.pool.assigning import FRESH, Assigning
from pannier.pool.slots import (
    GiveUp,
    Slot,
)
from pannier.pool.tickets import Ticket, TicketState


class PoolCore(Assigning):
    """The decisions of one pool."""

    # Borrowing ----------------------------------------------------------------------------------

    def take(self, now: float, where: object = None) -> Any | None:
        """The connector used last, if it is fresh and nobody waits; None: `enqueue`.

        The driver looks at its socket, and returns a dead one by `dud`.
        """
        if self._shared and self.leases:
            return self._share(now)
        idle = self.idle
        if not idle or self.pending:
            return None
        slot = idle[-1]
        if now - slot.since > FRESH or slot.dies_at <= now:
            return None
        idle.pop()
        self._sequence = slot.number = self._sequence + 1
        slot.since = now
        slot.ticket = None
        slot.where = where
        connector = slot.connector
        self.leases[id(connector)] = slot
        self.timings.acquire.counts[0] += 1
        settings = self.settings
        if settings.leak_threshold is not None:
            self._due_by(now + settings.leak_threshold)
        if len(idle) < settings.min_idle:
            self._dial_wanted(now)
        return connector

    def dud(self, connector: Any, now: float) -> int:
        """What `take` gave is dead: close it. Returns the borrower's place, for `enqueue`."""
        slot = self.leases.get(id(connector))
        if slot is None or self._shared:
            # Many may find a shared one dead at once: each needs a place of its own.
            self._sequence = place = self._sequence + 1
        else:
            place = slot.number
        if slot is None:
            self._return_late(connector)
        else:
            del self.leases[id(connector)]
            self._close_shared_or_not(slot)
        self._settle(now)
        return place

    def enqueue(
        self,
        now: float,
        granted: Callable[[Any], None],
        refused: Callable[[PannierError, int], None],
        *,
        weight: int = 1,
        where: object = None,
        place: int | None = None,
    ) -> Ticket:
        """Stand in line for a connection, or get one at once (both by an action).

        Raises PoolClosed; BackendUnavailable where no connection exists and, after a failed dial,
        the next is not due; PoolFull where `max_waiting` operations wait. Those that a dial or a
        check under way will serve do not count against `max_waiting`: with it at 0 a borrower may
        still wait for its dial, but for nobody else's connection. `place`: where a borrower whose
        connection was a dud stood; it was admitted already.
        """
        if self.closing:
            raise refusals.closed(self.figures(now))
        self._drop_expired(now)
        exists = self.idle or self.leases or self.checking or self.opening
        if not exists and not self._may_dial(now):
            raise self._unreachable(now)
        if place is None and not self.idle:
            served = len(self.opening) + len(self.checking)
            starts_dial = served <= len(self.line) and self._may_dial(now)
            self._admit(weight, now, extra=starts_dial)
        if place is None:
            self._sequence = place = self._sequence + 1
        ticket = Ticket(place, [now] * weight, granted, refused, where)
        self.pending += weight
        self.line.add(ticket)
        self._due_by(now + self.settings.connection_timeout)
        self._settle(now)
        return ticket

    def join(self, ticket: Ticket, now: float, weight: int = 1) -> bool:
        """Add operations to the last ticket in line; False where it is not that any more.

        Only the last: in an earlier place they would overtake. Raises PoolFull.
        """
        if not self.line.is_tail(ticket):
            return False
        self._admit(weight, now)
        ticket.arrivals.extend([now] * weight)
        self.pending += weight
        return True

    def leave(self, ticket: Ticket, position: int | None = None) -> None:
        """An operation of a waiting ticket was cancelled (None: all of them).

        A dial or a check made for it goes on, and serves the next in line.
        """
        if ticket.state is not TicketState.WAITING:
            return
        if position is not None and ticket.weight > 1:
            del ticket.arrivals[position]
            self.pending -= 1
            return
        self.line.remove(ticket)
        self.pending -= ticket.weight
        ticket.state = TicketState.LEFT

    def release(self, connector: Any, now: float, *, broken: bool = False) -> None:
        """Take a connector back; `broken` also where the driver saw that its socket is dead.

        Raises NotBorrowed, and changes nothing, for a connector that is not out: given back
        before, or a stranger's. Given back twice in a row it may be out again, handed to a waiter
        that has not woken yet (its ticket is not `collected`): that is told too. Later it cannot
        be told, for who holds a connector may leave its return to another task, a thread, or a
        finalizer.
        """
        slot = self.leases.pop(id(connector), None)
        if slot is None:
            self._return_late(connector)
            return
        ticket = slot.ticket
        if ticket is not None and not ticket.collected and not self._shared:
            self.leases[id(connector)] = slot
            raise NotBorrowed(
                f"{connector!r} was given back to pool {self.name} already, "
                "and is on its way to another borrower."
            )
        if slot.holders > 1 and not broken:
            slot.holders -= 1
            self.leases[id(connector)] = slot
            return
        self.timings.use.observe(now - slot.since)
        slot.ticket = slot.where = None
        slot.leaked = False
        if broken:
            self._close_shared_or_not(slot)
        elif self.closing:
            self._close(slot, "drain")
        elif slot.dies_at <= now:
            self._close(slot, "lifetime")
        elif self._shrinking and self.total >= self.settings.max_connections:
            self._close(slot, "shrink")
        else:
            self._place(slot, now)
            return
        self._settle(now)

    def _return_late(self, connector: Any) -> None:
        """Take back what is no lease any more. Raises NotBorrowed."""
        if self._surrendered.pop(id(connector), None) is not None:
            return
        slot = self.retired.get(id(connector))
        if slot is None:
            raise NotBorrowed(f"{connector!r} is not borrowed from pool {self.name}.")
        slot.holders -= 1
        if not slot.holders:
            del self.retired[id(connector)]
            self._close(slot, "broken")

    # The driver's answers -----------------------------------------------------------------------

    def opened(self, slot: Slot, connector: Any, now: float) -> None:
        """The dial succeeded. Where it is wanted no more, the connection is closed again."""
        slot.connector = connector
        self.timings.create.observe(now - slot.since)
        self._backoff.succeeded()
        if slot not in self.opening:
            self._close(slot, "drain")
            return
        self.opening.remove(slot)
        if self.total >= self.settings.max_connections:
            self._close(slot, "shrink")
        else:
            slot.born = now
            self._set_lifetime(slot)
            self._place(slot, now)
        self._settle(now)

    def open_failed(self, slot: Slot, error: BaseException, now: float) -> None:
        """The dial failed.

        Who waits keeps waiting while a connection in use, or another dial, may still serve it;
        where there is none, all who wait are refused with BackendUnavailable, `error` chained.
        """
        if slot not in self.opening:
            return
        self.opening.remove(slot)
        self._backoff.failed(slot.since, error, now)
        self._settle(now)

    def checked(self, slot: Slot, alive: bool, now: float) -> None:
        """The check ended; who waits for it is in line still, and keeps his place if it failed."""
        if slot not in self.checking:
            return
        self.checking.remove(slot)
        if not alive:
            self._close(slot, "broken")
        elif self.closing:
            self._close(slot, "drain")
        elif self.total >= self.settings.max_connections:
            self._close(slot, "shrink")
        else:
            self._place(slot, now)
        self._settle(now)

    def bury(self, dead: list[Slot], now: float) -> None:
        """Idle connections were seen to be dead: close those that are idle still."""
        for slot in dead:
            if slot in self.idle:
                self.idle.remove(slot)
                self._close(slot, "broken")
        self._settle(now)

    # Time ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do all that is due, and set `due` anew."""
        self._refuse_overdue(now)
        if self.closing and self._drain_by <= now:
            self._surrender()
        if self._reap_due <= now:
            self._reap(now)
        self._report_leaks(now)
        self._set_due()
        self._settle(now)

    def start(self, now: float) -> None:
        """Open min_idle connections ahead."""
        self._settle(now)

    # Settings and the end -----------------------------------------------------------------------

    def reconfigure(self, now: float, **changes: Any) -> None:
        """Change settings of the live pool. Raises TypeError or ValueError, and changes nothing.

        Shrinking closes idle connections now and busy ones as they come back; timeouts apply to
        those that wait already, max_lifetime to connections born already.
        """
        self.settings = replace(self.settings, **changes)
        while self.idle and self.total > self.settings.max_connections:
            self._close(self.idle.popleft(), "shrink")
        self._shrinking = self.total > self.settings.max_connections
        for slot in (*self.idle, *self.leases.values(), *self.checking):
            self._set_lifetime(slot)
        self.due = self._reap_due = now
        self.tick(now)

    def shutdown(self, now: float, deadline: float) -> None:
        """Refuse all who wait and all who come, close what is idle, give up dials.

        Borrowed connections are closed as they come back, and by force at `deadline`.
        """
        if self.closing:
            self._drain_by = min(self._drain_by, deadline)
            self._due_by(self._drain_by)
            return
        self.closing = True
        self._drain_by = deadline
        figures = self.figures(now)
        for ticket in self.line.clear():
            self._refuse(ticket, refusals.closed(figures), ticket.weight)
        while self.idle:
            self._close(self.idle.popleft(), "drain")
        while self.opening:
            self.actions.append(GiveUp(self.opening.pop()))
        self._set_due()

    def successor(self) -> tuple[PoolCore, list[Any]]:
        """A fresh core in place of one whose event loop or process is gone, and what it lost.

        The counters and timings go on. Who waited is not there any more; a borrowed connector may
        still be given back, and is ignored.
        """
        heir = PoolCore(
            self.settings,
            name=self.name,
            random=self._random,
            quick_checks=self._quick_checks,
            shared=self._shared,
        )
        heir.counters, heir.timings = self.counters, self.timings
        heir.closing = self.closing
        borrowed = [s.connector for s in (*self.leases.values(), *self.retired.values())]
        heir._surrendered = {id(connector): connector for connector in borrowed}
        lost = borrowed + [slot.connector for slot in (*self.idle, *self.checking)]
        heir.counters.closed["broken"] += len(lost)
        return heir, lost
