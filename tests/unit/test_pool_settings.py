"""Every setting is honoured, sub-second ones too, and can be changed on a live pool. On paper."""

from __future__ import annotations

import pytest

from pannier.errors import PoolFull, PoolTimeout
from tests.unit.pool_on_paper import PoolOnPaper

# connection_timeout -----------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.001, 0.25, 30.0])
def test_a_borrower_waits_no_longer_than_connection_timeout(timeout: float) -> None:
    pool = PoolOnPaper(max_connections=1, connection_timeout=timeout)
    pool.fill(1)
    borrower = pool.borrow()
    pool.wait(timeout * 0.99)
    assert borrower.waits
    pool.wait(timeout * 0.02)
    assert isinstance(borrower.error, PoolTimeout)
    assert pool.stats["timeouts"] == 1
    assert pool.gauges == (1, 0, 0, 0)


def test_connection_timeout_includes_dialing_and_the_dial_goes_on() -> None:
    pool = PoolOnPaper(connection_timeout=0.2)
    borrower = pool.borrow()
    pool.wait(0.3)
    assert isinstance(borrower.error, PoolTimeout)
    assert pool.gauges == (0, 0, 1, 0)
    pool.dial_succeeds()
    assert pool.gauges == (0, 1, 0, 0)


def test_connection_timeout_includes_the_check() -> None:
    pool = PoolOnPaper(connection_timeout=0.2)
    pool.lay_by(1)
    pool.now += 1
    borrower = pool.borrow()
    pool.wait(0.3)
    assert isinstance(borrower.error, PoolTimeout)
    pool.check_ends(alive=True)
    assert pool.gauges == (0, 1, 0, 0)


def test_each_operation_of_a_ticket_has_its_own_connection_timeout() -> None:
    pool = PoolOnPaper(max_connections=1, connection_timeout=1.0)
    pool.fill(1)
    group = pool.borrow()
    pool.wait(0.9)
    pool.join(group, 3)
    pool.wait(0.2)
    assert group.refused_operations == 1
    assert group.connector is None
    assert pool.stats["pending"] == 3
    pool.wait(0.8)
    assert group.refused_operations == 4
    assert pool.stats["timeouts"] == 4


def test_connection_timeout_changed_on_a_live_pool_holds_for_those_who_wait() -> None:
    pool = PoolOnPaper(max_connections=1, connection_timeout=30.0)
    pool.fill(1)
    borrower = pool.borrow()
    pool.wait(1)
    pool.reconfigure(connection_timeout=0.5)
    assert isinstance(borrower.error, PoolTimeout)
    patient = pool.borrow()
    pool.reconfigure(connection_timeout=2.0)
    pool.wait(1.9)
    assert patient.waits


# min_idle ---------------------------------------------------------------------------------------


def test_min_idle_connections_are_opened_ahead() -> None:
    pool = PoolOnPaper(min_idle=3)
    pool.core.start(pool.now)
    pool.act()
    assert len(pool.dials) == 3
    while pool.dials:
        pool.dial_succeeds()
    assert pool.gauges == (0, 3, 0, 0)


def test_min_idle_is_refilled_when_one_is_taken_as_far_as_max_connections_lets() -> None:
    pool = PoolOnPaper(max_connections=2, min_idle=1)
    pool.core.start(pool.now)
    pool.act()
    pool.dial_succeeds()
    first = pool.borrow()
    assert len(pool.dials) == 1
    pool.dial_succeeds()
    second = pool.borrow()
    assert first.connector is not None and second.connector is not None
    assert not pool.dials
    assert pool.gauges == (2, 0, 0, 0)


def test_min_idle_changed_on_a_live_pool_is_opened_ahead() -> None:
    pool = PoolOnPaper(min_idle=0)
    pool.lay_by(1)
    pool.reconfigure(min_idle=3)
    assert len(pool.dials) == 2


# max_waiting ------------------------------------------------------------------------------------


def test_the_operation_after_max_waiting_is_refused_at_once() -> None:
    pool = PoolOnPaper(max_connections=1, max_waiting=2)
    pool.fill(1)
    waiters = [pool.borrow(), pool.borrow()]
    with pytest.raises(PoolFull):
        pool.borrow()
    assert all(waiter.waits for waiter in waiters)
    assert pool.stats["rejected"] == 1
    assert pool.stats["pending"] == 2


def test_max_waiting_counts_operations_not_tickets() -> None:
    pool = PoolOnPaper(max_connections=1, max_waiting=10)
    pool.fill(1)
    group = pool.borrow(weight=4)
    pool.join(group, 6)
    assert pool.stats["pending"] == 10
    with pytest.raises(PoolFull):
        pool.join(group)
    with pytest.raises(PoolFull):
        pool.borrow()
    assert pool.stats["rejected"] == 2
    assert pool.stats["pending"] == 10


def test_with_max_waiting_0_one_may_wait_for_ones_own_dial_but_for_nobody() -> None:
    pool = PoolOnPaper(max_connections=2, max_waiting=0)
    first, second = pool.borrow(), pool.borrow()
    with pytest.raises(PoolFull):
        pool.borrow()
    pool.dial_succeeds()
    pool.dial_succeeds()
    assert first.connector is not None and second.connector is not None
    with pytest.raises(PoolFull):
        pool.borrow()
    pool.give_back(first)
    assert pool.borrow().connector is not None


def test_max_connections_and_max_waiting_together_bound_who_is_let_in_whatever_is_dialed() -> None:
    pool = PoolOnPaper(max_connections=3, max_waiting=2)
    for _ in range(5):
        pool.borrow()
    with pytest.raises(PoolFull):
        pool.borrow()
    while pool.dials:
        pool.dial_succeeds()
    assert pool.gauges == (3, 0, 0, 2)
    with pytest.raises(PoolFull):
        pool.borrow()


def test_max_waiting_changed_on_a_live_pool_holds_for_the_next() -> None:
    pool = PoolOnPaper(max_connections=1, max_waiting=0)
    pool.fill(1)
    pool.reconfigure(max_waiting=1)
    assert pool.borrow().waits
    pool.reconfigure(max_waiting=None)
    for _ in range(100):
        assert pool.borrow().waits


# max_connections --------------------------------------------------------------------------------


def test_shrinking_closes_idle_ones_now_and_busy_ones_as_they_come_back() -> None:
    pool = PoolOnPaper(max_connections=6)
    borrowers = pool.fill(6)
    for borrower in borrowers[:2]:
        pool.give_back(borrower)
    pool.reconfigure(max_connections=2)
    assert pool.closed_for("shrink") == 2
    assert pool.gauges == (4, 0, 0, 0)
    pool.give_back(borrowers[2])
    pool.give_back(borrowers[3])
    assert pool.closed_for("shrink") == 4
    pool.give_back(borrowers[4])
    assert pool.closed_for("shrink") == 4
    assert pool.gauges == (1, 1, 0, 0)


def test_a_dial_that_ends_after_a_shrink_does_not_pass_the_new_maximum() -> None:
    pool = PoolOnPaper(max_connections=3)
    pool.fill(1)
    late = [pool.borrow(), pool.borrow()]
    pool.reconfigure(max_connections=1)
    pool.dial_succeeds()
    pool.dial_succeeds()
    assert pool.closed_for("shrink") == 2
    assert all(borrower.waits for borrower in late)
    assert pool.gauges == (1, 0, 0, 2)


def test_who_waits_is_served_after_a_shrink() -> None:
    pool = PoolOnPaper(max_connections=3)
    borrowers = pool.fill(3)
    waiter = pool.borrow()
    pool.reconfigure(max_connections=1)
    pool.give_back(borrowers[0])
    pool.give_back(borrowers[1])
    assert waiter.waits
    pool.give_back(borrowers[2])
    assert waiter.connector is not None


def test_growing_serves_those_who_wait_at_once() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    waiters = [pool.borrow(), pool.borrow()]
    pool.reconfigure(max_connections=3)
    assert len(pool.dials) == 2
    pool.dial_succeeds()
    pool.dial_succeeds()
    assert all(waiter.connector is not None for waiter in waiters)


# idle_timeout and max_lifetime ------------------------------------------------------------------


def test_idle_timeout_changed_on_a_live_pool_holds_for_the_idle_ones() -> None:
    pool = PoolOnPaper(idle_timeout=300)
    pool.lay_by(2)
    pool.wait(10)
    pool.reconfigure(idle_timeout=5)
    assert pool.closed_for("idle") == 2


def test_max_lifetime_changed_on_a_live_pool_holds_for_connections_born_before() -> None:
    pool = PoolOnPaper(max_lifetime=None)
    pool.lay_by(1)
    pool.wait(100)
    pool.reconfigure(max_lifetime=50)
    assert pool.closed_for("lifetime") == 1


def test_leak_threshold_changed_on_a_live_pool_holds_for_what_is_out() -> None:
    pool = PoolOnPaper()
    pool.fill(1)
    pool.wait(10)
    pool.reconfigure(leak_threshold=5)
    assert len(pool.leaks) == 1


# Bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"max_connections": 0},
        {"min_idle": 11},
        {"min_idle": -1},
        {"connection_timeout": 0},
        {"idle_timeout": -1},
        {"max_lifetime": 0},
        {"max_waiting": -1},
        {"leak_threshold": float("nan")},
    ],
)
def test_a_setting_out_of_bounds_is_refused_and_changes_nothing(bad: dict[str, float]) -> None:
    pool = PoolOnPaper()
    before = pool.core.settings
    with pytest.raises(ValueError, match=next(iter(bad))):
        pool.reconfigure(**bad)
    assert pool.core.settings == before


def test_a_setting_that_does_not_exist_is_refused() -> None:
    pool = PoolOnPaper()
    with pytest.raises(TypeError, match="max_conections"):
        pool.reconfigure(max_conections=3)
