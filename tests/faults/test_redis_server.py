"""Faults of the Redis server itself, under load, on the three faces of the store.

Each shows the right error, tells "not done" from "unknown" truthfully (compared with what the
server holds), mixes up no answers, and is over by itself when the fault is.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from pannier.errors import (
    BackendUnavailable,
    InvalidCursor,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    PoolTimeout,
)
from pannier.operations import IF_PRESENT, Outcome, Write
from tests.faults.redis_load import SCHEMA, Load, eventually, works_again
from tests.real.programs import free_port
from tests.real.proxy import proxy
from tests.real.redis import ALWAYS_SYNCED, RedisServer
from tests.real.redis_sides import redis_store

__all__ = ["redis_store"]

Opener = Callable[..., Any]
OwnRedis = Callable[..., RedisServer]
PREFIX = "fault:"

NOTHING_DONE = {"backend-unavailable", "pool-exhausted"}


def settings(server: RedisServer, **more: Any) -> dict[str, Any]:
    return {
        "port": server.port, "key_prefix": PREFIX, "max_connections": 4,
        "connection_timeout": 2.0, "request_timeout": 2.0,
    } | more  # fmt: skip


async def test_killed_and_restarted_it_has_every_acknowledged_write(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis(*ALWAYS_SYNCED)
    load = Load(redis_store(**settings(server)))
    async with load.running():
        for _ in range(2):
            await load.progress()
            server.kill()
            await load.failures()
            server.start()
        await load.progress()
    assert set(load.errors) <= NOTHING_DONE | {"outcome-unknown"}
    load.check(server, PREFIX)


async def test_paused_it_ends_every_operation_in_bounded_time_and_answers_later_ones_rightly(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    load = Load(redis_store(**settings(server, request_timeout=0.3, connection_timeout=0.5)))
    async with load.running():
        await load.progress()
        server.pause()
        await load.failures(30)
        server.resume()
        await load.progress()
    assert load.errors["outcome-unknown"] + load.errors["timeout"] > 0
    assert set(load.errors) <= NOTHING_DONE | {"outcome-unknown", "timeout"}
    # The wait for a connection, and for its answer, with room for a busy machine.
    assert load.slowest < 0.5 + 0.3 + 1.5
    load.check(server, PREFIX)


async def test_paused_a_read_times_out_and_a_write_is_unknown(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    store = redis_store(**settings(server, request_timeout=0.2, connection_timeout=0.4))
    await store.write(SCHEMA, "a", b"1")
    server.pause()
    with pytest.raises(OperationTimeout):
        await store.read(SCHEMA, "a")
    # Its one connection is closed now: nobody else dials a server that does not answer.
    with pytest.raises((BackendUnavailable, PoolTimeout)):
        await store.write(SCHEMA, "b", b"2")
    server.resume()
    await works_again(store)
    server.pause()
    with pytest.raises(OutcomeUnknown):
        await store.write(SCHEMA, "a", b"3")
    server.resume()
    await works_again(store)
    assert server.call("HGET", PREFIX + SCHEMA, "a") == b"3", "unknown, and it was done"
    assert server.call("HGET", PREFIX + SCHEMA, "b") is None, "refused, and it was not"


async def test_clients_killed_at_random_lose_nothing_and_mix_up_nothing(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    load = Load(redis_store(**settings(server)))
    rounds = random.Random(1)
    async with load.running():
        for _ in range(40):
            await load.progress(rounds.randrange(1, 20))
            victims = [c["id"] for c in server.client().client_list() if c["cmd"] != "client|list"]
            if victims:
                server.call("CLIENT", "KILL", "ID", rounds.choice(victims))
        await load.progress()
    # A read is tried once more, so what fails is a write whose answer was cut, which is unknown.
    assert set(load.errors) <= {"outcome-unknown", "backend-unavailable"}
    assert len(load.acknowledged) > load.errors.total()
    load.check(server, PREFIX)


async def test_restarted_while_idle_it_is_used_again_without_an_error(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis(*ALWAYS_SYNCED)
    store = redis_store(**settings(server))
    await store.write(SCHEMA, "a", b"1")
    server.kill()
    server.start()
    # The pool sees that the idle connections have ended, and a write is not tried on them.
    await asyncio.sleep(0)
    assert await store.write(SCHEMA, "a", b"2") is Outcome.REPLACED
    assert await store.read(SCHEMA, "a") == b"2"


async def test_loading_it_is_unavailable_and_then_serves_by_itself(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis(*ALWAYS_SYNCED)
    pipeline = server.client().pipeline(transaction=False)
    for number in range(20_000):  # it looks up from loading after each 1024 commands
        pipeline.hset(PREFIX + SCHEMA, f"k{number}", "x" * 70)
    pipeline.execute()
    store = redis_store(**settings(server))
    assert await store.read(SCHEMA, "k1") is not None
    server.kill()
    server.start(
        "--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024", wait=False
    )
    seen: set[str] = set()
    async with asyncio.timeout(20):
        while "LOADING" not in str(seen):
            try:
                await store.write(SCHEMA, "new", b"1")
            except BackendUnavailable as error:
                seen.add(str(error))
    server.call("CONFIG", "SET", "key-load-delay", "0")
    await works_again(store)
    assert await store.read(SCHEMA, "k1") == b"x" * 70


async def test_a_changed_password_is_unavailable_until_it_is_the_stores_again(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    server.call("CONFIG", "SET", "requirepass", "first-secret")
    server.password = "first-secret"
    load = Load(redis_store(**settings(server, password="first-secret")))
    async with load.running():
        await load.progress()
        server.call("CONFIG", "SET", "requirepass", "second-secret")
        server.password = "second-secret"
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(
            lambda: "refused the login" in str(load.messages), f"a refusal: {load.messages}"
        )
        server.call("CONFIG", "SET", "requirepass", "first-secret")
        server.password = "first-secret"
        await load.progress()
    assert set(load.errors) <= NOTHING_DONE | {"outcome-unknown"}
    assert "secret" not in str(load.messages)
    load.check(server, PREFIX)


async def test_a_full_server_refuses_writes_as_store_full_and_serves_the_rest(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis("--maxmemory-policy", "noeviction")
    load = Load(redis_store(**settings(server)))
    async with load.running():
        await load.progress()
        server.call("CONFIG", "SET", "maxmemory", "1mb")
        await load.failures(30)
        some = next(iter(load.acknowledged))
        with pytest.raises(PannierError) as refused:
            await load.store.write(SCHEMA, some, b"{}", IF_PRESENT)
        assert refused.value.code == "store-full"
        assert await load.store.read(SCHEMA, some) == load.acknowledged[some]
        assert await load.store.erase(SCHEMA, some) is Outcome.DELETED
        del load.acknowledged[some]
        load.mixed_up.clear()  # a worker may have asked for it just then
        server.call("CONFIG", "SET", "maxmemory", "0")
        await load.progress()
    load.mixed_up = [line for line in load.mixed_up if not line.startswith(f"{some}:")]
    assert set(load.errors) == {"store-full"}
    load.check(server, PREFIX)


async def test_a_read_only_server_refuses_writes_as_unavailable_and_serves_reads(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    master, server = own_redis("--repl-diskless-sync-delay", "0"), own_redis()
    store = redis_store(**settings(server))
    await store.write(SCHEMA, "a", b"1")
    master.call("HSET", PREFIX + SCHEMA, "a", "1")
    server.call("REPLICAOF", "127.0.0.1", master.port)
    for write in (store.write(SCHEMA, "a", b"2"), store.write(SCHEMA, "a", b"2", IF_PRESENT)):
        with pytest.raises(BackendUnavailable, match="READONLY"):
            await write
    await eventually(
        lambda: server.client().info("replication")["master_link_status"] == "up", "a replica"
    )
    assert await store.read(SCHEMA, "a") == b"1"
    server.call("REPLICAOF", "NO", "ONE")
    await works_again(store)


@pytest.mark.parametrize("fault", ["NOREPLICAS", "MISCONF", "MASTERDOWN", "BUSY"])
async def test_a_server_that_cannot_just_now_is_unavailable(
    fault: str, redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    store = redis_store(**settings(server))
    await store.write(SCHEMA, "a", b"1")
    busy = None
    if fault == "NOREPLICAS":
        server.call("CONFIG", "SET", "min-replicas-to-write", "1")
    elif fault == "MISCONF":
        server.call("CONFIG", "SET", "save", "1 1")
        (server.directory / "dump.rdb").mkdir()
        server.call("BGSAVE")
        await eventually(
            lambda: server.client().info("persistence")["rdb_last_bgsave_status"] == "err",
            "a failed save",
        )
    elif fault == "MASTERDOWN":
        server.call("CONFIG", "SET", "replica-serve-stale-data", "no")
        server.call("REPLICAOF", "127.0.0.1", "1")
    else:
        server.call("CONFIG", "SET", "busy-reply-threshold", "20")
        busy = asyncio.create_task(
            asyncio.to_thread(server.call, "EVAL", "while true do end", "0", socket_timeout=30)
        )
        await asyncio.to_thread(wait_until_busy, server)
    operation = store.read(SCHEMA, "a") if fault == "MASTERDOWN" else store.write(SCHEMA, "a", b"2")
    with pytest.raises(BackendUnavailable, match=fault):
        await operation
    if fault == "NOREPLICAS":
        server.call("CONFIG", "SET", "min-replicas-to-write", "0")
    elif fault == "MISCONF":
        server.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    elif fault == "MASTERDOWN":
        server.call("REPLICAOF", "NO", "ONE")
    elif busy is not None:
        server.call("SCRIPT", "KILL")
        await asyncio.wait([busy])
        assert busy.exception() is not None
    assert server.call("HGET", PREFIX + SCHEMA, "a") == b"1", "nothing was done"
    await works_again(store)


def wait_until_busy(server: RedisServer) -> None:
    """Return once the server answers that a script keeps it busy."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            server.call("PING")
        except Exception as error:
            if "BUSY" in str(error) or "busy" in str(error):
                return
        time.sleep(0.01)
    raise AssertionError("the server is not busy")


async def test_a_node_of_a_broken_cluster_is_unavailable(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with pytest.raises(BackendUnavailable, match="CLUSTERDOWN"):
        await redis_store(**settings(server)).write(SCHEMA, "a", b"1")


async def test_a_slow_server_that_answers_late_never_answers_the_next_request(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    load = Load(redis_store(**settings(server, request_timeout=0.1)))
    async with load.running():
        await load.progress()
        for _ in range(5):
            await asyncio.to_thread(server.call, "DEBUG", "SLEEP", "0.25")
            await load.progress(20)
    assert load.errors["outcome-unknown"] + load.errors["timeout"] > 0
    load.check(server, PREFIX)


async def test_a_longer_connection_timeout_lets_a_live_store_reach_a_slow_server(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    with proxy(server.port) as slow:
        slow.delay = 0.3
        store = redis_store(**settings(server, port=slow.port, connection_timeout=0.1))
        with pytest.raises((BackendUnavailable, PoolTimeout)):
            await store.read(SCHEMA, "a")
        await store.reconfigure(connection_timeout=10.0, request_timeout=10.0)
        await works_again(store)


async def test_no_process_and_no_descriptor_is_left_behind_by_an_outage(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    server = own_redis()
    load = Load(redis_store(**settings(server)))
    async with load.running():
        await load.progress()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            server.kill()
            await load.failures(20)
            server.start()
            # Not on disk, so what was acknowledged is gone: this test is about descriptors.
            await load.progress(50)
    assert len(os.listdir("/proc/self/fd")) <= before + 8


async def test_a_scan_that_meets_a_restarted_server_is_refused_and_leaves_nothing_out_unseen(
    redis_store: Opener, own_redis: OwnRedis
) -> None:
    """Each run of a server has another hash function, so its cursors mean nothing to the next."""
    server = own_redis(*ALWAYS_SYNCED)
    store = redis_store(**settings(server))
    keys = {f"k{number}" for number in range(600)}
    await store.write_many(SCHEMA, [Write(key, b'"%070d"' % 0) for key in keys])
    page = await store.scan(SCHEMA, None, 10, resumable=True)
    first = await store.scan(SCHEMA, None, 10)
    assert page.next is not None
    server.kill()
    server.start()
    for cursor in (page.next, page.cursor_after(0), first.next):
        with pytest.raises(InvalidCursor, match="restarted"):
            await store.scan(SCHEMA, cursor, 10)
    seen: set[str] = set()
    cursor = None
    while True:
        page = await store.scan(SCHEMA, cursor, 100)
        seen.update(page.keys)
        cursor = page.next
        if cursor is None:
            break
    assert seen == keys
