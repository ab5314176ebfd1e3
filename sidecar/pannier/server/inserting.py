"""POST of a new record, with a key of its own or a new UUID."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from pannier import json_text
from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.errors import ObjectExistError
from pannier.etags import etag_of
from pannier.operations import IF_ABSENT, Outcome
from pannier.server import bodies
from pannier.server.answers import JSON, Answer
from pannier.server.refusals import InvalidRequest
from pannier.server.uuid7 import uuid7

_MEMBERS = frozenset(("key", "record"))
_SHAPE = '{"key": "...", "record": {...}}, where the key may be left out'


def read(body: bytes) -> tuple[str, bytes]:
    """The key (a new one where there is none) and the record's bytes.

    Raises InvalidRecord, InvalidRequest, InvalidKey.
    """
    found = bodies.members(body, _MEMBERS, _SHAPE)
    if "record" not in found:
        raise InvalidRequest(f"The body needs the member record: {_SHAPE}.")
    key = bodies.key_of(found["key"]) if "key" in found else uuid7()
    json_text.check_depth(found["record"])
    return key, found["record"]


async def insert(
    backend: KeyValueStoreBackendBase, store: str, schema: str, key: str, record: bytes
) -> Answer:
    """Store the record if its key is free. Raises ObjectExistError."""
    if await backend.write(schema, key, record, IF_ABSENT) is Outcome.PRESENT:
        raise ObjectExistError(f"{schema}/{key} exists already: PUT replaces it.")
    tag = etag_of(record)
    place = f"/v1/{store}/{schema}/{quote(key, safe='')}"
    fields = f"Location: {place}\r\nETag: {tag}\r\n".encode()
    return Answer(201, JSON + fields, msgspec.json.encode({"key": key, "etag": tag}))
