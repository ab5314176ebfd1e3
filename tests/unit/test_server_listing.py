"""Pages of a list: where they end, and that the next one goes on exactly there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.operations import ScanPage
from pannier.server import cursors, listing
from pannier.server.listing import ListRequest


class SlowStore(InMemoryKeyValueStoreBackend):
    """Each batch takes a while, as a loaded backend's does."""

    request_timeout = 0.4
    batches = 0

    async def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        self.batches += 1
        await asyncio.sleep(0.05)
        return await super().scan(schema, cursor, min(count, 10), resumable=resumable)


async def pages(store: Any, **asked: Any) -> list[Any]:
    """All pages of a list, each as its document."""
    found, cursor = [], None
    while True:
        request = ListRequest(asked.get("limit"), cursor, asked.get("matches"))
        found.append(json.loads(await listing.page(store, "Cart", request)))
        if found[-1]["next"] is None:
            return found
        cursor = cursors.unwrap("Cart", found[-1]["next"])


async def test_a_page_ends_at_half_of_the_requests_time() -> None:
    store = SlowStore()
    for n in range(200):
        await store.write("Cart", str(n), b"%d" % n)
    found = await pages(store, matches=lambda value: value == b"199")
    assert len(found) >= 3
    assert [len(page["records"]) for page in found[:-1]] == [0] * (len(found) - 1)
    assert [item["key"] for page in found for item in page["records"]] == ["199"]
    assert store.batches / len(found) <= 6


@given(
    sizes=st.lists(st.integers(1, 3_000_000), max_size=8),
    limit=st.integers(1, 5),
)
def test_no_limit_of_a_page_skips_or_repeats_a_record(sizes: list[int], limit: int) -> None:
    async def run() -> None:
        store = InMemoryKeyValueStoreBackend()
        for n, size in enumerate(sizes):
            await store.write("Cart", str(n), b'"%b"' % (b"x" * size))
        found = await pages(store, limit=limit)
        keys = [item["key"] for page in found for item in page["records"]]
        assert keys == [str(n) for n in range(len(sizes))]
        for page in found:
            held = [len(item["record"]) for item in page["records"]]
            assert len(held) <= limit
            assert len(held) == 1 or sum(held) <= listing.PAGE_BYTES

    asyncio.run(run())


@pytest.mark.parametrize("gone", [0, 3, 9])
async def test_a_record_deleted_between_pages_hides_no_other(gone: int) -> None:
    store = InMemoryKeyValueStoreBackend()
    for n in range(10):
        await store.write("Cart", str(n), b"1")
    first = json.loads(await listing.page(store, "Cart", ListRequest(4, None, None)))
    await store.erase("Cart", str(gone))
    cursor = cursors.unwrap("Cart", first["next"])
    rest = json.loads(await listing.page(store, "Cart", ListRequest(10, cursor, None)))
    seen = {item["key"] for page in (first, rest) for item in page["records"]}
    assert seen | {str(gone)} == {str(n) for n in range(10)}
