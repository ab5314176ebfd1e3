"""The end of a pool: who is refused, what is waited for, and what is closed by force. On paper."""

from __future__ import annotations

import pytest

from pannier.errors import PoolClosed
from tests.unit.pool_on_paper import PoolOnPaper


def test_shutdown_wakes_every_waiter_with_an_error() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    waiters = [pool.borrow() for _ in range(3)]
    pool.shut_down()
    assert all(isinstance(waiter.error, PoolClosed) for waiter in waiters)
    assert pool.stats["pending"] == 0


def test_borrowing_afterwards_raises() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    pool.shut_down()
    with pytest.raises(PoolClosed, match="Pool shop"):
        pool.borrow()


def test_shutdown_closes_idle_ones_now_and_busy_ones_as_they_come_back() -> None:
    pool = PoolOnPaper()
    busy, idle = pool.fill(2)
    pool.give_back(idle)
    pool.shut_down(timeout=5)
    assert pool.closed_for("drain") == 1
    assert not pool.core.drained
    pool.wait(4)
    pool.give_back(busy)
    assert pool.closed_for("drain") == 2
    assert pool.core.drained
    assert pool.gauges == (0, 0, 0, 0)


def test_at_the_deadline_borrowed_ones_are_closed_and_may_still_be_given_back_once() -> None:
    pool = PoolOnPaper()
    [busy] = pool.fill(1)
    connector = busy.connector
    pool.shut_down(timeout=0.5)
    pool.wait(0.4)
    assert not pool.closed
    pool.wait(0.2)
    assert pool.closed == [(connector, "drain")]
    assert pool.core.drained
    pool.give_back(busy)
    with pytest.raises(ValueError, match="not borrowed"):
        pool.core.release(connector, pool.now)
    assert pool.closed_for("drain") == 1


def test_shutdown_gives_up_the_dials_and_closes_one_that_succeeds_all_the_same() -> None:
    pool = PoolOnPaper()
    pool.borrow()
    [slot] = pool.dials
    pool.shut_down()
    assert pool.given_up == [slot]
    assert pool.core.drained
    pool.core.opened(slot, "late", pool.now)
    pool.act()
    assert pool.closed == [("late", "drain")]
    assert pool.gauges == (0, 0, 0, 0)


def test_shutdown_waits_for_a_check_and_then_closes() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    pool.now += 1
    borrower = pool.borrow()
    pool.shut_down()
    assert isinstance(borrower.error, PoolClosed)
    assert not pool.core.drained
    pool.check_ends()
    assert pool.closed_for("drain") == 1
    assert pool.core.drained


def test_a_check_that_outlasts_the_deadline_is_cut_off_and_nothing_of_it_is_kept() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    pool.now += 1
    pool.borrow()
    [check] = pool.checks
    pool.shut_down(timeout=0.5)
    pool.wait(1)
    assert pool.core.drained
    assert pool.closed_for("drain") == 1
    pool.check_ends()
    assert pool.closed_for("drain") == 1
    with pytest.raises(ValueError, match="not borrowed"):
        pool.core.release(check.slot.connector, pool.now)


def test_a_second_shutdown_may_only_bring_the_deadline_forward() -> None:
    pool = PoolOnPaper()
    [busy] = pool.fill(1)
    pool.shut_down(timeout=10)
    pool.shut_down(timeout=100)
    pool.shut_down(timeout=1)
    pool.wait(1.1)
    assert pool.closed == [(busy.connector, "drain")]


def test_nothing_is_dialed_or_kept_idle_after_shutdown() -> None:
    pool = PoolOnPaper(min_idle=2)
    [busy, *_] = pool.fill(3)
    pool.shut_down(timeout=60)
    pool.give_back(busy)
    pool.reconfigure(min_idle=5)
    pool.tick()
    assert not pool.dials
    assert pool.gauges[1:3] == (0, 0)
