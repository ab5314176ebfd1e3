"""JSON as text that arrives, is checked and is kept: nothing a record holds is lost here. Pure.

A record is one JSON value (RFC 8259) in UTF-8, nested at most 512 deep. Lone surrogate escapes
(such as "\\ud800") are refused: RFC 8259 section 8.2 leaves their meaning open, and no UTF-8 text
can hold what they say. Duplicate keys are kept in the stored text; the last one is what reads see.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ParamSpec, TypeVar

import msgspec

from pannier import big_integers
from pannier.distant_numbers import number
from pannier.errors import InvalidRecord

P = ParamSpec("P")
R = TypeVar("R")

MAX_DEPTH = 512

_stack = threading.local()

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_floats = msgspec.json.Decoder().decode
_decode_exact = msgspec.json.Decoder(float_hook=number).decode
# A string that never ends is matched to the end of the text, so that a scan takes linear time.
_BRACKETS = re.compile(rb'[\[{\]}]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)

_HALF_PAIR = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])"
)


def check(value: bytes, *, what: str = "record", depth: int = MAX_DEPTH) -> None:
    """Return if `value` is one JSON value that may be stored; else raise InvalidRecord.

    Nothing is built: 0.3 µs for 250 bytes. msgspec.Raw alone would let broken UTF-8 pass. `what`
    names it in errors; `depth` is how deep it may nest.
    """
    try:
        value.decode()
        if len(value) > 2 * MAX_DEPTH:
            check_depth(value, what=what, depth=depth)
        _decode_raw(value)
    except UnicodeDecodeError as error:
        at = f"{error.reason} (byte {error.start})"
        raise InvalidRecord(f"The {what} is not UTF-8: {at}.") from None
    except msgspec.DecodeError as error:
        raise InvalidRecord(fault(value, error, what)) from None
    except RecursionError:
        on_whole_stack(check, value, what=what, depth=depth)


def fault(value: bytes, error: Exception, what: str = "record") -> str:
    """What is wrong with text that msgspec did not take; some of its own words mislead."""
    if not value.strip():
        return f"The {what} is empty: send one JSON value."
    said = str(error)
    if said.endswith("truncated") or "surrogate" in said:
        said = (
            "it holds half of a surrogate pair" if _HALF_PAIR.search(value) else "it ends too soon"
        )
    return f"The {what} is not JSON: {said}."


def check_depth(value: bytes, *, what: str = "record", depth: int = MAX_DEPTH) -> None:
    """Raise InvalidRecord if arrays and objects nest more than `depth` deep.

    msgspec's own limit moves with the depth of the Python stack it is called from.
    """
    if value.count(b"[") + value.count(b"{") <= depth:
        return
    level = 0
    for token in _BRACKETS.finditer(value):
        mark = value[token.start()]
        if mark == 0x5B or mark == 0x7B:
            level += 1
            if level > depth:
                raise InvalidRecord(f"The {what} nests more than {depth} levels deep.")
        elif mark != 0x22:
            level -= 1


def parse(value: bytes) -> Any:
    """`value` as Python objects, each number without loss (int, Decimal or DistantNumber).

    Raises InvalidRecord if it is not JSON that may be stored.
    """
    return _parse(value, _decode_exact, number, big_decimal)


def parse_state(value: bytes) -> Any:
    """`value` as Python objects with Python's own numbers: int of any size and float.

    Raises InvalidRecord if it is not JSON, or holds a number that no float can.
    """
    return _parse(value, _decode_floats, finite_float, big_integers.from_text)


def _parse(
    value: bytes,
    decode: Callable[[bytes], Any],
    parse_float: Callable[[str], Any],
    parse_int: Callable[[str], Any],
) -> Any:
    try:
        if len(value) > 2 * MAX_DEPTH:
            check_depth(value)
        return decode(value)
    except msgspec.ValidationError:
        # A number msgspec does not make (an int over 4300 digits, a float over 1e308).
        check(value)
        text = value.decode()
        return on_whole_stack(json.loads, text, parse_float=parse_float, parse_int=parse_int)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord(fault(value, error)) from None
    except RecursionError:
        return on_whole_stack(_parse, value, decode, parse_float, parse_int)


def finite_float(text: str) -> float:
    """The float nearest to a JSON number; InvalidRecord if that would be an infinity."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidRecord(f"The number {text[:40]} is beyond what a float can hold.")
    return value


def big_decimal(text: str) -> int | Decimal:
    """An integer's exact value; as a Decimal where making an int would take long."""
    return int(text) if len(text) < 1000 else Decimal(text)


class Members(dict[str, Any]):
    """An object with every member it was written with: `pairs` has the repeated names too."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def parse_members(value: bytes) -> Any:
    """The same as `parse`, with each object as Members: for texts in which each member counts.

    Raises InvalidRecord if it is not JSON that may be stored.
    """
    check(value)
    try:
        return json.loads(
            value.decode(),
            parse_float=number,
            parse_int=big_decimal,
            object_pairs_hook=Members,
        )
    except RecursionError:
        return on_whole_stack(parse_members, value)


def members(value: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object as raw text, None if `value` is another JSON value.

    Raises InvalidRecord if it is not JSON.
    """
    return _raw(value, _decode_members)


def items(value: bytes) -> list[msgspec.Raw] | None:
    """The items of a JSON array as raw text, None if `value` is another JSON value.

    Raises InvalidRecord if it is not JSON.
    """
    return _raw(value, _decode_items)


def _raw(value: bytes, decode: Callable[[bytes], R]) -> R | None:
    try:
        return decode(value)
    except msgspec.ValidationError:
        check(value)
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord(fault(value, error, "text")) from None
    except RecursionError:
        return on_whole_stack(lambda: _raw(value, decode))


def encode(value: Any) -> bytes:
    """Plain Python objects (see `pannier.plain`) as compact JSON, keys in their order."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidRecord("A text in the record holds a lone surrogate; UTF-8 cannot.") from None
    except (ValueError, OverflowError):
        return on_whole_stack(_encode_big, value)
    except RecursionError:
        return on_whole_stack(encode, value)


def _encode_big(value: Any) -> bytes:
    return msgspec.json.encode(_raw_integers(value))


def _raw_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _raw_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_raw_integers(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return msgspec.Raw(big_integers.to_text(value).encode())
    return value


def on_whole_stack(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` with the whole recursion limit before it, however deep the caller is.

    The limit counts for each thread on its own, so a fresh thread has all of it. Rare: it takes
    a caller hundreds of frames deep and a record hundreds of levels deep. Raises InvalidRecord
    where the whole of it was not enough.
    """
    if getattr(_stack, "whole", False):
        raise InvalidRecord("The record nests too deep for Python's stack.")
    return on_own_stack(function, *args, **kwargs)


def on_own_stack(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a fresh thread, and wait for it."""
    done: list[R] = []
    failed: list[BaseException] = []

    def run() -> None:
        _stack.whole = True
        try:
            done.append(function(*args, **kwargs))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="pannier-deep-json")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
