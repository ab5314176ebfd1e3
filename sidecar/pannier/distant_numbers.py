"""Numbers of JSON text without loss: Decimal, and what lies beyond Decimal's exponents. Pure.

JSON's grammar bounds neither digits nor exponents. A Decimal keeps every digit, and compares in
time that does not grow with its exponent, up to exponents of 10**18; a DistantNumber stands for
the numbers farther out, so that two of them still compare as what they are.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, Context, Decimal, InvalidOperation
from functools import total_ordering

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=-MAX_EMAX, traps=[InvalidOperation])


@total_ordering
class DistantNumber:
    """A non-zero number whose exponent no Decimal holds: 0.`digits` * 10**`exponent`."""

    __slots__ = ("digits", "exponent", "negative")

    def __init__(self, negative: bool, digits: str, exponent: Decimal) -> None:
        self.negative = negative
        self.digits = digits
        self.exponent = exponent

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DistantNumber):
            return (self.negative, self.digits, self.exponent) == (
                other.negative, other.digits, other.exponent
            )  # fmt: skip
        return NotImplemented

    def __lt__(self, other: object) -> bool:
        if isinstance(other, DistantNumber):
            if self.negative != other.negative:
                return self.negative
            nearer = (self.exponent, self.digits) < (other.exponent, other.digits)
            return nearer != self.negative if self != other else False
        if isinstance(other, int | float | Decimal):
            if self.exponent > 0:
                return self.negative
            return other >= 0 if self.negative else other > 0
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.negative, self.digits, self.exponent))

    def __repr__(self) -> str:
        return f"{'-' if self.negative else ''}0.{self.digits}E{self.exponent}"


def number(text: str) -> Decimal | DistantNumber:
    """The exact value of a JSON number's text."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return _distant(text)


def _distant(text: str) -> Decimal | DistantNumber:
    mantissa, _, power = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Decimal(0)
    shift = len(whole) - (len(whole + fraction) - len(digits))
    exponent = _EXACT.add(Decimal(power), Decimal(shift))
    return DistantNumber(mantissa.startswith("-"), digits.rstrip("0"), exponent)
