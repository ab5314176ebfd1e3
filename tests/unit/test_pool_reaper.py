"""What is closed when nobody uses it, and who is found out that never gives back. On paper."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pannier.pool.leaks import call_site, leak_text
from tests.unit.pool_on_paper import PoolOnPaper


@pytest.mark.parametrize("timeout", [0.05, 300.0])
def test_a_connection_idle_past_idle_timeout_is_closed(timeout: float) -> None:
    pool = PoolOnPaper(idle_timeout=timeout)
    pool.lay_by(2)
    pool.wait(timeout * 0.98)
    assert pool.gauges == (0, 2, 0, 0)
    pool.wait(timeout * 0.04)
    assert pool.gauges == (0, 0, 0, 0)
    assert pool.closed_for("idle") == 2
    assert pool.core.counters.reaper_runs >= 1


def test_a_connection_in_use_is_never_closed_by_the_reaper() -> None:
    pool = PoolOnPaper(idle_timeout=1, max_lifetime=2)
    [borrower] = pool.fill(1)
    pool.wait(100)
    assert not pool.closed
    assert borrower.connector is not None


def test_the_reaper_never_goes_below_min_idle() -> None:
    pool = PoolOnPaper(min_idle=2, idle_timeout=1)
    borrowers = pool.fill(5)
    while pool.dials:
        pool.dial_succeeds()
    for borrower in borrowers:
        pool.give_back(borrower)
    pool.wait(1000)
    assert pool.gauges == (0, 2, 0, 0)
    assert {reason for _, reason in pool.closed} == {"idle"}


def test_the_reaper_closes_the_longest_unused_first() -> None:
    pool = PoolOnPaper(min_idle=0, idle_timeout=10)
    first, second = pool.fill(2)
    old = first.connector
    pool.give_back(first)
    pool.wait(5)
    pool.give_back(second)
    pool.wait(6)
    assert pool.closed == [(old, "idle")]


def test_the_reaper_wakes_only_when_something_is_due() -> None:
    pool = PoolOnPaper(idle_timeout=60)
    pool.lay_by(3)
    pool.wait(59)
    assert pool.core.counters.reaper_runs == 0
    pool.wait(10_000)
    assert 1 <= pool.core.counters.reaper_runs <= 3
    assert pool.core.due == float("inf")


def test_a_connection_past_max_lifetime_is_replaced_when_idle() -> None:
    pool = PoolOnPaper(max_lifetime=100, min_idle=1, random=lambda: 0.5)
    pool.core.start(pool.now)
    pool.act()
    old = pool.dial_succeeds()
    pool.wait(89)
    assert not pool.closed
    pool.wait(2)
    assert pool.closed == [(old, "lifetime")]
    assert len(pool.dials) == 1


def test_a_connection_past_max_lifetime_is_closed_when_it_comes_back() -> None:
    pool = PoolOnPaper(max_lifetime=0.1)
    [borrower] = pool.fill(1)
    pool.wait(0.2)
    assert not pool.closed
    pool.give_back(borrower)
    assert pool.closed_for("lifetime") == 1


def test_a_connection_past_max_lifetime_is_not_lent_even_if_the_reaper_is_late() -> None:
    pool = PoolOnPaper(max_lifetime=0.1)
    pool.lay_by(1)
    pool.now += 0.2  # nobody ticked
    borrower = pool.borrow()
    assert pool.closed_for("lifetime") == 1
    pool.dial_succeeds()
    assert borrower.connector is not None


def test_100_connections_born_together_do_not_die_together() -> None:
    pool = PoolOnPaper(
        max_connections=100, max_lifetime=1000, random=random.Random(7).random, idle_timeout=9999
    )
    pool.lay_by(100)
    ends = sorted(slot.dies_at - pool.now for slot in pool.core.idle)
    assert ends[0] >= 800 and ends[-1] <= 1000
    assert ends[-1] - ends[0] > 150
    assert max(later - earlier for earlier, later in pairwise(ends)) < 30
    assert len(set(ends)) == 100


# Leaks ------------------------------------------------------------------------------------------


def test_a_connector_held_longer_than_leak_threshold_is_reported_once() -> None:
    pool = PoolOnPaper(leak_threshold=0.5)
    pool.lay_by(1)
    borrower = pool.borrow(where=call_site())
    pool.wait(0.4)
    assert not pool.leaks
    pool.wait(10)
    [leak] = pool.leaks
    assert leak.connector is borrower.connector
    assert pool.stats["leaks"] == 1
    assert pool.gauges == (1, 0, 0, 0), "it is reported, not taken away"


def test_a_connector_given_back_in_time_is_no_leak_and_each_loan_counts_anew() -> None:
    pool = PoolOnPaper(leak_threshold=0.5)
    pool.lay_by(1)
    for _ in range(10):
        borrower = pool.borrow()
        pool.wait(0.3)
        pool.give_back(borrower)
    assert pool.stats["leaks"] == 0
    for _ in range(2):
        borrower = pool.borrow()
        pool.wait(0.6)
        pool.give_back(borrower)
        pool.wait(0.1)
    assert pool.stats["leaks"] == 2


def test_a_leak_names_the_pool_the_time_and_where_the_connector_was_taken() -> None:
    def the_forgetful_function() -> object:
        return call_site()

    text = leak_text("shop", "connector", 61.0, the_forgetful_function())
    assert "Pool shop" in text and "61 s" in text and "leak_threshold" in text
    assert "in the_forgetful_function" in text and "test_pool_reaper.py:" in text
    assert "leak_threshold was off" in leak_text("shop", "connector", 61.0, None)
