"""The primitives over stored bytes: what the library, the sidecar and its batches stand on."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import Any

import pytest

from pannier import BackendUnavailable, InvalidCursor, PannierError, Unsupported
from pannier.operations import (
    ALWAYS,
    IF_ABSENT,
    IF_PRESENT,
    Condition,
    Outcome,
    Write,
    if_match,
)
from tests.contract.store.sides import Side
from tests.real.programs import free_port

BYTES = [
    b"0", b"-0.0", b"1E400", b'"\\u00e9\\/"', b' {"b" : 1.50 , "a":[ ] }', b'{"a":1,"a":2}',
    b'"\x7f"', '"🧺"'.encode(), b"9" * 5000, b'"' + b"x" * 200_000 + b'"',
]  # fmt: skip


def tag(value: bytes) -> str:
    """The ETag of a value, as conditions hold it."""
    return sha1(value, usedforsecurity=False).hexdigest()


async def test_stored_bytes_come_back_as_they_were_sent(store: Side, schema: str) -> None:
    for place, value in enumerate(BYTES):
        assert await store.write(schema, f"k{place}", value) is Outcome.CREATED

    assert [await store.read(schema, f"k{place}") for place in range(len(BYTES))] == BYTES
    keys = [f"k{place}" for place in range(len(BYTES))]
    # Through a sidecar's batch a record is a member of a document: white space around it is not it.
    many = await store.read_many(schema, keys)
    assert [value.strip() for value in many] == [value.strip() for value in BYTES]


async def test_a_write_says_what_it_did(store: Side, schema: str) -> None:
    assert await store.write(schema, "42", b"1", IF_PRESENT) is Outcome.ABSENT
    assert await store.read(schema, "42") is None
    assert await store.write(schema, "42", b"1", IF_ABSENT) is Outcome.CREATED
    assert await store.write(schema, "42", b"2", IF_ABSENT) is Outcome.PRESENT
    assert await store.read(schema, "42") == b"1"
    assert await store.write(schema, "42", b"3", IF_PRESENT) is Outcome.REPLACED
    assert await store.write(schema, "42", b"4", ALWAYS) is Outcome.REPLACED
    assert await store.read(schema, "42") == b"4"
    assert await store.erase(schema, "42") is Outcome.DELETED
    assert await store.erase(schema, "42") is Outcome.ABSENT
    assert await store.write(schema, "42", b"5", ALWAYS) is Outcome.CREATED


async def test_compare_and_set_writes_only_what_was_read(store: Side, schema: str) -> None:
    if "cas" not in store.capabilities:
        with pytest.raises(Unsupported):
            await store.write(schema, "42", b"1", if_match(tag(b"0")))
        with pytest.raises(Unsupported):
            await store.erase(schema, "42", if_match(tag(b"0")))
        return
    other, mine = tag(b"other"), tag(b"1")
    assert await store.write(schema, "42", b"1", if_match(mine)) is Outcome.ABSENT
    assert await store.erase(schema, "42", if_match(mine)) is Outcome.ABSENT
    await store.write(schema, "42", b"1")

    assert await store.write(schema, "42", b"2", if_match(other)) is Outcome.MISMATCH
    assert await store.erase(schema, "42", if_match(other)) is Outcome.MISMATCH
    assert await store.read(schema, "42") == b"1"
    assert await store.write(schema, "42", b"2", if_match(other, mine)) is Outcome.REPLACED
    assert await store.write(schema, "42", b"3", if_match(mine)) is Outcome.MISMATCH
    assert await store.erase(schema, "42", if_match(tag(b"2"))) is Outcome.DELETED


async def test_many_are_read_in_the_order_asked(store: Side, schema: str) -> None:
    await store.write(schema, "a", b"1")
    await store.write(schema, "b/c%", b"2")

    found = await store.read_many(schema, ["none", "b/c%", "a", "b/c%"])

    assert found == [None, b"2", b"1", b"2"]
    assert await store.read_many(schema, []) == []


async def test_a_batch_is_carried_out_in_order_each_with_its_own_result(
    store: Side, schema: str
) -> None:
    await store.write(schema, "old", b"0")
    writes = [
        Write("new", b"1"),
        Write("new", b"2"),
        Write("new", b"3", IF_ABSENT),
        Write("none", b"4", IF_PRESENT),
        Write("old", b"5", IF_PRESENT),
        Write("none", None),
        Write("old", None),
        Write("old", b"6", IF_ABSENT),
    ]

    results = await store.write_many(schema, writes)

    assert results == [
        Outcome.CREATED,
        Outcome.REPLACED,
        Outcome.PRESENT,
        Outcome.ABSENT,
        Outcome.REPLACED,
        Outcome.ABSENT,
        Outcome.DELETED,
        Outcome.CREATED,
    ]
    assert await store.read_many(schema, ["new", "none", "old"]) == [b"2", None, b"6"]
    assert await store.write_many(schema, []) == []


async def test_a_batch_compares_and_sets(store: Side, schema: str) -> None:
    if "cas" not in store.capabilities:
        return
    await store.write(schema, "a", b"1")

    results = await store.write_many(
        schema,
        [
            Write("a", b"2", if_match(tag(b"1"))),
            Write("a", b"3", if_match(tag(b"1"))),
            Write("b", b"4", if_match(tag(b"1"))),
            Write("a", None, if_match(tag(b"9"), tag(b"2"))),
        ],
    )

    assert results == [Outcome.REPLACED, Outcome.MISMATCH, Outcome.ABSENT, Outcome.DELETED]


async def test_an_atomic_batch_is_all_or_nothing(store: Side, schema: str) -> None:
    await store.write(schema, "a", b"0")
    good = [Write("a", b"1", IF_PRESENT), Write("b", b"2", IF_ABSENT), Write("c", b"3")]
    if "atomic-batch" not in store.capabilities:
        with pytest.raises(Unsupported):
            await store.write_many(schema, good, atomic=True)
        assert await store.read_many(schema, ["a", "b", "c"]) == [b"0", None, None]
        return

    for bad, outcome in (
        (Write("b", b"4", IF_ABSENT), Outcome.PRESENT),
        (Write("d", b"4", IF_PRESENT), Outcome.ABSENT),
        (Write("a", b"4", if_match(tag(b"9"))), Outcome.MISMATCH),
    ):
        results = await store.write_many(schema, [*good, bad], atomic=True)
        assert results[-1] is outcome
        assert await store.read_many(schema, ["a", "b", "c", "d"]) == [b"0", None, None, None]

    results = await store.write_many(schema, good, atomic=True)
    assert results == [Outcome.REPLACED, Outcome.CREATED, Outcome.CREATED]
    assert await store.read_many(schema, ["a", "b", "c"]) == [b"1", b"2", b"3"]


async def test_a_scan_sees_each_record_once(store: Side, schema: str) -> None:
    wanted = {f"k{number}/ü": b"%d" % number for number in range(150)}
    await store.write_many(schema, [Write(key, value) for key, value in wanted.items()])

    found: list[tuple[str, bytes]] = []
    cursor = None
    for _ in range(1000):
        page = await store.scan(schema, cursor, 20)
        found += zip(page.keys, page.values, strict=True)
        cursor = page.next
        if cursor is None:
            break

    assert cursor is None
    assert len(found) == len(wanted)
    assert dict(found) == wanted


async def test_a_resumable_scan_goes_on_after_any_item(store: Side, schema: str) -> None:
    wanted = {f"k{number}" for number in range(100)}
    await store.write_many(schema, [Write(key, b"1") for key in wanted])
    try:
        await store.scan(schema, None, 10, resumable=True)
    except Unsupported:
        return  # a sidecar's pages end where it ends them

    seen: list[str] = []
    cursor = None
    for step in range(1000):
        page = await store.scan(schema, cursor, 30, resumable=True)
        if not page.keys:
            cursor = page.next
        elif step % 3:
            stop = min(step % 7, len(page.keys) - 1)
            seen += page.keys[: stop + 1]
            cursor = page.cursor_after(stop)
        else:
            seen += page.keys
            cursor = page.next
        if cursor is None:
            break

    assert sorted(seen) == sorted(wanted)


async def test_a_foreign_cursor_is_refused(store: Side, schema: str) -> None:
    await store.write(schema, "42", b"1")

    for cursor in ("", "nonsense", "-1", "ü", "9" * 500):
        with pytest.raises(InvalidCursor):
            await store.scan(schema, cursor, 10)


async def test_schemas_lists_each_schema_that_holds_records_with_its_count(
    store: Side, schema: str
) -> None:
    for number in range(5):
        for key in range(number + 1):
            await store.write(f"{schema}.{number}", f"k{key}", b"1")
    await store.write(f"{schema}.empty", "k", b"1")
    await store.erase(f"{schema}.empty", "k")

    found: list[tuple[str, int]] = []
    cursor = None
    for _ in range(1000):
        page = await store.schemas(cursor, 2)
        assert len(page.schemas) <= 2
        found += page.schemas
        cursor = page.next
        if cursor is None:
            break

    ours = [(name, count) for name, count in found if name.startswith(schema)]
    assert sorted(ours) == [(f"{schema}.{number}", number + 1) for number in range(5)]


async def test_a_store_that_serves_answers_a_ping_and_tells_its_figures(store: Side) -> None:
    await store.ping()

    figures = store.stats()
    for name in ("max", "in_use", "idle", "opening", "pending"):
        assert isinstance(figures[name], int)
    for name in ("timeouts", "rejected", "closed", "leaks"):
        assert figures[name] == 0


async def test_a_store_says_what_it_can_do(store: Side) -> None:
    assert store.capabilities <= {"cas", "merge-patch", "atomic-batch"}


async def test_a_backend_that_is_not_there_is_unavailable_with_its_cause(
    open_store: Callable[..., Side], schema: str, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.id
    if kind.startswith("memory"):
        return
    nobody = f"127.0.0.1:{free_port()}"
    gone: dict[str, Any] = {"port": free_port()}
    for word, keywords in (
        ("hdfs", {"namenodes": [f"http://{nobody}"]}),
        ("cluster", {"nodes": [nobody]}),
        ("sentinel", {"sentinels": [nobody]}),
    ):
        if word in kind:
            gone = dict(keywords)
    store = open_store(**gone, connection_timeout=2)

    for operation in (
        store.read(schema, "42"),
        store.write(schema, "42", b"1"),
        store.erase(schema, "42"),
        store.count(schema),
        store.ping(),
    ):
        with pytest.raises(BackendUnavailable) as raised:
            await operation
        assert isinstance(raised.value, PannierError)
        assert str(raised.value)
        assert raised.value.code == "backend-unavailable"


def test_conditions_are_values() -> None:
    assert if_match("a") == Condition("etag", ("a",))
