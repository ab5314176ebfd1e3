"""The request target, read from its raw bytes (RFC 9112 section 3.2). Pure; for both lanes.

The path is cut at literal slashes, and an action at a literal ":" of the store or schema segment,
before anything is percent-decoded: so `%2F` is a slash inside a key and `%3A` never an action.
`parse` decides what a path is; the names in it are decoded, and refused, later and one by one,
because the refusals have an order.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote_to_bytes

from pannier.errors import InvalidKey, InvalidSchema
from pannier.keys import check_key, check_schema, is_store_name
from pannier.server.refusals import BadRequest, InvalidRequest

Route = Literal[
    "openapi", "stores", "store", "schemas", "schema", "count", "query", "batchGet", "batchWrite",
    "record", "server", "unknown",
]  # fmt: skip

METHODS: dict[str, tuple[str, ...]] = {
    "openapi": ("GET", "HEAD"),
    "stores": ("GET", "HEAD"),
    "store": ("GET", "HEAD"),
    "schemas": ("GET", "HEAD"),
    "schema": ("GET", "HEAD", "POST"),
    "count": ("GET", "HEAD"),
    "query": ("POST",),
    "batchGet": ("POST",),
    "batchWrite": ("POST",),
    "record": ("GET", "HEAD", "PUT", "PATCH", "DELETE"),
    "server": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
}
"""The methods of each route, as `Allow` names them."""

STORE_ACTIONS: frozenset[bytes] = frozenset({b"schemas"})
SCHEMA_ACTIONS: frozenset[bytes] = frozenset({b"count", b"query", b"batchGet", b"batchWrite"})

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]*)((?:[/?].*)?)", re.DOTALL)


class Target:
    """A parsed target: its route, its segments still encoded, and its query string."""

    __slots__ = ("authority", "key", "query", "route", "schema", "store")

    def __init__(
        self,
        route: Route,
        store: bytes = b"",
        schema: bytes = b"",
        key: bytes = b"",
        query: bytes = b"",
        authority: bytes | None = None,
    ) -> None:
        self.route: Route = route
        self.store = store
        self.schema = schema
        self.key = key
        self.query = query
        self.authority = authority
        """The host of an absolute-form target; it replaces the Host header (RFC 9112 3.2.2)."""

    def __repr__(self) -> str:
        return f"<Target {self.route} {self.store!r} {self.schema!r} {self.key!r} ?{self.query!r}>"


def parse(raw: bytes) -> Target:
    """What `raw` asks for. Raises BadRequest for what is no target of HTTP; an unknown path is the
    route "unknown"."""
    if raw == b"*":
        return Target("server")
    authority, path, query = split(raw)
    target = of_path(path)
    target.query = query
    target.authority = authority
    return target


def split(raw: bytes) -> tuple[bytes | None, bytes, bytes]:
    """The authority (of an absolute form, else None), the path and the query of a target.

    Raises BadRequest.
    """
    authority = None
    if not raw.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None:
            raise BadRequest("The request target must be a path that starts with a slash.")
        authority, raw = absolute[1], absolute[2]
    if b"#" in raw:
        raise BadRequest("A request target has no fragment (#...).")
    path, _, query = raw.partition(b"?")
    return authority, path or b"/", query


def of_path(path: bytes) -> Target:
    """The target of a path without its query."""
    if path == b"/openapi.json":
        return Target("openapi")
    segments = path.split(b"/", 5)
    if segments[:2] != [b"", b"v1"] or len(segments) > 5:
        return Target("unknown")
    if len(segments) == 2:
        return Target("stores")
    if len(segments) == 3:
        store, colon, action = segments[2].partition(b":")
        if not colon:
            return Target("store", store)
        return Target("schemas", store) if action in STORE_ACTIONS else Target("unknown")
    if b":" in segments[2]:
        return Target("unknown")
    schema, colon, action = segments[3].partition(b":")
    if len(segments) == 5:
        if colon:
            return Target("unknown")
        return Target("record", segments[2], schema, segments[4])
    if not colon:
        return Target("schema", segments[2], schema)
    if action not in SCHEMA_ACTIONS:
        return Target("unknown")
    return Target(action.decode(), segments[2], schema)  # type: ignore[arg-type]


def decode_store(raw: bytes) -> str | None:
    """The store's name, or None where no store can have it."""
    name = _decode(raw)
    return name if name is not None and is_store_name(name) else None


def decode_schema(raw: bytes) -> str:
    """The schema's name. Raises InvalidSchema."""
    name = _decode(raw)
    if name is None:
        raise InvalidSchema("The schema in the path is not percent-encoded UTF-8.")
    check_schema(name)
    return name


def decode_key(raw: bytes) -> str:
    """The record key: `%2F` is a slash, `+` a plus. Raises InvalidKey."""
    key = _decode(raw)
    if key is None:
        raise InvalidKey(
            "The key in the path is not percent-encoded UTF-8: write % as %25, and each byte that "
            "is not a letter, digit or one of -._~ as %XX."
        )
    check_key(key)
    return key


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """The parameters in their order; `+` is a space. Raises InvalidRequest."""
    pairs: list[tuple[str, str]] = []
    for pair in raw.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        decoded = _decode(name), _decode(value)
        if decoded[0] is None or decoded[1] is None:
            raise InvalidRequest("The query string is not percent-encoded UTF-8.")
        pairs.append((decoded[0], decoded[1]))
    return pairs


def _decode(raw: bytes) -> str | None:
    """Percent-decoded text, or None for a broken escape or broken UTF-8."""
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            return None
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
