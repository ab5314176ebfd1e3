"""How many records `pannier import` sends at once."""

from __future__ import annotations

from pannier.cli.sending import BATCH_RECORDS, BATCH_SECONDS, FIRST_RECORDS, Pace


def test_a_quick_store_soon_gets_the_largest_batches() -> None:
    pace = Pace()
    assert pace.records == FIRST_RECORDS
    pace.learn(FIRST_RECORDS, 0.1)
    assert pace.records == BATCH_RECORDS


def test_a_slow_store_gets_what_it_can_answer_in_time() -> None:
    pace = Pace()
    pace.learn(100, 20.0)  # five a second
    assert pace.records == 5 * BATCH_SECONDS
    pace.learn(25, 5.0)
    assert pace.records == 25
    pace.learn(25, 2.5)
    assert pace.records == 50, "quicker by now"
    pace.learn(50, 1000.0)
    assert pace.records == 1, "never none"


def test_a_short_batch_makes_the_next_no_smaller() -> None:
    pace = Pace()
    pace.learn(FIRST_RECORDS, 0.1)
    pace.learn(2, 0.2)
    assert pace.records == BATCH_RECORDS
    pace.learn(2, 0.0)
    assert pace.records == BATCH_RECORDS
