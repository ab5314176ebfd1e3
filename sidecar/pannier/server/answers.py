"""One answer, and its bytes on the wire: written here for both lanes, so that none differs.

Imports nothing of ours and does no I/O; the clock is read for the `Date` line alone.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from time import time

JSON = b"Content-Type: application/json\r\n"
NDJSON = b"Content-Type: application/x-ndjson\r\n"
PROBLEM = b"Content-Type: application/problem+json\r\n"

CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"

STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Answer:
    """A status, header field lines (each ended by CR LF, without framing) and a whole body."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.body)} bytes>"


def encode(answer: Answer, with_body: bool = True, connection: bytes = b"") -> bytes:
    """The whole answer as bytes; `with_body` False answers a HEAD, whose lengths are a GET's.

    `connection` is CLOSE, KEEP (HTTP/1.0 only) or empty. 204 and 304 have neither body nor length
    (RFC 9110 sections 8.6 and 15.4.5).
    """
    status = answer.status
    opening = _openings.get(status) if _second <= time() < _next_second else None
    if opening is None:
        opening = _opening(status)
    if status == 204 or status == 304:
        return b"".join((opening, answer.fields, connection, b"\r\n"))
    body = answer.body
    # A join costs half of what %-formatting does: 0.15 µs.
    return b"".join(
        (
            opening,
            answer.fields,
            b"Content-Length: %d\r\n" % len(body),
            connection,
            b"\r\n",
            body if with_body else b"",
        )
    )


def stream_head(fields: bytes, *, chunked: bool, connection: bytes = b"") -> bytes:
    """The head of a 200 whose length is not known: chunked, or (HTTP/1.0) ended by the close."""
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    return b"%b%b%b%b\r\n" % (_opening(200), fields, framing, connection)


_second = _next_second = 0
_openings: dict[int, bytes] = {}
"""This second's status line and `Date` line, by status."""


def _opening(status: int) -> bytes:
    """How the answer begins: its status line and its `Date` (RFC 9110 section 6.6.1)."""
    global _second, _next_second
    now = time()
    if not _second <= now < _next_second:
        _second = int(now)
        _next_second = _second + 1
        _openings.clear()
    date = formatdate(_second, usegmt=True).encode()
    opening = _openings[status] = b"%bDate: %b\r\n" % (STATUS_LINES[status], date)
    return opening
