"""What a store's own operations tell about its backend, so that fewer pings are needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pannier.counting import StoreCounts

WORKED: Final = ("ok", "record-not-found", "record-exists", "etag-mismatch")
"""Outcomes that only a backend that works can give."""
FAILED: Final = ("backend-unavailable", "backend-refused", "timeout", "outcome-unknown")
"""Outcomes by the backend's doing."""


class Signs(NamedTuple):
    """How many operations so far told that the backend works, and how many that it does not."""

    worked: int = 0
    failed: int = 0


def signs_of(counts: StoreCounts) -> Signs:
    """What the operations of a store have told so far."""
    counted = [each.outcomes for each in counts.operations.values()]
    worked, failed = (
        sum(outcomes.get(name, 0) for outcomes in counted for name in names)
        for names in (WORKED, FAILED)
    )
    return Signs(worked, failed)


def tells_enough(before: Signs, now: Signs, pool: Mapping[str, int]) -> bool:
    """Whether a ready store needs no ping: its operations work, or they keep its pool busy.

    In a busy pool a ping would only wait, or be refused and counted as somebody's request. An
    operation that failed since `before` always asks for a ping.
    """
    if now.failed > before.failed:
        return False
    busy = pool["pending"] > 0 or 0 < pool["max"] <= pool["in_use"]
    return busy or now.worked > before.worked
