"""A real HA pair of NameNodes changing places, by plan and by death, under a load of inserts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import BackendUnavailable
from pannier.operations import IF_ABSENT, IF_PRESENT, Outcome
from tests.faults.hdfs_load import InsertLoad, eventually_writes
from tests.real.hdfs import USER, HAPair

CREATED = Outcome.CREATED.value
TIMEOUT = 2.0
BOUND = 2.5 * TIMEOUT + 2.5


@pytest.fixture
async def store(hdfs_pair: HAPair) -> AsyncIterator[HDFSStoreBackend]:
    store = HDFSStoreBackend(
        hdfs_pair.new_base_path(),
        namenodes=hdfs_pair.addresses,
        username=USER,
        request_timeout=TIMEOUT,
        max_connections=6,
        connection_timeout=TIMEOUT,
    )
    await eventually_writes(store, "kept", schema="S")
    yield store
    await store.close()


async def test_a_planned_failover_loses_and_invents_nothing(
    hdfs_pair: HAPair, store: HDFSStoreBackend
) -> None:
    before = hdfs_pair.active
    async with InsertLoad(store) as load:
        await load.wait_for(CREATED, 20)
        await asyncio.to_thread(hdfs_pair.fail_over)
        await load.wait_for(CREATED, 20, seconds=60)
    assert hdfs_pair.active != before
    assert load.slowest < BOUND
    await load.check(store)


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_a_lost_active_namenode_is_replaced_without_a_false_answer(
    hdfs_pair: HAPair, store: HDFSStoreBackend, fault: str
) -> None:
    active, standby = hdfs_pair.active, hdfs_pair.standby
    node = hdfs_pair.namenodes[active]
    async with InsertLoad(store) as load:
        await load.wait_for(CREATED, 20)
        if fault == "killed":
            node.kill()
        else:
            node.pause()
        try:
            await load.wait_for(BackendUnavailable.code, 6)
            if fault == "paused":
                # Fencing: what a real cluster does to a NameNode that does not answer.
                node.kill()
            await asyncio.to_thread(hdfs_pair.activate, standby, forced=True)
            await load.wait_for(CREATED, 20, seconds=60)
        finally:
            node.kill()
    assert hdfs_pair.active_port == hdfs_pair.ports[list(hdfs_pair.namenodes).index(standby)]
    assert load.slowest < BOUND
    await load.check(store)


async def test_two_standbys_are_unavailable_in_bounded_time_and_nothing_is_reported_missing(
    hdfs_pair: HAPair, store: HDFSStoreBackend
) -> None:
    active = hdfs_pair.active
    hdfs_pair.deactivate(active)
    try:
        for attempt in (
            lambda: store.read("S", "kept"),
            lambda: store.write("S", "kept", b"2", IF_PRESENT),
            lambda: store.write("S", "new", b"2", IF_ABSENT),
            lambda: store.erase("S", "kept"),
            lambda: store.count("S"),
        ):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await attempt()
            assert time.monotonic() - began < BOUND
    finally:
        hdfs_pair.activate(active)
    await eventually_writes(store, "alive")
    assert await store.read("S", "kept") == b"1"
    assert await store.read("S", "new") is None


async def test_the_namenode_that_served_last_is_asked_first(hdfs_pair: HAPair) -> None:
    standby = hdfs_pair.standby
    addresses = dict(zip(hdfs_pair.namenodes, hdfs_pair.addresses, strict=True))
    ordered = [addresses[standby], addresses[hdfs_pair.active]]
    async with HDFSStoreBackend(
        hdfs_pair.new_base_path(), namenodes=ordered, username=USER, request_timeout=TIMEOUT
    ) as store:
        await eventually_writes(store, "kept", schema="S")
        hdfs_pair.namenodes[standby].pause()
        try:
            # Only what the NameNode answers: a DataNode finds the active one more slowly.
            began = time.monotonic()
            for _ in range(20):
                assert await store.contains("S", "kept")
            assert time.monotonic() - began < TIMEOUT
        finally:
            hdfs_pair.namenodes[standby].resume()
