"""A placed value into the document model, field by field, with every fault noted.

It walks the annotations of `config.documents`, so a field's type and bounds are written once.
Strict, a field it does not know is a fault; lenient (for the stream, where an operator may be
newer than its sidecars), it is a warning and a null counts as absent. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, get_args

import msgspec
from msgspec import inspect

from pannier.config.documents import KEPT_BY_KUBERNETES, StoreBackend
from pannier.config.formats import FORMATS
from pannier.config.placed import Placed
from pannier.config.problems import Problem, did_you_mean
from pannier.config.rules import RULES
from pannier.config.served import StoreType
from pannier.keys import is_store_name

BAD: Final = object()
"""Stands for a value that could not be converted; its fault is noted already."""


@dataclass(slots=True)
class Converted:
    """What came out of one document."""

    root: Placed
    document: StoreBackend | None
    """None if anything is wrong with it."""
    name: str | None
    """The store's name, where that much could be read."""
    type: StoreType | None
    """The store's type, where that much could be read."""
    line: int | None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def convert(root: Placed, *, lenient: bool = False) -> Converted:
    """Read one document. All faults are returned, in the order of their lines; none is raised."""
    converted = Converted(root, None, _name_of(root), _type_of(root), root.line)
    reader = _Reader(lenient, converted)
    made = reader.value(root, model(), "")
    if not converted.problems:
        converted.document = made
    converted.problems.sort(key=lambda problem: problem.line or 0)
    return converted


@cache
def model() -> inspect.Type:
    """The document model as msgspec describes it (1.4 ms to make, so it is made once)."""
    return inspect.type_info(StoreBackend)


def _name_of(root: Placed) -> str | None:
    """The document's store name, even if all the rest is wrong."""
    name = _scalar(root, "metadata", "name")
    return name if isinstance(name, str) and is_store_name(name) else None


def _type_of(root: Placed) -> StoreType | None:
    """The document's store type, even if all the rest is wrong."""
    said = _scalar(root, "spec", "type")
    return next((kind for kind in get_args(StoreType) if kind == said), None)


def _scalar(root: Placed, part: str, name: str) -> Any:
    """What stands under `part.name` of a document, whatever else is wrong with it."""
    found: Placed | None = root
    for step in (part, name):
        found = found.value.get(step) if found and isinstance(found.value, dict) else None
    return found.value if found is not None else None


class _Reader:
    """Converts values of every type the model uses."""

    def __init__(self, lenient: bool, converted: Converted) -> None:
        self._lenient = lenient
        self._converted = converted

    def fault(self, place: Placed | None, path: str, message: str, fix: str = "") -> Any:
        """Note a fault; gives BAD, so that a caller can return it."""
        self._converted.problems.append(self._problem(place, path, message, fix))
        return BAD

    def _problem(self, place: Placed | None, path: str, message: str, fix: str) -> Problem:
        line = place.line if place is not None else None
        return Problem(line=line, field=path, message=message, fix=fix, store=self._converted.name)

    def value(self, place: Placed, kind: inspect.Type, path: str) -> Any:
        """The value at `place` as `kind`, or BAD."""
        if isinstance(kind, inspect.Metadata):
            if kind.extra is not None:
                return self._formatted(place, kind.type, path, kind.extra["format"])
            kind = kind.type
        if isinstance(kind, inspect.UnionType):
            # The model's only unions are "this, or absent".
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
            return self.value(place, kind, path)
        if isinstance(kind, inspect.StructType):
            return self._struct(place, kind, path)
        if isinstance(kind, inspect.VarTupleType):
            return self._list(place, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._texts(place, path)
        if isinstance(kind, inspect.LiteralType):
            return self._one_of(place, kind, path)
        if isinstance(kind, inspect.IntType):
            whole = self._whole(place, path)
            return whole if whole is BAD else self._bounded(place, path, whole, kind)
        if isinstance(kind, inspect.StrType):
            return self._text(place, kind, path)
        raise TypeError(f"The document model uses {kind}, which cannot be read")

    def _struct(self, place: Placed, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(place.value, dict):
            return self.fault(place, path, f"must hold fields, not {_kind(place.value)}")
        known = {one.encode_name: one for one in kind.fields}
        self._unknown_fields(place.value, kind, list(known), path)
        made: dict[str, Any] = {}
        whole = True
        for name, one in known.items():
            inner = place.value.get(name)
            inner_path = f"{path}.{name}" if path else name
            if inner is not None and inner.value is None and not self._is_null(inner, inner_path):
                whole = False
                continue
            if inner is None or inner.value is None:
                if one.required:
                    self.fault(place, inner_path, "is missing", f"add {name}")
                    whole = False
                elif one.default is not msgspec.NODEFAULT:
                    made[one.name] = one.default
                continue
            made[one.name] = self.value(inner, one.type, inner_path)
            if made[one.name] is BAD:
                del made[one.name]
                whole = False
        for rule in RULES.get(kind.cls, ()):
            for name, message, fix in rule(made, place.value):
                inner_path = ".".join(part for part in (path, name) if part)
                self.fault(place.value.get(name, place), inner_path, message, fix)
                whole = False
        return kind.cls(**made) if whole else BAD

    def _is_null(self, place: Placed, path: str) -> bool:
        """Whether a null counts as an absent field here; if not, the fault is noted."""
        if self._lenient:
            return True
        self.fault(place, path, "has no value", "give it one, or remove the line")
        return False

    def _unknown_fields(
        self,
        fields: dict[str, Placed],
        kind: inspect.StructType,
        known: list[str],
        path: str,
    ) -> None:
        kept = KEPT_BY_KUBERNETES.get(kind.cls, frozenset())
        for name, place in fields.items():
            if name in known or name in kept:
                continue
            inner_path = f"{path}.{name}" if path else name
            if self._lenient:
                self._converted.warnings.append(
                    self._problem(place, inner_path, "unknown field", "it is ignored")
                )
            else:
                self.fault(place, inner_path, "unknown field", did_you_mean(name, known))

    def _list(self, place: Placed, kind: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(place.value, list):
            return self.fault(place, path, f"must be a list, not {_kind(place.value)}",
                              "write it as [..]")  # fmt: skip
        least, most = kind.min_length or 0, kind.max_length
        if len(place.value) < least:
            return self.fault(place, path, f"must have at least {least} entry", "add one")
        if most is not None and len(place.value) > most:
            return self.fault(place, path, f"has {len(place.value)} entries: at most {most}")
        made = [
            self.value(inner, kind.item_type, f"{path}[{number}]")
            for number, inner in enumerate(place.value)
        ]
        return BAD if any(one is BAD for one in made) else tuple(made)

    def _texts(self, place: Placed, path: str) -> Any:
        """Labels and annotations: text by text."""
        if not isinstance(place.value, dict):
            return self.fault(place, path, f"must hold fields, not {_kind(place.value)}")
        made: dict[str, str] = {}
        for name, inner in place.value.items():
            if not isinstance(inner.value, str):
                return self.fault(
                    inner, f"{path}.{name}", f"must be text, not {_kind(inner.value)}",
                    "put it in quotes",
                )  # fmt: skip
            made[name] = inner.value
        return made

    def _one_of(self, place: Placed, kind: inspect.LiteralType, path: str) -> Any:
        if isinstance(place.value, str) and place.value in kind.values:
            return place.value
        words = [str(value) for value in kind.values]
        fix = f"write {words[0]}" if len(words) == 1 else did_you_mean(_plain(place.value), words)
        return self.fault(place, path, f"{_shown(place.value)} is not known here", fix)

    def _whole(self, place: Placed, path: str) -> Any:
        value = place.value
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        fix = ""
        if isinstance(value, str) and value.strip().isdecimal():
            fix = "remove the quotes"
        elif isinstance(value, float) and value.is_integer():
            fix = f"write {int(value)}"
        return self.fault(place, path, f"must be a whole number, not {_shown(value)}", fix)

    def _bounded(self, place: Placed, path: str, value: int, kind: inspect.IntType) -> Any:
        if kind.ge is not None and value < kind.ge:
            return self.fault(place, path, f"{value} is too small", f"at least {kind.ge}")
        if kind.le is not None and value > kind.le:
            return self.fault(place, path, f"{value} is too large", f"at most {kind.le}")
        return value

    def _text(self, place: Placed, kind: inspect.StrType, path: str) -> Any:
        value = place.value
        if not isinstance(value, str):
            fix = "" if isinstance(value, (dict, list)) else "put it in quotes"
            return self.fault(place, path, f"must be text, not {_kind(value)}", fix)
        # A text is not quoted in a message: somebody may have put a credential in its place.
        if kind.min_length is not None and len(value) < kind.min_length:
            return self.fault(place, path, "is empty", "give it a value, or remove the line")
        if kind.max_length is not None and len(value) > kind.max_length:
            return self.fault(
                place, path, f"has {len(value)} characters", f"at most {kind.max_length}"
            )
        if kind.pattern is not None and not re.fullmatch(kind.pattern.strip("^$"), value):
            return self.fault(
                place, path, "is not allowed as it is", f"it must match {kind.pattern}"
            )
        return value

    def _formatted(self, place: Placed, kind: inspect.Type, path: str, name: str) -> Any:
        """A text with a grammar of its own: a duration, a size, a name, an address."""
        value = place.value
        reading = FORMATS[name]
        if name == "size" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            return self.fault(
                place, path, f"must be {reading.noun}, not {_kind(value)}", reading.fix(value)
            )
        if isinstance(kind, inspect.StrType):
            value = self._text(place, kind, path)
            if value is BAD:
                return BAD
        try:
            made = reading.parse(value)
        except ValueError as error:
            message, _, fix = str(error).partition(": ")
            return self.fault(place, path, message, fix)
        return self._bounded(place, path, made, kind) if isinstance(kind, inspect.IntType) else made


def _plain(value: object) -> str:
    """A value as a person would write it, cut to what fits in a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _shown(value: object) -> str:
    """A value of a field that can hold no credential, as it is named in a message."""
    return f'"{_plain(value)}"' if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    """What sort of value this is; numbers are named themselves."""
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list, str)):
        return {dict: "fields", list: "a list", str: "text"}[type(value)]
    return f"the number {_plain(value)}" if not isinstance(value, bool) else _plain(value)
