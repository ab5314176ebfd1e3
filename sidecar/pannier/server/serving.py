"""What every connection of the record port shares. Both lanes hold one."""

from __future__ import annotations

from dataclasses import dataclass, field

from pannier.config.served import StoreTable
from pannier.counting import HttpCounts
from pannier.server.admission import Admission
from pannier.server.budget import Budget
from pannier.server.settings import SidecarSettings


@dataclass(slots=True, kw_only=True)
class Serving:
    """The stores, the rules of the door, and whether the door is still open."""

    settings: SidecarSettings
    table: StoreTable
    admission: Admission
    budget: Budget
    http: HttpCounts = field(default_factory=HttpCounts)
    leaving: bool = False
    """SIGTERM came: no longer ready, though all is served on for `drain_delay`."""
    draining: bool = False
    """Set after it: a new request is answered `draining` and its connection closed."""
    active: int = 0
    """Requests that the aiohttp lane has taken and not answered yet."""

    @property
    def configured(self) -> bool:
        """Whether a configuration has come, even one of no store."""
        return self.table.applied_at is not None or bool(self.table.stores)
