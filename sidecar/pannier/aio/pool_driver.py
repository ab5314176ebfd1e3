"""The pool's decisions carried out on asyncio: one `ConnectionPool` belongs to one event loop.

Two ways in. Coroutines: `acquire`, `shutdown`, `reconfigure`. Callbacks, for the hot path, without
a task or a future: `take_now`, `enqueue`, `join`, `leave`, and `give_back`. Dials, checks and
closes run in tasks of the pool's own, so that no borrower's cancellation reaches them.

An idle connection costs 1.6 µs by `take_now` and `give_back`, 1.9 µs by `acquire` and `give_back`;
one that is waited for 4.3 µs by `enqueue` and `give_back` (CPU time on one busy core of two:
`python -m tests.bench.pool_costs`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random as random_module
import time
import weakref
from asyncio import _get_running_loop, get_running_loop
from collections.abc import Callable, Coroutine
from functools import partial
from math import inf
from typing import Any

from pannier.aio.pool_parting import close_ended, dropped, inherited, part_from
from pannier.errors import PannierError
from pannier.pool import hooks
from pannier.pool.core import PoolCore
from pannier.pool.counters import PoolCounters
from pannier.pool.hooks import seems_alive
from pannier.pool.leaks import call_site, leak_text
from pannier.pool.settings import PoolSettings
from pannier.pool.slots import Check, Close, GiveUp, Grant, Leak, Open, Refuse, Slot
from pannier.pool.tickets import Ticket, TicketState
from pannier.pool.timings import PoolTimings

logger = logging.getLogger("pannier.pool")

CLOSE_GRACE = 1.0
"""Seconds a shutdown gives to closes that still run at its deadline, before it cancels them."""
SHORTEST_SLEEP = 0.001
"""Seconds; uvloop's timers count milliseconds, so a shorter one would fire early and spin."""


class ConnectionPool:
    """A pool of connectors of one class, all made from one dict of keywords.

    It binds itself to the event loop of its first use. Used from another one it starts afresh
    there if the first is closed, or rests with nothing borrowed; else it raises RuntimeError.
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._acting = False
        self._armed = inf
        self._timer: asyncio.TimerHandle | None = None
        self._dials: dict[Slot, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty: asyncio.Event | None = None
        self._farewell: weakref.finalize[..., Any] | None = None
        if settings.min_idle:
            self._start_ahead()

    # The callback API ---------------------------------------------------------------------------

    def take_now(self) -> Any | None:
        """An idle connector that was used within the last 0.5 s and looks alive, or None.

        None also where anybody waits already (a newcomer never overtakes), where the pool is
        closed, and where the connection needs a round trip first: then `enqueue`.
        """
        core = self._core if get_running_loop() is self._loop else self._bound()
        looks_alive = self._looks_alive
        while True:
            now = self._clock()
            where = None if core.settings.leak_threshold is None else call_site()
            connector = core.take(now, where)
            if connector is None or looks_alive is None:
                break
            try:
                if looks_alive(connector):
                    break
            except Exception as error:
                logger.debug("Pool %s: a look failed: %r", self.name, error)
            core.dud(connector, now)
        if core.actions or core.due < self._armed:
            self._act()
        return connector

    def enqueue(
        self,
        weight: int,
        granted: Callable[[Any], None],
        refused: Callable[[PannierError, int], None],
    ) -> Ticket:
        """Wait in line for one connector, for `weight` operations that arrived now.

        `granted(connector)` is called once, perhaps before `enqueue` returns; the connector is
        then the caller's until `give_back`. `refused(error, count)` is called instead when the
        `count` oldest operations of the ticket are refused (PoolTimeout: those whose
        connection_timeout is over, each counted from its own arrival, so it may be called more
        than once; every other error: all that are left). Raises at once, and calls nothing:
        PoolFull, PoolClosed, BackendUnavailable.
        """
        core = self._core if get_running_loop() is self._loop else self._bound()
        where = None if core.settings.leak_threshold is None else call_site()
        now = self._clock()
        try:
            return core.enqueue(now, granted, refused, weight=weight, where=where)
        finally:
            self._act()

    def join(self, ticket: Ticket, weight: int = 1) -> bool:
        """Put `weight` more operations, arriving now, into the last ticket of the queue.

        False where the ticket is not the last one waiting any more (then `enqueue` anew).
        Raises PoolFull.
        """
        return self._core.join(ticket, self._clock(), weight)

    def leave(self, ticket: Ticket, position: int | None = None) -> None:
        """A waiting operation was cancelled: the one at `position` in order of arrival (0 is the
        oldest still waiting in the ticket), or with None all of them.

        A ticket left by all is over and nothing is called any more; one that is over is ignored.
        """
        self._core.leave(ticket, position)

    def give_back(self, connector: Any, *, broken: bool = False) -> None:
        """Take a connector back and hand it to the longest waiter; never blocks, never awaits.

        `broken`: its stream may hold another's reply, so it is closed. Raises NotBorrowed (a
        ValueError) where the connector is not out, and changes nothing.
        """
        if _get_running_loop() is not self._loop:
            self._check_loop()
        looks_alive = self._looks_alive
        if not broken and looks_alive is not None:
            try:
                broken = not looks_alive(connector)
            except Exception:  # of a stranger's object, or of a connector in no good state
                broken = True
        core = self._core
        core.release(connector, self._clock(), broken=broken)
        if core.actions or core.due < self._armed:
            self._act()

    # The coroutine API --------------------------------------------------------------------------

    async def acquire(self) -> Any:
        """A connected connector. Raises PoolTimeout, PoolFull, PoolClosed, BackendUnavailable.

        Cancelled at any moment, it leaves the line, or gives back what it was just granted.
        """
        connector = self.take_now()
        if connector is not None:
            return connector
        answer: asyncio.Future[Any] = get_running_loop().create_future()

        def granted(connector: Any) -> None:
            if answer.done():
                self.give_back(connector)
            else:
                ticket.collected = False
                answer.set_result(connector)

        def refused(error: PannierError, _: int) -> None:
            if not answer.done():
                answer.set_exception(error)

        ticket = self.enqueue(1, granted, refused)
        try:
            connector = await answer
        except BaseException:
            ticket.collected = True
            if ticket.state is TicketState.WAITING:
                self._core.leave(ticket)
            elif answer.done() and not answer.cancelled() and answer.exception() is None:
                self.give_back(answer.result())
            raise
        ticket.collected = True
        return connector

    async def shutdown(self, timeout: float = 5.0) -> None:
        """Refuse everybody, wait up to `timeout` seconds for borrowed ones, then close them.

        May be called again, and by several. Cancelled, it goes on without its caller.
        """
        now = self._clock()
        if self._loop is None:
            self._core.shutdown(now, now)
            return
        core = self._bound(start=False)
        if self._empty is None:
            self._empty = asyncio.Event()
        core.shutdown(now, now + timeout)
        self._act()
        await self._empty.wait()
        left = max(0.0, now + timeout - self._clock())
        for wait in (left + CLOSE_GRACE, CLOSE_GRACE):
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=wait)
                for task in late:
                    task.cancel()

    async def reconfigure(self, **settings: Any) -> None:
        """Change settings of the live pool. Raises ValueError or TypeError, and changes nothing.

        Returns when the connections that are too many are closed, or a second later.
        """
        core = self._bound()
        others = set(self._tasks)
        core.reconfigure(self._clock(), **settings)
        self._act()
        closes = {task for task in self._tasks - others if task not in self._dials.values()}
        if closes:
            await asyncio.wait(closes, timeout=CLOSE_GRACE)

    # What others read ---------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """`max in_use idle opening pending`, and the counters `timeouts rejected closed leaks`.

        It looks at the idle sockets first, so that one the server closed is not counted.
        """
        looks_alive, core = self._looks_alive, self._core
        if looks_alive is not None and core.idle and _get_running_loop() is self._loop:
            dead = [slot for slot in core.idle if not seems_alive(looks_alive, slot.connector)]
            if dead:
                core.bury(dead, self._clock())
                self._act()
        return core.stats()

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

    # Carrying it out ----------------------------------------------------------------------------

    def _act(self) -> None:
        """Carry out what the core queued, in order.

        A callback may take, enqueue or give back: what that queues is done here, by the outermost
        call, after it. So a thousand hand-overs in a row need no stack.
        """
        if self._acting:
            return
        actions = self._core.actions
        if self._loop is None or self._loop.is_closed():
            self._act_without_loop()
            return
        self._acting = True
        try:
            while actions:
                action = actions.popleft()
                if isinstance(action, Grant):
                    self._grant(action)
                elif isinstance(action, Refuse):
                    self._call(action.ticket.refused, action.error, action.count)
                elif isinstance(action, Check):
                    self._check(action)
                elif isinstance(action, Open):
                    dial = self._spawn(self._dial(action.slot), "dial")
                    dial.add_done_callback(partial(self._dial_ended, action.slot))
                    self._dials[action.slot] = dial
                elif isinstance(action, Close):
                    close = self._spawn(self._disconnect(action.connector), "close")
                    close.add_done_callback(partial(close_ended, action.connector))
                elif isinstance(action, GiveUp):
                    self._dials[action.slot].cancel()
                elif isinstance(action, Leak):
                    logger.warning(
                        leak_text(self.name, action.connector, action.held, action.where)
                    )
        finally:
            self._acting = False
        core = self._core
        if self._empty is not None and core.drained:
            self._empty.set()
            self._arm(inf)
        elif core.due < self._armed:
            self._arm(core.due)

    def _act_without_loop(self) -> None:
        """The loop is closed (or there was none yet): nothing can be done but to let go."""
        while self._core.actions:
            action = self._core.actions.popleft()
            if isinstance(action, Close):
                hooks.abandon(action.connector)

    def _grant(self, grant: Grant) -> None:
        grant.ticket.collected = True
        try:
            grant.ticket.granted(grant.connector)
        except Exception:
            logger.exception("Pool %s: a borrower failed when it was granted", self.name)
            self.give_back(grant.connector, broken=True)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            logger.exception("Pool %s: a borrower failed when it was refused", self.name)

    def _check(self, check: Check) -> None:
        slot, looks_alive = check.slot, self._looks_alive
        if looks_alive is not None and not seems_alive(looks_alive, slot.connector):
            self._core.checked(slot, False, self._clock())
        elif check.quick:
            self._core.checked(slot, True, self._clock())
        else:
            check_task = self._spawn(self._ask(slot), "check")
            check_task.add_done_callback(partial(self._check_ended, slot))

    # I/O, each in a task of its own -------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        assert self._loop is not None
        task = self._loop.create_task(work, name=f"pannier pool {self.name}: {what}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _dial(self, slot: Slot) -> None:
        try:
            connector = self._connector_class(**self._config)
            await connector.connect()
        except Exception as error:
            self._core.open_failed(slot, error, self._clock())
        else:
            self._core.opened(slot, connector, self._clock())

    def _dial_ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """Also where the task was cancelled before its first step, and so could not say so."""
        self._dials.pop(slot, None)
        self._core.open_failed(slot, asyncio.CancelledError(), self._clock())
        self._act()

    async def _ask(self, slot: Slot) -> None:
        alive = False
        try:
            async with asyncio.timeout(self._core.settings.connection_timeout):
                alive = bool(await slot.connector.is_connected())
        except Exception as error:
            logger.debug("Pool %s: a check failed: %r", self.name, error)
        self._core.checked(slot, alive, self._clock())

    def _check_ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """A check that was cancelled left its question unanswered: not to be used again."""
        self._core.checked(slot, False, self._clock())
        self._act()

    async def _disconnect(self, connector: Any) -> None:
        try:
            await connector.disconnect()
        except Exception as error:
            logger.debug("Pool %s: a close failed: %r", self.name, error)

    # Time ---------------------------------------------------------------------------------------

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = due
        if due < inf and self._loop is not None:
            delay = max(SHORTEST_SLEEP, due - self._clock())
            self._timer = self._loop.call_later(delay, _wake, weakref.ref(self))

    def _tick(self) -> None:
        self._timer, self._armed = None, inf
        core, now = self._core, self._clock()
        runs = core.counters.reaper_runs
        core.tick(now)
        if core.counters.reaper_runs != runs:
            core.timings.reaper.observe(self._clock() - now)
        self._act()

    # Loops, forks, and the end ------------------------------------------------------------------

    def _start_ahead(self) -> None:
        try:
            get_running_loop()
        except RuntimeError:
            return
        self._bound()

    def _bound(self, start: bool = True) -> PoolCore:
        """The core, once the pool belongs to the running loop."""
        loop = get_running_loop()
        if loop is self._loop:
            return self._core
        old = self._loop
        if old is not None:
            forked = self._process != os.getpid()
            if not forked and not old.is_closed() and (old.is_running() or self._core.in_use):
                raise self._elsewhere()
            self._leave(old, forked)
        self._loop = loop
        self._process = os.getpid()
        if self._farewell is not None:
            self._farewell.detach()
        self._farewell = weakref.finalize(self, dropped, [self._core], loop, self._process)
        if start:
            self._core.start(self._clock())
            self._act()
        return self._core

    def _check_loop(self) -> None:
        """A connector came back outside the pool's loop: fine where that loop rests or is gone."""
        loop = self._loop
        if loop is not None and loop.is_running() and self._process == os.getpid():
            raise self._elsewhere()

    def _elsewhere(self) -> RuntimeError:
        return RuntimeError(
            f"Pool {self.name} is in use on another event loop; "
            "make a store (or a pool) for each loop."
        )

    def _leave(self, old: asyncio.AbstractEventLoop, forked: bool) -> None:
        """Start afresh, without what belongs to a loop that is gone, or to the parent process."""
        before = self._core
        self._core, lost = before.successor()
        if forked:
            inherited.append((before, lost, old, self._dials, self._tasks, self._timer))
        else:
            part_from(lost, old)
        self._dials, self._tasks = {}, set()
        self._timer, self._armed, self._empty = None, inf, None
        self._acting = False


def _wake(reference: weakref.ref[ConnectionPool]) -> None:
    """The timer's callback: it must not keep a dropped pool alive."""
    pool = reference()
    if pool is not None:
        pool._tick()
