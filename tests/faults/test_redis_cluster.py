"""A real Redis Cluster: keys everywhere, slots on the move, a master that dies under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from pannier.aio.stores.redis_cluster import RedisClusterStoreBackend
from pannier.errors import BackendRefused, BackendUnavailable, PoolClosed, Unsupported
from pannier.operations import IF_ABSENT, IF_PRESENT, Outcome, Write, if_match
from pannier.sync.stores.redis_cluster import RedisClusterStoreBackend as ThreadedCluster
from tests.faults.redis_load import SCHEMA, Load, eventually, works_again
from tests.real.programs import free_port
from tests.real.redis import RedisServer, until
from tests.real.redis_cluster import Cluster, nodes_of, raw, redis_cluster_of
from tests.real.redis_sides import SIDES, GroupedCluster, InThreads

Opener = Any


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster_of(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(params=SIDES)
async def store(
    request: pytest.FixtureRequest, cluster: Cluster, redis_prefix: str
) -> AsyncIterator[Opener]:
    """Opens stores on the cluster."""
    async with AsyncExitStack() as opened:

        def make(**settings: Any) -> Any:
            settings = {
                "nodes": cluster.addresses[:2], "key_prefix": redis_prefix, "hash_buckets": 16,
                "max_connections": 4, "connection_timeout": 2.0, "request_timeout": 2.0,
            } | settings  # fmt: skip
            made = on_side(request.param, settings)
            opened.push_async_callback(made.close)
            return made

        yield make


def on_side(side: str, settings: dict[str, Any]) -> Any:
    """A store of that side, made from the constructor's keywords."""
    if side == "threads":
        return InThreads(ThreadedCluster(**settings))
    return GroupedCluster(**settings) if side == "grouped" else RedisClusterStoreBackend(**settings)


async def test_every_operation_reaches_the_node_that_has_the_key(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    opened = store()
    await opened.ping()
    keys = [f"k{number}" for number in range(200)]
    for key in keys[:20]:
        assert await opened.write("Cart", key, b"0", IF_ABSENT) is Outcome.CREATED
        assert await opened.write("Cart", key, b"1", IF_PRESENT) is Outcome.REPLACED
        tag = sha1(b"1").hexdigest()
        assert await opened.write("Cart", key, b"2", if_match(tag)) is Outcome.REPLACED
        assert await opened.read("Cart", key) == b"2"
    writes = [Write(key, key.encode()) for key in keys]
    results = await opened.write_many("Cart", writes)
    assert results == [Outcome.REPLACED] * 20 + [Outcome.CREATED] * 180
    assert await opened.read_many("Cart", [*keys, "none"]) == [*(k.encode() for k in keys), None]
    assert await opened.size("Cart") == 200
    seen: list[str] = []
    cursor = None
    while True:
        page = await opened.scan("Cart", cursor, 50, resumable=True)
        seen += page.keys
        cursor = page.next
        if cursor is None:
            break
    assert sorted(seen) == sorted(keys)
    client = cluster.client()
    held = [client.hlen(f"{redis_prefix}Cart:{bucket}") for bucket in range(16)]
    assert sum(held) == 200
    assert len({cluster.owner_of(f"{redis_prefix}Cart:{n}").port for n in range(16)}) == 3
    assert await opened.erase("Cart", "k0") is Outcome.DELETED


async def test_a_batch_in_several_slots_is_not_atomic_and_says_so(store: Opener) -> None:
    opened = store()
    writes = [Write(f"k{number}", b"1") for number in range(20)]
    with pytest.raises(Unsupported, match="several slots"):
        await opened.write_many("Cart", writes, atomic=True)
    assert await opened.size("Cart") == 0
    single = store(hash_buckets=1, key_prefix="one" + opened.layout.prefix)
    results = await single.write_many("Cart", writes, atomic=True)
    assert results == [Outcome.CREATED] * 20


async def test_schemas_of_all_masters_are_listed_once_each(store: Opener) -> None:
    opened = store()
    for number in range(30):
        await opened.write_many(f"Schema{number}", [Write("a", b"1"), Write("b", b"2")])
    for limit in (7, 1000):
        found, cursor = [], None
        while True:
            page = await opened.schemas(cursor, limit)
            found += page.schemas
            cursor = page.next
            if cursor is None:
                break
        assert sorted(found) == sorted((f"Schema{number}", 2) for number in range(30))


async def test_another_number_of_buckets_is_refused(store: Opener) -> None:
    await store().write("Cart", "a", b"1")
    with pytest.raises(BackendRefused, match="set hash_buckets to 16"):
        await store(hash_buckets=4).read("Cart", "a")


async def test_a_slot_that_moves_is_followed_without_an_error(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    load = Load(store(hash_buckets=1))
    name = redis_prefix + SCHEMA
    async with load.running():
        await load.progress(50)
        for _ in range(2):
            await asyncio.to_thread(lambda: Migration(cluster, name).settle())
            await load.progress(50)
    assert not load.errors, load.messages
    held = cluster.client().hgetall(name)
    assert held == {key.encode(): value for key, value in load.acknowledged.items()}
    assert not load.mixed_up


async def test_slots_that_are_half_moved_under_load_are_followed_without_an_error(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    """Each slot stays for a while where its old master has nothing of it and sends all on."""
    load = Load(store(), workers=24)
    names = [f"{redis_prefix}{SCHEMA}:{bucket}" for bucket in range(16)]
    async with load.running():
        await load.progress(100)
        for name in names[:8]:
            moving = await asyncio.to_thread(Migration, cluster, name)
            await load.progress(50)
            await asyncio.to_thread(moving.settle)
        moving_together = [await asyncio.to_thread(Migration, cluster, name) for name in names[8:]]
        await load.progress(100)
        for moving in moving_together:
            await asyncio.to_thread(moving.settle)
        await load.progress(50)
    assert not load.errors, load.messages
    client = cluster.client()
    held: dict[bytes, bytes] = {}
    for name in names:
        held |= client.hgetall(name)
    assert held == {key.encode(): value for key, value in load.acknowledged.items()}
    assert not load.mixed_up


async def test_walks_and_counts_follow_a_slot_that_is_half_moved(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    opened = store(hash_buckets=3)
    keys = [f"k{number}" for number in range(300)]
    await opened.write_many("Cart", [Write(key, b"1") for key in keys])
    moving = await asyncio.to_thread(Migration, cluster, f"{redis_prefix}Cart:1")
    try:
        seen: set[str] = set()
        page = await opened.scan("Cart", None, 50)
        seen.update(page.keys)
        while page.next is not None:
            page = await opened.scan("Cart", page.next, 50)
            seen.update(page.keys)
        assert seen == set(keys)
        assert await opened.size("Cart") == 300
        assert (await opened.schemas(None, 10)).schemas == [("Cart", 300)]
    finally:
        await asyncio.to_thread(moving.settle)


class Migration:
    """A slot on its way from its master to another one, as `redis-cli --cluster` moves it.

    Made, the key is at its new master, which serves those that are sent on with ASKING alone.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        until(lambda: agree(cluster), "all nodes know the last move", 40)
        self.cluster = cluster
        source = cluster.owner_of(name)
        self.masters = [node for node in cluster.running if raw(node, "ROLE")[0] == b"master"]
        target = next(node for node in self.masters if node is not source)
        self.slot = raw(source, "CLUSTER", "KEYSLOT", name)
        self.ids = {node.port: raw(node, "CLUSTER", "MYID").decode() for node in (source, target)}
        self.source, self.target = source, target
        raw(target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.ids[source.port])
        raw(source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.ids[target.port])
        raw(source, "MIGRATE", "127.0.0.1", target.port, name, 0, 5000)

    def settle(self) -> None:
        """Give the slot to its new master, by the word of all.

        A master that has not heard of another's last move could claim the slot with an older
        epoch, or lose it to one: so the moves go one after the other, each known to all.
        """
        until(lambda: agree(self.cluster), "all nodes know the last move", 40)
        others = (node for node in self.masters if node not in (self.source, self.target))
        for node in (self.target, self.source, *others):
            raw(node, "CLUSTER", "SETSLOT", self.slot, "NODE", self.ids[self.target.port])


def agree(cluster: Cluster) -> bool:
    """Whether all nodes say the same of every master: its epoch and its slots."""
    views = set()
    for node in cluster.running:
        lines = [line.split() for line in nodes_of(node).splitlines()]
        views.add(frozenset(
            (identity, epoch, *(one for one in slots if not one.startswith("[")))
            for identity, _, flags, _, _, _, epoch, _, *slots in lines if "master" in flags
        ))  # fmt: skip
    return len(views) == 1


@pytest.mark.parametrize("side", SIDES)
async def test_a_cluster_that_is_down_refuses_all_and_works_again_by_itself(
    tmp_path: Path, side: str
) -> None:
    """A master without a replica dies: the others serve nothing until it is back."""
    with redis_cluster_of(tmp_path, replicas=False) as cluster:
        store = on_side(side, {
            "nodes": cluster.addresses, "hash_buckets": 16, "max_connections": 4,
            "connection_timeout": 2.0, "request_timeout": 2.0,
        })  # fmt: skip
        load = Load(store)
        async with load.running():
            await load.progress(100)
            cluster.nodes[0].kill()
            await eventually(
                lambda: any("CLUSTERDOWN" in message for message in load.messages),
                "the others refuse", 30,
            )  # fmt: skip
            await load.failures(50)
            cluster.nodes[0].start()
            await eventually(lambda: cluster.is_well(), "the cluster is well", 40)
            await works_again(store)
            await load.progress(100)
        assert set(load.errors) <= {"backend-unavailable", "pool-exhausted", "outcome-unknown"}
        client = cluster.client()
        stored: dict[bytes, bytes] = {}
        for bucket in range(16):
            stored |= client.hgetall(f"pannier:{SCHEMA}:{bucket}")
        assert not {k for k, value in load.acknowledged.items() if stored.get(k.encode()) != value}
        assert not {key for key in load.refused if key.encode() in stored}
        assert not load.mixed_up
        await store.close()


async def test_a_master_that_dies_under_load_is_replaced_and_nothing_acknowledged_is_lost(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    load = Load(store())
    async with load.running():
        await load.progress()
        victim = next(n for n in cluster.running if raw(n, "ROLE")[0] == b"master")
        victim.kill()
        await eventually(lambda: cluster.is_well(), "a replica took over", 40)
        await load.progress(200, 30)
    assert set(load.errors) <= {"backend-unavailable", "pool-exhausted", "outcome-unknown"}
    client = cluster.client()
    stored: dict[bytes, bytes] = {}
    for bucket in range(16):
        stored |= client.hgetall(f"{redis_prefix}{SCHEMA}:{bucket}")
    missing = {key for key, value in load.acknowledged.items() if stored.get(key.encode()) != value}
    assert not missing
    assert not {key for key in load.refused if key.encode() in stored}
    assert not load.mixed_up
    victim.start()
    await eventually(lambda: cluster.is_well(), "it came back as a replica", 40)
    await works_again(load.store)


async def test_a_master_that_answers_nothing_is_replaced_and_left(
    store: Opener, cluster: Cluster, redis_prefix: str
) -> None:
    """A paused master keeps its connections: what waits there ends in time, what comes goes on."""
    load = Load(store(request_timeout=1.0, connection_timeout=1.0), workers=16)
    victim = next(n for n in cluster.running if raw(n, "ROLE")[0] == b"master")
    async with load.running():
        await load.progress(50)
        victim.pause()
        try:
            others = [node for node in cluster.running if node is not victim]
            await eventually(lambda: serves_all(others), "a replica took over", 40)
            await load.progress(300, 40)
        finally:
            victim.resume()
        await eventually(lambda: cluster.is_well(), "it came back as a replica", 40)
        await load.progress(50)
    assert set(load.errors) <= {
        "backend-unavailable", "pool-exhausted", "outcome-unknown", "timeout",
    }  # fmt: skip
    client = cluster.client()
    stored: dict[bytes, bytes] = {}
    for bucket in range(16):
        stored |= client.hgetall(f"{redis_prefix}{SCHEMA}:{bucket}")
    assert not {key for key in load.refused if key.encode() in stored}
    assert not load.mixed_up
    assert load.slowest < 15


def serves_all(nodes: list[RedisServer]) -> bool:
    """Whether these nodes serve all slots, three of them as masters."""
    roles = [raw(node, "ROLE")[0] for node in nodes]
    well = (b"cluster_state:ok" in raw(node, "CLUSTER", "INFO") for node in nodes)
    return roles.count(b"master") == 3 and all(well)


async def test_no_node_at_all_is_unavailable_and_a_closed_store_says_that_it_is(
    store: Opener,
) -> None:
    with pytest.raises(BackendUnavailable, match="No node of the Redis Cluster answers"):
        await store(nodes=[f"127.0.0.1:{free_port()}"]).read("Cart", "a")
    opened = store()
    await opened.write("Cart", "a", b"1")
    await opened.close()
    with pytest.raises(PoolClosed):
        await opened.read("Cart", "a")


def test_what_cannot_be_a_cluster_is_refused_at_once() -> None:
    for given in ({"nodes": []}, {"nodes": ["a:b"]}, {"nodes": ["a"], "max_connections": 0}):
        settings: dict[str, Any] = given
        with pytest.raises(ValueError, match=r"node|max_connections"):
            RedisClusterStoreBackend(**settings)
