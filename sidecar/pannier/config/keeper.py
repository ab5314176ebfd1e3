"""One served store, kept as the configuration wants it and as healthy as its backend is.

A keeper has one task. It carries out what is wanted now (a first install, a change in place, a new
backend opened and pinged beside the old one and then swapped in), tries again what is pending, and
between that pings the backend so that the store's state tells the truth.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.config.changes import Step, change
from pannier.config.configuration import ResolvedStore
from pannier.config.factory import adjust, build, count_groups
from pannier.config.served import Generation, ServedStore, StoreState
from pannier.config.signs import Signs, signs_of, tells_enough
from pannier.errors import BackendUnavailable, OperationTimeout, PannierError, PoolFull, PoolTimeout

log = logging.getLogger("pannier.config")

T = TypeVar("T")

EndState = Literal["applied", "pending", "rejected"]

LOOK_EVERY: Final = 0.5
"""Seconds between looks at the operations' outcomes: one that the backend failed brings the next
ping forward."""
PING_EVERY: Final = 2.0
"""Seconds between pings of a healthy backend: one costs about 0.1 ms of CPU."""
RETRY_FIRST: Final = 0.1
"""Seconds before the first new try at a backend that was not reached; it doubles each time."""
RETRY_LAST: Final = 2.0
"""Seconds between tries at the longest, so that a backend is found within 2 s of its return."""
RETRY_REFUSED: Final = 30.0
"""Seconds between tries at a backend that answered with a refusal (a layout of other buckets, say):
somebody has to change something first."""


@dataclass(frozen=True, slots=True)
class End:
    """What became of a store's wanted configuration so far."""

    state: EndState
    code: str = ""
    """The problem code of `pannier.errors` where it is not applied."""
    message: str = ""


class Superseded(Exception):
    """Something newer is wanted; what was going on has been given up."""


class Keeper:
    """Keeps one `ServedStore`. Made and used inside the running event loop."""

    def __init__(
        self,
        served: ServedStore,
        *,
        leaving: set[Generation],
        ended: Callable[[End], None],
        make: Callable[[ResolvedStore], KeyValueStoreBackendBase] = build,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.served = served
        self.running: ResolvedStore | None = None
        """What the generation in the table was made from."""
        self.end: End | None = None
        """What became of what is wanted now; None while it is not decided."""
        self._wanted: ResolvedStore | None = None
        self._leaving = leaving
        self._ended = ended
        self._make = make
        self._random = random
        self._news = asyncio.Event()
        self._decided = asyncio.Event()
        self._refusal: str | None = None
        """Why the newest configuration does not run; shown while the store is ready."""
        self._tries = 0
        self._was_ready = False
        self._seen = Signs()
        self._task: asyncio.Task[None] | None = None
        self._closing: dict[asyncio.Task[None], Generation] = {}

    # What others ask of it ----------------------------------------------------------------------

    def want(self, wanted: ResolvedStore) -> None:
        """Make this the configuration to run. A first one is installed before this returns."""
        if wanted == self._wanted and self.end is not None and self.end.state != "rejected":
            # Nothing new: it runs, or is being tried.
            self._finish(self.end, count=True)
            return
        self._wanted = wanted
        self._tries = 0
        self.end = None
        self._decided.clear()
        if self.running is None:
            self._install(wanted)
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"keeper of {self.served.name}")

    def refuse(self, reason: str) -> None:
        """Note that the newest document is bad: what runs goes on, what was pending is dropped."""
        self._wanted = self.running
        self._news.set()
        self._refused(reason, "rejected")
        if self.running is None:
            self._say("rejected")

    async def decided(self) -> End:
        """What became of the wanted configuration, once its first try has ended."""
        await self._decided.wait()
        assert self.end is not None
        return self.end

    async def retire(self) -> None:
        """Stop, and close the backend once its last operation is done."""
        await self._stop()
        generation, self.served.generation = self.served.generation, None
        self.served.state = "draining"
        if generation is not None:
            self.served.counts.past_pools.keep(generation.backend.pools())
            await self._close_emptied(generation)
        await self._await_closing()

    async def close(self) -> None:
        """Stop, and close the backend now, whatever runs on it."""
        await self._stop()
        # A task that is cancelled before its first step closes nothing itself.
        left = list(self._closing.values())
        for task in self._closing:
            task.cancel()
        await self._await_closing()
        if self.served.generation is not None:
            left.append(self.served.generation)
        for generation in left:
            self._leaving.discard(generation)
            await _close(generation.backend)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _await_closing(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing)

    # The task -----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._news.clear()
            try:
                delay = await self._step()
            except Superseded:
                continue
            except Exception:
                # A fault of ours must not end the keeper: the store would never heal.
                log.exception("store %s: its keeper failed and goes on", self.served.name)
                delay = RETRY_LAST
            await self._sleep(delay)

    async def _sleep(self, delay: float) -> None:
        """Wait, but not longer than until something is wanted or operations begin to fail."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        while not self._news.is_set() and (left := due - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await self._news.wait()
            except TimeoutError:
                now = signs_of(self.served.counts)
                if self.served.state == "ready" and now.failed > self._seen.failed:
                    return

    async def _step(self) -> float:
        """Do what is due now; gives the seconds until there is something to do again."""
        wanted = self._wanted
        if wanted is None:
            return PING_EVERY
        if wanted is self.running or self.running is None:
            return await self._check() if self.running is not None else RETRY_REFUSED
        found = change(self.running, wanted)
        if found.step is Step.REFUSED:
            self._refused(found.reason, "rejected")
            self._wanted = self.running
            return 0
        never_worked = found.step is Step.REBUILD and not self._was_ready
        if found.step is Step.ANEW or never_worked:
            # What runs is not wanted any more, or never worked: nothing to protect from a try.
            self._was_ready = False
            self._install(wanted)
            return 0
        if found.step is Step.REBUILD:
            return await self._replace(wanted)
        if found.step is Step.IN_PLACE and self.served.generation is not None:
            await adjust(self.served.generation.backend, wanted.document)
        self._runs(wanted)
        if wanted is self._wanted:  # While it was adjusted, something newer may have come.
            self._finish(End("applied"))
        return 0

    def _install(self, wanted: ResolvedStore) -> None:
        """Serve `wanted` at once, reachable or not."""
        try:
            backend = self._make(wanted)
        except (PannierError, ValueError) as error:
            self._refused(str(error), "rejected")
            self._wanted = self.running
            if self.running is None:
                self._say("rejected")
            return
        self._swap(backend)
        self._runs(wanted)
        self._say("connecting")
        if wanted.document.spec.type == "memory":
            # Nothing to reach: a memory store is ready as it is.
            self._healthy()

    async def _replace(self, wanted: ResolvedStore) -> float:
        """Open and ping `wanted` beside what runs, then put it in its place."""
        try:
            backend = self._make(wanted)
        except (PannierError, ValueError) as error:
            self._refused(str(error), "rejected")
            self._wanted = self.running
            return 0
        try:
            await self._unless_news(backend.ping())
        except (BackendUnavailable, OperationTimeout, PoolTimeout, PoolFull) as error:
            await self._discard(backend)
            self._refused(f"The new configuration is pending: {error}", "pending", error.code)
            return await self._check_beside(self._backoff())
        except PannierError as error:
            await self._discard(backend)
            self._refused(str(error), "rejected", error.code)
            return await self._check_beside(RETRY_REFUSED)
        except BaseException:
            await _close(backend)
            raise
        self._swap(backend)
        self._runs(wanted)
        self._healthy()
        return PING_EVERY

    async def _discard(self, backend: KeyValueStoreBackendBase) -> None:
        """Close a backend that was not reached. Raises Superseded if meanwhile news came."""
        await _close(backend)
        if self._news.is_set():
            raise Superseded

    async def _check_beside(self, delay: float) -> float:
        """Look after what runs while what is wanted has to wait."""
        await self._check()
        return delay

    async def _check(self) -> float:
        """Ping the backend and set the store's state by its answer."""
        generation = self.served.generation
        if generation is None:
            return RETRY_REFUSED
        if self._needs_no_ping(generation.backend):
            return self._ping_every()
        try:
            await self._unless_news(generation.backend.ping())
        except (PoolTimeout, PoolFull):
            # All connections are busy: that says nothing about the backend.
            return self._ping_every()
        except (BackendUnavailable, OperationTimeout) as error:
            self._unhealthy("unavailable", error)
            return self._backoff()
        except PannierError as error:
            self._unhealthy("unavailable" if self._was_ready else "rejected", error)
            return RETRY_REFUSED
        self._healthy()
        return self._ping_every()

    async def _unless_news(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, but give it up and raise Superseded when something newer is wanted."""
        task = asyncio.ensure_future(work)
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((task, news), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Superseded
            return task.result()
        finally:
            news.cancel()
            task.cancel()
            await asyncio.wait((task, news))
            if not task.cancelled():
                task.exception()  # Looked at, so that asyncio does not report it as lost.

    # What it notes ------------------------------------------------------------------------------

    def _swap(self, backend: KeyValueStoreBackendBase) -> None:
        """Serve `backend` from now on; the one before it finishes its requests and is closed."""
        count_groups(backend, self.served.counts.batch_sizes)
        before, self.served.generation = self.served.generation, Generation(backend)
        if before is not None:
            self._leaving.add(before)
            self.served.counts.past_pools.keep(before.backend.pools())
            task = asyncio.create_task(self._close_emptied(before))
            self._closing[task] = before
            task.add_done_callback(self._closing.pop)

    async def _close_emptied(self, generation: Generation) -> None:
        """Close a backend that is served no more, after its last operation."""
        self._leaving.add(generation)
        pools = list(generation.backend.pools())
        try:
            await generation.emptied()
        finally:
            self._leaving.discard(generation)
            await _close(generation.backend)
            self.served.counts.past_pools.close(pools)

    def _runs(self, wanted: ResolvedStore) -> None:
        self.running = wanted
        self.served.type = wanted.document.spec.type
        self._refusal = None
        self._tries = 0
        if self.served.state != "connecting":
            self.served.error = None

    def _healthy(self) -> None:
        self._tries = 0
        self._was_ready = True
        self._say("ready")
        if self._is_undecided():
            self._finish(End("applied"))

    def _unhealthy(self, state: Literal["unavailable", "rejected"], error: PannierError) -> None:
        self._say(state, str(error))
        if self._is_undecided():
            decided: EndState = "pending" if state == "unavailable" else "rejected"
            self._finish(End(decided, error.code, str(error)))

    def _is_undecided(self) -> bool:
        """Whether it is the health of what runs that decides what became of what is wanted."""
        if self.running is not self._wanted or self._refusal is not None:
            return False
        return self.end is None or self.end.state != "applied"

    def _refused(
        self, reason: str, state: Literal["pending", "rejected"], code: str = "invalid-config"
    ) -> None:
        """Note why the newest configuration does not run; said once for each new reason."""
        if reason != self._refusal:
            log.warning(f"store {self.served.name}: {state}: {reason}")
        self._refusal = reason
        if self.served.state in ("ready", "connecting"):
            self.served.error = reason
        self._finish(End(state, code, reason))

    def _say(self, state: StoreState, trouble: str | None = None) -> None:
        """Set the store's state, and as its error what troubles it or what was refused."""
        served = self.served
        said_already = state == "rejected" and trouble is None
        if state != served.state and not said_already:
            level = logging.INFO if state in ("ready", "connecting") else logging.WARNING
            if served.type == "memory" and level == logging.INFO:
                level = logging.DEBUG  # It cannot but be ready.
            # Formatted here: the log keeps repeated messages back by their unformatted text.
            log.log(level, f"store {served.name}: {state}{f': {trouble}' if trouble else ''}")
        served.state = state
        served.error = trouble or self._refusal

    def _finish(self, end: End, *, count: bool = False) -> None:
        """Decide what became of the wanted configuration; each new end is counted once."""
        if count or self.end is None or self.end.state != end.state:
            self._ended(end)
        self.end = end
        self._decided.set()

    def _backoff(self) -> float:
        """Seconds until the next try: doubled each time, with jitter."""
        delay = min(RETRY_LAST, RETRY_FIRST * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return delay * (0.75 + 0.25 * self._random())

    def _ping_every(self) -> float:
        """Seconds until a healthy backend is pinged again.

        A ping uses a connection of the pool. Where the pool may shrink to none, pings must not
        keep its last connection from ever being idle for long enough.
        """
        pool = self.running.document.spec.pool if self.running is not None else None
        if pool is None or pool.min_idle > 0:
            return PING_EVERY
        return max(PING_EVERY, 2 * pool.idle_timeout)

    def _needs_no_ping(self, backend: KeyValueStoreBackendBase) -> bool:
        """Whether what the operations told since the last look is as good as a ping."""
        before, self._seen = self._seen, signs_of(self.served.counts)
        return self.served.state == "ready" and tells_enough(before, self._seen, backend.stats())


async def _close(backend: KeyValueStoreBackendBase) -> None:
    """Close a backend; one that cannot be closed cleanly is left to its fate, and said."""
    try:
        await backend.close()
    except Exception as error:
        log.warning("a backend could not be closed: %s", error)
