"""A place in the pool's queue, and the queue itself. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Any

from pannier.errors import PannierError


class TicketState(Enum):
    """What became of a ticket; the last three are final."""

    WAITING = "waiting"
    GRANTED = "granted"
    REFUSED = "refused"
    LEFT = "left"


class Ticket:
    """One place in the queue, for one or more operations that will share a connection."""

    __slots__ = (
        "arrivals", "collected", "connector", "error", "granted", "number", "refused", "state",
        "where",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        arrivals: list[float],
        granted: Callable[[Any], None],
        refused: Callable[[PannierError, int], None],
        where: object | None,
    ) -> None:
        self.number = number
        """Its place: lower is earlier."""
        self.arrivals = arrivals
        """When each operation arrived, oldest first: as many as the ticket's weight."""
        self.granted = granted
        self.refused = refused
        self.where = where
        """Where it was asked for, for the leak warning, or None."""
        self.state = TicketState.WAITING
        self.connector: Any = None
        """What it was granted."""
        self.collected = False
        """Whether the borrower has woken and has it: set by the driver, after the grant."""
        self.error: PannierError | None = None
        """Why it was refused."""

    @property
    def weight(self) -> int:
        """How many operations wait in this place."""
        return len(self.arrivals)

    def __repr__(self) -> str:
        return f"<Ticket {self.number} {self.state.value} weight={self.weight}>"


class WaitingLine:
    """Tickets in order of their number; join the end, leave from anywhere, both in O(1)."""

    __slots__ = ("_tickets",)

    def __init__(self) -> None:
        self._tickets: OrderedDict[int, Ticket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Any:
        return iter(self._tickets.values())

    @property
    def head(self) -> Ticket:
        """Who has waited longest; there must be one."""
        return next(iter(self._tickets.values()))

    def is_tail(self, ticket: Ticket) -> bool:
        """Whether the ticket waits, and nobody behind it."""
        return bool(self._tickets) and next(reversed(self._tickets)) == ticket.number

    def add(self, ticket: Ticket) -> None:
        """Put a ticket in its place: the end for a new one, its old place for one that returns."""
        if not self._tickets or next(reversed(self._tickets)) < ticket.number:
            self._tickets[ticket.number] = ticket
            return
        overtaken: list[int] = []
        for number in reversed(self._tickets):
            if number < ticket.number:
                break
            overtaken.append(number)
        self._tickets[ticket.number] = ticket
        for number in reversed(overtaken):
            self._tickets.move_to_end(number)

    def pop(self) -> Ticket:
        """Take out who has waited longest."""
        return self._tickets.popitem(last=False)[1]

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it stands."""
        del self._tickets[ticket.number]

    def clear(self) -> list[Ticket]:
        """Take all out, in order."""
        tickets = list(self._tickets.values())
        self._tickets.clear()
        return tickets
