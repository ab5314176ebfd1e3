"""Problem documents (RFC 9457): every refusal of both lanes becomes bytes here. Pure."""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from pannier.errors import PannierError
from pannier.server.answers import PROBLEM, Answer

TYPES = "https://pannier.dev/problems/"

_encode = msgspec.json.Encoder().encode


def problem(
    error: PannierError,
    *,
    status: int | None = None,
    store: str | None = None,
    schema: str | None = None,
    key: str | None = None,
    more: dict[str, Any] | None = None,
) -> Answer:
    """The answer that tells a client of `error`.

    `status` replaces the error's own (a failed precondition is 412 `record-exists`). The error's
    `fields` become members, except `allow`, which is the `Allow` header of a 405, and
    `retry_after` (seconds), which is `Retry-After`; `more` adds members of the request's own.
    """
    status = status or error.status
    document: dict[str, Any] = {
        "type": TYPES + error.code,
        "title": error.title,
        "status": status,
        "detail": str(error),
        "code": error.code,
    }
    for name, value in (("store", store), ("schema", schema), ("key", key)):
        if value is not None:
            document[name] = value
    headers = PROBLEM
    for name, value in error.fields.items():
        if name == "allow":
            headers += b"Allow: %b\r\n" % ", ".join(value).encode()
        elif name != "retry_after" and name not in document:
            document[name] = value
    if more:
        document.update(more)
    if status == 503:
        seconds = max(1, ceil(error.fields.get("retry_after", 1)))
        headers += b"Retry-After: %d\r\n" % seconds
    elif status == 401:
        headers += b'WWW-Authenticate: Bearer realm="pannier"\r\n'
    return Answer(status, headers, printable(document))


def printable(document: dict[str, Any]) -> bytes:
    """The document as JSON; a lone surrogate in a text (from a broken name) becomes "?"."""
    try:
        return _encode(document)
    except UnicodeEncodeError:
        clean = {
            name: value.encode(errors="replace").decode() if isinstance(value, str) else value
            for name, value in document.items()
        }
        return _encode(clean)
