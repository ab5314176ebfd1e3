"""What the pool knows of one connection, and what it asks its driver to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pannier.errors import PannierError
from pannier.pool.tickets import Ticket

CloseReason = Literal["idle", "lifetime", "broken", "drain", "shrink"]
CLOSE_REASONS: tuple[CloseReason, ...] = ("idle", "lifetime", "broken", "drain", "shrink")


class Slot:
    """One connection from its dial to its close."""

    __slots__ = (
        "born", "connector", "dies_at", "holders", "leaked", "number", "since",
        "spread", "ticket", "where",
    )  # fmt: skip

    def __init__(self, since: float, spread: float) -> None:
        self.connector: Any = None
        """None until the dial succeeded."""
        self.since = since
        """Since when it is in its present state: dialing, idle or in use."""
        self.born = since
        self.spread = spread
        """Its own share of max_lifetime, drawn at birth."""
        self.dies_at = float("inf")
        self.number = 0
        """The place in line its borrower had."""
        self.ticket: Ticket | None = None
        """What it was lent for; None where it was taken without waiting."""
        self.holders = 1
        """How many share it (always 1 but in a shared pool)."""
        self.where: object | None = None
        self.leaked = False

    def __repr__(self) -> str:
        return f"<Slot {self.connector!r} since={self.since:g}>"


@dataclass(slots=True)
class Open:
    """Dial a connection; answer with `opened` or `open_failed`."""

    slot: Slot


@dataclass(slots=True)
class GiveUp:
    """The dial is wanted no more: end it if that can be done."""

    slot: Slot


@dataclass(slots=True)
class Check:
    """Find out whether the connection lives; answer with `checked`.

    `quick`: by a look at the socket, without a round trip.
    """

    slot: Slot
    quick: bool


@dataclass(slots=True)
class Close:
    """Close a connection the pool knows no more."""

    connector: Any
    reason: CloseReason


@dataclass(slots=True)
class Grant:
    """Call `ticket.granted(connector)`."""

    ticket: Ticket
    connector: Any


@dataclass(slots=True)
class Refuse:
    """Call `ticket.refused(error, count)`: the `count` oldest operations of it get nothing."""

    ticket: Ticket
    error: PannierError
    count: int


@dataclass(slots=True)
class Leak:
    """Log that a connector is held longer than leak_threshold."""

    connector: Any
    held: float
    where: object | None


Action: TypeAlias = Open | GiveUp | Check | Close | Grant | Refuse | Leak
