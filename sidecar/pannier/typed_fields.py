"""Annotations as converters: stored JSON values back to the types that fields declare. Pure.

Plain JSON types (str, int, float, bool, untyped lists and dicts, Any) need none: what was stored
comes back as it is. A converter leaves None alone, and raises InvalidRecord for what is not of
its type. Of a union, the first alternative that accepts the value wins; of several classes, the
first whose fields are just those stored.
"""

from __future__ import annotations

import base64
import binascii
import collections
import collections.abc
import threading
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec

from pannier import class_annotations, json_text, plain, shapes
from pannier.errors import InvalidRecord

Restore = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Converter:
    """How one annotation's values come back from JSON."""

    restore: Restore
    scalar: type | None = None
    """For a type that is one text in JSON and compares as itself: that type."""


def converter(hint: Any) -> Converter | None:
    """The converter of an annotation; None where stored values are what they should be."""
    hint = bare(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _union(typing.get_args(hint))
    if origin is typing.Literal:
        return _literal(typing.get_args(hint))
    kind = origin or hint
    if not isinstance(kind, type):
        return None
    if kind in _SCALARS:
        return Converter(_accepting_none(_SCALARS[kind]), kind)
    if issubclass(kind, Enum):
        return Converter(_accepting_none(_members(kind)))
    if kind in _DICTS:
        return _mapping(kind, typing.get_args(hint))
    if issubclass(kind, tuple):
        return _tuple(kind, hint)
    if kind in _COLLECTIONS:
        return _collection(_COLLECTIONS[kind], typing.get_args(hint))
    if typing.is_typeddict(kind):
        return _typed_dict(kind)
    if plain.is_text_type(kind):
        return Converter(_accepting_none(_from_text(kind)))
    if hasattr(kind, "set_state") or shapes.shape_of(kind).closed:
        return Converter(_accepting_none(lambda value: build(kind, value)))
    return None


def bare(hint: Any) -> Any:
    """The type inside Annotated, Final, Required, a NewType or a type alias."""
    while True:
        origin = typing.get_origin(hint)
        if origin in (typing.Annotated, typing.Final, typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _accepting_none(restore: Restore) -> Restore:
    return lambda value: None if value is None else restore(value)


# One value --------------------------------------------------------------------------------------


def _refuse(value: Any, kind: str) -> InvalidRecord:
    shown = repr(value)
    return InvalidRecord(f"{shown if len(shown) < 60 else shown[:57] + '...'} is no {kind}.")


def _parsed(kind: type, parse: Callable[[str], Any]) -> Restore:
    """From text by `parse`; a value that is of the type already is left alone."""

    def restore(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        try:
            if isinstance(value, str):
                return parse(value)
        except (ValueError, OverflowError, msgspec.ValidationError):
            pass
        raise _refuse(value, kind.__name__)

    return restore


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            made = Decimal(value if isinstance(value, int) else str(value))
            if made.is_finite():
                return made
    except InvalidOperation:
        pass
    raise _refuse(value, "Decimal")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _from_text(kind: type) -> Restore:
    return _parsed(kind, kind)


def _duration(text: str) -> timedelta:
    return msgspec.convert(text, timedelta)


_SCALARS: dict[type, Restore] = {
    datetime: _parsed(datetime, datetime.fromisoformat),
    date: _parsed(date, date.fromisoformat),
    time: _parsed(time, time.fromisoformat),
    timedelta: _parsed(timedelta, _duration),
    UUID: _parsed(UUID, UUID),
    Decimal: _decimal,
    bytes: _parsed(bytes, _from_base64),
    bytearray: _parsed(bytearray, lambda text: bytearray(_from_base64(text))),
}


def _members(kind: type[Enum]) -> Restore:
    """An Enum's members by the JSON of their value."""
    by_value: dict[bytes, Enum] = {}
    for member in kind:
        by_value.setdefault(json_text.encode(plain.plain(member.value)), member)

    def restore(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        member = by_value.get(json_text.encode(plain.plain(value)))
        if member is not None:
            return member
        try:
            return kind(value)  # Flags combined, and values that `_missing_` knows.
        except (ValueError, TypeError):
            raise _refuse(value, kind.__name__) from None

    return restore


def _literal(allowed: tuple[Any, ...]) -> Converter | None:
    by_value = {json_text.encode(plain.plain(value)): value for value in allowed}
    if all(value is None or isinstance(value, str | int) for value in allowed) and not any(
        isinstance(value, Enum) for value in allowed
    ):
        return None
    return Converter(lambda value: by_value.get(json_text.encode(plain.plain(value)), value))


# Several values ---------------------------------------------------------------------------------

_COLLECTIONS: dict[type, type] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
}
_DICTS = frozenset(
    (dict, collections.OrderedDict, collections.abc.Mapping, collections.abc.MutableMapping)
)


def _items(hint: Any) -> Restore:
    found = converter(hint)
    return found.restore if found is not None else lambda value: value


def _collection(kind: type, arguments: tuple[Any, ...]) -> Converter | None:
    item = converter(arguments[0]) if arguments else None
    if kind is list and item is None:
        return None
    restore = item.restore if item is not None else lambda value: value

    def build_collection(value: Any) -> Any:
        if not isinstance(value, list | tuple | set | frozenset | collections.deque):
            raise _refuse(value, kind.__name__)
        return kind(_at_place(restore, place, one) for place, one in enumerate(value))

    return Converter(_accepting_none(build_collection))


def _tuple(kind: type, hint: Any) -> Converter:
    arguments = typing.get_args(hint)
    if hasattr(kind, "_fields"):
        hints = class_annotations.hints_of(kind)
        arguments = tuple(hints.get(name, Any) for name in kind._fields)
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    restores = [_items(argument) for argument in arguments[: 1 if repeated else None]]
    fixed = bool(arguments) and not repeated

    def build_tuple(value: Any) -> Any:
        if not isinstance(value, list | tuple) or (fixed and len(value) != len(restores)):
            raise _refuse(value, f"{kind.__name__} of {len(restores)}" if fixed else kind.__name__)
        if not restores:
            return tuple.__new__(kind, value)
        return tuple.__new__(
            kind,
            [
                _at_place(restores[place if fixed else 0], place, one)
                for place, one in enumerate(value)
            ],
        )

    return Converter(_accepting_none(build_tuple))


def _mapping(kind: type, arguments: tuple[Any, ...]) -> Converter | None:
    item = converter(arguments[1]) if len(arguments) == 2 else None
    if item is None and kind is not collections.OrderedDict:
        return None
    restore = item.restore if item is not None else lambda value: value
    make = collections.OrderedDict if kind is collections.OrderedDict else dict

    def build_mapping(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _refuse(value, kind.__name__)
        return make((name, _at_name(restore, name, one)) for name, one in value.items())

    return Converter(_accepting_none(build_mapping))


def _typed_dict(kind: type) -> Converter:
    converters = {name: _items(hint) for name, hint in class_annotations.hints_of(kind).items()}

    def build_typed_dict(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _refuse(value, kind.__name__)
        return {
            name: _at_name(converters[name], name, one) if name in converters else one
            for name, one in value.items()
        }

    return Converter(_accepting_none(build_typed_dict))


def _at_place(restore: Restore, place: int, value: Any) -> Any:
    try:
        return restore(value)
    except InvalidRecord as error:
        raise InvalidRecord(f"[{place}]: {error}") from None


def _at_name(restore: Restore, name: str, value: Any) -> Any:
    try:
        return restore(value)
    except InvalidRecord as error:
        raise InvalidRecord(f"{name}: {error}") from None


# Alternatives -----------------------------------------------------------------------------------


def _union(alternatives: tuple[Any, ...]) -> Converter | None:
    """Optional[T] is T; otherwise the first alternative that accepts the value."""
    alternatives = tuple(one for one in alternatives if bare(one) is not types.NoneType)
    if len(alternatives) == 1:
        return converter(alternatives[0])
    if all(converter(one) is None for one in alternatives):
        return None
    choices = [_choice(bare(one)) for one in alternatives]
    classes = [kind for one in alternatives if is_structured(kind := bare(one))]

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            fitting = [kind for kind in classes if has_just_the_fields(kind, value)]
            # What we wrote has every field, so a class that has just these comes first.
            fitting.sort(key=lambda kind: len(shapes.shape_of(kind).fields))
            if fitting:
                return build(fitting[0], value)
        for choice in choices:
            try:
                return choice(value)
            except InvalidRecord:
                continue
        raise _refuse(
            value, " or ".join(getattr(one, "__name__", str(one)) for one in alternatives)
        )

    return Converter(_accepting_none(restore))


_JSON_KINDS: dict[type, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    list: (list,),
    dict: (dict,),
}


def _choice(hint: Any) -> Restore:
    """One alternative of a union, strict also where the type is one of JSON's own."""
    found = converter(hint)
    if found is not None:
        return found.restore
    kinds = _JSON_KINDS.get(typing.get_origin(hint) or hint)
    if typing.get_origin(hint) is typing.Literal:
        return _one_of(typing.get_args(hint))
    if kinds is None:
        return lambda value: value

    def restore(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool):
            raise _refuse(value, hint.__name__)
        return value

    return restore


def _one_of(allowed: tuple[Any, ...]) -> Restore:
    def restore(value: Any) -> Any:
        if not is_one_of(value, allowed):
            raise _refuse(value, f"one of {allowed}")
        return value

    return restore


def is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Whether a JSON value is one of a Literal's values (True is not 1)."""
    return any(type(value) is type(one) and value == one for one in allowed)


def is_structured(kind: Any) -> bool:
    """Whether objects of `kind` are stored as an object of their fields."""
    return isinstance(kind, type) and (hasattr(kind, "set_state") or shapes.shape_of(kind).closed)


def has_just_the_fields(kind: type, state: dict[str, Any]) -> bool:
    """Whether a stored state is that of a class: nothing lacks, nothing is too much."""
    shape = shapes.shape_of(kind)
    tag = getattr(shape, "tag", {})
    literals = (
        (state[name], typing.get_args(bare(field.hint)))
        for name, field in shape.fields.items()
        if name in state and typing.get_origin(bare(field.hint)) is typing.Literal
    )
    return (
        shape.required() <= state.keys() <= shape.fields.keys() | tag.keys()
        and tag.items() <= state.items()
        and all(is_one_of(value, allowed) for value, allowed in literals)
    )


# Objects ----------------------------------------------------------------------------------------

OBJECTS_OF_ONE_STACK = 40
"""Objects nested in each other that are built on one stack; each takes about 10 frames of 1000."""

_nesting = threading.local()

_CONVERTERS: WeakKeyDictionary[type, dict[str, Converter | None]] = WeakKeyDictionary()


def converters_of(klass: type) -> dict[str, Converter | None]:
    """The converter of each declared field of a class; made once for each class."""
    found = _CONVERTERS.get(klass)
    if found is None:
        fields = shapes.shape_of(klass).fields
        found = {name: converter(field.hint) for name, field in fields.items()}
        _CONVERTERS[klass] = found
    return found


def build(klass: type, state: Any) -> Any:
    """A new object of `klass` from its stored state, built without calling `__init__`."""
    if isinstance(state, klass):
        return state
    if not isinstance(state, dict):
        raise _refuse(state, klass.__name__)
    level: int = getattr(_nesting, "level", 0)
    if level == OBJECTS_OF_ONE_STACK:
        return json_text.on_own_stack(build, klass, state)
    _nesting.level = level + 1
    try:
        record = shapes.shape_of(klass).blank()
        set_state = getattr(klass, "set_state", None)
        if set_state is None or set_state in plain.derived_set_states:
            fill(record, state)
        else:
            record.set_state(state)
        return record
    finally:
        _nesting.level = level


def fill(record: Any, state: dict[str, Any], stale: set[str] | None = None) -> None:
    """Set a stored state into an object, all of it or (InvalidRecord) nothing."""
    klass = type(record)
    shape = shapes.shape_of(klass)
    converters = converters_of(klass)
    values: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in state.items():
        found = converters.get(name)
        if found is not None:
            values[name] = _at_name(found.restore, f"{klass.__name__}.{name}", value)
        elif name in converters or not shape.closed:
            values[name] = value
        else:
            unknown[name] = value
    lacking = shape.required() - values.keys()
    if lacking:
        names = ", ".join(sorted(lacking))
        raise InvalidRecord(f"The stored {klass.__name__} lacks {names}, which has no default.")
    shape.fill(record, values, unknown, stale or ())


def scalar_at(klass: type, path: tuple[str, ...]) -> Converter | None:
    """The converter of the field at `path`, if its type compares as itself (dates, Decimals...)."""
    kind: Any = klass
    for name in path:
        hint = field_hint(kind, name)
        kind = bare(hint)
        alternatives = typing.get_args(kind) if is_union(kind) else ()
        present = [one for one in alternatives if bare(one) is not types.NoneType]
        if len(present) == 1:
            kind = bare(present[0])
    found = converter(kind)
    return found if found is not None and found.scalar is not None else None


def is_union(hint: Any) -> bool:
    """Whether an annotation is a union (of any spelling)."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def field_hint(kind: Any, name: str) -> Any:
    """What a class, a TypedDict or a typed dict declares under `name`; Any if nothing."""
    arguments = typing.get_args(kind)
    if (typing.get_origin(kind) or kind) in _DICTS:
        return arguments[1] if len(arguments) == 2 else Any
    if typing.is_typeddict(kind):
        return class_annotations.hints_of(kind).get(name, Any)
    if is_structured(kind):
        field = shapes.shape_of(kind).fields.get(name)
        return field.hint if field is not None else Any
    return Any
