"""Writes that wait for replicas: acknowledged is what a replica has too, the rest is unknown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zlib import crc32

import pytest

from pannier.aio.stores.redis_cluster import RedisClusterStoreBackend
from pannier.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from pannier.operations import IF_ABSENT, IF_PRESENT, Outcome, Write, if_match
from pannier.sync.stores.redis_cluster import RedisClusterStoreBackend as ThreadedCluster
from tests.faults.redis_load import SCHEMA, Load
from tests.real.redis import RedisServer, until
from tests.real.redis_cluster import raw, redis_cluster_of
from tests.real.redis_sides import GroupedCluster, InThreads, redis_store
from tests.real.sidecar import Sidecar, sidecar

__all__ = ["redis_store"]

Opener = Callable[..., Any]
PREFIX = "wait:"
HASH = PREFIX + SCHEMA


@dataclass
class Pair:
    """A master and its replica."""

    master: RedisServer
    replica: RedisServer

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "port": self.master.port, "key_prefix": PREFIX, "max_connections": 4,
            "connection_timeout": 5.0, "request_timeout": 10.0,
            "wait_replicas": 1, "wait_timeout": 10.0,
        } | more  # fmt: skip

    def held(self, key: str) -> Any:
        return self.master.call("HGET", HASH, key)


@pytest.fixture
def pair(own_redis: Callable[..., RedisServer]) -> Pair:
    fast = ("--repl-diskless-sync-delay", "0")
    master = own_redis(*fast)
    replica = own_redis(*fast, "--replicaof", f"127.0.0.1 {master.port}")
    until(
        lambda: replica.client().info("replication")["master_link_status"] == "up",
        "the replica follows", 30,
    )  # fmt: skip
    return Pair(master, replica)


async def test_what_is_acknowledged_is_on_the_replica(redis_store: Opener, pair: Pair) -> None:
    load = Load(redis_store(**pair.settings()))
    async with load.running():
        await load.progress(200, 60)
        # Dies under load: whatever was acknowledged must be on the replica at this moment.
        pair.master.kill()
    assert set(load.errors) <= {"backend-unavailable", "outcome-unknown", "pool-exhausted"}
    load.check(pair.replica, PREFIX)


async def test_a_paused_replica_makes_writes_unknown_and_the_master_has_them(
    redis_store: Opener, pair: Pair
) -> None:
    patient = redis_store(**pair.settings())
    store = redis_store(**pair.settings(wait_timeout=0.2))
    assert await patient.write(SCHEMA, "old", b"0") is Outcome.CREATED
    pair.replica.pause()
    before = time.monotonic()
    with pytest.raises(OutcomeUnknown) as caught:
        await store.write(SCHEMA, "new", b"1")
    assert time.monotonic() - before >= 0.19, "the replica is waited for"
    said = str(caught.value)
    assert "done on the Redis master" in said
    assert "0 of 1 replicas had it within 0.2 s" in said
    assert pair.held("new") == b"1"
    for write in (
        store.write(SCHEMA, "old", b"1", IF_PRESENT),
        store.write(SCHEMA, "inserted", b"1", IF_ABSENT),
        store.erase(SCHEMA, "new"),
    ):
        with pytest.raises(OutcomeUnknown):
            await write
    assert [pair.held(key) for key in ("old", "inserted", "new")] == [b"1", b"1", None]
    # What changed nothing needs no replica, and what was not done is no unknown.
    assert await store.write(SCHEMA, "old", b"2", IF_ABSENT) is Outcome.PRESENT
    assert await store.write(SCHEMA, "none", b"2", IF_PRESENT) is Outcome.ABSENT
    assert await store.write(SCHEMA, "old", b"2", if_match("0" * 40)) is Outcome.MISMATCH
    assert await store.erase(SCHEMA, "none") is Outcome.ABSENT
    pair.replica.resume()
    assert await patient.write(SCHEMA, "new", b"2") is Outcome.CREATED
    assert pair.replica.call("HGET", HASH, "new") == b"2"


async def test_batches_are_waited_for_as_one(redis_store: Opener, pair: Pair) -> None:
    patient = redis_store(**pair.settings())
    store = redis_store(**pair.settings(wait_timeout=0.2))
    writes = [Write(f"k{number}", b"1") for number in range(10)]
    assert await patient.write_many(SCHEMA, writes) == [Outcome.CREATED] * 10
    assert await patient.write_many(SCHEMA, writes, atomic=True) == [Outcome.REPLACED] * 10
    assert pair.replica.client().hlen(HASH) == 10
    pair.replica.pause()
    before = time.monotonic()
    mixed = [Write("k0", b"2"), Write("k1", b"2", IF_ABSENT), Write("none", None)]
    results = await store.write_many(SCHEMA, mixed)
    assert time.monotonic() - before < 5, "one wait for all"
    assert isinstance(results[0], OutcomeUnknown)
    assert results[1:] == [Outcome.PRESENT, Outcome.ABSENT]
    with pytest.raises(OutcomeUnknown):
        await store.write_many(SCHEMA, [Write("k2", b"2"), Write("k3", b"2")], atomic=True)
    refused = [Write("k4", b"2"), Write("k5", b"2", IF_ABSENT)]
    assert await store.write_many(SCHEMA, refused, atomic=True) == [
        Outcome.REPLACED, Outcome.PRESENT,
    ]  # fmt: skip
    assert [pair.held(f"k{number}") for number in range(6)] == [
        b"2", b"1", b"2", b"2", b"1", b"1",
    ]  # fmt: skip


async def test_reads_wait_for_no_replica(redis_store: Opener, pair: Pair) -> None:
    store = redis_store(**pair.settings(wait_timeout=5.0))
    await store.write(SCHEMA, "a", b"1")
    pair.replica.pause()
    write = asyncio.create_task(store.write(SCHEMA, "b", b"2"))
    await asyncio.to_thread(until, lambda: pair.held("b") == b"2", "the write is on the master")
    values = await asyncio.gather(*(store.read(SCHEMA, "a") for _ in range(20)))
    assert values == [b"1"] * 20
    assert not write.done(), "the write still waits"
    pair.replica.resume()
    assert await write is Outcome.CREATED


async def test_a_lost_connection_while_it_waits_is_unknown(redis_store: Opener, pair: Pair) -> None:
    store = redis_store(**pair.settings(wait_timeout=30.0))
    await store.write(SCHEMA, "a", b"1")
    pair.replica.pause()
    write = asyncio.create_task(store.write(SCHEMA, "b", b"2"))
    await asyncio.to_thread(until, lambda: pair.held("b") == b"2", "the write is on the master")
    pair.master.call("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(OutcomeUnknown, match="connection was lost"):
        await write
    assert pair.held("b") == b"2"
    pair.replica.resume()


async def test_a_master_made_a_replica_while_it_waits_is_unknown(
    redis_store: Opener, pair: Pair
) -> None:
    store = redis_store(**pair.settings(wait_timeout=30.0))
    await store.write(SCHEMA, "a", b"1")
    pair.replica.pause()
    write = asyncio.create_task(store.write(SCHEMA, "b", b"2"))
    await asyncio.to_thread(until, lambda: pair.held("b") == b"2", "the write is on the master")
    pair.master.call("REPLICAOF", "127.0.0.1", str(pair.replica.port))
    with pytest.raises(OutcomeUnknown, match=r"not wait for its replicas|connection was lost"):
        await write
    with pytest.raises(BackendUnavailable, match="READONLY"):
        await store.write(SCHEMA, "c", b"3")
    pair.replica.resume()


async def test_a_user_without_wait_is_told_at_first_use(redis_store: Opener, pair: Pair) -> None:
    acl = ("ACL", "SETUSER", "shop", "on", ">secret", "~*", "+@all")
    pair.master.call(*acl, "-wait")
    login = {"username": "shop", "password": "secret"}
    store = redis_store(**pair.settings(**login))
    with pytest.raises(BackendRefused, match=r"extend the user's ACL by \+wait"):
        await store.write(SCHEMA, "a", b"1")
    assert pair.held("a") is None
    pair.master.call(*acl)
    assert await store.write(SCHEMA, "a", b"1") is Outcome.CREATED
    # Taken away in mid-life: what is written is on the master, and nobody knows about replicas.
    pair.master.call(*acl, "-wait")
    with pytest.raises(OutcomeUnknown, match="did not wait for its replicas"):
        await store.write(SCHEMA, "b", b"1")
    assert pair.held("b") == b"1"


CLUSTERS: dict[str, Callable[..., Any]] = {
    "asyncio": RedisClusterStoreBackend,
    "threads": lambda **settings: InThreads(ThreadedCluster(**settings)),
    "grouped": GroupedCluster,
}


@pytest.mark.parametrize("side", CLUSTERS)
async def test_a_cluster_waits_for_the_replica_of_each_master_written_to(
    side: str, tmp_path: Path
) -> None:
    with redis_cluster_of(tmp_path) as cluster:
        settings: dict[str, Any] = {
            "nodes": cluster.addresses, "key_prefix": PREFIX, "hash_buckets": 16,
            "request_timeout": 10.0, "wait_replicas": 1, "wait_timeout": 3.0,
        }  # fmt: skip
        async with AsyncExitStack() as opened:
            store = CLUSTERS[side](**settings)
            opened.push_async_callback(store.close)
            writes = [Write(f"k{number}", b"1") for number in range(60)]
            assert await store.write_many(SCHEMA, writes) == [Outcome.CREATED] * 60
            assert await store.write(SCHEMA, "a", b"1") is Outcome.CREATED
            master = cluster.owner_of(f"{HASH}:{crc32(b'k0') % 16}")
            (port,) = {int(replica[1]) for replica in raw(master, "ROLE")[2]}
            next(node for node in cluster.nodes if node.port == port).pause()
            results = await store.write_many(SCHEMA, writes)
            for number, result in enumerate(results):
                owner = cluster.owner_of(f"{HASH}:{crc32(b'k%d' % number) % 16}")
                if owner is master:
                    assert isinstance(result, OutcomeUnknown), "its replica is paused"
                else:
                    assert result is Outcome.REPLACED
            with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
                await store.write(SCHEMA, "k0", b"1")
            assert await store.read(SCHEMA, "k0") == b"1"


DOCUMENT = """
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: shop}
spec: {type: redis, redis: {host: 127.0.0.1, port: %d, keyPrefix: "wait:"%s}}
"""


ATOMIC = (
    b'{"operations": [{"op": "put", "key": "c", "record": 1},'
    b'{"op": "put", "key": "d", "record": 1}], "atomic": true}'
)


@pytest.mark.parametrize("lane", ["fast lane", "aiohttp's"])
def test_the_sidecar_answers_504_for_every_kind_of_write_and_reads_on(
    lane: str, pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(DOCUMENT % (pair.master.port, ", waitReplicas: {count: 1, timeout: 100ms}"))
    more = [] if lane == "fast lane" else ["--no-fast-lane"]
    with sidecar(tmp_path, "--config", str(file), *more) as running:
        pair.replica.pause()
        for method, place, body in (
            ("PUT", "/a", b'{"n": 1}'), ("PATCH", "/a", b'{"n": 2}'), ("DELETE", "/a", None),
            ("POST", "", b'{"key": "b", "record": 1}'),
            ("POST", ":batchWrite", ATOMIC),
        ):  # fmt: skip
            status, problem = call(running, method, place, body)
            assert (status, problem["code"]) == (504, "outcome-unknown"), (method, place, problem)
            assert "done on the Redis master, but 0 of 1 replicas had it" in problem["detail"]
        status, answer = call(
            running, "POST", ":batchWrite",
            b'{"operations": [{"op": "put", "key": "c", "record": 2},'
            b'{"op": "insert", "key": "d", "record": 2}]}',
        )  # fmt: skip
        assert [result["status"] for result in answer["results"]] == [504, 409]
        assert [pair.held(key) for key in "abcd"] == [None, b"1", b"2", b"1"]
        assert call(running, "GET", "/c") == (200, 2)
        assert call(running, "DELETE", "/a")[0] == 404, "nothing was changed"
        # Waited for no more by a reload; a rebuilt store takes the place of the old one.
        file.write_text(DOCUMENT % (pair.master.port, ""))
        until(lambda: call(running, "PUT", "/a", b"1")[0] in (201, 204), "no wait any more", 20)


def call(running: Sidecar, method: str, place: str, body: bytes | None = None) -> tuple[int, Any]:
    request = Request(f"{running.url}/v1/shop/{SCHEMA}{place}", body, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


@pytest.mark.parametrize("given", [
    {"wait_replicas": -1}, {"wait_replicas": 17}, {"wait_replicas": 1, "wait_timeout": 0},
])  # fmt: skip
def test_a_wait_that_cannot_be_is_refused_at_once(redis_store: Opener, given: Any) -> None:
    with pytest.raises(ValueError, match=r"wait_(replicas|timeout) is"):
        redis_store(**given)
