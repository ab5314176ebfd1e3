"""A list as NDJSON: every record of a schema, a line each, in constant memory.

A batch is read, its lines are written as one chunk, and only when the client took them is the next
one read: so no backend connection is held while a client is slow.
"""

from __future__ import annotations

from hashlib import sha1

import msgspec

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.operations import ScanPage
from pannier.server.answers import NDJSON
from pannier.server.exchange import Exchange
from pannier.server.listing import BatchSize, ListRequest

_json = msgspec.json.Encoder().encode
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


def wants_lines(accept: str | None) -> bool:
    """Whether an `Accept` header asks for NDJSON by name."""
    if accept is None:
        return False
    for choice in accept.split(","):
        kind, *parameters = [part.strip().lower() for part in choice.split(";")]
        if kind == "application/x-ndjson":
            return not any(_refuses(parameter) for parameter in parameters)
    return False


def _refuses(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")


def lines(page: ScanPage, asked: ListRequest) -> bytes:
    """The batch's records that are asked for, a line each: about 1 µs a record of 250 bytes."""
    matches = asked.matches
    parts: list[bytes] = []
    for key, value in zip(page.keys, page.values, strict=True):
        if matches is not None and not matches(value):
            continue
        tag = sha1(value, usedforsecurity=False).hexdigest().encode()
        if b"\n" in value or b"\r" in value:
            value = value.translate(_LINE_ENDS)  # between tokens only: a string has none raw
        parts.append(b'{"key":%b,"etag":"\\"%b\\"","record":%b}\n' % (_json(key), tag, value))
    return b"".join(parts)


async def stream(
    exchange: Exchange, backend: KeyValueStoreBackendBase, schema: str, asked: ListRequest
) -> None:
    """Answer with every record. What fails before the first byte is raised; after it, the stream
    is cut without its last chunk, and the error raised for the log."""
    batch = BatchSize()
    page = await backend.scan(schema, asked.cursor, batch.count)
    if not exchange.begin_stream(NDJSON):
        return
    try:
        while True:
            data = lines(page, asked)
            batch.learn(len(page.values), sum(map(len, page.values)))
            if data and not await exchange.stream(data):
                raise ConnectionResetError("the client left in the middle of a stream")
            cursor = page.next
            if cursor is None:
                break
            del page, data
            page = await backend.scan(schema, cursor, batch.count)
    except BaseException:
        exchange.cut_stream()
        raise
    exchange.end_stream()
