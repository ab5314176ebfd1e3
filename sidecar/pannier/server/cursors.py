"""Page cursors as clients see them: opaque text around the store's own cursor. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from zlib import crc32

from pannier.errors import InvalidCursor


def wrap(schema: str, cursor: str) -> str:
    """The client's form of a store's `cursor` in `schema` ("" for a list of schemas)."""
    inner = cursor.encode()
    seal = crc32(inner, crc32(schema.encode())).to_bytes(4, "big")
    return urlsafe_b64encode(seal + inner).rstrip(b"=").decode()


def unwrap(schema: str, text: str) -> str:
    """The store's cursor again. Raises InvalidCursor for text that `wrap` did not make here."""
    try:
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        inner = packed[4:].decode()
    except ValueError:
        raise unknown() from None
    if wrap(schema, inner) != text:
        raise unknown()
    return inner


def unknown() -> InvalidCursor:
    """The refusal of any cursor that is not ours."""
    return InvalidCursor(
        "This cursor was not made by this list: pass `next` of the page before, unchanged."
    )
