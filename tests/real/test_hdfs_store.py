"""What the HDFS store does beside the contract of all stores, on a real HDFS."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator

import pytest

from pannier.aio.connectors.hdfs import HDFSConnector
from pannier.aio.managers import ConnectionMode
from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import BackendUnavailable, InvalidCursor, PoolClosed, Unsupported
from pannier.operations import ALWAYS, IF_ABSENT, IF_PRESENT, Outcome, Write, if_match
from tests.real.hdfs import HDFS, USER
from tests.real.programs import free_port


@pytest.fixture
async def store(hdfs: HDFS) -> AsyncIterator[HDFSStoreBackend]:
    async with HDFSStoreBackend(
        hdfs.new_base_path(), namenodes=hdfs.addresses, username=USER, max_connections=8
    ) as store:
        yield store


async def test_a_record_is_one_json_file_that_any_tool_reads(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    await store.write("Cart", "42", b'{"total": 3}')
    assert hdfs.rest().open(f"{store.base_path}/Cart/42.json") == b'{"total": 3}'
    hdfs.rest().create(f"{store.base_path}/Cart/43.json", b'{"total": 4}')
    assert await store.read("Cart", "43") == b'{"total": 4}'
    assert await store.count("Cart") == 2


async def test_a_reader_sees_the_old_record_or_the_new_and_never_a_part(
    store: HDFSStoreBackend,
) -> None:
    versions = [json.dumps([letter * 300_000]).encode() for letter in "abcdef"]
    await store.write("S", "big", versions[0])
    seen = 0
    writing = True

    async def read_on() -> None:
        nonlocal seen
        while writing:
            assert await store.read("S", "big") in versions
            seen += 1

    readers = [asyncio.ensure_future(read_on()) for _ in range(4)]
    for condition in (ALWAYS, IF_PRESENT):
        for version in versions:
            assert await store.write("S", "big", version, condition) is Outcome.REPLACED
    writing = False
    await asyncio.gather(*readers)
    assert seen > 4


async def test_an_insert_has_one_winner_whose_value_stays(store: HDFSStoreBackend) -> None:
    outcomes = await asyncio.gather(
        *(store.write("S", "one", b"%d" % number, IF_ABSENT) for number in range(12))
    )
    assert outcomes.count(Outcome.CREATED) == 1
    assert outcomes.count(Outcome.PRESENT) == 11
    assert await store.read("S", "one") == b"%d" % outcomes.index(Outcome.CREATED)


async def test_no_temporary_file_is_left_by_writes_that_were_done_or_refused(
    hdfs: HDFS, store: HDFSStoreBackend
) -> None:
    await store.write("S", "a", b"1")
    await store.write("S", "a", b"2", IF_ABSENT)
    await store.write("S", "b", b"2", IF_PRESENT)
    await store.write("Other", "b", b"2", IF_PRESENT)
    assert hdfs.rest().names(f"{store.base_path}/.pannier-writing") == []


async def test_writes_of_one_key_in_a_batch_keep_their_order(store: HDFSStoreBackend) -> None:
    writes = [
        Write("k", b"1", IF_ABSENT),
        Write("k", b"2", IF_ABSENT),
        Write("k", None),
        Write("k", b"3", IF_PRESENT),
        Write("k", b"4", IF_ABSENT),
        Write("other", b"5"),
    ]
    assert await store.write_many("S", writes) == [
        Outcome.CREATED, Outcome.PRESENT, Outcome.DELETED, Outcome.ABSENT, Outcome.CREATED,
        Outcome.CREATED,
    ]  # fmt: skip
    assert await store.read_many("S", ["other", "none", "k"]) == [b"5", None, b"4"]


async def test_what_hdfs_cannot_do_in_one_step_is_refused(store: HDFSStoreBackend) -> None:
    await store.write("S", "k", b"1")
    with pytest.raises(Unsupported):
        await store.write("S", "k", b"2", if_match("0" * 40))
    with pytest.raises(Unsupported):
        await store.erase("S", "k", if_match("0" * 40))
    with pytest.raises(Unsupported):
        await store.write_many("S", [Write("k", b"2")], atomic=True)
    assert await store.read("S", "k") == b"1"
    assert store.capabilities == frozenset()


async def test_a_cancelled_write_is_seen_through_and_its_connection_comes_back(
    store: HDFSStoreBackend, hdfs: HDFS
) -> None:
    await store.write("S", "first", b"1")
    writes = [asyncio.ensure_future(store.write("S", f"{n}", b"1")) for n in range(8)]
    deadline = time.monotonic() + 20
    while store.stats()["in_use"] < 8:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    for _ in range(3):
        await asyncio.sleep(0)  # who was handed a connection goes on with it
    for write in writes:
        write.cancel()
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in done)
    deadline = time.monotonic() + 20
    while store.stats()["in_use"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    # One that was cancelled just as it was handed its connection did nothing at all.
    assert 7 <= await store.count("S") <= 9
    assert hdfs.rest().names(f"{store.base_path}/.pannier-writing") == []


async def test_a_scan_ends_a_page_before_it_holds_too_many_bytes(store: HDFSStoreBackend) -> None:
    value = json.dumps("x" * (1 << 20)).encode()
    await store.write_many("S", [Write(f"{n}", value) for n in range(6)])
    first = await store.scan("S", None, 1000)
    assert 1 <= len(first.keys) < 5
    assert first.next is not None
    keys = list(first.keys)
    cursor: str | None = first.next
    while cursor is not None:
        page = await store.scan("S", cursor, 1000)
        keys += page.keys
        cursor = page.next
    assert sorted(keys) == [f"{n}" for n in range(6)]


async def test_a_scan_goes_on_right_after_any_record_of_a_page(store: HDFSStoreBackend) -> None:
    keys = ["a", "b", "z", "x" * 300, "x" * 301, "é" * 100, "é" * 101, "x" * 512]
    await store.write_many("S", [Write(key, b"1") for key in keys])
    page = await store.scan("S", None, 1000, resumable=True)
    assert sorted(page.keys) == sorted(keys)
    for item in range(len(page.keys)):
        rest = await store.scan("S", page.cursor_after(item), 1000)
        assert rest.keys == page.keys[item + 1 :]
    with pytest.raises(InvalidCursor):
        await store.scan("S", "../../etc", 10)


async def test_one_shared_connection_serves_all_in_turn(hdfs: HDFS) -> None:
    async with HDFSStoreBackend(
        hdfs.new_base_path(),
        namenodes=hdfs.addresses,
        username=USER,
        connection_mode=ConnectionMode.SINGLE,
    ) as store:
        await asyncio.gather(*(store.write("S", f"{n}", b"1") for n in range(4)))
        assert await store.read_many("S", ["0", "3", "4"]) == [b"1", b"1", None]
        assert store.stats()["max"] == 1


async def test_a_connector_says_whether_a_namenode_answers(hdfs: HDFS) -> None:
    connector = HDFSConnector("127.0.0.1", hdfs.ports[0], USER)
    assert not await connector.is_connected()
    async with connector:
        assert await connector.is_connected()
    assert not await connector.is_connected()
    with pytest.raises(BackendUnavailable) as refused:
        await HDFSConnector("127.0.0.1", free_port(), USER).connect()
    assert isinstance(refused.value.__cause__, ConnectionRefusedError)


async def test_a_server_that_is_not_webhdfs_is_unavailable_and_the_error_asks_for_its_address(
    hdfs: HDFS,
) -> None:
    # The DataNode's HTTP server, which knows nothing of the root's status.
    port = hdfs.datanode_port
    with pytest.raises(BackendUnavailable, match=r"HDFS|WebHDFS"):
        await HDFSConnector("127.0.0.1", port, USER).connect()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        thread = threading.Thread(target=answer_once, args=(stranger,))
        thread.start()
        with pytest.raises(BackendUnavailable, match="WebHDFS's address"):
            await HDFSConnector("127.0.0.1", stranger.getsockname()[1], USER).connect()
        thread.join(10)


def answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n<html")


async def test_a_closed_store_refuses(hdfs: HDFS) -> None:
    store = HDFSStoreBackend(hdfs.new_base_path(), namenodes=hdfs.addresses, username=USER)
    await store.ping()
    await store.close()
    await store.close()
    with pytest.raises(PoolClosed):
        await store.read("S", "k")


async def test_a_delegation_token_is_sent_and_never_shown(
    hdfs: HDFS, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "hunter2-token"
    gone = f"http://127.0.0.1:{free_port()}"
    # Without security HDFS does not look at the token; test_hdfs_kerberos logs in with one.
    async with HDFSStoreBackend(namenodes=hdfs.addresses, delegation_token=token) as store:
        await store.ping()
        assert repr(store) == f"<HDFSStoreBackend /volnux at {hdfs.addresses[0]}>"
    async with HDFSStoreBackend(namenodes=[gone], delegation_token=token) as store:
        with pytest.raises(BackendUnavailable) as refused:
            await store.read("S", "k")
    assert token not in "".join(traceback.format_exception(refused.value))
    seen: BaseException | None = refused.value
    while seen is not None:
        assert token not in repr(seen)
        seen = seen.__cause__ or seen.__context__
    assert token not in caplog.text
    assert "delegation=***" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_path": "relative"},
        {"namenodes": []},
        {"namenodes": ["hdfs://nn:8020"]},
        {"request_timeout": 0},
        {"username": "a", "delegation_token": "b"},
        {"max_connections": 0},
    ],
)
def test_wrong_keywords_are_refused_before_anything_is_dialed(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        HDFSStoreBackend(**wrong)  # type: ignore[arg-type]
