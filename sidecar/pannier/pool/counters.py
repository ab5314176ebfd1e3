"""What a pool counts over its life, for the metrics to read at scrape. Pure."""

from __future__ import annotations

from pannier.pool.slots import CLOSE_REASONS, CloseReason


class PoolCounters:
    """Totals that only grow."""

    __slots__ = ("closed", "leaks", "reaper_runs", "rejected", "timeouts")

    def __init__(self) -> None:
        self.timeouts = 0
        """Operations refused with PoolTimeout."""
        self.rejected = 0
        """Operations refused with PoolFull."""
        self.closed: dict[CloseReason, int] = dict.fromkeys(CLOSE_REASONS, 0)
        """Connections closed, by reason."""
        self.leaks = 0
        """Connectors that were held longer than leak_threshold."""
        self.reaper_runs = 0
        """Passes of the reaper over the idle connections."""

    def add(self, other: PoolCounters) -> None:
        """Count all that `other` counted, too."""
        self.timeouts += other.timeouts
        self.rejected += other.rejected
        self.leaks += other.leaks
        self.reaper_runs += other.reaper_runs
        for reason, count in other.closed.items():
            self.closed[reason] += count
