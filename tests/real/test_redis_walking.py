"""Scans and lists of schemas on a real Redis: cut anywhere, while others write, among strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest

from pannier.aio.stores.redis import RedisStoreBackend
from pannier.errors import InvalidCursor
from pannier.operations import Write
from tests.real.redis import RedisServer

BUCKETS = [1, 3]


@pytest.fixture(params=BUCKETS)
async def store(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_prefix: str
) -> AsyncIterator[RedisStoreBackend]:
    async with RedisStoreBackend(
        port=redis_server.port, key_prefix=redis_prefix, hash_buckets=request.param
    ) as opened:
        yield opened


async def fill(store: RedisStoreBackend, schema: str, numbers: range, size: int = 70) -> list[str]:
    """Records longer than Redis's 64 bytes for small hashes, so that they are real tables."""
    value = b'"' + b"x" * size + b'"'
    keys = [f"k{number}" for number in numbers]
    for start in range(0, len(keys), 500):
        await store.write_many(schema, [Write(key, value) for key in keys[start : start + 500]])
    return keys


async def walk(
    store: RedisStoreBackend,
    schema: str,
    count: int,
    cut: Callable[[int], int | None],
    between: Callable[[], Any] | None = None,
) -> list[str]:
    """All keys a client of pages sees; `cut(n)` is the last item taken of a batch of n, or None."""
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.scan(schema, cursor, count, resumable=True)
        item = cut(len(page.keys)) if page.keys else None
        seen += page.keys if item is None else page.keys[: item + 1]
        cursor = page.next if item is None else page.cursor_after(item)
        if cursor is None:
            return seen
        if between is not None:
            await between()


# Just over the sizes at which the table grows, Redis is still moving records to the new one.
@pytest.mark.parametrize("size", [0, 1, 40, 129, 257, 513, 520, 1025, 1100])
@pytest.mark.parametrize("record", [5, 70])
async def test_pages_cut_anywhere_show_every_record_exactly_once(
    store: RedisStoreBackend, size: int, record: int
) -> None:
    keys = await fill(store, "Cut", range(size), record)
    for count in (3, 50, 1000):
        random = Random(count)

        def cut(length: int, random: Random = random) -> int | None:
            return random.randrange(length) if random.random() < 0.5 else None

        async def read(random: Random = random) -> None:
            for _ in range(random.randrange(40)):  # each moves the rehash a bucket on
                await store.read("Cut", "k0")

        assert sorted(await walk(store, "Cut", count, cut, read)) == sorted(keys)


async def test_records_present_throughout_are_seen_while_others_come_and_go(
    store: RedisStoreBackend,
) -> None:
    ours = set(await fill(store, "Busy", range(400)))
    random = Random(7)
    high = 400

    async def change() -> None:
        nonlocal high
        if random.random() < 0.5:
            await fill(store, "Busy", range(high, high + 60))
            high += 60
        else:
            gone = [Write(f"k{number}", None) for number in range(max(400, high - 90), high)]
            await store.write_many("Busy", gone)
            high = max(400, high - 90)

    for count in (10, 100):
        seen = await walk(store, "Busy", count, lambda n: random.randrange(n), change)
        assert ours <= set(seen)


async def test_a_batch_of_large_records_is_small_in_number(store: RedisStoreBackend) -> None:
    await fill(store, "Large", range(120), 300_000)
    cursor, sizes = None, []
    while True:
        page = await store.scan("Large", cursor, 1000)
        sizes.append(sum(map(len, page.values)))
        cursor = page.next
        if cursor is None:
            break
    # The first batch learns the size, the later ones come to about 2 MiB.
    assert sum(sizes) >= 120 * 300_000
    assert sizes[0] <= 24 * 300_002
    assert max(sizes[1:]) <= 12 * 300_002


async def test_the_cursor_of_another_schema_or_prefix_is_refused(
    store: RedisStoreBackend, redis_server: RedisServer
) -> None:
    await fill(store, "One", range(600))
    page = await store.scan("One", None, 10, resumable=True)
    for cursor in (page.next, page.cursor_after(0)):
        with pytest.raises(InvalidCursor):
            await store.scan("Two", cursor, 10)
        with pytest.raises(InvalidCursor):
            await store.schemas(cursor, 10)
        async with RedisStoreBackend(port=redis_server.port, key_prefix="elsewhere:") as other:
            with pytest.raises(InvalidCursor):
                await other.scan("One", cursor, 10)


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_schemas_are_listed_once_each_among_other_peoples_keys(
    store: RedisStoreBackend, redis_server: RedisServer, limit: int
) -> None:
    prefix, client = store.layout.prefix, redis_server.client()
    for number in range(60):
        await fill(store, f"Schema{number}", range(1 + number % 5))
    await fill(store, "Gone", range(3))
    await store.write_many("Gone", [Write(f"k{number}", None) for number in range(3)])
    for number in range(200):
        client.set(f"{prefix}string{number}", "x")
        client.hset(f"other-{number}:Cart", "k", "x")
    client.hset(f"{prefix}not a schema", "k", "x")
    client.hset(f"{prefix}-Cart", "k", "x")
    client.sadd(f"{prefix}Set", "x")
    found, cursor = [], None
    while True:
        page = await store.schemas(cursor, limit)
        assert len(page.schemas) <= limit
        found += page.schemas
        cursor = page.next
        if cursor is None:
            break
    assert sorted(found) == sorted((f"Schema{number}", 1 + number % 5) for number in range(60))
