"""Python objects as plain JSON objects: fresh dicts, lists, texts and numbers. Pure.

`plain` never aliases what it is given, and refuses (InvalidRecord, with the place) what JSON cannot
hold: NaN and infinities, keys that are no text, structures that hold themselves, other objects.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any

import msgspec

from pannier import json_text, shapes
from pannier.errors import InvalidRecord

TEXT_MODULES = frozenset(
    ("uuid", "decimal", "pathlib", "ipaddress", "fractions", "pydantic.networks", "pydantic_core")
)
"""Modules whose objects are made again from their `str`."""

derived_get_states: set[Callable[..., Any]] = set()
"""The `get_state` functions that only read a record's shape."""
derived_set_states: set[Callable[..., Any]] = set()
"""The `set_state` functions that only fill a record by its shape."""


class _Refused(Exception):
    """Why a value cannot be stored; `place` is filled while it comes out, innermost first."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.place: list[str] = []


def plain(value: Any) -> Any:
    """`value` as a fresh JSON value; raises InvalidRecord."""
    return _whole(value, "")


def state_of(record: Any) -> dict[str, Any]:
    """A record's fields as a fresh JSON object, by the shape of its class; raises InvalidRecord."""
    fields = shapes.shape_of(type(record)).values(record)
    return _whole(fields, type(record).__name__)  # type: ignore[no-any-return]


def _whole(value: Any, name: str) -> Any:
    try:
        return _plain(value, json_text.MAX_DEPTH)
    except _Refused as refused:
        place = name + "".join(reversed(refused.place))
        raise InvalidRecord(f"{place.lstrip('.') or 'The record'}: {refused.reason}") from None
    except RecursionError:
        return json_text.on_whole_stack(_whole, value, name)


def _plain(value: Any, depth: int) -> Any:
    """One value; containers are walked in one frame of Python a level, `depth` levels at most."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is not dict and kind is not list:
        value = _opened(value)
        kind = type(value)
    if kind is dict:
        if not depth:
            raise _too_deep()
        members: dict[str, Any] = {}
        for key, item in value.items():
            name = key if type(key) is str else _name(key)
            try:
                members[name] = _plain(item, depth - 1)
            except _Refused as refused:
                refused.place.append(f".{name}")
                raise
        return members
    if kind is list:
        if not depth:
            raise _too_deep()
        items: list[Any] = []
        for place, item in enumerate(value):
            try:
                items.append(_plain(item, depth - 1))
            except _Refused as refused:
                refused.place.append(f"[{place}]")
                raise
        return items
    if kind is frozenset:
        if not depth:
            raise _too_deep()
        items = []
        for item in value:
            items.append(_plain(item, depth - 1))
        # A set has no order; this one makes equal sets equal bytes, and so equal ETags.
        return sorted(items, key=json_text.encode)
    return value


def _opened(value: Any) -> Any:
    """A value as JSON's own kind, or as the dict, list or frozenset that is still to be walked."""
    if isinstance(value, Enum):
        while isinstance(value, Enum):
            value = value.value
        return value if type(value) in (str, int, bool, dict, list) else _opened(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise _Refused(f"{value} is no number in JSON.")
        return float.__pos__(value)
    text = text_of(value)
    if text is not None:
        return text
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return value if isinstance(value, bool) else int.__pos__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple | deque):
        return list(value)
    if isinstance(value, Set):
        return frozenset(value)
    return None if value is None else _state(value)


def _state(value: Any) -> dict[str, Any]:
    """The fields of an object."""
    if isinstance(value, type):
        raise _Refused(f"the class {value.__name__} itself cannot be stored.")
    get_state = getattr(type(value), "get_state", None)
    if get_state is None and not shapes.shape_of(type(value)).closed:
        raise _Refused(f"a {type(value).__name__} cannot be stored; give its class get_state().")
    if get_state is None or get_state in derived_get_states:
        return shapes.shape_of(type(value)).values(value)
    state = value.get_state()
    if type(state) is not dict:
        raise _Refused(f"{type(value).__name__}.get_state() gave no dict.")
    return state


def text_of(value: Any) -> str | None:
    """The text that stands for a value of a type JSON lacks; None for other values."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return str(msgspec.to_builtins(value))
    if isinstance(value, Decimal) and not value.is_finite():
        raise _Refused(f"{value} is no number that can be stored.")
    return str(value) if is_text_type(type(value)) else None


def is_text_type(kind: type) -> bool:
    """Whether objects of a class are made again from their `str` (UUID, Decimal, paths, ...)."""
    return any(base.__module__.partition("._")[0] in TEXT_MODULES for base in kind.__mro__)


def _name(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise _Refused(f"the key {key!r} is no text; JSON objects have only text for keys.")
    return str.__str__(key)


def _too_deep() -> _Refused:
    return _Refused(f"nested more than {json_text.MAX_DEPTH} deep, or holding itself.")
