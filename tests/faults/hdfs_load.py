"""A load of inserts on an HDFS store that remembers what each was answered, and checks it after."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from types import TracebackType
from typing import Self

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import BackendUnavailable, OutcomeUnknown, PannierError, PoolTimeout
from pannier.operations import ALWAYS, IF_ABSENT, Condition, Outcome

SCHEMA = "Load"


class InsertLoad:
    """Workers that insert one new key after another while the block runs."""

    def __init__(self, store: HDFSStoreBackend, workers: int = 6) -> None:
        self.store = store
        self.answers: dict[str, str] = {}
        """Key -> "created", or the code of the error that its insert ended in."""
        self.slowest = 0.0
        """Seconds that the slowest insert took, whatever became of it."""
        self.surprises: list[BaseException] = []
        self._workers = workers
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.ensure_future(self._insert(worker)) for worker in range(self._workers)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        assert not self.surprises, self.surprises

    async def _insert(self, worker: int) -> None:
        number = 0
        while not self._stopping:
            key = f"{worker}-{number}"
            number += 1
            began = time.monotonic()
            try:
                done = await self.store.write(SCHEMA, key, value_of(key), IF_ABSENT)
                self.answers[key] = done.value
            except PoolTimeout:
                self.answers[key] = BackendUnavailable.code  # nothing was sent
            except (BackendUnavailable, OutcomeUnknown) as failure:
                self.answers[key] = failure.code
                await asyncio.sleep(0.02)
            except Exception as failure:
                self.surprises.append(failure)
                return
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)

    def count(self, answer: str) -> int:
        return Counter(self.answers.values())[answer]

    async def wait_for(self, answer: str, more: int, seconds: float = 30) -> None:
        """Return once `more` further inserts were answered so."""
        wanted = self.count(answer) + more
        deadline = time.monotonic() + seconds
        while self.count(answer) < wanted:
            assert time.monotonic() < deadline, f"no {answer}: {Counter(self.answers.values())}"
            assert not self.surprises, self.surprises
            await asyncio.sleep(0.02)

    async def check(self, store: HDFSStoreBackend) -> None:
        """What was acknowledged is there, what was said not to be done is not, and no third."""
        keys = list(self.answers)
        values = await patiently(store, keys)
        lost = [
            key
            for key, value in zip(keys, values, strict=True)
            if self.answers[key] == Outcome.CREATED.value and value != value_of(key)
        ]
        assert not lost, f"acknowledged and gone: {lost}"
        ghosts = [
            key
            for key, value in zip(keys, values, strict=True)
            if self.answers[key] == BackendUnavailable.code and value is not None
        ]
        assert not ghosts, f"said not to be done, and done: {ghosts}"
        wrong = [key for key, value in zip(keys, values) if value not in (None, value_of(key))]
        assert not wrong


def value_of(key: str) -> bytes:
    return b'{"key": "%s", "filling": "%s"}' % (key.encode(), b"x" * 200)


async def patiently(
    store: HDFSStoreBackend, keys: list[str], seconds: float = 30
) -> list[bytes | None]:
    """Read all keys; HDFS may take a moment to serve every file after a node came back."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await store.read_many(SCHEMA, keys)
        except PannierError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def eventually_writes(
    store: HDFSStoreBackend,
    key: str,
    value: bytes = b"1",
    condition: Condition = ALWAYS,
    *,
    schema: str = SCHEMA,
    seconds: float = 30,
) -> Outcome:
    """What the first write answers that the store takes by itself again."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BackendUnavailable, PoolTimeout):
            return await store.write(schema, key, value, condition)
        assert time.monotonic() < deadline, "the store does not recover"
        await asyncio.sleep(0.1)
