"""When changes that follow each other are acted on: after a quiet moment, or at last. Pure."""

from __future__ import annotations

from typing import Final

QUIET: Final = 0.1
"""Seconds without a further change after which one is acted on."""
LONGEST: Final = 1.0
"""Seconds after which a change is acted on though others still come."""


class Debounce:
    """One thing that changes."""

    __slots__ = ("_last", "first")

    def __init__(self) -> None:
        self.first: float | None = None
        """When the first change was seen that is not acted on yet; None: there is none."""
        self._last = 0.0

    def touch(self, now: float) -> None:
        """It changed."""
        if self.first is None:
            self.first = now
        self._last = now

    @property
    def due(self) -> float:
        """When to act; only while there is something to act on."""
        assert self.first is not None
        return min(self._last + QUIET, self.first + LONGEST)

    def take(self) -> float:
        """Act now: when the first of the changes was seen."""
        first, self.first = self.first, None
        assert first is not None
        return first
