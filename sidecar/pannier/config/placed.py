"""A value of a document together with the line it stands on. Pure.

The reader makes these from YAML; the stream makes them from decoded JSON, without lines. So both
go through one conversion and get the same messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Placed:
    """One value: a mapping, a list or a scalar."""

    value: dict[str, Placed] | list[Placed] | Scalar
    line: int | None
    """The line of the field's name in a mapping, else the line the value begins on."""


def placed(value: Any) -> Placed:
    """Plain decoded JSON as placed values without lines.

    Not recursive, so that no nesting is too deep. Raises TypeError for what is not JSON.
    """
    root: list[Placed] = []
    waiting: list[tuple[Any, Any, Any]] = [(value, root, None)]
    while waiting:
        item, parent, name = waiting.pop()
        if isinstance(item, dict):
            fields: dict[str, Placed] = {}
            made = Placed(fields, None)
            # Every name gets its place first, so that the order of fields is kept.
            for key, inner in item.items():
                fields[str(key)] = _NOTHING
                waiting.append((inner, fields, str(key)))
        elif isinstance(item, list):
            items: list[Placed] = [_NOTHING] * len(item)
            made = Placed(items, None)
            waiting.extend((inner, items, place) for place, inner in enumerate(item))
        elif item is None or isinstance(item, (str, int, float, bool)):
            made = Placed(item, None)
        else:
            raise TypeError(f"{type(item).__name__} is not JSON")
        if name is None:
            parent.append(made)
        else:
            parent[name] = made
    return root[0]


def line_of(root: Placed, path: str) -> int | None:
    """The line of the field at `path` (`spec.redis.host`), or of the nearest one above it."""
    place = root
    for name in path.split("."):
        inner = place.value.get(name) if isinstance(place.value, dict) else None
        if inner is None:
            break
        place = inner
    return place.line


_NOTHING = Placed(None, None)
