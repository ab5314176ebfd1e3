"""Which snapshots count, and when the operator is dialed again: tables, and time as a number."""

from __future__ import annotations

import pytest

from pannier.config.stream.messages import Close, Snapshot
from pannier.config.stream.redialing import (
    FIRST_BOUND,
    LAST_BOUND,
    LIVED,
    LONGEST_ASKED,
    SHORTEST,
    Cause,
    Redialing,
    cause_of_close,
    cause_of_status,
)
from pannier.config.stream.turns import EPOCH_HELD, NONCES_KEPT, Turns, Verdict


def snapshot(nonce: str, epoch: int) -> Snapshot:
    return Snapshot(version="v", epoch=epoch, nonce=nonce, stores=[])


ENDED = "the stream ends"
TAKE, REPEATED, STALE = Verdict.TAKE, Verdict.REPEATED, Verdict.STALE

TURNS = {
    "the first counts, whatever its epoch": [(0, "a", 0, TAKE)],
    "a higher epoch counts": [(0, "a", 3, TAKE), (1, "b", 9, TAKE)],
    "the same epoch counts": [(0, "a", 3, TAKE), (1, "b", 3, TAKE)],
    "a nonce counts once on its stream": [(0, "a", 3, TAKE), (1, "a", 3, REPEATED)],
    "a repeated nonce of another epoch does not count": [(0, "a", 3, TAKE), (1, "a", 4, REPEATED)],
    "another stream may use a nonce again": [(0, "a", 3, TAKE), (1, ENDED), (2, "a", 3, TAKE)],
    "a deposed leader is not heard": [
        (0, "a", 3, TAKE),
        (1, ENDED),
        (2, "b", 2, STALE),
        (3, ENDED),
        (EPOCH_HELD, "c", 2, STALE),
        (EPOCH_HELD + 0.5, "d", 3, TAKE),
    ],
    "a stale snapshot does not prolong what it is held back for": [
        (0, "a", 3, TAKE),
        (1, ENDED),
        (EPOCH_HELD, "b", 0, STALE),
        (EPOCH_HELD + 0.5, ENDED),
        (EPOCH_HELD + 1, "c", 0, TAKE),
    ],
    "a new Lease is believed after a while": [
        (0, "a", 7, TAKE),
        (100, ENDED),
        (100 + EPOCH_HELD, "b", 0, TAKE),
        (101 + EPOCH_HELD, "c", 1, TAKE),
    ],
    "a stream that was of the leader until lately holds a lower epoch back": [
        (0, "a", 7, TAKE),
        (10_000, ENDED),
        (10_001, "b", 0, STALE),
    ],
    "on one stream a lower epoch never counts": [
        (0, "a", 7, TAKE),
        (10 * EPOCH_HELD, "b", 6, STALE),
    ],
}


@pytest.mark.parametrize("name", TURNS)
def test_which_snapshots_count(name: str) -> None:
    turns = Turns(epoch=None, now=0)
    for at, *what in TURNS[name]:
        if what == [ENDED]:
            turns.ended(at)
        else:
            nonce, epoch, verdict = what
            assert turns.judge(snapshot(nonce, epoch), at) is verdict, at


def test_a_kept_epoch_holds_from_the_start_of_the_sidecar() -> None:
    turns = Turns(epoch=5, now=1_000)
    assert turns.judge(snapshot("a", 4), 1_001) is STALE
    assert turns.epoch == 5
    assert turns.judge(snapshot("b", 4), 1_000 + EPOCH_HELD) is TAKE
    assert turns.epoch == 4


def test_the_nonces_of_a_long_stream_take_no_more_memory() -> None:
    turns = Turns(epoch=None, now=0)
    for number in range(10 * NONCES_KEPT):
        assert turns.judge(snapshot(str(number), 1), 0) is TAKE
    assert turns.judge(snapshot(str(10 * NONCES_KEPT - 1), 1), 0) is REPEATED


# Dialing again ------------------------------------------------------------------------------------


def test_failed_dials_back_off_with_full_jitter_to_a_bound() -> None:
    for draw, share in ((lambda: 1.0, 1.0), (lambda: 0.5, 0.5)):
        redialing = Redialing(draw)
        waits = [redialing.after(Cause.UNREACHABLE) for _ in range(10)]
        bounds = [min(LAST_BOUND, FIRST_BOUND * 2**number) for number in range(10)]
        assert waits == [share * bound for bound in bounds]
        assert waits[-1] == share * LAST_BOUND
    assert Redialing(lambda: 0.0).after(Cause.UNREACHABLE) == SHORTEST


def test_a_stream_that_lived_ends_the_backoff_and_a_short_one_does_not() -> None:
    redialing = Redialing(lambda: 1.0)
    for _ in range(5):
        redialing.after(Cause.UNREACHABLE)
    assert redialing.after(Cause.BROKEN, lived=LIVED - 1) == FIRST_BOUND * 2**5
    assert redialing.after(Cause.BROKEN, lived=LIVED) == FIRST_BOUND


@pytest.mark.parametrize(
    ("cause", "least", "most"),
    [
        (Cause.ASKED, 0, 0),
        (Cause.REAUTHENTICATE, 0.05, 1),
        (Cause.GOING_AWAY, 0.1, 5),
        (Cause.UNAUTHORIZED, 10, 30),
        (Cause.REPLACED, 30, 60),
    ],
)
def test_what_the_operator_says_decides_the_spread(cause: Cause, least: float, most: float) -> None:
    assert Redialing(lambda: 0.0).after(cause, lived=60) == least
    assert Redialing(lambda: 1.0).after(cause, lived=60) == most


def test_retry_after_is_waited_for_and_not_by_all_at_one_moment() -> None:
    assert Redialing(lambda: 0.0).after(Cause.LATER, retry_after=7) == 7 + SHORTEST
    assert Redialing(lambda: 1.0).after(Cause.LATER, retry_after=7) == 7 + FIRST_BOUND
    assert Redialing(lambda: 1.0).after(Cause.LATER) == FIRST_BOUND
    forever = Redialing(lambda: 1.0).after(Cause.LATER, retry_after=1e8)
    assert forever == LONGEST_ASKED + FIRST_BOUND


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (Close.GOING_AWAY, Cause.GOING_AWAY),
        (Close.MALFORMED, Cause.BROKEN),
        (Close.UNAUTHORIZED, Cause.UNAUTHORIZED),
        (Close.REAUTHENTICATE, Cause.REAUTHENTICATE),
        (Close.REPLACED, Cause.REPLACED),
        (Close.LATER, Cause.LATER),
        (1000, Cause.BROKEN),
        (1006, Cause.BROKEN),
        (1011, Cause.BROKEN),
        (1012, Cause.GOING_AWAY),
        (1013, Cause.LATER),
        (4999, Cause.BROKEN),
        (None, Cause.BROKEN),
    ],
)
def test_what_a_close_code_means(code: int | None, cause: Cause) -> None:
    assert cause_of_close(code) is cause


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, Cause.UNAUTHORIZED),
        (403, Cause.UNAUTHORIZED),
        (404, Cause.UNREACHABLE),
        (429, Cause.LATER),
        (500, Cause.LATER),
        (503, Cause.LATER),
        (302, Cause.UNREACHABLE),
        (200, Cause.UNREACHABLE),
    ],
)
def test_what_an_http_status_means(status: int, cause: Cause) -> None:
    assert cause_of_status(status) is cause
