"""Kinds of option values: durations and sizes in the words of the configuration, lists."""

from __future__ import annotations

from typing import Any

import click

from pannier.config.units import parse_duration, parse_size


def duration(value: Any) -> float:
    """`500ms`, `5s`, `1m30s` as seconds; `0` where nothing is to be waited for."""
    if not isinstance(value, str):
        return float(value)
    try:
        return 0.0 if value == "0" else parse_duration(value, shortest=0)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def size(value: Any) -> int:
    """`64Mi`, `1G` or a number of bytes, as bytes."""
    if not isinstance(value, str):
        return int(value)
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


class Listed(click.Option):
    """An option that may be repeated; its variable holds values split at commas or spaces."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        text = self.resolve_envvar_value(ctx)
        return tuple(text.replace(",", " ").split()) if text is not None else None
