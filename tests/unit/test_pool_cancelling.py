"""A borrower that goes away in any state loses no slot and wakes nobody wrongly. On paper."""

from __future__ import annotations

from pannier.pool.tickets import TicketState
from tests.unit.pool_on_paper import PoolOnPaper


def test_cancelled_in_line_the_next_one_moves_up() -> None:
    pool = PoolOnPaper(max_connections=1)
    [busy] = pool.fill(1)
    first, second = pool.borrow(), pool.borrow()
    pool.leave(first)
    pool.give_back(busy)
    assert second.connector is not None
    assert first.connector is None and not first.errors
    assert pool.gauges == (1, 0, 0, 0)


def test_cancelled_while_its_connection_is_dialed_the_dial_serves_the_next() -> None:
    pool = PoolOnPaper(max_connections=1)
    first, second = pool.borrow(), pool.borrow()
    pool.leave(first)
    pool.dial_succeeds()
    assert second.connector is not None


def test_cancelled_while_its_connection_is_dialed_and_alone_it_becomes_idle() -> None:
    pool = PoolOnPaper()
    borrower = pool.borrow()
    pool.leave(borrower)
    assert pool.gauges == (0, 0, 1, 0)
    pool.dial_succeeds()
    assert pool.gauges == (0, 1, 0, 0)


def test_cancelled_while_its_connection_is_checked_it_becomes_idle_or_serves_the_next() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.lay_by(1)
    pool.now += 1
    first = pool.borrow()
    second = pool.borrow()
    pool.leave(first)
    pool.check_ends()
    assert second.connector is not None
    pool.give_back(second)
    pool.now += 1
    third = pool.borrow()
    pool.leave(third)
    pool.check_ends()
    assert pool.gauges == (0, 1, 0, 0)


def test_cancelled_twice_is_cancelled_once() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    borrower = pool.borrow()
    pool.leave(borrower)
    pool.leave(borrower)
    assert pool.stats["pending"] == 0


def test_leaving_after_the_grant_changes_nothing() -> None:
    pool = PoolOnPaper()
    borrower = pool.borrow()
    pool.dial_succeeds()
    pool.leave(borrower)
    assert pool.gauges == (1, 0, 0, 0)


def test_one_member_of_a_ticket_leaves_and_the_others_wait_on() -> None:
    pool = PoolOnPaper(max_connections=1, connection_timeout=1)
    [busy] = pool.fill(1)
    group = pool.borrow()
    pool.now += 0.5
    pool.join(group)
    assert pool.stats["pending"] == 2
    pool.leave(group, 0)
    assert pool.stats["pending"] == 1
    pool.wait(0.9)
    assert group.waits, "the member that is left came half a second later"
    pool.give_back(busy)
    assert group.connector is not None
    assert pool.stats["pending"] == 0


def test_a_ticket_that_all_members_left_is_over() -> None:
    pool = PoolOnPaper(max_connections=1)
    [busy] = pool.fill(1)
    group = pool.borrow(weight=2)
    pool.leave(group, 1)
    pool.leave(group, 0)
    assert group.ticket is not None and group.ticket.state is TicketState.LEFT
    assert not pool.join(group)
    pool.give_back(busy)
    assert pool.gauges == (0, 1, 0, 0)


def test_only_the_last_ticket_in_line_may_be_joined() -> None:
    pool = PoolOnPaper(max_connections=1)
    [busy] = pool.fill(1)
    first = pool.borrow()
    assert pool.join(first)
    second = pool.borrow()
    assert not pool.join(first), "it would overtake the second"
    assert pool.join(second)
    pool.give_back(busy)
    assert first.connector is not None
    assert not pool.join(first), "it is sent"


def test_a_connection_broken_in_mid_command_is_closed_and_the_next_gets_a_new_one() -> None:
    pool = PoolOnPaper(max_connections=1)
    [cancelled] = pool.fill(1)
    dirty = cancelled.connector
    waiter = pool.borrow()
    pool.give_back(cancelled, broken=True)
    assert pool.closed == [(dirty, "broken")]
    pool.dial_succeeds()
    assert waiter.connector is not dirty


def test_ten_thousand_cancellations_leave_nothing_behind() -> None:
    pool = PoolOnPaper(max_connections=1)
    pool.fill(1)
    for _ in range(10_000):
        pool.leave(pool.borrow())
    assert len(pool.core.line) == 0
    assert pool.stats["pending"] == 0
