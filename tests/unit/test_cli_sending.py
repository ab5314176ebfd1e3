"""How many records `pannier import` sends at once, and what it sends again."""

from __future__ import annotations

import pytest

from pannier.cli.client import Endpoint
from pannier.cli.moved import Moved
from pannier.cli.sending import (
    BATCH_RECORDS,
    BATCH_SECONDS,
    FIRST_RECORDS,
    Batch,
    Line,
    Mode,
    Pace,
    Result,
    Sender,
)


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


@pytest.mark.parametrize(("mode", "records", "present"), [("put", 2, 0), ("insert", 1, 1)])
def test_a_line_whose_key_a_later_one_stored_is_not_sent_again(
    mode: Mode, records: int, present: int
) -> None:
    """A slot that moves in the middle of a batch refuses an earlier line of a key alone."""
    moved = Moved("imported")
    stored: list[int] = []
    sender = Sender(
        Endpoint(), "default", moved, mode=mode, threads=1, retry_for=0.0,
        refused=lambda line, why: None, stored=lambda schema, line: stored.append(line.number),
    )  # fmt: skip
    lines = [Line(1, "a", b"1"), Line(2, "b", b"1"), Line(3, "a", b"2")]
    results = [Result(503, "backend-unavailable"), Result(504, "outcome-unknown"), Result(201)]
    left, again = sender._note(Batch("Cart", lines), results)
    sender.finish()
    assert left.lines == lines[1:2] and again == "outcome-unknown"
    assert stored == [3]
    assert (moved.records, moved.present) == (records, present)
