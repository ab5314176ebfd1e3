"""How the objects of a class are laid out: their fields, defaults and how to set them. Pure.

Knows plain classes, dataclasses, attrs, pydantic and msgspec classes by the marks these leave on
their classes; attrs and pydantic are never imported. Objects are made and filled without calling
their `__init__`, `__setattr__` or validators, so frozen and slotted classes work as well.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable
from types import MemberDescriptorType
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import msgspec

from pannier.class_annotations import hints_of

Default = Callable[[Any, dict[str, Any]], Any]
"""Makes a field's default, given the new object and the values set before."""

_MISSING = object()
_set = object.__setattr__


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One declared field of a class."""

    name: str
    hint: Any
    """The resolved annotation; Any where there is none."""
    default: Default | None = None
    """None: the field must be there."""


class Shape:
    """The layout of a class's objects. This one is a plain class: whatever attributes it has."""

    closed: ClassVar[bool] = False
    """A closed class has its declared fields and no others."""

    def __init__(self, klass: type) -> None:
        self.klass = klass
        self.hints = hints_of(klass)
        self.fields = self.declared()

    def declared(self) -> dict[str, Field]:
        """The fields the class declares, in order."""
        return {
            name: Field(name, hint, default_of_attribute(self.klass, name))
            for name, hint in self.hints.items()
            if not is_class_variable(hint) and not is_taken(self.klass, name)
        }

    def values(self, record: Any) -> dict[str, Any]:
        """The record's fields that are set now, its own attributes in the order they were set."""
        values = {
            name: value
            for name, value in getattr(record, "__dict__", {}).items()
            if not is_descriptor(self.klass, name)
        }
        for name in slots_of(self.klass):
            if (value := getattr(record, name, _MISSING)) is not _MISSING:
                values[name] = value
        return values | self.set_fields(record)

    def set_fields(self, record: Any) -> dict[str, Any]:
        """The declared fields that are set now."""
        found = ((name, getattr(record, name, _MISSING)) for name in self.fields)
        return {name: value for name, value in found if value is not _MISSING}

    def required(self) -> set[str]:
        """The names that a stored state must hold. A plain class promises none."""
        return set()

    def blank(self) -> Any:
        """A new object, nothing set and no `__init__` called."""
        try:
            return object.__new__(self.klass)
        except TypeError:  # A class with a layout of its own, such as an exception.
            klass: Any = self.klass
            return klass.__new__(klass)

    def fill(
        self,
        record: Any,
        values: dict[str, Any],
        unknown: dict[str, Any],
        stale: Iterable[str] = (),
    ) -> None:
        """Set `values`, in their order, and forget the `stale` names.

        `unknown` are the stored names that a closed class does not declare.
        """
        slots = slots_of(self.klass)
        attributes = getattr(record, "__dict__", {})
        for name in list(attributes):
            if isinstance(class_attribute(self.klass, name), functools.cached_property):
                del attributes[name]
        for name in stale:
            if name in slots and hasattr(record, name):
                object.__delattr__(record, name)
            else:
                attributes.pop(name, None)
        for name, value in (values | self.with_defaults(record, values)).items():
            if name in slots:
                _set(record, name, value)
            elif name in self.fields or not is_taken(self.klass, name):
                attributes[name] = value

    def with_defaults(self, record: Any, values: dict[str, Any]) -> dict[str, Any]:
        """The declared fields of `values`, and the defaults of those it lacks, as declared."""
        whole: dict[str, Any] = {}
        for name, field in self.fields.items():
            if name in values:
                whole[name] = values[name]
            elif field.default is not None:
                whole[name] = field.default(record, whole)
        return whole


class ClosedShape(Shape):
    """A dataclass; the base of the other kinds of classes that declare all their fields."""

    closed = True

    def declared(self) -> dict[str, Field]:
        return {
            field.name: Field(
                field.name, self.hints.get(field.name, Any), default_of_dataclass(field)
            )
            for field in dataclasses.fields(self.klass)
        }

    def values(self, record: Any) -> dict[str, Any]:
        return self.set_fields(record)

    def required(self) -> set[str]:
        return {name for name, field in self.fields.items() if field.default is None}

    def fill(
        self,
        record: Any,
        values: dict[str, Any],
        unknown: dict[str, Any],
        stale: Iterable[str] = (),
    ) -> None:
        for name, value in self.with_defaults(record, values).items():
            _set(record, name, value)


class AttrsShape(ClosedShape):
    """A class made by attrs."""

    def declared(self) -> dict[str, Field]:
        attributes: Any = self.klass
        return {
            attribute.name: Field(
                attribute.name, self.hints.get(attribute.name, Any), default_of_attrs(attribute)
            )
            for attribute in attributes.__attrs_attrs__
        }

    def with_defaults(self, record: Any, values: dict[str, Any]) -> dict[str, Any]:
        # A default may read the fields before it from the object itself (`takes_self`).
        whole: dict[str, Any] = {}
        for name, field in self.fields.items():
            if name in values:
                whole[name] = values[name]
            elif field.default is not None:
                whole[name] = field.default(record, whole)
            if name in whole:
                _set(record, name, whole[name])
        return whole

    def fill(
        self,
        record: Any,
        values: dict[str, Any],
        unknown: dict[str, Any],
        stale: Iterable[str] = (),
    ) -> None:
        super().fill(record, values, unknown)
        hash_code = getattr(self.klass.__hash__, "__code__", None)
        if "_attrs_cached_hash" in getattr(hash_code, "co_names", ()):
            _set(record, "_attrs_cached_hash", None)


class StructShape(ClosedShape):
    """A msgspec Struct. A tagged one keeps its tag in the state, as msgspec writes it."""

    def __init__(self, klass: type) -> None:
        super().__init__(klass)
        config = klass.__struct_config__  # type: ignore[attr-defined]
        self.tag = {config.tag_field: config.tag} if config.tag is not None else {}
        self._empty: Any = None

    def declared(self) -> dict[str, Field]:
        klass: Any = self.klass
        names = klass.__struct_fields__
        # Defaults belong to the last fields; NODEFAULT stands where a keyword-only one has none.
        defaults = (msgspec.NODEFAULT,) * len(names) + klass.__struct_defaults__
        return {
            name: Field(name, self.hints.get(name, Any), default_of_struct(default))
            for name, default in zip(names, defaults[len(defaults) - len(names) :], strict=True)
        }

    def blank(self) -> Any:
        """A copy of an object that has None in every field: a Struct cannot be made without."""
        if self._empty is None:
            self._empty = self._made_empty()
        copied: Any = msgspec.Struct
        return copied.__copy__(self._empty)

    def _made_empty(self) -> Any:
        klass: Any = self.klass
        nothing = dict.fromkeys(klass.__struct_fields__)
        if not hasattr(klass, "__post_init__"):
            return klass(**nothing)
        # msgspec calls __post_init__ of every object it makes: a subclass without one stands in.
        space = {"__post_init__": lambda record: None, "__module__": klass.__module__}
        empty = type(klass)(klass.__name__, (klass,), space)(**nothing)
        msgspec.structs.force_setattr(empty, "__class__", klass)
        return empty

    def values(self, record: Any) -> dict[str, Any]:
        return self.tag | super().values(record)

    def fill(
        self,
        record: Any,
        values: dict[str, Any],
        unknown: dict[str, Any],
        stale: Iterable[str] = (),
    ) -> None:
        for name, value in self.with_defaults(record, values).items():
            msgspec.structs.force_setattr(record, name, value)


class PydanticShape(ClosedShape):
    """A pydantic (v2) model."""

    def __init__(self, klass: type) -> None:
        super().__init__(klass)
        config = klass.model_config  # type: ignore[attr-defined]
        self.keeps_extra = config.get("extra") == "allow"

    def declared(self) -> dict[str, Field]:
        klass: Any = self.klass
        return {
            name: Field(name, info.annotation, default_of_pydantic(info))
            for name, info in klass.__pydantic_fields__.items()
            if not info.exclude
        }

    def values(self, record: Any) -> dict[str, Any]:
        return super().values(record) | (record.__pydantic_extra__ or {})

    def fill(
        self,
        record: Any,
        values: dict[str, Any],
        unknown: dict[str, Any],
        stale: Iterable[str] = (),
    ) -> None:
        attributes = self.with_defaults(record, values)
        for name, info in record.__pydantic_fields__.items():
            if info.exclude and (default := default_of_pydantic(info)) is not None:
                attributes[name] = default(record, attributes)
        private = getattr(record, "__pydantic_private__", None)
        if private is None and self.klass.__private_attributes__:  # type: ignore[attr-defined]
            private = default_private_attributes(self.klass)
        _set(record, "__dict__", attributes)
        _set(record, "__pydantic_fields_set__", set(values))
        _set(record, "__pydantic_extra__", dict(unknown) if self.keeps_extra else None)
        _set(record, "__pydantic_private__", private)


_SHAPES: WeakKeyDictionary[type, Shape] = WeakKeyDictionary()


def shape_of(klass: type) -> Shape:
    """The layout of `klass`'s objects; looked at once for each class."""
    shape = _SHAPES.get(klass)
    if shape is None:
        shape = _SHAPES[klass] = _look_at(klass)
    return shape


def _look_at(klass: type) -> Shape:
    if hasattr(klass, "__pydantic_fields__") and hasattr(klass, "model_config"):
        return PydanticShape(klass)
    if hasattr(klass, "__struct_fields__"):
        return StructShape(klass)
    if hasattr(klass, "__attrs_attrs__"):
        return AttrsShape(klass)
    if dataclasses.is_dataclass(klass):
        return ClosedShape(klass)
    return Shape(klass)


# Defaults ---------------------------------------------------------------------------------------


def constant(value: Any) -> Default:
    """A default of one value; a mutable one is copied for each record."""
    return lambda record, before: copy.deepcopy(value)


def made_by(factory: Callable[[], Any]) -> Default:
    """A default made anew for each record."""
    return lambda record, before: factory()


def default_of_attribute(klass: type, name: str) -> Default | None:
    """A plain class's default of an annotated field: the class attribute of the same name."""
    found = class_attribute(klass, name)
    return None if found is _MISSING or hasattr(found, "__get__") else constant(found)


def default_of_dataclass(field: dataclasses.Field[Any]) -> Default | None:
    """A dataclass field's default."""
    if field.default_factory is not dataclasses.MISSING:
        return made_by(field.default_factory)
    return constant(field.default) if field.default is not dataclasses.MISSING else None


def default_of_attrs(attribute: Any) -> Default | None:
    """An attrs attribute's default; attrs' NOTHING and Factory are known by their names."""
    default = attribute.default
    if type(default).__name__ in ("_Nothing", "_NothingType") or repr(default) == "NOTHING":
        return None
    factory = getattr(default, "factory", None)
    if type(default).__name__ != "Factory" or factory is None:
        return constant(default)
    if default.takes_self:
        return lambda record, before: factory(record)
    return made_by(factory)


def default_of_struct(default: Any) -> Default | None:
    """A msgspec field's default."""
    if default is msgspec.NODEFAULT:
        return None
    factory = getattr(default, "factory", None)
    return (
        made_by(factory) if type(default).__name__ == "Factory" and factory else constant(default)
    )


def default_of_pydantic(info: Any) -> Default | None:
    """A pydantic field's default."""
    if info.is_required():
        return None
    if info.default_factory is None:
        return constant(info.default)
    if getattr(info, "default_factory_takes_validated_data", False):
        return lambda record, before: info.default_factory(dict(before))
    return made_by(info.default_factory)


def default_private_attributes(klass: Any) -> dict[str, Any]:
    """A pydantic model's private attributes at their defaults."""
    made = ((name, info.get_default()) for name, info in klass.__private_attributes__.items())
    return {name: value for name, value in made if type(value).__name__ != "PydanticUndefinedType"}


# What a class says ------------------------------------------------------------------------------


def is_class_variable(hint: Any) -> bool:
    """Whether an annotation says that the name is no field."""
    return hint is ClassVar or typing.get_origin(hint) is ClassVar


def is_descriptor(klass: type, name: str) -> bool:
    """Whether the class computes the name: a property, a cached property, a method."""
    found = class_attribute(klass, name)
    return hasattr(found, "__get__") and not isinstance(found, MemberDescriptorType)


def is_taken(klass: type, name: str) -> bool:
    """Whether a stored name must not hide what the class itself says under that name."""
    return name.startswith("__") or is_descriptor(klass, name)


def class_attribute(klass: type, name: str) -> Any:
    """What the class or a base of it defines under `name`, as it stands there."""
    for base in klass.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return _MISSING


def slots_of(klass: type) -> list[str]:
    """The names of a plain class's slots, its bases' first."""
    names: list[str] = []
    for base in reversed(klass.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            names.append(name)
    return names
