"""The four durations a pool measures, for the metrics to read at scrape. Pure."""

from __future__ import annotations

from pannier.histograms import Histogram


class PoolTimings:
    """Histograms of seconds, filled by the pool as it works."""

    __slots__ = ("acquire", "create", "reaper", "use")

    def __init__(self) -> None:
        self.acquire = Histogram()
        """From an operation's arrival until it was granted a connection (grants only)."""
        self.use = Histogram()
        """From a grant until the connection came back."""
        self.create = Histogram()
        """From the start of a dial until the connection stood (successful dials only)."""
        self.reaper = Histogram()
        """One pass of the reaper over the idle connections."""

    def add(self, other: PoolTimings) -> None:
        """Count all that `other` counted, too."""
        for name in self.__slots__:
            getattr(self, name).add(getattr(other, name))
