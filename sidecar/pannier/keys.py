"""The rules of names: record keys, schema names and store names. Pure; imports only errors."""

from __future__ import annotations

import re
from typing import Final

from pannier.errors import InvalidKey, InvalidSchema

MAX_KEY_BYTES = 512

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SCHEMA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
STORE_NAME: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""A DNS label (RFC 1123 section 2.1), in the words of Python's re and of RE2."""
_STORE = re.compile(STORE_NAME)


def key_text(key: str | int) -> str:
    """The one text form of a record key: 42 and "42" are the same key.

    Raises InvalidKey when it is neither str nor int (a bool is neither), when it is not 1 to 512
    bytes of UTF-8, holds a control character (U+0000-001F, U+007F-009F) or is "." or "..".
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    if not isinstance(key, str):
        raise InvalidKey(f"A key is a str or an int, not {type(key).__name__}.")
    check_key(key)
    return str(key)


def check_key(key: str) -> None:
    """Raise InvalidKey unless `key` is a valid record key."""
    try:
        # A character takes at most 4 bytes, so a short ASCII key (the usual one) needs no encoding.
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKey("A key must be valid UTF-8 (this one holds a lone surrogate).") from None
    if not 0 < size <= MAX_KEY_BYTES:
        raise InvalidKey(f"A key has 1 to {MAX_KEY_BYTES} bytes of UTF-8; this one has {size}.")
    if key in (".", ".."):
        raise InvalidKey('A key cannot be "." or "..".')
    if not key.isprintable() and _CONTROL.search(key):
        raise InvalidKey("A key cannot hold control characters (U+0000-001F, U+007F-009F).")


def check_schema(schema: str) -> None:
    """Raise InvalidSchema unless `schema` is a valid schema name."""
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        raise InvalidSchema(
            "A schema name has 1 to 128 of A-Z a-z 0-9 _ . - and starts with a letter, digit or _."
        )


def is_store_name(name: str) -> bool:
    """Whether `name` is a DNS label (RFC 1123 section 2.1), as store names are."""
    return _STORE.fullmatch(name) is not None
