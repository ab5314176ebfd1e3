"""A class's annotations, resolved: also those that name classes defined in a function. Pure."""

from __future__ import annotations

import inspect
import sys
import typing
from typing import Any
from weakref import WeakKeyDictionary

_NAMES_AROUND: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()
"""For a class defined in a function: the classes that function had defined before it."""


def remember_names_around(klass: type) -> None:
    """Keep what annotations of a class defined in a function may name; called at its definition."""
    around, found, _ = klass.__qualname__.rpartition(".<locals>.")
    frame = sys._getframe(1) if found else None
    while frame is not None and frame.f_code.co_qualname != around:
        frame = frame.f_back
    if frame is not None:
        names = {name: value for name, value in frame.f_locals.items() if isinstance(value, type)}
        _NAMES_AROUND[klass] = names


def hints_of(klass: type) -> dict[str, Any]:
    """The class's resolved annotations, its bases' first; Any for one that cannot be resolved.

    What `__init__` annotates counts for attributes of the same name that the class does not.
    """
    hints: dict[str, Any] = {}
    for base in reversed(klass.__mro__):
        if base is object or base.__module__ in ("typing", "msgspec", "pydantic.main"):
            continue
        init = base.__dict__.get("__init__")
        of_parameters = dict(getattr(init, "__annotations__", {}))
        of_parameters.pop("return", None)
        names = vars(sys.modules.get(base.__module__, typing)) | {base.__name__: base}
        names |= _NAMES_AROUND.get(base, {})
        for name, hint in (of_parameters | inspect.get_annotations(base)).items():
            hints[name] = resolved(hint, names)
    return hints


def resolved(hint: Any, names: dict[str, Any]) -> Any:
    """An annotation with the names in it looked up; Any where one is unknown."""
    holder = type("Holder", (), {"__annotations__": {"it": hint}})
    try:
        return typing.get_type_hints(holder, names, {}, include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
