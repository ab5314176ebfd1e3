"""Records: objects with a state of JSON, to stored bytes and back. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

from pannier import json_text
from pannier.errors import InvalidRecord

R = TypeVar("R")


def dump(record: Any) -> bytes:
    """The record's state as the bytes to store."""
    return json_text.encode(record.get_state())


def load(klass: type[R], value: bytes) -> R:
    """A new `klass` with the stored state, built without calling `__init__`."""
    record = klass.__new__(klass)
    restore(record, value)
    return record


def restore(record: Any, value: bytes) -> None:
    """Set the stored state into `record`."""
    state = json_text.parse_state(value)
    if not isinstance(state, dict):
        raise InvalidRecord("The stored value is not a JSON object.")
    record.set_state(state)
