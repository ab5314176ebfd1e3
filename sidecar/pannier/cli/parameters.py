"""Kinds of option values: addresses, durations and sizes in the words of the configuration, lists.

A value that means nothing is wrong usage here, wherever it came from; what is found out later
(a busy port, a missing file) is a refusal.
"""

from __future__ import annotations

import re
from typing import Any, Final

import click

from pannier.config.units import SHORTEST, parse_duration, parse_size

_HOST_NAME: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+")
_STREAM: Final = re.compile(r"wss://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")


def duration(value: Any) -> float:
    """`500ms`, `5s`, `1m30s` as seconds, from 1ms."""
    return _seconds(value, SHORTEST)


def pause(value: Any) -> float:
    """A duration that may be none at all, `0`: nothing is waited for."""
    return 0.0 if value == "0" else _seconds(value, 0)


def _seconds(value: Any, shortest: float) -> float:
    if not isinstance(value, str):
        return float(value)
    try:
        return parse_duration(value, shortest=shortest)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def size(value: Any) -> int:
    """`64Mi`, `1G` or a number of bytes, as bytes, from 1."""
    if not isinstance(value, str):
        return int(value)
    try:
        found = parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if found < 1:
        raise click.BadParameter(f"{value} is too small: at least 1 byte.")
    return found


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


class Listed(click.Option):
    """An option that may be repeated; its variable holds values split at commas or spaces."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        text = self.resolve_envvar_value(ctx)
        return tuple(text.replace(",", " ").split()) if text is not None else None
