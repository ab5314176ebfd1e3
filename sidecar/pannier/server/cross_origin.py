"""What a browser needs to hear before it lets an allowed page read answers (the Fetch standard's
CORS protocol). Only for origins of `--allow-origin`: all others are refused before. Pure."""

from __future__ import annotations

from pannier.server.answers import Answer

READABLE = b"ETag, Location, Retry-After, Allow"
SENDABLE = b"Authorization, Content-Type, If-Match, If-None-Match"
REMEMBERED = 600
"""Seconds a browser need not ask again before it sends."""


def fields(origin: bytes) -> bytes:
    """The header lines that let a page of `origin` read the answer."""
    return (
        b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\nVary: Origin\r\n"
        % (origin, READABLE)
    )


def preflight(methods: tuple[str, ...]) -> Answer:
    """The answer to a browser that asks what a page may send to a path of these methods."""
    return Answer(
        204,
        b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: %b\r\n"
        b"Access-Control-Max-Age: %d\r\n" % (", ".join(methods).encode(), SENDABLE, REMEMBERED),
    )
