"""What the pool says of itself: the texts of its errors, its gauges, counters and timings."""

from __future__ import annotations

import pytest

from pannier.errors import BackendUnavailable, PoolFull
from tests.unit.pool_on_paper import PoolOnPaper


def test_a_timeout_names_the_pool_its_size_who_waits_how_long_and_the_settings() -> None:
    pool = PoolOnPaper(max_connections=2, connection_timeout=0.25)
    pool.fill(2)
    first = pool.borrow()
    pool.now += 0.05
    pool.borrow()
    pool.wait(0.2)
    assert str(first.error) == (
        "Pool shop: 2 of 2 connections in use, 0 idle, 0 opening, 2 waiting, the longest for "
        "0.25 s. No connection became free within connection_timeout (0.25 s; waited 0.25 s). "
        "Raise max_connections (maxConnections), or connection_timeout (connectionTimeout), or "
        "hold connections for less long."
    )
    assert first.error is not None
    assert first.error.fields["pool"] == {
        "max": 2, "in_use": 2, "idle": 0, "opening": 0, "pending": 2,
    }  # fmt: skip


def test_a_timeout_while_the_backend_is_silent_says_so() -> None:
    pool = PoolOnPaper(max_connections=2, connection_timeout=0.25)
    pool.lay_by(1)
    pool.now += 1
    borrower = pool.borrow()
    pool.wait(0.25)
    text = str(borrower.error)
    assert "1 of 2 connections in use (1 of them being checked)" in text
    assert "see whether it is stopped or slow, or raise connection_timeout" in text
    assert "max_connections" not in text


def test_a_full_queue_names_the_pool_its_size_who_waits_how_long_and_the_setting() -> None:
    pool = PoolOnPaper(max_connections=1, max_waiting=1)
    pool.fill(1)
    pool.borrow()
    pool.now += 1.5
    with pytest.raises(PoolFull) as refused:
        pool.borrow()
    assert str(refused.value) == (
        "Pool shop: 1 of 1 connections in use, 0 idle, 0 opening, 1 waiting, the longest for "
        "1.5 s. No more than 1 may wait. Raise max_waiting (maxWaiting) or max_connections "
        "(maxConnections)."
    )


def test_an_unreachable_backend_names_the_pool_the_cause_and_the_next_dial() -> None:
    pool = PoolOnPaper(random=lambda: 1.0)
    pool.borrow()
    pool.dial_fails(ConnectionRefusedError(111, "Connection refused"))
    with pytest.raises(BackendUnavailable) as refused:
        pool.borrow()
    assert str(refused.value) == (
        "The backend cannot be dialed: [Errno 111] Connection refused. The next dial is due in "
        "0.1 s. Check that the backend runs, and its host, port and login. "
        "Pool shop: 0 of 10 connections in use, 0 idle, 0 opening, 0 waiting."
    )


def test_stats_have_the_gauges_and_the_counters() -> None:
    pool = PoolOnPaper(max_connections=4)
    assert pool.stats == {
        "max": 4, "in_use": 0, "idle": 0, "opening": 0, "pending": 0,
        "timeouts": 0, "rejected": 0, "closed": 0, "leaks": 0,
    }  # fmt: skip


def test_timings_are_of_each_operation_from_its_arrival_and_of_each_loan_and_dial() -> None:
    pool = PoolOnPaper(max_connections=1)
    [busy] = pool.fill(1)
    group = pool.borrow()
    pool.now += 1
    pool.join(group, 2)
    pool.now += 1
    pool.give_back(busy)
    pool.now += 3
    pool.give_back(group)
    timings = pool.core.timings
    assert timings.acquire.sum == pytest.approx(0 + 2 + 1 + 1)
    assert sum(timings.acquire.counts) == 4
    assert timings.use.sum == pytest.approx(2 + 3)
    assert sum(timings.use.counts) == 2
    assert sum(timings.create.counts) == 1


def test_a_refused_operation_is_in_no_acquire_timing() -> None:
    pool = PoolOnPaper(max_connections=1, connection_timeout=1)
    pool.fill(1)
    pool.borrow()
    pool.wait(2)
    assert sum(pool.core.timings.acquire.counts) == 1


def test_a_clock_that_leaps_ahead_only_makes_things_due() -> None:
    pool = PoolOnPaper(min_idle=1, connection_timeout=5, idle_timeout=60)
    busy, idle = pool.fill(2)
    while pool.dials:
        pool.dial_succeeds()
    pool.give_back(idle)
    pool.now += 1_000_000
    pool.tick()
    assert pool.gauges == (1, 1, 0, 0)
    pool.give_back(busy)
    assert pool.gauges == (0, 2, 0, 0)


def test_the_pool_describes_itself() -> None:
    pool = PoolOnPaper(max_connections=3)
    pool.fill(2)
    pool.borrow()
    assert pool.core.described() == "shop: 2 in use, 0 idle, 1 opening of 3, 1 pending"
    pool.shut_down()
    assert pool.core.described().endswith("CLOSED")
