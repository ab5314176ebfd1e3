"""What is to be reconciled: keys, each at most once in the queue and by one worker at a time.

`QueueCore` decides, with the time given to it and no I/O; `WorkQueue` carries it out on asyncio. A
key that is added while it is worked on is worked on again; one that failed waits, twice as long
each time, unless something new is heard of it.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

FIRST_WAIT: Final = 0.2
LONGEST_WAIT: Final = 60.0
"""Seconds before a key that failed is tried again: doubling, plus up to a half by chance."""

KeyT = TypeVar("KeyT", bound=Hashable)


class QueueCore(Generic[KeyT]):
    """The decisions of the queue. `now` is monotonic seconds."""

    def __init__(self, *, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._ready: deque[KeyT] = deque()
        self._is_ready: set[KeyT] = set()
        self._running: set[KeyT] = set()
        self._again: set[KeyT] = set()
        self._due: dict[KeyT, float] = {}
        self._timers: list[tuple[float, int, KeyT]] = []
        """A heap of what may be due; an entry counts only if `_due` agrees with it."""
        self._count = 0
        self._failures: dict[KeyT, int] = {}

    @property
    def depth(self) -> int:
        """How many keys could be worked on now, and wait for a worker."""
        return len(self._ready) + len(self._again)

    def is_idle(self) -> bool:
        """Whether nothing is worked on and nothing waits for a worker; what failed may wait."""
        return not (self._ready or self._running)

    def add(self, key: KeyT) -> None:
        """Something may be new about `key`."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._is_ready:
            self._due.pop(key, None)
            self._make_ready(key)

    def add_after(self, key: KeyT, seconds: float, now: float) -> None:
        """Look at `key` after so long, or earlier if it is added earlier or is due earlier."""
        if key in self._is_ready or key in self._again:
            return
        due = now + seconds
        if key not in self._due or due < self._due[key]:
            self._wait(key, due)

    def take(self, now: float) -> KeyT | None:
        """A key to work on; `done` or `failed` is to follow. None: there is nothing to do."""
        self._wake(now)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._is_ready.discard(key)
        self._running.add(key)
        return key

    def done(self, key: KeyT) -> None:
        """The work on `key` succeeded."""
        self._running.discard(key)
        self._failures.pop(key, None)
        self._settle(key)

    def failed(self, key: KeyT, now: float) -> float:
        """The work on `key` did not succeed. Returns the seconds until it is tried again."""
        self._running.discard(key)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait: float = min(FIRST_WAIT * 2.0 ** min(failures - 1, 20), LONGEST_WAIT)
        wait *= 1 + self._chance() / 2
        if self._settle(key):
            return 0.0
        self._wait(key, now + wait)
        return wait

    def next_due(self) -> float | None:
        """When the next waiting key is due; None: none waits."""
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _settle(self, key: KeyT) -> bool:
        if key not in self._again:
            return False
        self._again.discard(key)
        self._due.pop(key, None)
        self._make_ready(key)
        return True

    def _make_ready(self, key: KeyT) -> None:
        self._ready.append(key)
        self._is_ready.add(key)

    def _wait(self, key: KeyT, due: float) -> None:
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._timers, (due, self._count, key))

    def _wake(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._timers)[2]
            del self._due[key]
            if key in self._running:
                self._again.add(key)
            elif key not in self._is_ready:
                self._make_ready(key)


class WorkQueue(Generic[KeyT]):
    """The queue and its workers."""

    def __init__(
        self,
        work: Callable[[KeyT], Awaitable[None]],
        *,
        workers: int,
        complain: Callable[[KeyT, Exception, float], None],
    ) -> None:
        """`complain` is told of work that failed, and in how many seconds it is tried again."""
        self._complain = complain
        self._core: QueueCore[KeyT] = QueueCore()
        self._work = work
        self._workers = workers
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._core.depth

    def is_idle(self) -> bool:
        """Whether everything that was added has been worked on."""
        return self._core.is_idle()

    def add(self, key: KeyT) -> None:
        """Have `key` worked on."""
        self._core.add(key)
        self._news.set()

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Have `key` worked on after so long, if nothing makes it earlier."""
        self._core.add_after(key, seconds, self._now())
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                self._news.clear()
                while len(self._tasks) < self._workers:
                    key = self._core.take(self._now())
                    if key is None:
                        break
                    task = asyncio.create_task(self._one(key), name=f"reconcile {key}")
                    self._tasks.add(task)
                    task.add_done_callback(self._ended)
                await self._something()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _something(self) -> None:
        """Wait for a new key, a free worker or a due key."""
        due = self._core.next_due()
        full = len(self._tasks) >= self._workers
        wait = None if due is None or full else max(0.0, due - self._now())
        try:
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _one(self, key: KeyT) -> None:
        try:
            await self._work(key)
        except Exception as error:
            self._complain(key, error, self._core.failed(key, self._now()))
        else:
            self._core.done(key)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._news.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
