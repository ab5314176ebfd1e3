"""The Redis store as each kind of user has it, behind one awaitable face for tests.

`asyncio`: the library's async store. `threads`: the sync store, each call in a thread. `grouped`:
the sidecar's, whose single-record operations go by callback and in groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from pannier.aio.stores.grouped_cluster import GroupedClusterStore
from pannier.aio.stores.grouped_records import GroupedRecords
from pannier.aio.stores.grouped_redis import GroupedRedisStore
from pannier.aio.stores.redis import RedisStoreBackend
from pannier.operations import ALWAYS
from pannier.sync.stores.redis import RedisStoreBackend as ThreadedRedisStoreBackend

SIDES = ["asyncio", "threads", "grouped"]


class InThreads:
    """A sync store whose methods are awaited: each runs in a thread."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found) or name in ("stats", "pools"):
            return found
        return partial(asyncio.to_thread, found)


class ByCallback(GroupedRecords):
    """Has a store of the sidecar submit what it is awaited for: read, write and erase."""

    async def read(self, schema: str, key: str) -> bytes | None:
        return await answer_to(self.submit_read, schema, key)

    async def write(self, schema: str, key: str, value: bytes, condition: Any = ALWAYS) -> Any:
        return await answer_to(self.submit_write, schema, key, value, condition)

    async def erase(self, schema: str, key: str, condition: Any = ALWAYS) -> Any:
        return await answer_to(self.submit_erase, schema, key, condition)


async def answer_to(submit: Callable[..., Any], *arguments: Any) -> Any:
    """What the operation is answered; cancelled, it is abandoned."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(result: Any, error: Exception | None) -> None:
        assert not future.done() or future.cancelled(), "told twice"
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    operation = submit(*arguments, done)
    try:
        return await future
    except asyncio.CancelledError:
        operation.abandon()
        raise


class GroupedRedis(ByCallback, GroupedRedisStore):
    """The sidecar's store on one server."""


class GroupedCluster(ByCallback, GroupedClusterStore):
    """The sidecar's store on a cluster."""


def on_side(side: str, **settings: Any) -> Any:
    """A store of that side, made from the constructor's keywords."""
    if side == "threads":
        return InThreads(ThreadedRedisStoreBackend(**settings))
    if side == "grouped":
        return GroupedRedis(**settings)
    return RedisStoreBackend(**settings)


@pytest.fixture(params=SIDES)
async def redis_store(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """`redis_store(**settings)` makes a store of the side this test runs on, closed at its end."""
    async with AsyncExitStack() as opened:

        def make(**settings: Any) -> Any:
            store = on_side(request.param, **settings)
            opened.push_async_callback(store.close)
            return store

        yield make
