"""A random life of a pool, on paper: whatever happens in whatever order, the promises hold."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pannier.errors import BackendUnavailable, PoolClosed, PoolFull, PoolTimeout
from tests.unit.pool_on_paper import Borrower, PoolOnPaper

seconds = st.sampled_from([0.0, 0.001, 0.1, 0.3, 0.6, 2.0, 11.0, 400.0])
which = st.integers(min_value=0, max_value=30)


class PoolMachine(RuleBasedStateMachine):
    """Borrowers come, join, give back and go; dials and checks end as they like; time passes."""

    @initialize(
        max_connections=st.integers(1, 4),
        min_idle=st.integers(0, 2),
        max_waiting=st.sampled_from([None, 0, 1, 3]),
        max_lifetime=st.sampled_from([None, 1.0, 50.0]),
        leak_threshold=st.sampled_from([None, 0.5]),
        quick_checks=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def begin(
        self, max_connections: int, min_idle: int, quick_checks: bool, seed: int, **others: Any
    ) -> None:
        self.pool = PoolOnPaper(
            max_connections=max_connections,
            min_idle=min(min_idle, max_connections),
            connection_timeout=10.0,
            idle_timeout=30.0,
            quick_checks=quick_checks,
            random=random.Random(seed).random,
            **others,
        )
        self.waiting: list[Borrower] = []
        """Who waits, in order of asking."""
        self.weights: dict[Borrower, int] = {}
        self.out: list[Borrower] = []
        self.counted = self.totals()
        self.closed_connectors: set[Any] = set()
        self.allowed = max_connections
        """The most connections that may exist: the maximum, or more for a while after a shrink."""

    # What happens -------------------------------------------------------------------------------

    @rule(weight=st.sampled_from([1, 1, 1, 5]))
    def borrow(self, weight: int) -> None:
        try:
            borrower = self.pool.borrow(weight)
        except PoolFull:
            assert self.pool.core.settings.max_waiting is not None
            assert not self.pool.core.idle
        except BackendUnavailable:
            assert self.pool.core.total == 0
        except PoolClosed:
            assert self.pool.core.closing
        else:
            assert not self.pool.core.closing
            self.weights[borrower] = weight
            self.waiting.append(borrower)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(who=which, weight=st.integers(1, 3))
    def join(self, who: int, weight: int) -> None:
        borrower = self.waiting[who % len(self.waiting)]
        try:
            joined = self.pool.join(borrower, weight)
        except PoolFull:
            assert self.pool.core.settings.max_waiting is not None
        else:
            assert joined == (borrower is self.waiting[-1])
            self.weights[borrower] += weight if joined else 0

    @precondition(lambda self: self.out)
    @rule(who=which, broken=st.booleans(), seen_dead=st.booleans())
    def give_back(self, who: int, broken: bool, seen_dead: bool) -> None:
        borrower = self.out.pop(who % len(self.out))
        if seen_dead:
            self.pool.seen_dead.add(borrower.connector)
        self.pool.give_back(borrower, broken=broken)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(who=which, position=st.none() | st.integers(0, 8))
    def cancel(self, who: int, position: int | None) -> None:
        borrower = self.waiting[who % len(self.waiting)]
        left = self.weights[borrower] - borrower.refused_operations
        if position is not None:
            position %= left
        self.pool.leave(borrower, position)
        self.weights[borrower] -= left if position is None else 1
        if position is None or left == 1:
            self.waiting.remove(borrower)
        self.settle()

    @precondition(lambda self: self.pool.dials)
    @rule(who=which)
    def a_dial_succeeds(self, who: int) -> None:
        self.pool.dial_succeeds(self.pool.dials[who % len(self.pool.dials)])
        self.settle()

    @precondition(lambda self: self.pool.dials)
    @rule()
    def a_dial_fails(self) -> None:
        self.pool.dial_fails()
        self.settle()

    @precondition(lambda self: self.pool.checks)
    @rule(alive=st.booleans())
    def a_check_ends(self, alive: bool) -> None:
        self.pool.check_ends(alive)
        self.settle()

    @rule(passed=seconds)
    def time_passes(self, passed: float) -> None:
        self.pool.wait(passed)
        self.settle()

    @rule(passed=seconds)
    def the_driver_is_late(self, passed: float) -> None:
        self.pool.now += passed

    @rule()
    def tick(self) -> None:
        self.pool.tick()
        self.settle()

    @rule(
        max_connections=st.integers(1, 5),
        min_idle=st.integers(0, 2),
        max_waiting=st.sampled_from([None, 0, 2]),
        connection_timeout=st.sampled_from([0.05, 10.0]),
        idle_timeout=st.sampled_from([0.05, 30.0]),
    )
    def reconfigure(self, **changes: Any) -> None:
        changes["min_idle"] = min(changes["min_idle"], changes["max_connections"])
        self.pool.reconfigure(**changes)
        self.settle()

    @precondition(lambda self: not self.pool.core.closing)
    @rule(timeout=st.sampled_from([0.0, 0.5, 60.0]), really=st.integers(0, 4))
    def shut_down(self, timeout: float, really: int) -> None:
        if really:
            return  # most lives are longer
        self.pool.shut_down(timeout)
        self.settle()

    # What must hold -----------------------------------------------------------------------------

    def settle(self) -> None:
        """After each event: those served are the first who waited, those refused have a reason."""
        served = [borrower for borrower in self.pool.granted if borrower in self.waiting]
        self.pool.granted.clear()
        for borrower in self.waiting:
            for error in borrower.errors:
                assert isinstance(error, PoolTimeout | PoolClosed | BackendUnavailable)
        still = [b for b in self.waiting if b.refused_operations < self.weights[b]]
        assert served == still[: len(served)], "a waiter was overtaken"
        self.out.extend(served)
        self.waiting = [borrower for borrower in still if borrower not in served]

    def totals(self) -> tuple[int, ...]:
        counters = self.pool.core.counters
        return (
            counters.timeouts,
            counters.rejected,
            counters.leaks,
            counters.reaper_runs,
            *counters.closed.values(),
        )

    @invariant()
    def never_more_connections_than_allowed(self) -> None:
        in_use, idle, opening, _ = self.pool.gauges
        maximum = self.pool.core.settings.max_connections
        total = in_use + idle + opening
        assert total <= max(self.allowed, maximum)
        self.allowed = max(total, maximum)
        if total > maximum:
            assert idle == 0, "what is over the maximum must be closed before anything is idle"

    @invariant()
    def gauges_equal_reality(self) -> None:
        pool = self.pool
        held = [b for b in self.out if b.connector not in self.closed_connectors]
        self.closed_connectors.update(connector for connector, _ in pool.closed)
        held = [b for b in held if b.connector not in self.closed_connectors]
        in_use, idle, opening, pending = pool.gauges
        assert in_use == len(held) + len(pool.checks) - self.checks_given_up()
        assert idle == len(pool.core.idle)
        assert opening == len(pool.dials)
        assert pending == sum(self.weights[b] - b.refused_operations for b in self.waiting)
        assert pending == sum(ticket.weight for ticket in pool.core.line)

    def checks_given_up(self) -> int:
        """Checks that still run though a shutdown's deadline closed their connection."""
        return sum(check.slot not in self.pool.core.checking for check in self.pool.checks)

    @invariant()
    def no_connection_has_two_borrowers_or_was_closed_before(self) -> None:
        out = [borrower.connector for borrower in self.out]
        idle = [slot.connector for slot in self.pool.core.idle]
        assert len({id(connector) for connector in out + idle}) == len(out) + len(idle)
        closed = [id(connector) for connector, _ in self.pool.closed]
        assert len(set(closed)) == len(closed), "closed twice"
        assert not {id(connector) for connector in idle} & set(closed)

    @invariant()
    def nobody_waits_without_hope(self) -> None:
        core = self.pool.core
        if core.line:
            assert core.leases or core.checking or core.opening
            assert len(core.checking) >= len(core.line) or not core.idle
            assert core.due <= core.line.head.arrivals[0] + core.settings.connection_timeout

    @invariant()
    def counters_only_grow(self) -> None:
        totals = self.totals()
        assert all(now >= before for now, before in zip(totals, self.counted, strict=True))
        self.counted = totals
        assert sum(totals[4:]) == len(self.pool.closed)

    def teardown(self) -> None:
        """In the end everybody is served or refused, and nothing is left."""
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        pool.shut_down(1.0)
        self.settle()
        assert not self.waiting
        while pool.checks:
            pool.check_ends()
        pool.wait(2.0)
        for borrower in self.out:
            pool.give_back(borrower)
        assert pool.core.drained
        assert pool.gauges == (0, 0, 0, 0)
        assert not pool.core._surrendered
        for _, closed_for in pool.closed:
            assert closed_for in ("idle", "lifetime", "broken", "drain", "shrink")


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
