"""Who gets which connection: first come, first served, and only live ones. On paper."""

from __future__ import annotations

import pytest

from pannier.errors import NotBorrowed
from tests.unit.pool_on_paper import Borrower, PoolOnPaper


def test_a_released_connection_goes_to_the_longest_waiter() -> None:
    pool = PoolOnPaper(max_connections=1)
    [first] = pool.fill(1)
    second, third = pool.borrow(), pool.borrow()
    connector = first.connector
    pool.give_back(first)
    assert second.connector is connector
    assert third.waits


def test_a_newcomer_never_overtakes_a_waiter() -> None:
    pool = PoolOnPaper(max_connections=1)
    [holder] = pool.fill(1)
    waiters = [pool.borrow() for _ in range(5)]
    order: list[Borrower] = []
    for _ in range(5):
        pool.give_back(holder)
        holder = pool.granted[-1]
        order.append(holder)
        assert pool.borrow().waits  # comes while the connection changes hands
    assert order == waiters


def test_a_newcomer_that_only_takes_gets_nothing_while_somebody_waits() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    pool.borrow()
    assert pool.core.take(pool.now) is None


def test_a_newcomer_overtakes_nobody_while_the_drivers_look_at_a_socket_is_under_way() -> None:
    pool = PoolOnPaper(max_connections=2)
    pool.lay_by(2)
    pool.core.enqueue(pool.now, print, print)  # threads: the quick check runs outside the lock
    assert pool.gauges == (1, 1, 0, 1)
    assert pool.core.take(pool.now) is None


def test_a_dialed_connection_goes_to_the_longest_waiter_whoever_caused_the_dial() -> None:
    pool = PoolOnPaper(max_connections=2)
    [first] = pool.fill(1)
    second, third = pool.borrow(), pool.borrow()
    assert len(pool.dials) == 1
    pool.give_back(first)
    assert second.connector is not None
    assert third.waits
    pool.dial_succeeds()
    assert third.connector is not None


def test_64_workers_on_16_connections_get_within_a_tenth_of_the_same_share() -> None:
    pool = PoolOnPaper(max_connections=16)
    workers = [pool.borrow() for _ in range(64)]
    while pool.dials:
        pool.dial_succeeds()
    done = dict.fromkeys(workers, 0)
    work_left = {worker: (number * 7) % 5 + 1 for number, worker in enumerate(workers)}
    for _ in range(4000):
        pool.now += 0.001
        for worker in [worker for worker in workers if worker.connector is not None]:
            work_left[worker] -= 1
            if work_left[worker]:
                continue
            done[worker] += 1
            work_left[worker] = (done[worker] * 3) % 5 + 1
            pool.give_back(worker)
            again = pool.borrow()  # at once, as greedy as can be
            assert again.waits, "a worker overtook those who wait"
            workers[workers.index(worker)] = again
            done[again] = done.pop(worker)
            work_left[again] = work_left.pop(worker)
    assert max(done.values()) <= 1.1 * min(done.values())
    assert pool.gauges == (16, 0, 0, 48)


def test_in_use_and_idle_and_opening_never_pass_max_connections() -> None:
    pool = PoolOnPaper(max_connections=3)
    for _ in range(10):
        pool.borrow()
    assert len(pool.dials) == 3
    pool.dial_succeeds()
    assert pool.gauges == (1, 0, 2, 9)


def test_a_dial_is_started_for_each_who_waits_and_no_more() -> None:
    pool = PoolOnPaper(max_connections=10)
    pool.fill(1)
    pool.borrow()
    pool.borrow()
    assert len(pool.dials) == 2


def test_the_connection_used_last_is_lent_first_so_that_the_surplus_ages() -> None:
    pool = PoolOnPaper(max_connections=3)
    borrowers = pool.fill(3)
    last = borrowers[-1].connector
    for borrower in borrowers:
        pool.give_back(borrower)
    assert pool.borrow().connector is last


# The freshness rule -----------------------------------------------------------------------------


def test_a_connection_used_within_half_a_second_is_lent_without_a_round_trip() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    pool.now += 0.5
    assert pool.borrow().connector is not None
    assert not pool.checks


def test_an_older_connection_is_asked_over_the_network_before_it_is_lent() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    pool.now += 0.51
    borrower = pool.borrow()
    assert borrower.waits
    assert pool.gauges == (1, 0, 0, 1)
    pool.check_ends(alive=True)
    assert borrower.connector is not None
    assert pool.gauges == (1, 0, 0, 0)


def test_a_fresh_connection_whose_socket_shows_its_death_is_never_lent() -> None:
    pool = PoolOnPaper(max_connections=2)
    dead, alive = pool.fill(2)
    pool.give_back(alive)
    pool.seen_dead.add(dead.connector)
    pool.give_back(dead)  # used last, so it would be lent first
    live = pool.core.idle[0].connector
    assert pool.borrow().connector is live
    assert pool.closed_for("broken") == 1


def test_who_got_a_dead_connection_keeps_his_place_in_line() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.lay_by(1)
    slot = pool.core.idle[0]
    taken = pool.core.take(pool.now)  # a thread looks at the socket outside the lock, meanwhile:
    later = pool.borrow()
    place = pool.core.dud(taken, pool.now)
    first = Borrower(pool)
    pool.core.enqueue(pool.now, first.granted, first.refused, place=place)
    pool.act()
    assert pool.closed == [(slot.connector, "broken")]
    pool.dial_succeeds()
    assert first.connector is not None
    assert later.waits


def test_a_failed_check_sends_nobody_to_the_end_of_the_line() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.lay_by(1)
    pool.now += 1
    first, second = pool.borrow(), pool.borrow()
    pool.check_ends(alive=False)
    assert pool.closed_for("broken") == 1
    pool.dial_succeeds()
    assert first.connector is not None
    assert second.waits


def test_a_slow_check_holds_up_nobody_while_another_connection_comes_back() -> None:
    pool = PoolOnPaper(max_connections=2)
    stale, busy = pool.fill(2)
    pool.give_back(stale)
    pool.now += 1
    first = pool.borrow()
    second = pool.borrow()
    pool.give_back(busy)
    assert first.connector is not None, "the longest waiter takes what comes first"
    assert second.waits
    pool.check_ends(alive=True)
    assert second.connector is not None


def test_each_who_waits_has_one_idle_connection_checked() -> None:
    pool = PoolOnPaper(max_connections=4)
    pool.lay_by(4)
    pool.now += 1
    first, second = pool.borrow(), pool.borrow()
    assert len(pool.checks) == 2
    assert pool.gauges == (2, 2, 0, 2)
    pool.check_ends()
    pool.check_ends()
    assert first.connector is not None and second.connector is not None


def test_a_class_that_cannot_look_at_its_socket_is_trusted_while_fresh() -> None:
    pool = PoolOnPaper(quick_checks=False)
    pool.lay_by(1)
    pool.now += 0.4
    borrower = pool.borrow()
    assert borrower.connector is not None
    pool.give_back(borrower)
    pool.now += 0.6
    assert pool.borrow().waits
    assert len(pool.checks) == 1


def test_a_new_connection_needs_no_check() -> None:
    pool = PoolOnPaper()
    borrower = pool.borrow()
    pool.dial_succeeds()
    assert borrower.connector is not None
    assert not pool.checks


# Giving back what is not out --------------------------------------------------------------------


def test_releasing_twice_raises_and_leaves_the_capacity_as_it_was() -> None:
    pool = PoolOnPaper(max_connections=1)
    [borrower] = pool.fill(1)
    connector = borrower.connector
    pool.give_back(borrower)
    before = pool.stats
    with pytest.raises(NotBorrowed, match="is not borrowed from pool shop"):
        pool.core.release(connector, pool.now)
    assert pool.stats == before
    assert pool.borrow().connector is connector
    assert pool.borrow().waits


def test_a_strangers_connector_raises_and_leaves_the_capacity_as_it_was() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    before = pool.stats
    with pytest.raises(ValueError, match="not borrowed"):
        pool.core.release(object(), pool.now)
    assert pool.stats == before


def test_a_second_release_takes_nothing_from_who_is_just_being_handed_the_connection() -> None:
    pool = PoolOnPaper(max_connections=1)
    [first] = pool.fill(1)
    connector = first.connector
    second = pool.borrow()
    pool.core.release(connector, pool.now)  # second is granted, and has not woken yet
    with pytest.raises(NotBorrowed, match="given back to pool shop already"):
        pool.core.release(connector, pool.now)
    pool.act()
    assert second.connector is connector
    assert pool.gauges == (1, 0, 0, 0)
    pool.give_back(second)
    assert pool.gauges == (0, 1, 0, 0)


# One connection shared by all (the SINGLE mode) -------------------------------------------------


def test_in_single_mode_all_share_one_connection() -> None:
    pool = PoolOnPaper(shared=True, max_connections=1)
    borrowers = [pool.borrow() for _ in range(3)]
    assert len(pool.dials) == 1
    connector = pool.dial_succeeds()
    assert all(borrower.connector is connector for borrower in borrowers)
    assert pool.borrow().connector is connector
    assert pool.gauges == (1, 0, 0, 0)


def test_in_single_mode_the_connection_is_idle_when_the_last_gave_it_back() -> None:
    pool = PoolOnPaper(shared=True, max_connections=1)
    first, second = pool.borrow(), pool.borrow()
    pool.dial_succeeds()
    pool.give_back(first)
    assert pool.gauges == (1, 0, 0, 0)
    connector = second.connector
    pool.give_back(second)
    assert pool.gauges == (0, 1, 0, 0)
    with pytest.raises(NotBorrowed):
        pool.core.release(connector, pool.now)


def test_in_single_mode_a_broken_connection_is_replaced_at_once_and_closed_by_its_last_holder() -> (
    None
):
    pool = PoolOnPaper(shared=True, max_connections=1)
    first, second = pool.borrow(), pool.borrow()
    old = pool.dial_succeeds()
    pool.give_back(first, broken=True)
    nested = pool.borrow()  # perhaps by who holds the broken one: he must not wait for himself
    new = pool.dial_succeeds()
    assert nested.connector is new
    assert not pool.closed, "the other borrower still works with it"
    assert pool.gauges == (1, 0, 0, 0)
    pool.give_back(second)
    assert pool.closed == [(old, "broken")]
    pool.give_back(nested)
    assert pool.gauges == (0, 1, 0, 0)


def test_in_single_mode_all_who_find_the_connection_dead_at_once_are_served() -> None:
    pool = PoolOnPaper(shared=True, max_connections=1)
    holder = pool.borrow()
    old = pool.dial_succeeds()
    taken = [pool.core.take(pool.now) for _ in range(3)]  # threads, before any of them has looked
    late = [Borrower(pool) for _ in taken]
    for borrower, connector in zip(late, taken, strict=True):
        place = pool.core.dud(connector, pool.now)
        pool.core.enqueue(pool.now, borrower.granted, borrower.refused, place=place)
        pool.act()
    pool.dial_succeeds()
    assert all(borrower.connector is not None for borrower in late)
    assert pool.gauges == (1, 0, 0, 0)
    pool.give_back(holder)
    assert pool.closed == [(old, "broken")]


def test_in_single_mode_shutdown_waits_for_the_holders_of_a_broken_connection_too() -> None:
    pool = PoolOnPaper(shared=True, max_connections=1)
    first, second = pool.borrow(), pool.borrow()
    pool.dial_succeeds()
    pool.give_back(first, broken=True)
    pool.shut_down(timeout=1)
    assert not pool.core.drained
    pool.wait(2)
    assert pool.core.drained
    pool.give_back(second)
    assert pool.closed_for("broken") + pool.closed_for("drain") == 1


def test_what_a_shutdown_closed_while_its_borrower_still_looked_at_it_is_no_error() -> None:
    pool = PoolOnPaper()
    pool.lay_by(1)
    taken = pool.core.take(pool.now)
    pool.shut_down(timeout=0)
    pool.tick()
    pool.core.dud(taken, pool.now)
    assert pool.core.drained
    assert pool.closed_for("drain") == 1
