"""JSON as text: what is taken, what is refused, and that no digit is lost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import InvalidRecord, json_text
from pannier.big_integers import from_text, to_decimal, to_text
from pannier.distant_numbers import DistantNumber, number

TAKEN = [
    b"0", b"-0", b"1.50", b"1E+400", b"-1e-99999999999999999999", b'""', b"null", b" [ ] ", b"{}",
    b'{"a":1,"a":2}', b'"\\ud83d\\ude00"', b'"\x7f"', '"\u2028🧺"'.encode(), b"9" * 5000,
]  # fmt: skip
REFUSED = [
    b"", b" ", b"nul", b"NaN", b"-Infinity", b"01", b"1.", b".5", b"+1", b"1e", b"[1,]", b"[1 2]",
    b'{"a"}', b"{a:1}", b'{"a":1,}', b"'a'", b'"\n"', b'"\x00"', b'"\\x"', b'"\\u12"', b"1 2",
    b"\xef\xbb\xbf1", b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\\ud800"',
    b'"\\udc00\\ud800"', b"[", b"]", b"[}", b"/* */1",
]  # fmt: skip

words = st.text(st.characters(exclude_categories=["Cs"]))
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
)


def at_stack_depth(depth: int, function: Callable[[], Any]) -> Any:
    """What `function` gives when it is called with about `depth` frames on the stack."""
    frame, present = sys._getframe(), 0
    while frame.f_back is not None:
        frame, present = frame.f_back, present + 1
    return beneath(max(depth - present, 0), function)


def beneath(frames: int, function: Callable[[], Any]) -> Any:
    """The same, `frames` frames further down."""
    return beneath(frames - 1, function) if frames else function()


def outcome(value: bytes) -> str:
    """What check says of a value."""
    try:
        json_text.check(value)
    except InvalidRecord as error:
        return str(error)
    return "taken"


@pytest.mark.parametrize("value", TAKEN, ids=lambda value: repr(value[:30]))
def test_json_is_taken(value: bytes) -> None:
    json_text.check(value)


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: repr(value[:30]))
def test_what_is_not_json_in_utf8_is_refused(value: bytes) -> None:
    for take in (json_text.check, json_text.parse, json_text.parse_state):
        with pytest.raises(InvalidRecord):
            take(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"a":"\\udc00 "}', "half of a surrogate pair"),
        (b"[1", "ends too soon"),
        (b'"\xff"', "not UTF-8: invalid start byte (byte 1)"),
        (b'{"a":}', "invalid character (byte 5)"),
        (b"[" * 513 + b"]" * 513, "more than 512 levels"),
    ],
)
def test_a_refusal_says_what_is_wrong(value: bytes, said: str) -> None:
    assert said in outcome(value + b" " * 1024 if value.startswith(b"[[") else value)


@pytest.mark.parametrize("depth", [0, 300, 500, 800, 950])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_the_same_from_any_depth_of_the_stack(
    depth: int, brackets: tuple[bytes, bytes]
) -> None:
    opening, closing = brackets
    deepest = opening * 512 + b"0" + closing * 512
    too_deep = opening * 513 + b"0" + closing * 513

    for take in (json_text.check, json_text.parse, json_text.parse_state):
        at_stack_depth(depth, partial(take, deepest))
        with pytest.raises(InvalidRecord, match="more than 512 levels"):
            at_stack_depth(depth, partial(take, too_deep))


def test_brackets_in_strings_do_not_nest() -> None:
    json_text.check(b'["' + b"[" * 5000 + b'\\"' + b"{" * 5000 + b'"]')


@pytest.mark.parametrize(
    "value",
    [b'"\\"' * 300_000, b"[" * 1_000_000, b'"' + b"\\" * 1_000_001, b'["\\"[' * 200_000,
     b"9" * 1_000_000, b"1e" + b"9" * 1_000_000, b"0." + b"0" * 1_000_000 + b"1"],
    ids=lambda value: repr(value[:10]),
)  # fmt: skip
def test_a_hostile_megabyte_takes_no_long_time(value: bytes) -> None:
    began = time.process_time()
    for take in (json_text.check, json_text.parse):
        try:
            take(value)
        except InvalidRecord:
            pass
    assert time.process_time() - began < 2


@given(values)
def test_what_is_encoded_is_parsed_back(value: Any) -> None:
    text = json_text.encode(value)
    json_text.check(text)
    back = json_text.parse_state(text)
    assert back == value
    assert json.loads(text) == value
    assert repr(back) == repr(value)  # 1 is not 1.0, and keys keep their order


def test_numbers_are_read_without_loss() -> None:
    text = (
        b'{"a":0.1000000000000000000000000000000000001,"b":[1E+5,123456789012345678901234567890]}'
    )
    found = json_text.parse(text)
    assert found["a"] == Decimal("0.1000000000000000000000000000000000001")
    assert found["b"] == [Decimal("1E+5"), 123456789012345678901234567890]
    assert json_text.parse(b"9" * 100_000) == Decimal("9" * 100_000)


def test_a_number_beyond_floats_is_refused_as_a_state() -> None:
    with pytest.raises(InvalidRecord, match="1e400"):
        json_text.parse_state(b'{"a":1e400}')


def test_members_and_items_are_the_bytes_they_were() -> None:
    members = json_text.members(b' {"a" : 1.50 , "\\u00e9": [1, 2]}')
    assert members is not None
    assert {name: bytes(value) for name, value in members.items()} == {"a": b"1.50", "é": b"[1, 2]"}
    items = json_text.items(b'[ 1e400 , {"b":2} ]')
    assert items is not None
    assert [bytes(item) for item in items] == [b"1e400", b'{"b":2}']
    assert json_text.members(b"[1]") is None
    assert json_text.items(b'{"a":1}') is None
    with pytest.raises(InvalidRecord):
        json_text.members(b"[1")


# Numbers ----------------------------------------------------------------------------------------


@given(st.integers(), st.integers(0, 40_000))
def test_integers_of_any_size_turn_to_text_and_back(small: int, bits: int) -> None:
    value = small << bits
    text = to_text(value)
    assert from_text(text) == value
    assert to_decimal(value) == Decimal(text)
    assert text.lstrip("-").isdigit() and not text.lstrip("-").startswith("0" if value else " ")


def test_a_million_digits_take_no_long_time() -> None:
    value = 7**1_180_000
    began = time.process_time()
    assert from_text(to_text(value)) == value
    assert time.process_time() - began < 10


exponents = st.integers(-(10**20), 10**20) | st.integers(-30, 30)
texts = st.builds(
    lambda sign, digits, fraction, exponent: f"{sign}{digits}.{fraction}e{exponent}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**6).map(str),
    st.text("0123456789", min_size=1, max_size=6),
    exponents,
)


def magnitude(text: str) -> tuple[int, int, int]:
    """A number's text as (sign, exponent, digits) that order as the numbers do; by plain ints."""
    mantissa, exponent = text.split("e")
    negative, mantissa = mantissa.startswith("-"), mantissa.lstrip("-")
    whole, fraction = mantissa.split(".")
    digits = int(whole + fraction)
    if digits == 0:
        return (0, 0, 0)
    place = int(exponent) - len(fraction) + len(str(digits))
    padded = int(str(digits).ljust(20, "0"))
    return (-1, -place, -padded) if negative else (1, place, padded)


@given(texts, texts)
def test_numbers_of_any_exponent_compare_by_their_value(one: str, other: str) -> None:
    mine, yours = number(one), number(other)
    assert (mine < yours) == (magnitude(one) < magnitude(other))
    assert (mine == yours) == (magnitude(one) == magnitude(other))
    assert (mine >= yours) == (magnitude(one) >= magnitude(other))


def test_distant_numbers_compare_with_every_number_of_python() -> None:
    huge, tiny = number("1e99999999999999999999"), number("1e-99999999999999999999")
    assert isinstance(huge, DistantNumber) and isinstance(tiny, DistantNumber)
    for near in (0, 1, -1, 10**5000, 0.5, Decimal("1E+999999999999999999")):
        assert huge > near and not huge < near and huge != near
        assert near < huge
        assert (tiny > near) == (near <= 0)
    assert hash(huge) == hash(number("10e99999999999999999998"))


def test_a_huge_exponent_costs_nothing() -> None:
    began = time.process_time()
    value = number("1e999999999")
    assert value > 10**4000 and value != 10**4000 and value == number("10e999999998")
    assert time.process_time() - began < 0.1
