"""The pool's decisions carried out with threads. Hand-written; its names are the async driver's.

Decisions are taken under one lock, and nothing else is: dials, checks and closes run outside it,
dials and checks in threads of their own, so that a borrower waits for none longer than its
connection_timeout. One daemon thread, the keeper, wakes for what is due; it holds the pool weakly.

A finalizer may run anywhere, also while this thread holds the lock. The lock is therefore
re-entrant, and a connector given back while a decision is being taken waits in `_late` until that
decision is done. What a finalizer can reach takes no other lock and starts no thread (`threading`
has locks of its own): such work goes to the keeper by a SimpleQueue, whose `put` is made for it.

An idle connection costs 2.6 µs by `acquire` and `give_back` (`python -m tests.bench.pool_costs`).
"""

from __future__ import annotations

import _thread
import logging
import os
import random as random_module
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from pannier.errors import NotBorrowed
from pannier.pool import hooks
from pannier.pool.core import PoolCore
from pannier.pool.counters import PoolCounters
from pannier.pool.hooks import seems_alive
from pannier.pool.leaks import call_site, leak_text
from pannier.pool.settings import PoolSettings
from pannier.pool.slots import Action, Check, Close, Grant, Leak, Open, Refuse, Slot
from pannier.pool.tickets import Ticket, TicketState
from pannier.pool.timings import PoolTimings
from pannier.sync.pool_threads import Decision, Note, Remains, Waiter

logger = logging.getLogger("pannier.pool")

CLOSE_GRACE = 1.0
"""Seconds a shutdown gives to closes that still run at its deadline."""
LONGEST_SLEEP = 3600.0
"""Seconds; an endless timeout is slept in pieces that every platform can count."""


class ConnectionPool:
    """A pool of connectors of one class, all made from one dict of keywords; for any threads.

    In a forked child it starts empty, and what was borrowed before the fork is of no use there.
    """

    def __init__(
        self,
        connector_class: type[Any],
        connector_config: dict[str, Any],
        settings: PoolSettings,
        *,
        name: str | None = None,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`shared`: one connection serves any number of borrowers at once (the SINGLE mode)."""
        self.name = name or hooks.pool_name(connector_class, connector_config)
        self._connector_class = connector_class
        self._config = connector_config
        self._looks_alive = hooks.alive_hook(connector_class)
        self._clock = clock
        self._core = PoolCore(
            settings,
            name=self.name,
            random=random,
            quick_checks=self._looks_alive is not None,
            shared=shared,
        )
        self._begin()
        weakref.finalize(self, _dropped, self._remains)
        _pools.add(self)
        if settings.min_idle:
            with self._decision:
                self._wake_keeper()
                self._core.start(self._clock())
                actions = self._decided()
            self._act(actions)

    def _begin(self) -> None:
        """All that belongs to this process; a forked child begins anew."""
        self._keeper: SimpleQueue[Note | list[Any]] | None = None
        self._remains = Remains(self._core)
        self._decision = Decision(self._remains, ConnectionPool._sweep)
        self._armed = inf
        self._closes = 0
        """Closes that were decided and are not done."""
        self._awaiting_end: list[_thread.LockType] = []

    # Borrowing ----------------------------------------------------------------------------------

    def acquire(self) -> Any:
        """A connected connector. Raises PoolTimeout, PoolFull, PoolClosed, BackendUnavailable."""
        core = self._core
        where = None if core.settings.leak_threshold is None else call_site()
        waiter = Waiter()
        with self._decision:
            if self._keeper is None:
                self._wake_keeper()
            now = self._clock()
            connector = core.take(now, where)
            ticket = None
            if connector is None:
                ticket = self._enqueue(waiter, where, None)
            actions = self._decided()
        if actions:
            self._act(actions)
        if ticket is None:
            looks_alive = self._looks_alive
            if looks_alive is None or seems_alive(looks_alive, connector):
                return connector
            with self._decision:
                place = core.dud(connector, now)
                ticket = self._enqueue(waiter, where, place)
                actions = self._decided()
            self._act(actions)
        return self._wait(waiter, ticket)

    def give_back(self, connector: Any, *, broken: bool = False) -> None:
        """Take a connector back and hand it to the longest waiter.

        `broken`: its stream may hold another's reply, so it is closed, in this thread. Raises
        NotBorrowed (a ValueError), and changes nothing, where the connector is not out.
        """
        looks_alive = self._looks_alive
        if not broken and looks_alive is not None:
            broken = not seems_alive(looks_alive, connector)
        decision = self._decision
        with decision.lock:
            if decision.depth:
                decision.late.append((connector, broken))
                return
            with decision:
                self._core.release(connector, self._clock(), broken=broken)
                actions = self._decided()
        if actions:
            self._act(actions, close_here=True, start_threads=False)

    # Settings and the end -----------------------------------------------------------------------

    def reconfigure(self, **settings: Any) -> None:
        """Change settings of the live pool. Raises ValueError or TypeError, and changes nothing."""
        with self._decision:
            if self._keeper is None:
                self._wake_keeper()
            self._core.reconfigure(self._clock(), **settings)
            actions = self._decided()
        self._act(actions, close_here=True)

    def shutdown(self, timeout: float = 5.0) -> None:
        """Refuse everybody, wait up to `timeout` seconds for borrowed ones, then close them.

        May be called again, and by several threads.
        """
        ended = _thread.allocate_lock()
        ended.acquire()
        with self._decision:
            now = self._clock()
            self._core.shutdown(now, now + timeout)
            actions = self._decided()
            self._awaiting_end.append(ended)
            self._tell_the_end()
        self._act(actions)
        if not ended.acquire(timeout=max(0.0, timeout)):
            self._tick(at_least=now + timeout)
            ended.acquire(timeout=CLOSE_GRACE)
        if self._keeper is not None:
            self._keeper.put([])

    # What others read ---------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """`max in_use idle opening pending`, and the counters `timeouts rejected closed leaks`.

        It looks at the idle sockets first, so that one the server closed is not counted.
        """
        looks_alive, decision = self._looks_alive, self._decision
        with decision.lock:
            idle = [] if looks_alive is None or decision.depth else list(self._core.idle)
        dead = [
            slot for slot in idle if looks_alive and not seems_alive(looks_alive, slot.connector)
        ]
        if dead:
            with decision:
                self._core.bury(dead, self._clock())
                actions = self._decided()
            self._act(actions)
        with decision.lock:
            return self._core.stats()

    @property
    def settings(self) -> PoolSettings:
        """The settings in force."""
        return self._core.settings

    @property
    def timings(self) -> PoolTimings:
        """The histograms, filled as the pool works."""
        return self._core.timings

    @property
    def counters(self) -> PoolCounters:
        """The totals over the pool's life."""
        return self._core.counters

    def __repr__(self) -> str:
        return f"<ConnectionPool {self._core.described()}>"

    # Deciding, under the lock -------------------------------------------------------------------

    def _enqueue(self, waiter: Waiter, where: object | None, place: int | None) -> Ticket:
        return self._core.enqueue(
            self._clock(),
            waiter.granted,
            waiter.refused,
            where=where,
            place=place,
        )

    def _decided(self) -> list[Action]:
        """End a decision: what it asks for, to be carried out once the lock is released."""
        core, late = self._core, self._decision.late
        while late:
            connector, broken = late.popleft()
            try:
                core.release(connector, self._clock(), broken=broken)
            except NotBorrowed as error:
                self._tell_keeper(partial(_complain, error))
        if core.due < self._armed:
            self._armed = core.due
            self._tell_keeper(_wake)
        if not core.actions:
            return []
        actions = list(core.actions)
        core.actions.clear()
        self._closes += sum(isinstance(action, Close) for action in actions)
        return actions

    def _tell_the_end(self) -> None:
        if self._core.drained and not self._closes:
            while self._awaiting_end:
                self._awaiting_end.pop().release()

    # Carrying it out, outside the lock ----------------------------------------------------------

    def _wait(self, waiter: Waiter, ticket: Ticket) -> Any:
        try:
            while not waiter.wait(self._time_left(ticket)):
                self._tick()
        except BaseException:
            self._withdraw(ticket)
            raise
        if ticket.state is TicketState.GRANTED:
            ticket.collected = True
            return ticket.connector
        assert ticket.error is not None
        raise ticket.error

    def _time_left(self, ticket: Ticket) -> float:
        timeout = ticket.arrivals[0] + self._core.settings.connection_timeout - self._clock()
        return min(LONGEST_SLEEP, max(0.001, timeout))

    def _withdraw(self, ticket: Ticket) -> None:
        """The waiting thread was interrupted, perhaps just as it was granted a connection."""
        with self._decision:
            if ticket.state is TicketState.WAITING:
                self._core.leave(ticket)
            elif ticket.state is TicketState.GRANTED:
                ticket.collected = True
                self._core.release(ticket.connector, self._clock())
            actions = self._decided()
        self._act(actions)

    def _act(
        self, actions: list[Action], *, close_here: bool = False, start_threads: bool = True
    ) -> None:
        """Carry out, in order; a finalizer must start no threads, but leaves that to the keeper."""
        for action in actions:
            if isinstance(action, Grant):
                action.ticket.granted(action.connector)
            elif isinstance(action, Refuse):
                action.ticket.refused(action.error, action.count)
            elif isinstance(action, Leak):
                logger.warning(leak_text(self.name, action.connector, action.held, action.where))
            elif isinstance(action, Close) and close_here:
                self._disconnect(action.connector)
            elif isinstance(action, Open | Check | Close):
                work = self._work(action)
                if start_threads:
                    work(self)
                else:
                    self._tell_keeper(work)

    def _work(self, action: Open | Check | Close) -> Note:
        """The note that starts the action's thread."""
        if isinstance(action, Open):
            slot = action.slot
            return lambda pool: pool._start(lambda: pool._dial(slot), "dial")
        if isinstance(action, Check):
            slot, quick = action.slot, action.quick
            return lambda pool: pool._check(slot, quick)
        connector = action.connector
        return lambda pool: pool._start(lambda: pool._disconnect(connector), "close")

    def _start(self, work: Callable[[], None], what: str) -> None:
        name = f"pannier pool {self.name}: {what}"
        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError:
            work()

    def _dial(self, slot: Slot) -> None:
        try:
            connector = self._connector_class(**self._config)
            connector.connect()
        except BaseException as error:
            with self._decision:
                self._core.open_failed(slot, error, self._clock())
                actions = self._decided()
        else:
            with self._decision:
                self._core.opened(slot, connector, self._clock())
                actions = self._decided()
        self._act(actions)

    def _check(self, slot: Slot, quick: bool) -> None:
        """Look first, in this thread; ask over the network in one of its own."""
        looks_alive = self._looks_alive
        if looks_alive is not None and not seems_alive(looks_alive, slot.connector):
            self._checked(slot, False)
        elif quick:
            self._checked(slot, True)
        else:
            self._start(lambda: self._ask(slot), "check")

    def _ask(self, slot: Slot) -> None:
        try:
            alive = bool(slot.connector.is_connected())
        except Exception as error:
            logger.debug("Pool %s: a check failed: %r", self.name, error)
            alive = False
        self._checked(slot, alive)

    def _checked(self, slot: Slot, alive: bool) -> None:
        with self._decision:
            self._core.checked(slot, alive, self._clock())
            actions = self._decided()
        self._act(actions)

    def _disconnect(self, connector: Any) -> None:
        try:
            connector.disconnect()
        except Exception as error:
            logger.debug("Pool %s: a close failed: %r", self.name, error)
        finally:
            with self._decision:
                self._closes -= 1
                self._tell_the_end()

    # Time ---------------------------------------------------------------------------------------

    def _tick(self, at_least: float = -inf) -> None:
        with self._decision:
            now = max(self._clock(), at_least)
            core = self._core
            runs = core.counters.reaper_runs
            core.tick(now)
            if core.counters.reaper_runs != runs:
                core.timings.reaper.observe(self._clock() - now)
            self._armed = core.due
            actions = self._decided()
            self._tell_the_end()
        self._act(actions)

    def _wake_keeper(self) -> None:
        """Start the keeper, before anything is lent: a finalizer that gives back finds it there."""
        self._keeper = self._remains.keeper = SimpleQueue()
        threading.Thread(
            target=_keep,
            args=(weakref.ref(self), self._keeper),
            name=f"pannier pool {self.name}",
            daemon=True,
        ).start()

    def _tell_keeper(self, note: Note) -> None:
        if self._keeper is not None:
            self._keeper.put(note)

    def _turn(self, note: Note | None) -> float:
        """One turn of the keeper; how long it may sleep."""
        if note is not None:
            note(self)
        if self._core.due <= self._clock():
            self._tick()
        return min(LONGEST_SLEEP, max(0.0, self._core.due - self._clock()))

    def _sweep(self) -> None:
        """Carry out what came back just as another decision ended."""
        with self._decision:
            actions = self._decided()
        self._act(actions)

    def _forked(self) -> None:
        """In the child: the parent's connections are the parent's, and its threads are not here."""
        before = self._core
        self._core, lost = before.successor()
        self._core.counters, self._core.timings = PoolCounters(), PoolTimings()
        _inherited.append((before, self._remains, self._decision))
        for connector in lost:
            hooks.abandon(connector)
        self._begin()


def _keep(reference: weakref.ref[ConnectionPool], notes: SimpleQueue[Note | list[Any]]) -> None:
    """The keeper: sleeps until something is due or noted, ends with its pool."""
    sleep = LONGEST_SLEEP
    while True:
        note: Note | list[Any] | None
        try:
            note = notes.get(timeout=sleep)
        except Empty:
            note = None
        if isinstance(note, list):
            for connector in note:
                _close_quietly(connector)
            return
        pool = reference()
        if pool is None:
            continue
        sleep = pool._turn(note)
        del pool, note


def _wake(pool: ConnectionPool) -> None:
    """An earlier moment is due: the keeper's turn computes its sleep anew."""


def _complain(error: NotBorrowed, pool: ConnectionPool) -> None:
    """The finalizer that gave it back is gone, so the error can only be logged."""
    logger.warning("Pool %s: %s", pool.name, error)


def _close_quietly(connector: Any) -> None:
    try:
        connector.disconnect()
    except Exception as error:
        logger.debug("A close failed: %r", error)


_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()
_inherited: list[object] = []
"""What a forked child got from its parent: kept, so that no finalizer runs on it."""


def _dropped(remains: Remains) -> None:
    """The pool was dropped without a shutdown: the keeper closes what was idle, and ends."""
    if remains.keeper is not None and remains.process == os.getpid():
        remains.keeper.put([slot.connector for slot in remains.core.idle])


def _begin_anew_in_child() -> None:
    for pool in list(_pools):
        pool._forked()


os.register_at_fork(after_in_child=_begin_anew_in_child)
