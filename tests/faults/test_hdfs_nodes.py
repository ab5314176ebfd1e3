"""A real HDFS whose nodes die, freeze or refuse, under a load of inserts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    OperationTimeout,
    StoreFull,
)
from pannier.operations import IF_ABSENT, Outcome
from pannier.webhdfs import session
from tests.faults.hdfs_load import InsertLoad, eventually_writes
from tests.real.hdfs import HDFS, USER

UNAVAILABLE = BackendUnavailable.code
CREATED = Outcome.CREATED.value
TIMEOUT = 2.0
BOUND = 2.5 * TIMEOUT + 2.5
"""Two answers' time, half a one to find out, and what a busy machine adds."""


@pytest.fixture
async def store(hdfs: HDFS) -> AsyncIterator[HDFSStoreBackend]:
    store = HDFSStoreBackend(
        hdfs.new_base_path(),
        namenodes=hdfs.addresses,
        username=USER,
        request_timeout=TIMEOUT,
        max_connections=6,
        connection_timeout=TIMEOUT,
    )
    await eventually_writes(store, "kept", b'{"kept": true}', schema="S")
    yield store
    await store.close()


async def test_a_killed_namenode_refuses_at_once_and_comes_back_with_what_it_acknowledged(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    async with InsertLoad(store) as load:
        await load.wait_for(CREATED, 20)
        hdfs.namenode.kill()
        await load.wait_for(UNAVAILABLE, 20)
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await store.read("S", "kept")
        assert time.monotonic() - began < 1
        hdfs.namenode.start()
        await load.wait_for(CREATED, 20, seconds=60)
    assert load.slowest < BOUND
    await load.check(store)


async def test_a_paused_namenode_ends_writes_in_time_and_none_it_denied_appears_later(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    async with InsertLoad(store) as load:
        await load.wait_for(CREATED, 20)
        hdfs.namenode.pause()
        try:
            await load.wait_for(UNAVAILABLE, 6)
        finally:
            hdfs.namenode.resume()
        await load.wait_for(CREATED, 20, seconds=60)
    assert load.slowest < BOUND
    await load.check(store)


async def test_a_killed_datanode_is_unavailable_and_nothing_acknowledged_is_lost(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    async with InsertLoad(store) as load:
        await load.wait_for(CREATED, 20)
        hdfs.datanode.kill()
        await load.wait_for(UNAVAILABLE, 6)
        began = time.monotonic()
        with pytest.raises((BackendUnavailable, OperationTimeout)):
            await store.read("S", "kept")
        assert time.monotonic() - began < BOUND
        hdfs.datanode.start()
        await load.wait_for(CREATED, 20, seconds=60)
    assert load.slowest < BOUND
    await load.check(store)


async def test_a_paused_datanode_times_reads_out_and_leaves_no_denied_write_behind(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    hdfs.datanode.pause()
    try:
        began = time.monotonic()
        with pytest.raises(OperationTimeout):
            await store.read("S", "kept")
        with pytest.raises(BackendUnavailable):
            await store.write("S", "new", b"1", IF_ABSENT)
        assert time.monotonic() - began < 2 * BOUND
    finally:
        hdfs.datanode.resume()
    await eventually_writes(store, "alive")
    assert await store.read("S", "new") is None
    assert await store.read("S", "kept") == b'{"kept": true}'


async def test_safe_mode_is_unavailable_for_writes_and_reads_go_on(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    hdfs.safe_mode(True)
    try:
        with pytest.raises(BackendUnavailable, match="SafeMode"):
            await store.write("S", "new", b"1")
        with pytest.raises(BackendUnavailable, match="SafeMode"):
            await store.erase("S", "kept")
        assert await store.read("S", "kept") == b'{"kept": true}'
    finally:
        hdfs.safe_mode(False)
    assert await store.write("S", "new", b"1") is Outcome.CREATED


@pytest.mark.parametrize("quota", ["space", "names"])
async def test_a_used_up_quota_is_a_full_store_and_changes_nothing(
    hdfs: HDFS, store: HDFSStoreBackend, quota: str
) -> None:
    rest = hdfs.rest()
    if quota == "space":
        rest.set_space_quota(store.base_path, 1024)
    else:
        rest.set_name_quota(store.base_path, 1)
    with pytest.raises(StoreFull, match="Quota"):
        await store.write("S", "new", b"1")
    with pytest.raises(StoreFull):
        await store.write("S", "kept", b"2")
    assert await store.read("S", "kept") == b'{"kept": true}'
    assert await store.read("S", "new") is None
    assert rest.names(f"{store.base_path}/.pannier-writing") == []
    assert (await store.erase("S", "kept")) is Outcome.DELETED


async def test_what_permissions_forbid_is_refused_and_says_so(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    rest = hdfs.rest()
    rest.set_owner(f"{store.base_path}/S/kept.json", "somebody")
    rest.set_permission(f"{store.base_path}/S/kept.json", "600")
    with pytest.raises(BackendRefused, match="Permission denied"):
        await store.read("S", "kept")
    rest.set_owner(f"{store.base_path}/S", "somebody")
    rest.set_permission(f"{store.base_path}/S", "755")
    with pytest.raises(BackendRefused, match="Permission denied"):
        await store.write("S", "new", b"1")
    with pytest.raises(BackendRefused, match="Permission denied"):
        await store.erase("S", "kept")
    assert rest.names(f"{store.base_path}/.pannier-writing") == []
    assert rest.names(f"{store.base_path}/S") == ["kept.json"]


async def test_a_base_path_that_cannot_be_written_is_refused(hdfs: HDFS) -> None:
    async with HDFSStoreBackend("/", namenodes=hdfs.addresses, username="nobody") as store:
        with pytest.raises(BackendRefused, match="Permission denied"):
            await store.write("S", "new", b"1")


async def test_files_that_are_not_ours_are_passed_over_and_never_read_as_records(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    rest = hdfs.rest()
    base = f"{store.base_path}/S"
    for name in ("README", "notes.txt", "UPPER.JSON", "~2f.json", "~41.json", "part-00000"):
        rest.create(f"{base}/{name}", b'{"foreign": 1}')
    rest.create(f"{base}/empty.json", b"")
    rest.create(f"{base}/broken.json", b'{"half": ')
    rest.create(f"{base}/folder.json/inside.json", b"1")
    rest.create(f"{base}/folder/inside.json", b"1")
    rest.create(f"{store.base_path}/stray.json", b"1")
    rest.create(f"{store.base_path}/no schema/x.json", b"1")
    page = await store.scan("S", None, 1000)
    assert (page.keys, page.values, page.next) == (["kept"], [b'{"kept": true}'], None)
    assert (await store.schemas(None, 10)).schemas == [("S", await store.count("S"))]
    assert await store.count("S") == 2  # broken.json has a record's name; only reading tells
    with pytest.raises(BackendRefused, match="something else wrote it"):
        await store.read("S", "broken")
    assert await store.read("S", "folder") is None
    assert not await store.contains("S", "empty")


async def test_a_file_too_large_for_a_record_is_refused_and_not_held(
    hdfs: HDFS, store: HDFSStoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdfs.rest().create(f"{store.base_path}/S/huge.json", b"1" * 300_000)
    monkeypatch.setattr(session, "MAX_ANSWER", 200_000)
    with pytest.raises(BackendRefused, match="no record is so large"):
        await store.read("S", "huge")
    assert await store.read("S", "kept") == b'{"kept": true}'


async def test_temporary_files_of_crashed_writers_are_swept_and_a_live_writers_never(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    rest = hdfs.rest()
    writing = f"{store.base_path}/.pannier-writing"
    now = int(time.time() * 1000)
    left = {"crashed": ("a" * 32 + "-3600", 3700), "live": ("b" * 32 + "-3600", 3500)}
    left |= {"patient": ("c" * 32 + "-86400", 80_000), "foreign": ("notes", 10**6)}
    for name, age in left.values():
        rest.create(f"{writing}/{name}", b"1")
        rest.set_times(f"{writing}/{name}", now - age * 1000)
    async with HDFSStoreBackend(
        store.base_path, namenodes=hdfs.addresses, username=USER
    ) as another:
        await another.write("S", "new", b"1")
        wanted = {name for kind, (name, _) in left.items() if kind != "crashed"}
        deadline = time.monotonic() + 20
        while set(rest.names(writing)) != wanted:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
