"""How a filter's operand compares with what a record holds. Pure.

Both sides are JSON values with exact numbers (int, Decimal, DistantNumber), or, for a field whose
record class declares a type, values of that type.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any

from pannier import big_integers
from pannier.distant_numbers import DistantNumber
from pannier.errors import InvalidFilter

Test = Callable[[Any], bool]

_NUMBERS = (int, Decimal, DistantNumber)


@dataclass(frozen=True, slots=True)
class Operand:
    """A filter's value, ready to be compared with."""

    value: Any
    """A JSON value with exact numbers."""
    typed: Any = None
    """The same as the field's declared type (for `in` a list of them); None: not typed."""
    restore: Callable[[Any], Any] | None = None
    """Makes the declared type of a stored value; raises InvalidRecord if it is none."""


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
    if operator == "in":
        if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
            raise InvalidFilter("in takes a list of values.")
        value = list(value)
    return Operand(exact(value))


def exact(value: Any) -> Any:
    """A Python or JSON value as a JSON value with exact numbers: 0.1 is the decimal 0.1."""
    if value is None or isinstance(value, bool | str | DistantNumber):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() < 10_000 else big_integers.to_decimal(value)
    if isinstance(value, float | Decimal):
        if not isfinite(value):
            raise InvalidFilter("NaN and infinities equal nothing that a record can hold.")
        return Decimal(repr(float(value))) if isinstance(value, float) else value
    if isinstance(value, dict):
        return {exact(name): exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [exact(item) for item in value]
    raise InvalidFilter(f"A filter cannot compare with a {type(value).__name__}.")


def same(one: Any, other: Any) -> bool:
    """JSON equality: numbers by value, bools only as themselves, objects in any key order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, _NUMBERS):
        return isinstance(other, _NUMBERS) and one == other
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(map(same, one, other))
        )  # fmt: skip
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(item, other[name]) for name, item in one.items())
        )
    return type(one) is type(other) and bool(one == other)


def _equal(operand: Operand) -> Test:
    value, typed, restore = operand.value, operand.typed, operand.restore
    if restore is None or typed is None:
        return lambda found: same(found, value)
    return lambda found: _compared(operator.eq, found, typed, restore)


def _not_equal(operand: Operand) -> Test:
    equal = _equal(operand)
    return lambda found: not equal(found)


def _one_of(operand: Operand) -> Test:
    tests = [
        _equal(Operand(value, typed, operand.restore))
        for value, typed in zip(operand.value, operand.typed or operand.value, strict=True)
    ]
    return lambda found: any(test(found) for test in tests)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Operand], Test]:
    def build(operand: Operand) -> Test:
        value, typed, restore = operand.value, operand.typed, operand.restore
        if restore is not None and typed is not None:
            return lambda found: _compared(compare, found, typed, restore)
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


def _compared(
    compare: Callable[[Any, Any], bool], found: Any, typed: Any, restore: Callable[[Any], Any]
) -> bool:
    return False


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
