"""Settings as flags and variables, for `pannier sidecar` and `pannier operator` alike.

A value that means nothing is wrong usage here, wherever it came from; what is found out later
(a busy port, a missing file) is a refusal.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from pannier.config.units import (
    SHORTEST,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


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


class Listed(click.Option):
    """An option that may be repeated; its variable holds values split at commas or spaces."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        text = self.resolve_envvar_value(ctx)
        return tuple(text.replace(",", " ").split()) if text is not None else None


def setting_option(
    field: dataclasses.Field[Any],
    *,
    kind: Any,
    metavar: str | None,
    text: str,
    prefix: str,
    **more: Any,
) -> click.Option:
    """The option of one field of a dataclass of settings, `--a-b` or `<prefix>A_B`.

    `text` is its help. `more` stands above what is made of the field's default.
    """
    flag = f"--{field.name.replace('_', '-')}"
    made: dict[str, Any] = {
        "type": kind,
        "metavar": metavar,
        "envvar": f"{prefix}{field.name.upper()}",
        "help": text,
    }
    if field.default == ():
        return Listed([flag], multiple=True, **made, **more)
    made["default"] = field.default
    made["show_default"] = _shown(field.default, kind)
    return click.Option([flag], **made | more)


def _shown(default: Any, kind: Any) -> str | bool:
    """How help shows a default: a duration or a size as it is written, none not at all."""
    if default in (None, ""):
        return False
    if kind in (duration, pause):
        return format_duration(default)
    return format_size(default) if kind is size else True
