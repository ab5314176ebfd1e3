"""Integers of any size to decimal text and back. Pure.

`int(text)` and `str(number)` refuse more than 4300 digits (CPython's guard against their quadratic
cost), and a process-wide switch is not ours to turn. Both directions here divide and conquer:
a million digits take about half a second instead of ten.
"""

from __future__ import annotations

import decimal

_CHUNK_DIGITS = 4000
_CHUNK_BITS = 12_000
_EXACT = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.Inexact, decimal.InvalidOperation],
)


def from_text(text: str) -> int:
    """The integer of a JSON integer's text (an optional minus and ASCII digits)."""
    if len(text) <= _CHUNK_DIGITS:
        return int(text)
    if text[0] == "-":
        return -_from_digits(text[1:], {})
    return _from_digits(text, {})


def to_text(number: int) -> str:
    """The decimal text of `number`."""
    if number.bit_length() <= _CHUNK_BITS:
        return int.__repr__(number)
    digits = f"{_to_decimal(abs(number), {}):f}"
    return "-" + digits if number < 0 else digits


def to_decimal(number: int) -> decimal.Decimal:
    """The exact Decimal of `number`."""
    if number.bit_length() <= _CHUNK_BITS:
        return decimal.Decimal(number)
    value = _to_decimal(abs(number), {})
    return value.copy_negate() if number < 0 else value


def _from_digits(digits: str, powers: dict[int, int]) -> int:
    if len(digits) <= _CHUNK_DIGITS:
        return int(digits)
    low = _half(len(digits), _CHUNK_DIGITS)
    if low not in powers:
        powers[low] = 5**low << low
    return _from_digits(digits[:-low], powers) * powers[low] + _from_digits(digits[-low:], powers)


def _to_decimal(number: int, powers: dict[int, decimal.Decimal]) -> decimal.Decimal:
    bits = number.bit_length()
    if bits <= _CHUNK_BITS:
        return decimal.Decimal(number)
    low = _half(bits, _CHUNK_BITS)
    if low not in powers:
        powers[low] = _EXACT.power(decimal.Decimal(2), low)
    high = _EXACT.multiply(_to_decimal(number >> low, powers), powers[low])
    return _EXACT.add(high, _to_decimal(number & ((1 << low) - 1), powers))


def _half(size: int, chunk: int) -> int:
    """The largest chunk * 2**n below `size`, so that few distinct powers are made."""
    low = chunk
    while low * 2 < size:
        low *= 2
    return low
