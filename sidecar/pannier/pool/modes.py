"""How a store connects: the same enum object on the async and the sync side. Pure."""

from __future__ import annotations

from enum import Enum


class ConnectionMode(Enum):
    """How many connections a manager keeps to its backend."""

    SINGLE = "single"
    """One connection that all share."""
    POOLED = "pooled"
    """A pool of connections, each used by one borrower at a time."""
