"""Redis behind Sentinels, failing over under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from pannier.aio.stores.redis import RedisStoreBackend
from pannier.errors import BackendUnavailable
from pannier.operations import Outcome
from tests.faults.redis_load import SCHEMA, Load, eventually, works_again
from tests.real.redis import RedisServer, answers, until
from tests.real.redis_sentinel import MASTER, Watched, watched_redis
from tests.real.redis_sides import redis_store

__all__ = ["redis_store"]

Opener = Callable[..., Any]
PREFIX = "fault:"
SLACK = 10.0
"""Seconds that a busy machine may add to what is bounded."""


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_redis(tmp_path_factory.mktemp("sentinel")) as running:
        yield running


def settings(watched: Watched, **more: Any) -> dict[str, Any]:
    return {
        "sentinels": watched.addresses, "sentinel_master": MASTER, "key_prefix": PREFIX,
        "max_connections": 4, "connection_timeout": 2.0, "request_timeout": 2.0,
    } | more  # fmt: skip


async def test_a_failover_under_load_keeps_every_acknowledged_write(
    redis_store: Opener, watched: Watched
) -> None:
    load = Load(redis_store(**settings(watched, wait_replicas=1)))
    async with load.running():
        await load.progress()
        old = watched.master
        old.kill()
        await load.progress(200, 40)
    new = watched.master
    assert new is not old
    assert set(load.errors) <= {"backend-unavailable", "pool-exhausted", "outcome-unknown"}
    load.check(new, PREFIX)
    # The old one comes back as a replica, and nobody writes to it.
    old.start()
    await works_again(load.store)
    assert watched.master is new


async def test_a_master_that_comes_to_again_is_not_gone_back_to(
    redis_store: Opener, watched: Watched
) -> None:
    """Paused, it still takes itself for the master when it goes on, until the Sentinels tell it."""
    load = Load(redis_store(**settings(watched, wait_replicas=1, request_timeout=0.5)))
    async with load.running():
        await load.progress()
        old = watched.master
        old.pause()
        await eventually(lambda: watched.has_other_master(old), "another master", 40)
        await load.progress(200, 40)
        old.resume()
        await asyncio.to_thread(until, lambda: answers(old.client()), "it goes on", 20)
        await load.progress(500, 40)
        # What it took before the pause and answers now was given up, with its connection.
        await eventually(lambda: not ours_at(old), "nobody of ours is at the old one", 20)
        await load.progress(500, 40)
        assert not ours_at(old)
    assert watched.master is not old
    assert set(load.errors) <= {
        "backend-unavailable", "pool-exhausted", "outcome-unknown", "timeout",
    }  # fmt: skip
    load.check(watched.master, PREFIX)


def ours_at(server: RedisServer) -> list[str]:
    """The connections that a store of ours holds there."""
    return [one["addr"] for one in server.client().client_list() if one["name"] == "pannier"]


async def test_a_master_made_a_replica_is_left_for_the_new_one(
    redis_store: Opener, watched: Watched
) -> None:
    store = redis_store(**settings(watched))
    await store.write(SCHEMA, "a", b"1")
    old = watched.master
    watched_port = watched.sentinels[0][0]

    redis.Redis(port=watched_port, protocol=2).execute_command("SENTINEL", "FAILOVER", MASTER)
    await eventually(lambda: watched.has_other_master(old), "another master", 40)
    await works_again(store, 30)
    await store.write(SCHEMA, "b", b"2")
    assert watched.master.call("HGET", PREFIX + SCHEMA, "b") == b"2"
    clients = [client["name"] for client in old.client().client_list()]
    await eventually(lambda: "pannier" not in clients, f"none is left at the old one: {clients}")


async def test_one_sentinel_is_enough_and_none_is_said(
    redis_store: Opener, watched: Watched
) -> None:
    stray, store, late = (
        redis_store(**settings(watched, **more)) for more in ({"sentinel_master": "other"}, {}, {})
    )
    with pytest.raises(BackendUnavailable, match="knows no master 'other'"):
        await stray.read(SCHEMA, "a")
    master = watched.master
    watched.stop_sentinel(0)
    watched.stop_sentinel(1)
    await store.write(SCHEMA, "a", b"1")
    watched.stop_sentinel(2)
    assert await store.read(SCHEMA, "a") == b"1", "what is connected goes on"
    master.call("CLIENT", "KILL", "TYPE", "normal")
    await works_again(store, 20)  # the master it knows is dialed, as long as it is one
    with pytest.raises(BackendUnavailable, match="No Sentinel leads to the Redis master"):
        await late.read(SCHEMA, "a")


async def test_who_may_not_ask_for_the_role_and_what_is_no_sentinel_are_told_so(
    redis_store: Opener, watched: Watched
) -> None:
    master = watched.master
    master.call("ACL", "SETUSER", "meek", "on", ">pw", "~*", "&*", "+@all", "-role")
    meek = redis_store(**settings(watched, username="meek", password="pw"))
    with pytest.raises(BackendUnavailable, match=r"whether it is a master: allow the user \+role"):
        await meek.read(SCHEMA, "a")
    stray = redis_store(**settings(watched, sentinels=[f"127.0.0.1:{master.port}"]))
    with pytest.raises(BackendUnavailable, match="is it a Sentinel"):
        await stray.read(SCHEMA, "a")


async def test_two_sentinels_that_hang_do_not_keep_the_third_from_being_asked(
    redis_store: Opener, watched: Watched
) -> None:
    watched.pause_sentinel(0)
    watched.pause_sentinel(1)
    store = redis_store(**settings(watched, connection_timeout=6.0, request_timeout=6.0))
    assert await store.write(SCHEMA, "a", b"1") is Outcome.CREATED


async def test_a_lost_majority_serves_on_and_a_master_lost_then_is_said_until_they_are_back(
    redis_store: Opener, watched: Watched
) -> None:
    load = Load(redis_store(**settings(watched, wait_replicas=1)))
    async with load.running():
        await load.progress()
        master = watched.master
        watched.stop_sentinel(0)
        watched.stop_sentinel(1)
        errors = load.errors.total()
        await load.progress(500, 40)
        assert load.errors.total() == errors, "nothing is felt of it"
        master.kill()
        await load.failures(50, 40)  # one Sentinel of three elects nobody
    assert set(load.errors) <= {"backend-unavailable", "pool-exhausted", "outcome-unknown"}
    assert load.errors["backend-unavailable"]
    assert load.slowest < 2.0 + 2.0 + 2.0 + SLACK, "connecting, asking and waiting are bounded"
    for attempt in (load.store.read(SCHEMA, "a"), load.store.write(SCHEMA, "a", b"1")):
        with pytest.raises(BackendUnavailable):
            await attempt
    watched.restart_sentinel(0)
    watched.restart_sentinel(1)
    await eventually(lambda: watched.has_other_master(master), "another master", 60)
    await works_again(load.store, 40)
    load.check(watched.master, PREFIX)


@pytest.mark.parametrize("given", [
    {"sentinels": ["a:1"]}, {"sentinel_master": "m"},
    {"sentinels": ["a:1"], "sentinel_master": "m", "unix_socket": "/s"},
    {"sentinels": ["a:x"], "sentinel_master": "m"}, {"sentinels": [""], "sentinel_master": "m"},
])  # fmt: skip
def test_sentinels_that_cannot_be_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Sentinels need|A node is"):
        RedisStoreBackend(**given)
