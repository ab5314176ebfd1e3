"""The managers: the reference's way to a pool, and how a connector comes back from a block."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import pannier.aio.managers
import pannier.sync.managers
from pannier.aio.connectors.base import BackendConnectorBase
from pannier.aio.managers import (
    ConnectionMode,
    ConnectorManagerFactory,
    PooledConnectorManager,
    SingleConnectorManager,
)
from pannier.errors import BackendUnavailable, PoolClosed
from pannier.pool.leaks import call_site
from pannier.sync.managers import PooledConnectorManager as SyncPooled
from pannier.sync.managers import SingleConnectorManager as SyncSingle
from tests.unit.tiny_server import AsyncConnector, SyncConnector, TinyServer, tiny_server

__all__ = ["tiny_server"]


class Bare:
    """A caller's own connector: the three methods and nothing more."""

    made: list[Bare] = []  # noqa: RUF012, each test clears it

    def __init__(self, host: str = "nowhere", password: str | None = None) -> None:
        self.host = host
        self.up = False
        self.asked = 0
        Bare.made.append(self)

    async def connect(self) -> None:
        self.up = True

    async def disconnect(self) -> None:
        self.up = False

    async def is_connected(self) -> bool:
        self.asked += 1
        return self.up


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    Bare.made.clear()


# The choice -------------------------------------------------------------------------------------


def test_the_mode_is_one_object_on_both_sides() -> None:
    assert pannier.aio.managers.ConnectionMode is pannier.sync.managers.ConnectionMode


def test_a_class_that_is_silent_gets_a_pool() -> None:
    manager = ConnectorManagerFactory.create_manager(Bare, {})
    assert isinstance(manager, PooledConnectorManager)


def test_a_class_that_prefers_a_single_connection_gets_one_also_without_our_base_class() -> None:
    class Modest(Bare):
        preferred_mode = ConnectionMode.SINGLE

    class Ours(BackendConnectorBase):
        preferred_mode = ConnectionMode.SINGLE

    for connector_class in (Modest, Ours):
        manager = ConnectorManagerFactory.create_manager(connector_class, {})
        assert isinstance(manager, SingleConnectorManager)


def test_the_callers_mode_wins_over_the_classs() -> None:
    class Modest(Bare):
        preferred_mode = ConnectionMode.SINGLE

    manager = ConnectorManagerFactory.create_manager(Modest, {}, ConnectionMode.POOLED)
    assert isinstance(manager, PooledConnectorManager)


def test_the_settings_reach_the_pool() -> None:
    manager = ConnectorManagerFactory.create_manager(
        Bare, {}, max_connections=3, min_idle=1, connection_timeout=0.5, name="shop"
    )
    settings = manager.pool.settings
    assert (settings.max_connections, settings.min_idle) == (3, 1)
    assert settings.connection_timeout == 0.5
    assert manager.pool.name == "shop"


def test_in_single_mode_a_pools_settings_are_checked_and_mean_nothing() -> None:
    manager = ConnectorManagerFactory.create_manager(
        Bare, {}, ConnectionMode.SINGLE, max_connections=8, connection_timeout=0.5
    )
    assert manager.stats()["max"] == 1
    assert manager.pool.settings.connection_timeout == 0.5
    for wrong, error in (({"max_connections": 0}, ValueError), ({"max_conn": 1}, TypeError)):
        with pytest.raises(error):
            ConnectorManagerFactory.create_manager(Bare, {}, ConnectionMode.SINGLE, **wrong)


def test_an_unnamed_pool_is_named_by_class_and_address_and_shows_no_credential() -> None:
    config = {"host": "db1", "port": 6379, "password": "hunter2"}
    manager = PooledConnectorManager(AsyncConnector, config)
    assert manager.pool.name == "AsyncConnector db1:6379"
    assert "hunter2" not in repr(manager) + repr(manager.pool)


def test_the_defaults_are_the_references() -> None:
    settings = PooledConnectorManager(Bare, {}).pool.settings
    assert settings.max_connections == 10
    assert settings.connection_timeout == 30
    assert settings.idle_timeout == 300
    assert settings.min_idle == 0
    assert settings.max_lifetime is None
    assert settings.max_waiting is None
    assert settings.leak_threshold is None


# A caller's own class ---------------------------------------------------------------------------


async def test_a_class_of_three_methods_is_driven() -> None:
    manager = PooledConnectorManager(Bare, {"host": "here"})
    connector = await manager.get_connection()
    assert connector.up and connector.host == "here"
    manager.release_connection(connector)
    assert await manager.get_connection() is connector
    assert connector.asked == 0, "it was used just now"
    await manager.shutdown(0)
    assert not connector.up


async def test_what_a_connect_raises_is_the_refusals_cause() -> None:
    class Broken(Bare):
        async def connect(self) -> None:
            raise LookupError("no such host")

    manager = PooledConnectorManager(Broken, {})
    with pytest.raises(BackendUnavailable) as refused:
        await manager.get_connection()
    assert isinstance(refused.value.__cause__, LookupError)


# How a connector comes back ---------------------------------------------------------------------


async def test_after_a_block_the_connection_is_used_again() -> None:
    manager = PooledConnectorManager(Bare, {})
    async with manager.connection() as first:
        assert manager.stats()["in_use"] == 1
    async with manager.connection() as second:
        assert second is first
    assert manager.stats()["closed"] == 0


async def test_a_connector_that_cannot_say_it_is_clean_is_closed_after_an_error() -> None:
    manager = PooledConnectorManager(Bare, {})
    with pytest.raises(LookupError):
        async with manager.connection():
            raise LookupError
    async with manager.connection() as second:
        assert second is not Bare.made[0]
    assert manager.stats()["closed"] == 1
    assert not Bare.made[0].up


async def test_a_connector_that_says_it_is_clean_is_kept_after_an_error(
    tiny_server: TinyServer,
) -> None:
    manager = PooledConnectorManager(AsyncConnector, {"port": tiny_server.port})

    async def mistaken() -> None:
        async with manager.connection() as connector:
            await connector.ask(b"one")
            raise LookupError("a mistake of the borrower's")

    with pytest.raises(LookupError):
        await mistaken()
    assert manager.stats()["idle"] == 1
    await manager.shutdown()


async def test_a_connection_cancelled_in_mid_command_is_closed_and_never_used_again(
    tiny_server: TinyServer,
) -> None:
    manager = PooledConnectorManager(AsyncConnector, {"port": tiny_server.port}, 1)
    tiny_server.mute.add(b"slow")
    used: list[Any] = []

    async def in_a_block() -> None:
        async with manager.connection() as connector:
            used.append(connector)
            await connector.ask(b"slow")

    async def by_hand() -> None:
        connector = await manager.get_connection()
        used.append(connector)
        try:
            await connector.ask(b"slow")
        finally:
            manager.release_connection(connector)

    for number, work in enumerate((in_a_block, by_hand), 1):
        task = asyncio.create_task(work())
        while tiny_server.count(b"slow") < number:  # noqa: ASYNC110, the server is a thread
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert manager.stats()["in_use"] == 0
    tiny_server.speak()
    async with manager.connection() as connector:
        assert connector not in used
        assert await connector.ask(b"mine") == b"mine"
    assert manager.pool.counters.closed["broken"] == 2
    await manager.shutdown()


async def test_a_cancelled_block_is_closed_even_if_the_connector_calls_itself_clean(
    tiny_server: TinyServer,
) -> None:
    manager = PooledConnectorManager(AsyncConnector, {"port": tiny_server.port})
    with pytest.raises(asyncio.CancelledError):
        async with manager.connection():
            raise asyncio.CancelledError
    assert manager.pool.counters.closed["broken"] == 1
    await manager.shutdown()


async def test_a_release_can_say_that_the_connection_is_broken() -> None:
    manager = PooledConnectorManager(Bare, {})
    connector = await manager.get_connection()
    manager.release_connection(connector, broken=True)
    assert manager.stats()["closed"] == 1


async def test_releasing_twice_or_a_stranger_raises_and_changes_nothing() -> None:
    manager = PooledConnectorManager(Bare, {}, 1)
    connector = await manager.get_connection()
    manager.release_connection(connector)
    before = manager.stats()
    with pytest.raises(ValueError, match="not borrowed"):
        manager.release_connection(connector)
    with pytest.raises(ValueError, match="not borrowed"):
        manager.release_connection(Bare())
    assert manager.stats() == before


# The SINGLE mode --------------------------------------------------------------------------------


async def test_a_single_connection_is_shared_and_its_stats_have_the_pools_keys() -> None:
    single, pooled = SingleConnectorManager(Bare, {}), PooledConnectorManager(Bare, {})
    assert single.stats().keys() == pooled.stats().keys()
    first, second = await asyncio.gather(single.get_connection(), single.get_connection())
    assert first is second
    assert len(Bare.made) == 1
    assert single.stats()["in_use"] == 1
    single.release_connection(first)
    single.release_connection(second)
    with pytest.raises(ValueError, match="not borrowed"):
        single.release_connection(first)
    await single.shutdown()
    with pytest.raises(PoolClosed):
        await single.get_connection()


async def test_a_single_connection_that_died_is_dialed_anew(tiny_server: TinyServer) -> None:
    manager = SingleConnectorManager(AsyncConnector, {"port": tiny_server.port})
    async with manager.connection() as first:
        await first.ask(b"one")
    tiny_server.cut()
    while first.looks_alive():  # noqa: ASYNC110, the server is a thread
        await asyncio.sleep(0.001)
    async with manager.connection() as second:
        assert await second.ask(b"two") == b"two"
    assert second is not first
    await manager.shutdown()


async def test_settings_of_a_single_connection_can_be_changed() -> None:
    manager = SingleConnectorManager(Bare, {})
    await manager.reconfigure(connection_timeout=0.5, max_connections=7)
    assert manager.pool.settings.connection_timeout == 0.5
    assert manager.stats()["max"] == 1
    with pytest.raises(TypeError):
        await manager.reconfigure(timeout=1)


def test_a_single_connection_is_shared_by_threads(tiny_server: TinyServer) -> None:
    manager = SyncSingle(SyncConnector, {"port": tiny_server.port})
    with manager.connection() as first, manager.connection() as second:
        assert first is second
    assert tiny_server.accepted == 1
    manager.shutdown()
    assert manager.stats()["closed"] == 1


# The sync side ----------------------------------------------------------------------------------


def test_the_sync_manager_lends_and_takes_back(tiny_server: TinyServer) -> None:
    manager = SyncPooled(SyncConnector, {"port": tiny_server.port}, 2)
    with manager.connection() as connector:
        assert connector.ask(b"one") == b"one"
    assert manager.get_connection() is connector
    manager.release_connection(connector)
    with pytest.raises(KeyboardInterrupt), manager.connection():
        raise KeyboardInterrupt
    assert manager.pool.counters.closed["broken"] == 1
    manager.reconfigure(max_connections=1)
    assert manager.stats()["max"] == 1
    manager.shutdown()
    with pytest.raises(PoolClosed):
        manager.get_connection()


async def test_a_leak_is_told_with_the_line_of_the_borrower_not_of_the_manager(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = PooledConnectorManager(Bare, {}, leak_threshold=0.001)
    with caplog.at_level(logging.WARNING, "pannier.pool"):
        async with manager.connection():
            while not caplog.records:  # noqa: ASYNC110, the pool's timer writes it
                await asyncio.sleep(0.001)
    first_line = caplog.records[0].message.splitlines()[1]
    assert "test_pool_managers.py" in first_line
    assert (
        call_site()[0][2] == "test_a_leak_is_told_with_the_line_of_the_borrower_not_of_the_manager"
    )
    await manager.shutdown()
