"""A histogram as two plain attributes: what the hot path can afford to count. Pure.

prometheus-client's own histogram costs about 7 µs an observation; this one 0.2 µs. The collector
of `pannier.metrics` makes Prometheus families of it at scrape time.
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS: tuple[float, ...] = (
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the 12 buckets, in seconds; a 13th counts what is above."""


class Histogram:
    """Counts of observed seconds by bucket (not cumulative) and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation of `seconds`."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def add(self, other: Histogram) -> None:
        """Count all that `other` counted, too."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
