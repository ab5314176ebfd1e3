"""ETags: a record's tag is the quoted lower-case hex SHA-1 of its stored bytes. Pure."""

from __future__ import annotations

from hashlib import sha1


def etag_of(value: bytes) -> str:
    """The strong ETag of the stored bytes `value`, quotes included (RFC 9110 section 8.8.3)."""
    return f'"{sha1(value, usedforsecurity=False).hexdigest()}"'
