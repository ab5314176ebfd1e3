"""How waiters and connections are brought together: granting, dialing, refusing, closing. Pure.

The mechanics under the events of `pannier.pool.core`; `_settle` is the one place that decides.
"""

from __future__ import annotations

from math import inf
from typing import Any

from pannier.errors import PannierError
from pannier.pool import refusals
from pannier.pool.slots import Check, Close, CloseReason, Grant, Leak, Open, Refuse, Slot
from pannier.pool.state import PoolState
from pannier.pool.tickets import Ticket, TicketState

FRESH = 0.5
"""Seconds after its last use during which a connection is checked without a round trip."""
LIFETIME_SPREAD = 0.2
"""A connection lives 80 to 100 % of max_lifetime: those born together do not die together."""


class Assigning(PoolState):
    """What each event of a pool's life comes down to."""

    # Handing out --------------------------------------------------------------------------------

    def _place(self, slot: Slot, now: float) -> None:
        """Give a connection that was seen alive just now to the longest waiter, or lay it by."""
        if self.pending:
            self._grant(self.line.pop(), slot, now)
            return
        slot.since = now
        self.idle.append(slot)
        reap_at = now + self.settings.idle_timeout
        if slot.dies_at < reap_at:
            reap_at = slot.dies_at
        if reap_at < self._reap_due:
            self._reap_due = reap_at
            self._due_by(reap_at)

    def _grant(self, ticket: Ticket, slot: Slot, now: float) -> None:
        ticket.state = TicketState.GRANTED
        connector = ticket.connector = slot.connector
        slot.since = now
        slot.number = ticket.number
        slot.ticket = ticket
        slot.where = ticket.where
        self.leases[id(connector)] = slot
        self.pending -= len(ticket.arrivals)
        observe = self.timings.acquire.observe
        for arrival in ticket.arrivals:
            observe(now - arrival)
        if self.settings.leak_threshold is not None:
            self._due_by(now + self.settings.leak_threshold)
        self.actions.append(Grant(ticket, connector))

    def _share(self, now: float) -> Any | None:
        slot = next(iter(self.leases.values()))
        if self.line or slot.dies_at <= now:
            return None
        self._sequence = slot.number = self._sequence + 1
        slot.holders += 1
        self.timings.acquire.counts[0] += 1
        return slot.connector

    def _share_with_all(self, slot: Slot, now: float) -> None:
        while self.line:
            slot.holders += 1
            self._grant(self.line.pop(), slot, now)

    def _settle(self, now: float) -> None:
        """Bring waiters and connections together, dial what is wanted, refuse who has no hope."""
        if self.closing:
            return
        line, idle, checking = self.line, self.idle, self.checking
        while idle and len(line) > len(checking):
            slot = idle.pop()
            fresh = now - slot.since <= FRESH
            if slot.dies_at <= now:
                self._close(slot, "lifetime")
            elif fresh and not self._quick_checks:
                self._place(slot, now)
            else:
                checking.add(slot)
                self.actions.append(Check(slot, quick=fresh))
        if self._shared and line:
            for slot in self.leases.values():
                self._share_with_all(slot, now)
        if line or len(idle) < self.settings.min_idle:
            self._dial_wanted(now)
        if line and not (self.leases or self.checking or self.opening):
            for ticket in line.clear():
                self._refuse(ticket, self._unreachable(now), ticket.weight)

    def _dial_wanted(self, now: float) -> None:
        """Dial for each who waits, and for min_idle, as far as max_connections lets.

        After an outage one dial at a time, each when it is due, until one succeeds.
        """
        settings = self.settings
        if len(self.leases) >= settings.max_connections:
            return  # the usual case when many wait
        wanted = min(
            max(0, len(self.line) - len(self.checking))
            + max(0, settings.min_idle - len(self.idle))
            - len(self.opening),
            settings.max_connections - self.total,
        )
        if self._shared:
            wanted = min(wanted, 1)
        if wanted <= 0 or self.closing:
            return
        if self._backoff.failures:
            if self.opening:
                return
            if now < self._backoff.next_at:
                self._due_by(self._backoff.next_at)
                return
            wanted = 1
        for _ in range(wanted):
            slot = Slot(now, 1.0 - LIFETIME_SPREAD * self._random())
            self.opening.add(slot)
            self.actions.append(Open(slot))

    # Refusing -----------------------------------------------------------------------------------

    def _admit(self, weight: int, now: float, extra: bool = False) -> None:
        max_waiting = self.settings.max_waiting
        if max_waiting is None:
            return
        served_soon = len(self.opening) + len(self.checking) + extra
        if self.pending + weight > max_waiting + served_soon:
            self.counters.rejected += weight
            raise refusals.full(self.figures(now), max_waiting)

    def _refuse(self, ticket: Ticket, error: PannierError, count: int) -> None:
        self.pending -= count
        if count < ticket.weight:
            del ticket.arrivals[:count]
        else:
            ticket.state = TicketState.REFUSED
            ticket.error = error
        self.actions.append(Refuse(ticket, error, count))

    def _refuse_overdue(self, now: float) -> None:
        timeout = self.settings.connection_timeout
        while self.line:
            head = self.line.head
            if not self._refuse_arrivals(head, now, timeout):
                return
            self.line.remove(head)

    def _refuse_arrivals(self, ticket: Ticket, now: float, timeout: float) -> bool:
        """Refuse those of the ticket whose time is over; whether none is left."""
        arrivals = ticket.arrivals
        count = 0
        while count < len(arrivals) and arrivals[count] + timeout <= now:
            count += 1
        if count == 0:
            return False
        over = count == len(arrivals)
        error = refusals.timed_out(
            self.figures(now), now - arrivals[0], timeout, self._backoff.last_error
        )
        self.counters.timeouts += count
        self._refuse(ticket, error, count)
        return over

    def _unreachable(self, now: float) -> PannierError:
        return refusals.unreachable(
            self.figures(now), self._backoff.last_error, self._backoff.next_at - now
        )

    # Closing ------------------------------------------------------------------------------------

    def _close(self, slot: Slot, reason: CloseReason) -> None:
        self.counters.closed[reason] += 1
        self.actions.append(Close(slot.connector, reason))

    def _close_shared_or_not(self, slot: Slot) -> None:
        """One of its holders found it broken: it is lent no more, and closed by the last of them.

        A successor is dialed without waiting for the others, who might themselves wait for it.
        """
        slot.holders -= 1
        if slot.holders:
            self.retired[id(slot.connector)] = slot
        else:
            self._close(slot, "broken")

    def _drop_expired(self, now: float) -> None:
        while self.idle and self.idle[-1].dies_at <= now:
            self._close(self.idle.pop(), "lifetime")

    def _reap(self, now: float) -> None:
        """Close what is idle past its lifetime, or past idle_timeout down to min_idle."""
        self.counters.reaper_runs += 1
        for slot in [slot for slot in self.idle if slot.dies_at <= now]:
            self.idle.remove(slot)
            self._close(slot, "lifetime")
        settings = self.settings
        while len(self.idle) > settings.min_idle:
            if self.idle[0].since + settings.idle_timeout > now:
                break
            self._close(self.idle.popleft(), "idle")

    def _surrender(self) -> None:
        """The shutdown's deadline has come: close what is still borrowed.

        Its borrower may still give it back; that is no error of his.
        """
        for slot in (*self.leases.values(), *self.retired.values()):
            self._surrendered[id(slot.connector)] = slot.connector
            self._close(slot, "drain")
        for slot in self.checking:
            self._close(slot, "drain")
        self.leases.clear()
        self.retired.clear()
        self.checking.clear()

    def _set_lifetime(self, slot: Slot) -> None:
        max_lifetime = self.settings.max_lifetime
        slot.dies_at = inf if max_lifetime is None else slot.born + slot.spread * max_lifetime

    def _report_leaks(self, now: float) -> None:
        threshold = self.settings.leak_threshold
        if threshold is None:
            return
        for slot in self.leases.values():
            if not slot.leaked and slot.since + threshold <= now:
                slot.leaked = True
                self.counters.leaks += 1
                self.actions.append(Leak(slot.connector, now - slot.since, slot.where))
