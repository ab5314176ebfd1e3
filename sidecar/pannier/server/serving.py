"""What every connection of the record port shares. Both lanes hold one."""

from __future__ import annotations

from dataclasses import dataclass

from pannier.config.served import StoreTable
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
    draining: bool = False
    """Set by SIGTERM: a new request is answered `draining` and its connection closed."""
