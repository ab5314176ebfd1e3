"""A backend that cannot be dialed: who waits on, who is refused, and when it is dialed again."""

from __future__ import annotations

import random

import pytest

from pannier.errors import BackendUnavailable, PoolTimeout
from pannier.pool.backoff import LAST_BOUND, Backoff
from tests.unit.pool_on_paper import PoolOnPaper


def test_when_no_connection_exists_and_the_dial_fails_all_who_wait_are_refused() -> None:
    pool = PoolOnPaper(max_connections=1)
    waiters = [pool.borrow() for _ in range(3)]
    cause = ConnectionRefusedError(111, "Connection refused")
    pool.dial_fails(cause)
    for waiter in waiters:
        assert isinstance(waiter.error, BackendUnavailable)
        assert waiter.error.__cause__ is cause
    assert len({id(waiter.error) for waiter in waiters}) == 3, "each has an error of its own"
    assert pool.gauges == (0, 0, 0, 0)


def test_while_another_dial_may_succeed_nobody_is_refused() -> None:
    pool = PoolOnPaper(max_connections=2)
    first, second = pool.borrow(), pool.borrow()
    pool.dial_fails()
    assert first.waits and second.waits
    pool.dial_succeeds()
    assert first.connector is not None


def test_while_a_connection_in_use_may_come_back_nobody_is_refused() -> None:
    pool = PoolOnPaper(max_connections=2)
    [busy] = pool.fill(1)
    waiter = pool.borrow()
    pool.dial_fails()
    assert waiter.waits
    pool.give_back(busy)
    assert waiter.connector is not None


def test_when_the_last_connection_in_use_breaks_in_an_outage_who_waits_is_refused() -> None:
    pool = PoolOnPaper(max_connections=2)
    [busy] = pool.fill(1)
    waiter = pool.borrow()
    pool.dial_fails()
    pool.give_back(busy, broken=True)
    assert isinstance(waiter.error, BackendUnavailable)


def test_a_waiter_that_times_out_in_an_outage_is_told_of_the_failed_dial() -> None:
    pool = PoolOnPaper(max_connections=2, connection_timeout=0.05)
    pool.fill(1)
    waiter = pool.borrow()
    pool.dial_fails(ConnectionRefusedError(111, "Connection refused"))
    pool.wait(0.06)
    assert isinstance(waiter.error, PoolTimeout)
    assert isinstance(waiter.error.__cause__, ConnectionRefusedError)
    assert "Connection refused" in str(waiter.error)


def test_while_the_next_dial_is_not_due_a_borrower_is_refused_at_once_and_nothing_is_dialed() -> (
    None
):
    pool = PoolOnPaper()
    pool.borrow()
    cause = ConnectionRefusedError(111, "Connection refused")
    pool.dial_fails(cause)
    for _ in range(1000):
        pool.now += 0.00001
        with pytest.raises(BackendUnavailable) as refused:
            pool.borrow()
        assert refused.value.__cause__ is cause
    assert not pool.dials
    assert pool.gauges == (0, 0, 0, 0)


def test_when_the_next_dial_is_due_one_borrower_causes_one_dial_and_the_rest_wait_for_it() -> None:
    pool = PoolOnPaper(max_connections=8)
    pool.borrow()
    pool.dial_fails()
    pool.now += 5
    waiters = [pool.borrow() for _ in range(8)]
    assert len(pool.dials) == 1
    pool.dial_succeeds()
    assert waiters[0].connector is not None
    assert len(pool.dials) == 7, "the outage is over: one dial for each who waits"


def test_a_burst_of_dials_that_fail_together_counts_as_one_failure() -> None:
    pool = PoolOnPaper(max_connections=8, random=lambda: 1.0)
    for _ in range(8):
        pool.borrow()
    while pool.dials:
        pool.dial_fails()
        pool.now += 0.001
    pool.now += 0.2
    pool.borrow()
    assert len(pool.dials) == 1


def test_an_idle_connection_is_lent_in_an_outage() -> None:
    pool = PoolOnPaper(max_connections=2)
    [busy] = pool.fill(1)
    waiter = pool.borrow()
    pool.dial_fails()
    pool.leave(waiter)
    pool.give_back(busy)
    assert pool.borrow().connector is not None


def test_who_waits_for_a_busy_connection_has_the_next_dial_made_when_it_is_due() -> None:
    pool = PoolOnPaper(max_connections=2, connection_timeout=60)
    pool.fill(1)
    waiter = pool.borrow()
    pool.dial_fails()
    assert not pool.dials
    pool.wait(5)
    assert len(pool.dials) == 1
    pool.dial_succeeds()
    assert waiter.connector is not None


def test_refills_of_min_idle_honour_the_backoff_and_go_on_until_one_succeeds() -> None:
    pool = PoolOnPaper(min_idle=2, random=random.Random(3).random)
    pool.core.start(pool.now)
    pool.act()
    failures = 0
    end = pool.now + 60
    while pool.now < end:
        while pool.dials:
            pool.dial_fails()
            failures += 1
        pool.wait(0.05)
    assert 60 / LAST_BOUND < failures < 120
    pool.wait(5)
    assert len(pool.dials) == 1
    pool.dial_succeeds()
    pool.dial_succeeds()
    assert pool.gauges == (0, 2, 0, 0)


def test_the_backoff_grows_to_its_bound_with_full_jitter() -> None:
    drawn = []
    for number in range(200):
        backoff = Backoff(random.Random(number).random)
        for attempt in range(12):
            backoff.failed(attempt * 100.0, OSError(), attempt * 100.0)
        drawn.append(backoff.next_at - 1100.0)
    assert max(drawn) <= LAST_BOUND
    assert min(drawn) < 0.1 * LAST_BOUND
    assert 0.4 * LAST_BOUND < sum(drawn) / len(drawn) < 0.6 * LAST_BOUND


def test_after_a_success_the_backoff_starts_small_again() -> None:
    pool = PoolOnPaper(random=lambda: 1.0)
    for _ in range(6):
        pool.now += 10
        pool.borrow()
        pool.dial_fails()
    pool.now += 10
    borrower = pool.borrow()
    pool.dial_succeeds()
    pool.give_back(borrower, broken=True)
    pool.borrow()
    pool.dial_fails()
    pool.now += 0.11
    assert pool.borrow().waits


def test_a_refused_login_is_the_refusals_cause_and_text() -> None:
    pool = PoolOnPaper()
    borrower = pool.borrow()
    pool.dial_fails(BackendUnavailable("The server refused the login of user shop."))
    assert "refused the login of user shop" in str(borrower.error)


def test_the_text_of_a_strangers_error_is_not_quoted_for_it_may_hold_a_credential() -> None:
    pool = PoolOnPaper()
    borrower = pool.borrow()
    pool.dial_fails(RuntimeError("redis://user:hunter2@host"))
    assert "hunter2" not in str(borrower.error)
    assert "RuntimeError" in str(borrower.error)


def test_idle_connections_that_all_died_are_found_out_one_by_one_and_then_dialed() -> None:
    pool = PoolOnPaper(max_connections=3)
    pool.lay_by(3)
    pool.now += 60
    borrower = pool.borrow()
    for _ in range(3):
        pool.check_ends(alive=False)
    assert pool.closed_for("broken") == 3
    pool.dial_fails()
    assert isinstance(borrower.error, BackendUnavailable)
