"""Lists of a schema's records: what a request asks for, and its pages."""

from __future__ import annotations

from hashlib import sha1
from time import monotonic
from typing import Any

import msgspec

from pannier import filters, json_text
from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.filters import Predicate
from pannier.server import bodies, cursors
from pannier.server.refusals import InvalidRequest

PAGE_BYTES = 4 * 1024 * 1024
PAGE_SCANNED = 10_000
"""A page ends at these, at its limit, or at half of the request's time."""
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
REQUEST_TIME = 5.0
"""Seconds a page may take where the store does not say (`requestTimeout`'s default)."""

BATCH = 1000
BATCH_BYTES = 1024 * 1024
"""A scan asks for as many records at once as come to about this many bytes, at most BATCH."""
FIRST_BATCH = 100

RESERVED = frozenset(("prefix", "fields", "order", "keysOnly"))

_QUERY_MEMBERS = frozenset(("filter", "limit", "cursor"))
_QUERY_SHAPE = '{"filter": {...}, "limit": 100, "cursor": "..."}'

_json = msgspec.json.Encoder().encode


class ListRequest:
    """What a list asks for: a limit, where to go on, and which records."""

    __slots__ = ("cursor", "filtered", "limit", "matches")

    def __init__(self, limit: int | None, cursor: str | None, matches: Predicate | None) -> None:
        self.limit = limit
        """None: not asked for."""
        self.cursor = cursor
        """The store's own cursor."""
        self.matches = matches
        """None: all records."""


def of_query(pairs: list[tuple[str, str]], schema: str) -> ListRequest:
    """A list asked for by a query string. Raises InvalidRequest, InvalidFilter, InvalidCursor."""
    limit, cursor, conditions = page_parameters(pairs)
    matches = filters.compile_query(conditions) if conditions else None
    return ListRequest(
        limit, cursors.unwrap(schema, cursor) if cursor is not None else None, matches
    )


def of_document(body: bytes, schema: str) -> ListRequest:
    """A list asked for by the body of `:query`. Raises the same, and InvalidRecord."""
    found = bodies.members(body, _QUERY_MEMBERS, _QUERY_SHAPE)
    limit = None
    if "limit" in found:
        limit = bodies.whole_number(found["limit"], bad_limit())
        if not 1 <= limit <= MAX_LIMIT:
            raise bad_limit()
    cursor = bodies.text_of(found, "cursor")
    matches = None
    if "filter" in found:
        matches = filters.compile_document(json_text.parse_members(found["filter"]))
    return ListRequest(
        limit, cursors.unwrap(schema, cursor) if cursor is not None else None, matches
    )


def page_parameters(
    pairs: list[tuple[str, str]],
) -> tuple[int | None, str | None, list[tuple[str, str]]]:
    """`limit`, `cursor`, and the other parameters. Raises InvalidRequest."""
    limit: int | None = None
    cursor: str | None = None
    others: list[tuple[str, str]] = []
    for name, value in pairs:
        if name == "limit":
            if limit is not None:
                raise InvalidRequest("limit can be given once.")
            limit = parse_limit(value)
        elif name == "cursor":
            if cursor is not None:
                raise InvalidRequest("cursor can be given once.")
            cursor = value
        elif name in RESERVED:
            raise InvalidRequest(f"The parameter {name} is reserved and does nothing yet.")
        else:
            others.append((name, value))
    return limit, cursor, others


def parse_limit(text: str) -> int:
    """A page's limit. Raises InvalidRequest."""
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise bad_limit()


def bad_limit() -> InvalidRequest:
    """The refusal of a limit out of its bounds."""
    return InvalidRequest(f"limit must be a whole number from 1 to {MAX_LIMIT}.")


class BatchSize:
    """How many records to ask a store for, so that they come to about BATCH_BYTES."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = FIRST_BATCH

    def learn(self, records: int, size: int) -> None:
        """Take notice of a batch that came."""
        if records:
            self.count = max(1, min(BATCH, BATCH_BYTES * records // (size + 1)))


async def page(backend: KeyValueStoreBackendBase, schema: str, asked: ListRequest) -> bytes:
    """The JSON document of one page."""
    limit = asked.limit or DEFAULT_LIMIT
    matches = asked.matches
    deadline = monotonic() + page_time(backend)
    batch = BatchSize()
    cursor = asked.cursor
    items: list[bytes] = []
    size = scanned = 0
    while True:
        wanted = batch.count if matches is not None else min(batch.count, limit - len(items))
        found = await backend.scan(schema, cursor, wanted, resumable=True)
        values = found.values
        batch.learn(len(values), sum(map(len, values)))
        for place, value in enumerate(values):
            if matches is not None and not matches(value):
                continue
            item = entry(found.keys[place], value)
            if items and size + len(item) > PAGE_BYTES:
                # This record opens the next page: go on after the one before it.
                before = found.cursor_after(place - 1) if place else cursor
                return document(items, schema, before)
            items.append(item)
            size += len(item) + 1
            if len(items) >= limit or size >= PAGE_BYTES:
                rest = place + 1 < len(values)
                return document(items, schema, found.cursor_after(place) if rest else found.next)
        scanned += len(values)
        cursor = found.next
        if cursor is None or scanned >= PAGE_SCANNED or monotonic() >= deadline:
            return document(items, schema, cursor)


def page_time(backend: KeyValueStoreBackendBase) -> float:
    """Seconds a page may scan: half of the request's time."""
    time: float = getattr(backend, "request_timeout", REQUEST_TIME)
    return time / 2


def entry(key: str, value: bytes) -> bytes:
    """One record of a list."""
    tag = sha1(value, usedforsecurity=False).hexdigest().encode()
    return b'{"key":%b,"etag":"\\"%b\\"","record":%b}' % (_json(key), tag, value)


def document(items: list[bytes], schema: str, cursor: str | None) -> bytes:
    """The page around its records."""
    following = _json(cursors.wrap(schema, cursor)) if cursor is not None else b"null"
    return b'{"records":[%b],"next":%b}' % (b",".join(items), following)


async def count(backend: KeyValueStoreBackendBase, schema: str, matches: Predicate | None) -> int:
    """How many records of the schema meet the filter, however long that takes."""
    if matches is None:
        return await backend.count(schema)
    batch = BatchSize()
    cursor: str | None = None
    total = 0
    while True:
        found = await backend.scan(schema, cursor, batch.count)
        batch.learn(len(found.values), sum(map(len, found.values)))
        total += sum(map(matches, found.values))
        cursor = found.next
        if cursor is None:
            return total


async def schemas(
    backend: KeyValueStoreBackendBase, limit: int | None, cursor: str | None
) -> dict[str, Any]:
    """One page of the store's schemas."""
    inner = cursors.unwrap("", cursor) if cursor is not None else None
    found = await backend.schemas(inner, limit or DEFAULT_LIMIT)
    return {
        "schemas": [{"name": name, "count": records} for name, records in found.schemas],
        "next": cursors.wrap("", found.next) if found.next is not None else None,
    }
