"""What a store's own operations tell about its backend."""

from __future__ import annotations

import pytest

from pannier.config.signs import Signs, signs_of, tells_enough
from pannier.counting import StoreCounts

IDLE = {"max": 8, "in_use": 0, "pending": 0}
USED = {"max": 8, "in_use": 7, "pending": 0}
FULL = {"max": 8, "in_use": 8, "pending": 0}
QUEUED = {"max": 8, "in_use": 3, "pending": 1}
MEMORY = {"max": 0, "in_use": 0, "pending": 0}


@pytest.mark.parametrize(
    ("now", "pool", "enough"),
    [
        (Signs(5, 5), IDLE, False),
        (Signs(5, 5), USED, False),
        (Signs(5, 5), MEMORY, False),
        (Signs(6, 5), IDLE, True),
        (Signs(5, 5), FULL, True),
        (Signs(5, 5), QUEUED, True),
        (Signs(5, 6), FULL, False),
        (Signs(9, 6), QUEUED, False),
    ],
)
def test_a_ping_is_needed_unless_operations_work_or_the_pool_is_busy(
    now: Signs, pool: dict[str, int], enough: bool
) -> None:
    assert tells_enough(Signs(5, 5), now, pool) is enough


@pytest.mark.parametrize(
    ("outcome", "signs"),
    [
        ("ok", Signs(1, 0)),
        ("record-not-found", Signs(1, 0)),
        ("etag-mismatch", Signs(1, 0)),
        ("timeout", Signs(0, 1)),
        ("outcome-unknown", Signs(0, 1)),
        ("backend-unavailable", Signs(0, 1)),
        ("pool-exhausted", Signs(0, 0)),
        ("cancelled", Signs(0, 0)),
        ("invalid", Signs(0, 0)),
        ("store-full", Signs(0, 0)),
    ],
)
def test_only_outcomes_by_the_backends_doing_are_signs(outcome: str, signs: Signs) -> None:
    counts = StoreCounts()
    counts.count("put", outcome, 0.001)
    assert signs_of(counts) == signs
