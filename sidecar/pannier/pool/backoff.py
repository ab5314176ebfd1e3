"""When a backend that could not be reached may be dialed again. Pure.

Exponential with full jitter (the AWS architecture blog, "Exponential Backoff And Jitter"): a
thousand sidecars whose backend comes back do not dial it in one instant.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_BOUND = 0.1
LAST_BOUND = 3.0
SHORTEST = 0.01
"""Seconds. Full jitter draws from 0 on; this floor keeps a tight loop from dialing each turn."""


class Backoff:
    """Counts waves of failed dials, and says when the next may start."""

    __slots__ = ("_random", "failed_at", "failures", "last_error", "next_at")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.failures = 0
        self.failed_at = float("-inf")
        self.next_at = float("-inf")
        self.last_error: BaseException | None = None

    def failed(self, started: float, error: BaseException, now: float) -> None:
        """A dial that began at `started` failed.

        Dials that ran side by side fail as one: only one begun after the last failure counts anew.
        """
        self.last_error = error
        if self.failures and started < self.failed_at:
            return
        bound = min(LAST_BOUND, FIRST_BOUND * 2**self.failures)
        self.failures = min(self.failures + 1, 16)
        self.failed_at = now
        self.next_at = now + max(SHORTEST, bound * self._random())

    def succeeded(self) -> None:
        """A dial succeeded: the outage is over."""
        self.failures = 0
        self.next_at = float("-inf")
        self.last_error = None
