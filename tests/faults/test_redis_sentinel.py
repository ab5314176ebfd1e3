"""Redis behind Sentinels, failing over under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from pannier.aio.stores.redis import RedisStoreBackend
from pannier.errors import BackendUnavailable
from tests.faults.redis_load import SCHEMA, Load, eventually, works_again
from tests.real.redis_sentinel import MASTER, Watched, watched_redis
from tests.real.redis_sides import redis_store

__all__ = ["redis_store"]

Opener = Callable[..., Any]
PREFIX = "fault:"


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
    load = Load(redis_store(**settings(watched)))
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


async def test_one_sentinel_is_enough_and_none_is_said(watched: Watched) -> None:
    async with (
        RedisStoreBackend(**settings(watched, sentinel_master="other")) as stray,
        RedisStoreBackend(**settings(watched)) as store,
        RedisStoreBackend(**settings(watched)) as late,
    ):
        with pytest.raises(BackendUnavailable, match="knows no master 'other'"):
            await stray.read(SCHEMA, "a")
        watched.stop_sentinel(0)
        watched.stop_sentinel(1)
        await store.write(SCHEMA, "a", b"1")
        watched.stop_sentinel(2)
        assert await store.read(SCHEMA, "a") == b"1", "what is connected goes on"
        with pytest.raises(BackendUnavailable, match="No Sentinel leads to the Redis master"):
            await late.read(SCHEMA, "a")


@pytest.mark.parametrize("given", [
    {"sentinels": ["a:1"]}, {"sentinel_master": "m"},
    {"sentinels": ["a:1"], "sentinel_master": "m", "unix_socket": "/s"},
    {"sentinels": ["a:x"], "sentinel_master": "m"}, {"sentinels": [""], "sentinel_master": "m"},
])  # fmt: skip
def test_sentinels_that_cannot_be_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Sentinels need|A node is"):
        RedisStoreBackend(**given)
