"""A cluster's store while its nodes change: its pools, its walks, and nodes that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pannier.aio.stores import cluster_pools, redis_cluster
from pannier.aio.stores.cluster_pools import ClusterPools
from pannier.aio.stores.grouped_cluster import GroupedClusterStore
from pannier.aio.stores.redis_cluster import LEARN_DIALS, RedisClusterStoreBackend
from pannier.errors import BackendUnavailable, InvalidCursor, PannierError
from pannier.redis.slots import SLOTS, Node

A: Node = ("n", 7001)
B: Node = ("n", 7002)
C: Node = ("n", 7003)
D: Node = ("n", 7004)


class SlowConnector:
    """A connector whose end can be held up."""

    gate: asyncio.Event

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self.timeout = timeout

    async def connect(self) -> None: ...

    async def disconnect(self) -> None:
        await self.gate.wait()

    async def is_connected(self) -> bool:
        return True

    def looks_alive(self) -> bool:
        return True


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> ClusterPools:
    SlowConnector.gate = asyncio.Event()
    monkeypatch.setattr(cluster_pools, "RedisConnector", SlowConnector)
    return ClusterPools({"timeout": 5.0}, None, None, {"max_connections": 2})


async def used(pools: ClusterPools, *nodes: Node) -> None:
    """Have one connection borrowed and given back at each node."""
    for node in nodes:
        async with pools.of(node).connection():
            pass


def granted(pools: ClusterPools) -> int:
    """How many connections were ever lent, as the metrics sum it up."""
    return sum(sum(pool.timings.acquire.counts) for pool in pools.all())


async def test_no_total_steps_back_while_a_pool_is_closed_nor_where_that_is_cancelled(
    pools: ClusterPools,
) -> None:
    await used(pools, A, B)
    assert granted(pools) == 2
    closing = asyncio.create_task(pools.keep_only([A]))
    await asyncio.sleep(0)
    assert granted(pools) == 2, "its connections are being closed"
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert granted(pools) == 2
    SlowConnector.gate.set()
    await pools.close()
    assert granted(pools) == 2


async def test_two_looks_at_the_slots_may_close_the_same_pools(pools: ClusterPools) -> None:
    await used(pools, A, B, C)
    looks = [asyncio.create_task(pools.keep_only([A])) for _ in range(2)]
    await asyncio.sleep(0)
    SlowConnector.gate.set()
    await asyncio.gather(*looks)
    assert granted(pools) == 3
    assert sum(pool.stats()["max"] for pool in pools.all()) == 2
    await pools.close()


async def test_settings_no_pool_can_have_are_refused_before_there_is_a_pool(
    pools: ClusterPools,
) -> None:
    with pytest.raises(ValueError, match="max_connections"):
        await pools.reconfigure(5.0, max_connections=0)
    assert pools.of(A).stats()["max"] == 2
    await pools.close()


async def test_a_changed_timeout_counts_for_dialing_too(pools: ClusterPools) -> None:
    SlowConnector.gate.set()
    pools.of(A)
    await pools.reconfigure(0.5, connection_timeout=2.0)
    for node in (A, B):
        async with pools.of(node).connection() as connector:
            assert connector.timeout == 0.5
    await pools.close()


class Walked(RedisClusterStoreBackend):
    """Each master holds one schema, named by its port."""

    async def _step(self, *_: Any, server: Node | None = None) -> tuple[str, Any]:
        assert server is not None
        port = self._still_master(server)[1]
        return f"run-{port}", [b"0", [b"pannier:S%d" % port]]

    async def _counts(self, names: Any) -> list[int]:
        return [1 for _ in names]


def have(store: RedisClusterStoreBackend, *masters: Node) -> None:
    """The masters share the slots."""
    store._slots.learn(
        [[SLOTS * n // len(masters), SLOTS * (n + 1) // len(masters) - 1, [host.encode(), port]]
         for n, (host, port) in enumerate(masters)], A,
    )  # fmt: skip


async def test_a_list_of_schemas_leaves_out_no_master_after_a_failover() -> None:
    store = Walked(["n:7001"])
    store.is_open = True
    have(store, A, B, C)
    first = await store.schemas(None, 1)
    assert first.schemas == [("S7001", 1)]
    second = await store.schemas(first.next, 1)
    assert second.schemas == [("S7002", 1)]
    have(store, B, C, D)  # what A had is at D, so the second master is another one
    with pytest.raises(InvalidCursor):
        await store.schemas(first.next, 1)
    await store.close()


class InBuckets(Walked):
    """What each master lists of one schema in two buckets of five records each."""

    listed: dict[Node, list[bytes]]

    async def _step(self, *_: Any, server: Node | None = None) -> tuple[str, Any]:
        assert server is not None
        return "run", [b"0", self.listed[server]]

    async def _counts(self, names: Any) -> list[int]:
        return [5 for _ in names]


@pytest.mark.parametrize("listed", [
    {A: [b"pannier:S:0"], B: [b"pannier:S:1"]},
    {A: [b"pannier:S:1"], B: [b"pannier:S:0"]},
    {A: [], B: [b"pannier:S:1"]},  # the first bucket moved to A, when A had been walked
])  # fmt: skip
async def test_a_schema_is_listed_once_though_its_first_bucket_moves_meanwhile(
    listed: dict[Node, list[bytes]],
) -> None:
    store = InBuckets(["n:7001"], hash_buckets=2)
    store.is_open, store.listed = True, listed
    have(store, A, B)
    page = await store.schemas(None, 10)
    assert (page.schemas, page.next) == ([("S", 10)], None)
    await store.close()


@pytest.fixture
async def hanging() -> AsyncIterator[Callable[[int], Any]]:
    """`hanging(count)`: ports where connections are taken and nothing is answered, and by port
    how many were taken."""
    async with AsyncExitStack() as opened:

        async def listen(count: int) -> dict[int, int]:
            taken: dict[int, int] = {}

            def protocol() -> asyncio.Protocol:
                class Silent(asyncio.Protocol):
                    def connection_made(self, transport: Any) -> None:
                        taken[transport.get_extra_info("sockname")[1]] += 1

                return Silent()

            for _ in range(count):
                server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
                opened.callback(server.close)
                taken[server.sockets[0].getsockname()[1]] = 0
            return taken

        yield listen


async def test_nodes_that_hang_are_not_waited_for_one_by_one(
    hanging: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, who asks goes on; and none of them is left out for ever."""
    monkeypatch.setattr(redis_cluster, "LEARN_PAUSE", 0.0)
    taken = await hanging(8)
    store = RedisClusterStoreBackend(
        [f"127.0.0.1:{port}" for port in taken], connection_timeout=0.2, request_timeout=0.2
    )
    with pytest.raises(BackendUnavailable, match="No node"):
        await store.read("S", "a")
    assert list(taken.values()) == [1] * 8, "nothing is known yet, so all are asked"
    have(store, *(("127.0.0.1", port) for port in taken))
    await store._learn()
    assert 9 <= sum(taken.values()) <= 8 + LEARN_DIALS
    for _ in range(8):
        await store._learn()
    assert min(taken.values()) > 1, "each was asked in its turn"
    await store.close()


async def test_an_answer_at_the_opening_that_nobody_can_read_ends_the_operation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def nonsense(*_: Any, **__: Any) -> list[Any]:
        return [7]

    store = GroupedClusterStore(["n:7001"])
    monkeypatch.setattr(store, "_ask_each", nonsense)
    ended: asyncio.Future[PannierError | None] = asyncio.get_running_loop().create_future()
    store.submit_read("S", "a", lambda _, error: ended.set_result(error))
    error = await asyncio.wait_for(ended, 10)
    assert error is not None and error.code == "backend-refused"
    assert "could not be read" in caplog.text
    await store.close()
