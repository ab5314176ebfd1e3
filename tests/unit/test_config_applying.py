"""Configurations applied: installed, changed in place, swapped, kept, retried and drained.

The backend here is a memory store whose ping can be told to fail: a real one cannot be made to
answer "refused" at a given moment. The real ones are in tests/faults/test_config_reload.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.config import keeper
from pannier.config.applying import Applier
from pannier.config.configuration import Configuration, ResolvedStore
from pannier.config.keeper import End
from pannier.config.served import ServedStore, StoreTable, StoreType
from pannier.errors import BackendRefused, BackendUnavailable, PannierError, PoolTimeout
from pannier.pool.counters import PoolCounters
from pannier.pool.timings import PoolTimings
from tests.unit.test_config_changes import MEMORY, redis, store

UNREACHABLE = BackendUnavailable("nobody is there")


class Backend(InMemoryKeyValueStoreBackend):
    """A store of any configuration; its server is reached or not, as the test says."""

    def __init__(self, made_from: ResolvedStore, world: World) -> None:
        super().__init__()
        self.made_from = made_from
        self.world = world
        self.settings: dict[str, Any] = {}
        self.request_timeout = 5.0
        self.pings = 0
        self.pool = {"max": 8, "in_use": 0, "pending": 0}
        self.counted = SimpleNamespace(counters=PoolCounters(), timings=PoolTimings())
        self.closed = False

    @property
    def host(self) -> str:
        redis = self.made_from.document.spec.redis
        return redis.host or "" if redis is not None else ""

    async def ping(self) -> None:
        self.pings += 1
        while self.host in self.world.hanging:  # noqa: ASYNC110 - ended by the test
            await asyncio.sleep(0.001)
        error = self.world.servers.get(self.host)
        if error is not None:
            raise error

    def stats(self) -> dict[str, int]:
        return self.pool

    def pools(self) -> tuple[Any, ...]:
        return (self.counted,)

    async def reconfigure(self, **settings: Any) -> None:
        self.settings = settings

    async def close(self) -> None:
        self.counted.counters.closed["drain"] += not self.closed
        self.closed = True
        await super().close()


class World:
    """A table, its applier, and the backends made so far."""

    def __init__(self) -> None:
        self.table = StoreTable()
        self.servers: dict[str, PannierError | None] = {}
        """By host, what its ping ends in."""
        self.hanging: set[str] = set()
        """Hosts that do not answer at all."""
        self.made: list[Backend] = []
        self.applier = Applier(self.table, make=self.make)

    def make(self, wanted: ResolvedStore) -> KeyValueStoreBackendBase:
        redis = wanted.document.spec.redis
        if redis is not None and redis.tls is not None:
            raise ValueError("The TLS CA cannot be used: it is no certificate.")
        backend = Backend(wanted, self)
        self.made.append(backend)
        return backend

    def apply(
        self,
        *,
        refused: dict[str, str] | None = None,
        complete: bool = True,
        refused_types: dict[str, StoreType] | None = None,
        kept: dict[str, str] | None = None,
        **stores: ResolvedStore,
    ) -> None:
        self.applier.apply(
            Configuration(
                version=f"v{len(self.made)}",
                source="file",
                stores=stores,
                refused=refused or {},
                refused_types=refused_types or {},
                kept=kept or {},
                complete=complete,
            )
        )

    @property
    def shop(self) -> ServedStore:
        return self.table.stores["shop"]

    @property
    def backend(self) -> Backend:
        """What is served under `shop` now."""
        assert self.shop.generation is not None
        assert isinstance(self.shop.generation.backend, Backend)
        return self.shop.generation.backend

    async def end(self, name: str = "shop") -> End | None:
        return (await self.applier.settled(5))[name]


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a condition of the code under test
            await asyncio.sleep(0.001)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(keeper, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(keeper, "RETRY_LAST", 0.005)
    monkeypatch.setattr(keeper, "RETRY_REFUSED", 0.01)
    monkeypatch.setattr(keeper, "PING_EVERY", 0.01)
    monkeypatch.setattr(keeper, "LOOK_EVERY", 0.001)
    made = World()
    yield made
    await made.applier.close()
    assert all(backend.closed for backend in made.made)
    assert [task for task in asyncio.all_tasks() if "keeper" in task.get_name()] == []


async def test_a_first_store_is_in_the_table_when_apply_returns(world: World) -> None:
    world.apply(shop=redis())
    assert world.shop.state == "connecting"
    assert world.shop.generation is not None
    assert await world.end() == End("applied")
    assert world.shop.state == "ready"
    assert world.shop.type == "redis"


async def test_a_memory_store_is_ready_at_once(world: World) -> None:
    world.apply(shop=MEMORY)
    assert world.shop.state == "ready"
    assert world.table.applied_at is not None


async def test_a_first_configuration_is_installed_though_unreachable_and_heals(
    world: World,
) -> None:
    world.servers["r"] = UNREACHABLE
    world.apply(shop=redis())
    assert await world.end() == End("pending", "backend-unavailable", "nobody is there")
    assert (world.shop.state, world.shop.error) == ("unavailable", "nobody is there")
    world.servers["r"] = None
    await until(lambda: world.shop.state == "ready")
    assert world.shop.error is None
    assert await world.end() == End("applied")
    assert len(world.made) == 1
    assert world.table.applies == {"applied": 1, "pending": 1, "rejected": 0}


async def test_pool_and_timeout_change_on_the_live_backend(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    first = world.backend
    world.apply(shop=redis(pool={"maxConnections": 3, "idleTimeout": "1s"}, timeout="4s"))
    assert await world.end() == End("applied")
    assert world.backend is first
    assert first.settings["max_connections"] == 3
    assert first.settings["idle_timeout"] == 1
    assert first.request_timeout == 4


async def test_a_memory_store_is_never_rebuilt(world: World) -> None:
    world.apply(shop=MEMORY)
    world.backend.write_now("Cart", "1", b"1")
    world.apply(shop=store(type="memory", memory={"maxBytes": "300"}, pool={"minIdle": 0}))
    await world.end()
    assert world.backend.max_bytes == 300
    assert world.backend.read_now("Cart", "1") == b"1"
    assert len(world.made) == 1


async def test_a_new_backend_takes_its_place_only_after_its_ping(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    old = world.backend
    world.hanging.add("new")
    world.apply(shop=redis(host="new"))
    await until(lambda: len(world.made) == 2 and world.made[1].pings)
    assert (world.backend, world.shop.state) == (old, "ready")
    world.hanging.clear()
    await until(lambda: world.backend is world.made[1])
    await until(lambda: old.closed)
    assert world.shop.error is None


async def test_the_old_backend_finishes_its_requests_before_it_is_closed(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    old = world.shop.generation
    assert old is not None
    served = old.enter()
    world.apply(shop=redis(host="new"))
    await until(lambda: world.shop.generation is not old)
    await asyncio.sleep(0.02)
    assert await served.read("Cart", "1") is None
    assert world.table.leaving == {old}
    old.leave()
    await until(lambda: world.made[0].closed)
    assert world.table.leaving == set()


async def test_what_the_old_backends_pools_counted_is_kept(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    old, counts = world.shop.generation, world.shop.counts
    assert old is not None
    old.enter()
    world.apply(shop=redis(host="new"))
    await until(lambda: world.shop.generation is not old)
    world.made[0].counted.counters.timeouts += 1
    assert [one.counters.timeouts for one in counts.past_pools.leaving] == [1]
    old.leave()
    await until(lambda: not counts.past_pools.leaving)
    assert counts.past_pools.counters.timeouts == 1
    assert counts.past_pools.counters.closed["drain"] == 1
    world.apply(other=MEMORY)
    await until(lambda: "shop" not in world.table.stores)
    assert counts.past_pools.counters.closed["drain"] == 2


async def test_an_unreachable_change_is_pending_while_the_old_one_serves(world: World) -> None:
    world.servers["new"] = UNREACHABLE
    world.apply(shop=redis())
    await world.end()
    old = world.backend
    world.apply(shop=redis(host="new"))
    end = await world.end()
    assert end is not None
    assert (end.state, end.code) == ("pending", "backend-unavailable")
    assert (world.shop.state, world.backend) == ("ready", old)
    assert "pending" in (world.shop.error or "")
    await until(lambda: len(world.made) > 3)
    assert all(backend.closed for backend in world.made[1:-1])
    world.servers["new"] = None
    await until(lambda: world.backend is not old)
    await until(lambda: old.closed)
    assert (world.shop.state, world.shop.error) == ("ready", None)


async def test_a_pending_change_is_given_up_for_a_newer_one(world: World) -> None:
    world.hanging.add("hangs")
    world.apply(shop=redis())
    await world.end()
    world.apply(shop=redis(host="hangs"))
    await until(lambda: len(world.made) == 2 and world.made[1].pings)
    world.apply(shop=redis(host="third"))
    await until(lambda: world.backend.host == "third")
    assert world.made[1].closed


async def test_the_old_configuration_written_back_ends_what_is_pending(world: World) -> None:
    world.servers["new"] = UNREACHABLE
    world.apply(shop=redis())
    await world.end()
    world.apply(shop=redis(host="new"))
    await world.end()
    world.apply(shop=redis())
    assert await world.end() == End("applied")
    assert world.shop.error is None
    made = len(world.made)
    await asyncio.sleep(0.03)
    assert len(world.made) == made


async def test_while_the_first_was_never_reached_the_next_replaces_it_at_once(
    world: World,
) -> None:
    world.servers.update({"wrong": UNREACHABLE, "right": None})
    world.apply(shop=redis(host="wrong"))
    await world.end()
    world.apply(shop=redis(host="right"))
    await until(lambda: world.shop.state == "ready")
    assert world.backend.host == "right"
    assert world.shop.error is None


@pytest.mark.parametrize(
    "bad", [redis(keyPrefix="other:"), redis(hashBuckets=2), MEMORY, redis(host="r2", tls={})]
)
async def test_a_refused_change_leaves_the_last_good_one_serving(
    world: World, bad: ResolvedStore
) -> None:
    world.apply(shop=redis())
    await world.end()
    old = world.backend
    world.apply(shop=bad)
    end = await world.end()
    assert end is not None
    assert end.state == "rejected"
    await asyncio.sleep(0.03)
    assert (world.shop.state, world.backend) == ("ready", old)
    assert world.shop.error == end.message
    world.apply(shop=redis())
    assert await world.end() == End("applied")
    assert world.shop.error is None


async def test_a_backend_that_refuses_the_change_is_rejected_and_asked_again(world: World) -> None:
    world.servers["new"] = BackendRefused("another layout")
    world.apply(shop=redis())
    await world.end()
    old = world.backend
    world.apply(shop=redis(host="new"))
    end = await world.end()
    assert end is not None
    assert (end.state, end.code) == ("rejected", "backend-refused")
    assert (world.backend, world.shop.error) == (old, "another layout")
    world.servers["new"] = None
    await until(lambda: world.backend.host == "new")
    assert world.shop.error is None


async def test_a_first_configuration_that_cannot_be_built_is_rejected(world: World) -> None:
    world.apply(shop=redis(tls={}))
    assert (world.shop.state, world.shop.generation) == ("rejected", None)
    assert "TLS CA" in (world.shop.error or "")
    world.apply(shop=redis())
    await until(lambda: world.shop.state == "ready")
    assert world.shop.error is None


async def test_a_bad_document_leaves_its_store_and_all_others_as_they_are(world: World) -> None:
    world.apply(shop=redis(), other=MEMORY)
    await world.end()
    old, other = world.backend, world.table.stores["other"].generation
    world.apply(refused={"shop": "line 3: unknown field"}, other=MEMORY)
    assert (world.shop.state, world.shop.error) == ("ready", "line 3: unknown field")
    await asyncio.sleep(0.03)
    assert (world.shop.error, world.backend) == ("line 3: unknown field", old)
    assert world.table.stores["other"].generation is other
    assert world.table.stores["other"].error is None
    world.apply(shop=redis(), other=MEMORY)
    await until(lambda: world.shop.error is None)
    assert world.backend is old


async def test_a_first_document_that_is_bad_is_served_as_rejected(world: World) -> None:
    world.apply(refused={"shop": "unknown field"}, refused_types={"shop": "hdfs"})
    assert (world.shop.state, world.shop.error) == ("rejected", "unknown field")
    assert world.shop.type == "hdfs"
    assert world.table.applied_at is None
    world.apply(shop=redis())
    await until(lambda: world.shop.state == "ready")


async def test_a_store_that_is_to_be_kept_stays_as_it_is(world: World) -> None:
    world.apply(shop=redis(), other=MEMORY)
    await world.end()
    before = world.shop.generation
    world.apply(kept={"shop": "SecretNotFound: it is not there"}, other=MEMORY)
    await asyncio.sleep(0.03)
    assert (world.shop.generation, world.shop.state, world.shop.error) == (before, "ready", None)
    assert await world.end() == End("applied")


async def test_a_pending_change_of_a_store_that_is_to_be_kept_is_still_made(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    world.servers["two"] = UNREACHABLE
    world.apply(shop=redis(host="two"))
    await until(lambda: world.shop.error)
    world.apply(kept={"shop": "SecretNotFound: it is not there"})
    world.servers["two"] = None
    await until(lambda: world.backend.host == "two")


async def test_a_store_that_is_to_be_kept_and_never_ran_is_served_as_rejected(world: World) -> None:
    for reason in ("SecretNotFound: a", "SecretKeyMissing: b"):
        world.apply(kept={"shop": reason})
        assert (world.shop.state, world.shop.error) == ("rejected", reason)
        assert world.shop.generation is None
    world.apply(shop=redis())
    await until(lambda: world.shop.state == "ready")
    assert world.shop.error is None


async def test_a_configuration_of_no_store_is_one(world: World) -> None:
    world.apply()
    assert world.table.applied_at is not None
    assert not world.table.stores


async def test_what_is_forgotten_drains_and_leaves_the_table_as_before_a_first_one(
    world: World,
) -> None:
    world.apply(shop=redis())
    await world.end()
    generation = world.shop.generation
    assert generation is not None
    generation.enter()
    world.applier.forget("the operator refused it")
    await until(lambda: world.shop.state == "draining")
    assert world.table.applied_at is None
    assert (world.table.version, world.table.error) == ("", "the operator refused it")
    generation.leave()
    await until(lambda: not world.table.stores)
    world.apply(shop=redis())
    assert await world.end() == End("applied")


async def test_a_removed_store_drains_and_is_gone(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    generation = world.shop.generation
    assert generation is not None
    generation.enter()
    world.apply(other=MEMORY)
    await until(lambda: world.shop.state == "draining")
    assert world.shop.generation is None
    assert not world.made[0].closed
    generation.leave()
    await until(lambda: "shop" not in world.table.stores)
    assert world.made[0].closed


async def test_an_incomplete_configuration_removes_nothing(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    world.apply(complete=False, other=MEMORY)
    await asyncio.sleep(0.02)
    assert world.shop.state == "ready"


async def test_a_store_that_returns_while_it_drains_is_a_new_one_and_keeps_its_counts(
    world: World,
) -> None:
    world.apply(shop=redis())
    await world.end()
    generation, counts = world.shop.generation, world.shop.counts
    assert generation is not None
    generation.enter()
    world.apply(other=MEMORY)
    await until(lambda: world.shop.state == "draining")
    world.apply(shop=redis(keyPrefix="other:"), other=MEMORY)
    await until(lambda: world.shop.state == "ready")
    generation.leave()
    await until(lambda: world.made[0].closed)
    assert world.shop.state == "ready"
    assert world.shop.counts is counts


async def test_the_state_follows_the_backend(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    for _ in range(3):
        world.servers["r"] = UNREACHABLE
        await until(lambda: world.shop.state == "unavailable")
        assert world.shop.error == "nobody is there"
        world.servers["r"] = None
        await until(lambda: world.shop.state == "ready")
        assert world.shop.error is None


async def test_a_busy_pool_says_nothing_about_the_backend(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    world.servers["r"] = PoolTimeout("8 of 8 connections are in use")
    pings = world.backend.pings
    await until(lambda: world.backend.pings > pings + 2)
    assert world.shop.state == "ready"


@pytest.mark.parametrize("pool", [{"max": 8, "in_use": 8, "pending": 0},
                                  {"max": 8, "in_use": 1, "pending": 1}])  # fmt: skip
async def test_no_ping_joins_the_queue_of_a_busy_pool(world: World, pool: dict[str, int]) -> None:
    world.apply(shop=redis())
    await world.end()
    world.backend.pool = pool
    await asyncio.sleep(0.02)
    pings = world.backend.pings
    await asyncio.sleep(0.05)
    assert world.backend.pings == pings
    world.servers["r"] = UNREACHABLE
    world.shop.counts.count("get", "timeout", 0.001)
    await until(lambda: world.shop.state == "unavailable")
    world.servers["r"] = None
    await until(lambda: world.shop.state == "ready")


async def test_operations_that_work_are_as_good_as_a_ping(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    pings = world.backend.pings
    for _ in range(40):
        world.shop.counts.count("get", "record-not-found", 0.001)
        await asyncio.sleep(0.001)
    assert world.backend.pings <= pings + 2
    await until(lambda: world.backend.pings > pings + 3)


async def test_failing_operations_bring_the_next_ping_forward(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PING_EVERY", 3600.0)
    world.apply(shop=redis())
    await world.end()
    world.servers["r"] = UNREACHABLE
    await asyncio.sleep(0.02)
    assert world.shop.state == "ready"
    world.shop.counts.count("get", "backend-unavailable", 0.001)
    await until(lambda: world.shop.state == "unavailable")


async def test_a_refusal_is_still_shown_after_the_backend_was_away(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    world.apply(refused={"shop": "unknown field"})
    world.servers["r"] = UNREACHABLE
    await until(lambda: world.shop.state == "unavailable")
    assert world.shop.error == "nobody is there"
    world.servers["r"] = None
    await until(lambda: world.shop.state == "ready")
    assert world.shop.error == "unknown field"


async def test_a_whole_configuration_that_is_refused_changes_nothing_but_the_error(
    world: World,
) -> None:
    world.apply(shop=redis())
    await world.end()
    version = world.table.version
    world.applier.refuse("stores.yaml: not YAML")
    assert world.table.error == "stores.yaml: not YAML"
    assert (world.table.version, world.shop.state) == (version, "ready")


async def test_each_end_is_counted_once_for_each_configuration(world: World) -> None:
    world.servers["r"] = UNREACHABLE
    world.apply(shop=redis())
    await world.end()
    await asyncio.sleep(0.03)
    assert world.table.applies == {"applied": 0, "pending": 1, "rejected": 0}
    world.apply(shop=redis())
    world.apply(refused={"shop": "bad"})
    assert world.table.applies == {"applied": 0, "pending": 2, "rejected": 1}


async def test_what_is_wanted_while_a_change_is_made_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(shop=redis())
    await world.end()
    under_way, go_on = asyncio.Event(), asyncio.Event()
    adjust = keeper.adjust

    async def slow(backend: KeyValueStoreBackendBase, document: Any) -> None:
        under_way.set()
        await go_on.wait()
        await adjust(backend, document)

    monkeypatch.setattr(keeper, "adjust", slow)
    world.apply(shop=redis(timeout="4s"))
    await under_way.wait()
    world.apply(shop=redis(host="new"))
    go_on.set()
    await until(lambda: world.backend.host == "new")
    assert await world.end() == End("applied")
    assert world.table.applies["applied"] == 2


async def test_a_fault_of_ours_does_not_end_the_keeping(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.apply(shop=redis())
    await world.end()

    async def broken(backend: object, document: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "adjust", broken)
        world.apply(shop=redis(timeout="4s"))
        await until(lambda: "a fault of ours" in caplog.text)
    await until(lambda: world.backend.request_timeout == 4)


async def test_closing_closes_what_is_pending_and_what_drains_too(world: World) -> None:
    world.servers["new"] = UNREACHABLE
    world.apply(shop=redis(), gone=MEMORY)
    await world.end()
    generation = world.table.stores["gone"].generation
    assert generation is not None
    generation.enter()
    world.apply(shop=redis(host="new"))
    await world.end()
    await world.applier.close()
    assert all(backend.closed for backend in world.made)


async def test_closing_right_after_a_swap_closes_both_backends(world: World) -> None:
    world.apply(shop=redis())
    await world.end()
    old = world.shop.generation
    assert old is not None
    old.enter()
    world.apply(shop=redis(host="new"))
    while world.shop.generation is old:  # noqa: ASYNC110 - to come right after the swap
        await asyncio.sleep(0)
    await world.applier.close()
    assert [backend.closed for backend in world.made] == [True, True]
    assert world.table.leaving == set()
