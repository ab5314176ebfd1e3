"""What a store's closed pools counted, kept where their like are summed up. Pure."""

from __future__ import annotations

from typing import Any

from pannier.pool.counters import PoolCounters
from pannier.pool.settings import PoolSettings
from pannier.pool.timings import PoolTimings


class FormerPools:
    """Stands beside the live pools of a store: it lends nothing, and no total steps back."""

    def __init__(self) -> None:
        self.counters = PoolCounters()
        self.timings = PoolTimings()
        self.settings = PoolSettings(min_idle=0)

    def add(self, pool: Any) -> None:
        """Take over what a pool counted that is closed now."""
        self.counters.add(pool.counters)
        self.timings.add(pool.timings)

    def stats(self) -> dict[str, int]:
        """As a pool's, of no connection at all."""
        counters = self.counters
        return {
            **dict.fromkeys(("max", "in_use", "idle", "opening", "pending"), 0),
            "timeouts": counters.timeouts,
            "rejected": counters.rejected,
            "closed": sum(counters.closed.values()),
            "leaks": counters.leaks,
        }
