"""Kinds of values of the sidecar's flags: where it listens, whom it lets in, what it dials.

What means nothing is wrong usage, as in `pannier.flags`.
"""

from __future__ import annotations

import re
from typing import Final

import click

_HOST_NAME: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+")
_STREAM: Final = re.compile(r"wss://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")


def listen_address(value: str) -> str:
    """`HOST:PORT` as the sidecar listens on it, unchanged."""
    from pannier.server.listening import parse

    try:
        parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def host_name(value: str) -> str:
    """A name that a `Host` header may hold, without its port; or `*`."""
    if value != "*" and not _HOST_NAME.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is no host name: write it without scheme and port, such as shop.example."
        )
    return value


def origin(value: str) -> str:
    """An `Origin` as browsers send it (sandboxed pages send `null`); or `*`."""
    if value not in ("*", "null") and not _ORIGIN.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is no origin: write scheme, host and port alone, such as "
            "https://app.example."
        )
    return value


def stream_url(value: str) -> str:
    """`wss://host:port` as it is, without what could follow: the path is the protocol's own."""
    match = _STREAM.fullmatch(value)
    if match is None or not 0 < int(match[2] or 443) < 65536:
        raise click.BadParameter(
            f"{value!r} is no operator: write wss://host:port, without a path, such as "
            "wss://pannier-stream.pannier-system.svc:8443. The stream carries credentials, so it "
            "is never without TLS."
        )
    return value.rstrip("/")
