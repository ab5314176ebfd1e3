"""How a filter's operand compares with what a record holds. Pure.

Both sides are JSON values with exact numbers (int, Decimal, DistantNumber), or, for a field whose
record class declares a type, values of that type.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

from pannier import big_integers, plain, typed_fields
from pannier.distant_numbers import DistantNumber
from pannier.errors import InvalidFilter, InvalidRecord

Test = Callable[[Any], bool]

_NUMBERS = (int, Decimal, DistantNumber)


@dataclass(frozen=True, slots=True)
class Operand:
    """A filter's value, ready to be compared with."""

    value: Any
    """A JSON value with exact numbers."""
    typed: Any = None
    """The same as the type that the field declares; None: compare as JSON."""
    restore: Callable[[Any], Any] = field(default=lambda value: value)
    """Makes the declared type of a stored value; raises InvalidRecord if it is none."""

    @property
    def is_typed(self) -> bool:
        """Whether it (or an item of it, for `in`) compares as a declared type."""
        if isinstance(self.value, list):
            return any(isinstance(one, Operand) and one.is_typed for one in self.value)
        return self.typed is not None

    @property
    def as_json(self) -> Any:
        """The JSON value; for `in` the list of them."""
        if isinstance(self.value, list):
            return [one.value if isinstance(one, Operand) else one for one in self.value]
        return self.value


_NOT_OF_TYPE = object()
"""Stands for an operand that is not of the field's type: it equals nothing, and has no order."""


def operand(operator: str, value: Any, klass: type | None, path: tuple[str, ...]) -> Operand:
    """The operand of `operator`; raises InvalidFilter if the operator cannot use `value`."""
    if operator == "exists":
        if not isinstance(value, bool):
            raise InvalidFilter("exists takes true or false.")
        return Operand(value)
    if operator in ("contains", "startswith", "endswith"):
        text = exact(value)
        if not isinstance(text, str):
            raise InvalidFilter(f"{operator} takes text.")
        return Operand(text)
    convert = typed_fields.scalar_at(klass, path) if klass is not None else None
    if operator != "in":
        return _one_operand(value, klass, convert)
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise InvalidFilter("in takes a list of values.")
    return Operand([_one_operand(one, klass, convert) for one in value])


def _one_operand(value: Any, klass: type | None, convert: typed_fields.Converter | None) -> Operand:
    if convert is None or value is None:
        return Operand(exact(value))
    try:
        return Operand(exact(value), convert.restore(value), convert.restore)
    except InvalidRecord:
        if getattr(klass, "set_state", None) in plain.derived_set_states:
            return Operand(exact(value), _NOT_OF_TYPE, convert.restore)
        # A class that makes its own state may store the field in another form.
        return Operand(exact(value))


def exact(value: Any) -> Any:
    """A Python or JSON value as a JSON value with exact numbers: 0.1 is the decimal 0.1."""
    if value is None or isinstance(value, bool | DistantNumber):
        return value
    if isinstance(value, Enum):
        return exact(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        small = value.bit_length() < 10_000
        return int.__pos__(value) if small else big_integers.to_decimal(value)
    if isinstance(value, float):
        value = Decimal(repr(float(value)))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidFilter("NaN and infinities equal nothing that a record can hold.")
        return value
    if isinstance(value, dict):
        members: dict[Any, Any] = {}
        for name, item in value.items():
            members[exact(name)] = exact(item)
        return members
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for item in value:
            items.append(exact(item))
        return items
    return exact(plain.plain(value))


def same(one: Any, other: Any) -> bool:
    """JSON equality: numbers by value, bools only as themselves, objects in any key order.

    Walks with a list of its own, not with Python's stack, which a deep record would exhaust.
    """
    pairs = [(one, other)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, list):
            if not isinstance(other, list) or len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif isinstance(one, dict):
            if not isinstance(other, dict) or one.keys() != other.keys():
                return False
            pairs.extend((item, other[name]) for name, item in one.items())
        elif not _same_scalar(one, other):
            return False
    return True


def _same_scalar(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, _NUMBERS):
        return isinstance(other, _NUMBERS) and one == other
    return type(one) is type(other) and bool(one == other)


def _equal(operand: Operand) -> Test:
    value = operand.value
    if operand.typed is not None:
        return _typed(operator.eq, operand, _equal(Operand(value)))
    if isinstance(value, dict | list):
        return lambda found: same(found, value)
    return lambda found: _same_scalar(found, value)


def _not_equal(operand: Operand) -> Test:
    equal = _equal(operand)
    return lambda found: not equal(found)


def _one_of(operand: Operand) -> Test:
    tests = [_equal(one) for one in operand.value]
    return lambda found: any(test(found) for test in tests)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Operand], Test]:
    def build(operand: Operand) -> Test:
        value = operand.value
        if operand.typed is not None:
            return _typed(compare, operand, build(Operand(value)))
        if isinstance(value, str):
            return lambda found: isinstance(found, str) and compare(found, value)
        if isinstance(value, _NUMBERS) and not isinstance(value, bool):
            return lambda found: (
                isinstance(found, _NUMBERS)
                and not isinstance(found, bool)
                and compare(found, value)
            )
        return lambda found: False

    return build


def _typed(compare: Callable[[Any, Any], bool], operand: Operand, otherwise: Test) -> Test:
    """The test as the declared type; `otherwise` for what is stored in another form."""
    typed, restore = operand.typed, operand.restore

    def holds(found: Any) -> bool:
        try:
            mine = restore(found)
        except InvalidRecord:
            return otherwise(found)
        try:
            return mine is not None and compare(mine, typed)
        except TypeError:  # A time with and one without a zone have no order.
            return False

    return holds


def _contains(operand: Operand) -> Test:
    text = operand.value
    return lambda found: isinstance(found, str | list) and text in found


def _startswith(operand: Operand) -> Test:
    text = operand.value
    return lambda found: isinstance(found, str) and found.startswith(text)


def _endswith(operand: Operand) -> Test:
    text = operand.value
    return lambda found: isinstance(found, str) and found.endswith(text)


def _exists(operand: Operand) -> Test:
    return lambda found: bool(operand.value)


TESTS: dict[str, Callable[[Operand], Test]] = {
    "eq": _equal,
    "ne": _not_equal,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "in": _one_of,
    "contains": _contains,
    "startswith": _startswith,
    "endswith": _endswith,
    "exists": _exists,
}
"""For each operator, what makes the test of a present value."""
