"""Load on a Redis store while something happens to its server, with a book of what was answered."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pannier.errors import OutcomeUnknown, PannierError
from pannier.operations import IF_ABSENT, Outcome
from tests.real.redis import RedisServer

SCHEMA = "Load"
MOST = 20_000
"""Acknowledged writes of one load, so that none runs away."""


class Load:
    """Workers that insert ever new records and read acknowledged ones back.

    Each record holds its own key, so an answer that went to the wrong request is seen at once.
    """

    def __init__(self, store: Any, workers: int = 12) -> None:
        self.store = store
        self.workers = workers
        self.acknowledged: dict[str, bytes] = {}
        self.refused: set[str] = set()
        """Keys whose insert ended in an error that says that nothing was done."""
        self.unknown: set[str] = set()
        self.errors: Counter[str] = Counter()
        """Errors by code."""
        self.messages: set[str] = set()
        self.mixed_up: list[str] = []
        self.reads = 0
        self.slowest = 0.0
        """Seconds of the slowest operation, successful or not."""
        self._ends = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """The load runs inside the block."""
        tasks = [asyncio.create_task(self._work(number)) for number in range(self.workers)]
        try:
            yield self
        finally:
            self._ends = True
            await asyncio.gather(*tasks)

    async def progress(self, writes: int = 100, seconds: float = 20.0) -> None:
        """Return once `writes` more writes were acknowledged."""
        wanted = len(self.acknowledged) + writes
        await eventually(lambda: len(self.acknowledged) >= wanted, self, seconds)

    async def failures(self, count: int = 1, seconds: float = 20.0) -> None:
        """Return once `count` more operations failed."""
        wanted = self.errors.total() + count
        await eventually(lambda: self.errors.total() >= wanted, self, seconds)

    def __repr__(self) -> str:
        return f"<Load {len(self.acknowledged)} written, {dict(self.errors)}>"

    async def _work(self, worker: int) -> None:
        loop = asyncio.get_running_loop()
        mine: list[str] = []
        for number in itertools.count():
            if self._ends or len(self.acknowledged) >= MOST:
                return
            key = f"w{worker}-{number}"
            value = json.dumps({"key": key, "filler": "x" * (number % 50)}).encode()
            start = loop.time()
            try:
                outcome = await self.store.write(SCHEMA, key, value, IF_ABSENT)
            except PannierError as error:
                self._failed(error)
                (self.unknown if isinstance(error, OutcomeUnknown) else self.refused).add(key)
                await asyncio.sleep(0.005)
            else:
                self.acknowledged[key] = value
                mine.append(key)
                if outcome is not Outcome.CREATED:
                    self.mixed_up.append(f"{key}: {outcome}")
            self.slowest = max(self.slowest, loop.time() - start)
            if mine:
                await self._read(mine[number % len(mine)])

    async def _read(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            value = await self.store.read(SCHEMA, key)
        except PannierError as error:
            self._failed(error)
        else:
            self.reads += 1
            if value != self.acknowledged[key]:
                self.mixed_up.append(f"{key}: {value!r}")
        self.slowest = max(self.slowest, loop.time() - start)

    def _failed(self, error: PannierError) -> None:
        self.errors[error.code] += 1
        self.messages.add(str(error))

    def check(self, server: RedisServer, prefix: str) -> None:
        """What was answered is what the server holds; asked on a connection of the test's own."""
        held: dict[Any, Any] = server.client().hgetall(prefix + SCHEMA)  # type: ignore[assignment]
        stored = {key.decode(): value for key, value in held.items()}
        lost = {key for key, value in self.acknowledged.items() if stored.get(key) != value}
        assert not lost, f"acknowledged, and not there: {sorted(lost)[:5]} of {len(lost)}"
        done = {key for key in self.refused if key in stored}
        assert not done, f"refused as not done, and there: {sorted(done)[:5]} of {len(done)}"
        assert not self.mixed_up, self.mixed_up[:5]
        assert self.reads, "nothing was read"


async def eventually(condition: Any, what: object, seconds: float = 20.0) -> None:
    """Return once `condition()` holds, letting the event loop run."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.005)


async def works_again(store: Any, seconds: float = 20.0) -> None:
    """Return once the store reads and writes by itself, as it must after every fault."""

    async def try_until_it_works() -> None:
        while True:
            try:
                await store.write(SCHEMA, "again", b"1")
                assert await store.read(SCHEMA, "again") == b"1"
                return
            except PannierError:
                await asyncio.sleep(0.02)

    await asyncio.wait_for(try_until_it_works(), seconds)
