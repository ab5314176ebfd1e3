"""JSON objects around records in request bodies: taken apart without touching a record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pannier import json_text
from pannier.errors import InvalidKey, PannierError
from pannier.keys import MAX_KEY_BYTES, key_text
from pannier.server.refusals import InvalidRequest

ENVELOPE_DEPTH = 4
"""Levels of JSON around a record in a body; the record's own are checked when it is taken out."""


def members(body: bytes, allowed: frozenset[str], shape: str) -> dict[str, bytes]:
    """The members of the object `body`, each as the bytes it is.

    Raises InvalidRecord if it is not JSON, and InvalidRequest if it is no object or has a member
    that is not `allowed`; `shape` tells what is.
    """
    json_text.check(body, what="body", depth=json_text.MAX_DEPTH + ENVELOPE_DEPTH)
    return of_checked(body, allowed, shape)


def of_checked(text: bytes, allowed: frozenset[str], shape: str) -> dict[str, bytes]:
    """The same, for JSON text that was checked already."""
    found = json_text.members(text)
    if found is None:
        raise InvalidRequest(f"This must be a JSON object: {shape}.")
    if not allowed.issuperset(found):
        unknown = next(name for name in found if name not in allowed)
        raise InvalidRequest(f"The member {unknown[:100]!r} is unknown here: {shape}.")
    return {name: bytes(value) for name, value in found.items()}


def items(text: bytes | None, most: int, name: str) -> list[bytes]:
    """The items of the array that the member `name` is. Raises InvalidRequest."""
    found = json_text.items(text) if text is not None else None
    if found is None:
        raise InvalidRequest(f"The body needs the member {name}, an array.")
    if len(found) > most:
        raise InvalidRequest(f"{name} has {len(found)} items; at most {most} go in one request.")
    return [bytes(item) for item in found]


def key_of(text: bytes) -> str:
    """A record key given in JSON: a string, or a whole number (42, 42.0 and "42" are one key).

    Raises InvalidKey.
    """
    if text[:1] == b'"':
        return key_text(json_text.parse(text))
    return key_text(whole_number(text, InvalidKey("A key is a string or a whole number.")))


def whole_number(text: bytes, refusal: PannierError) -> int:
    """The whole number that JSON text is; raises `refusal` for anything else."""
    value: Any = json_text.parse(text) if len(text) <= MAX_KEY_BYTES else None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise refusal
    if isinstance(value, Decimal) and (value.adjusted() > MAX_KEY_BYTES or value % 1 != 0):
        raise refusal
    return int(value)


def text_of(found: Mapping[str, bytes], name: str) -> str | None:
    """A member that must be a string, None where it is left out. Raises InvalidRequest.

    A null is refused: it comes from a variable its sender did not set, and to take it for "left
    out" would drop a condition, or begin a list again.
    """
    if name not in found:
        return None
    value = json_text.parse(found[name])
    if not isinstance(value, str):
        raise InvalidRequest(f"The member {name} must be a string; leave it out if there is none.")
    return value
