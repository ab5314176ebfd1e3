"""Filters: three spellings, one meaning; a naive model; and no record too hostile to look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import BackendIntegrationMixin, InvalidFilter, filters, json_text

Predicate = Callable[[bytes], bool]

NAMES = ["a", "b", "in", "eq", "x.y"]
numbers = st.integers(-3, 3) | st.sampled_from([0.5, -0.0, 1.0, 2**70, -(2**70)])
scalars = st.none() | st.booleans() | numbers | st.text("abé🧺\ue000", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from(NAMES), values)
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
operators = st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "in", "contains",
                             "startswith", "endswith", "exists"])  # fmt: skip


def key_of(value: Any) -> Any:
    """A JSON value as something that Python's == compares as JSON values compare."""
    if isinstance(value, bool) or value is None:
        return ("constant", repr(value))
    if isinstance(value, int | float | Decimal):
        return ("number", Fraction(str(value)) if isinstance(value, float) else Fraction(value))
    if isinstance(value, list):
        return ("list", [key_of(item) for item in value])
    if isinstance(value, dict):
        return ("object", {name: key_of(item) for name, item in value.items()})
    return ("text", value)


def model(record: Any, path: tuple[str, ...], operator: str, wanted: Any) -> bool:
    """Whether a condition holds, written down as the contract says it."""
    found, missing = record, False
    for name in path:
        missing = missing or not isinstance(found, dict) or name not in found
        found = None if missing else found[name]
    if operator == "exists":
        return wanted is not missing
    if missing:
        return False
    mine, yours = key_of(found), key_of(wanted)
    if operator == "eq":
        return bool(mine == yours)
    if operator == "ne":
        return bool(mine != yours)
    if operator == "in":
        return any(mine == key_of(one) for one in wanted)
    if operator == "contains" and isinstance(found, list):
        return any(one == wanted for one in found if isinstance(one, str))
    if operator in ("contains", "startswith", "endswith"):
        if not isinstance(found, str):
            return False
        return {
            "contains": wanted in found,
            "startswith": found[: len(wanted)] == wanted,
            "endswith": not wanted or found[-len(wanted) :] == wanted,
        }[operator]
    if mine[0] != yours[0] or mine[0] not in ("number", "text"):
        return False
    if mine[0] == "text":
        mine, yours = [ord(letter) for letter in found], [ord(letter) for letter in wanted]
    return {
        "gt": mine > yours,
        "gte": mine >= yours,
        "lt": mine < yours,
        "lte": mine <= yours,
    }[operator]


@st.composite
def conditions(draw: Any) -> tuple[tuple[str, ...], str, Any]:
    """A path, an operator and a value that it can use."""
    operator = draw(operators)
    if operator == "exists":
        wanted: Any = draw(st.booleans())
    elif operator == "in":
        wanted = draw(st.lists(values, max_size=3))
    elif operator in filters.TEXT_OPERATORS:
        wanted = draw(st.text("abé🧺", max_size=2))
    else:
        wanted = draw(values)
    return draw(paths), operator, wanted


@given(objects | values, st.lists(conditions(), max_size=3))
def test_keywords_query_strings_and_documents_do_what_the_model_does(
    record: Any, wanted: list[tuple[tuple[str, ...], str, Any]]
) -> None:
    text = json.dumps(record, indent=1).encode()
    expected = all(model(record, *condition) for condition in wanted)
    pairs = [
        ("__".join(path) + f"__{operator}",
         value if operator in filters.TEXT_OPERATORS else json.dumps(value))
        for path, operator, value in wanted
    ]  # fmt: skip

    assert filters.compile_query(pairs)(text) == expected
    keywords = [
        filters.compile_kwargs({"__".join(path) + f"__{operator}": value})
        for path, operator, value in wanted
    ]
    assert all(matches(text) for matches in keywords) == expected
    documents = [
        filters.compile_document({".".join(path): {operator: value}})
        for path, operator, value in wanted
        if "x.y" not in path
    ]
    if len(documents) == len(wanted):
        assert all(matches(text) for matches in documents) == expected


@pytest.mark.parametrize(
    ("name", "text", "record", "holds"),
    [
        ("age", "42", '{"age":42.0}', True),
        ("age", "42", '{"age":"42"}', False),
        ("age", '"42"', '{"age":"42"}', True),
        ("zip", "007", '{"zip":"007"}', True),
        ("zip", "007", '{"zip":7}', False),
        ("v", "NaN", '{"v":"NaN"}', True),
        ("v", "true", '{"v":true}', True),
        ("v", "True", '{"v":"True"}', True),
        ("v", "null", '{"v":null}', True),
        ("v", "1", '{"v":true}', False),
        ("v", "true", '{"v":1}', False),
        ("v", "[0]", '{"v":[false]}', False),
        ("v__in", "[1, 0]", '{"v":true}', False),
        ("v__gte", "0", '{"v":true}', False),
        ("v__ne", "1", '{"v":true}', True),
        ("v", "", '{"v":""}', True),
        ("v", " 1 ", '{"v":1}', True),
        ("v", '"\\ud800"', '{"v":"\\"\\\\ud800\\""}', True),
        ("v", "[1, 2]", '{"v":[1.0,2e0]}', True),
        ("v__contains", "1", '{"v":"a1"}', True),
        ("v__contains", "1", '{"v":1}', False),
        ("v__startswith", '"a', '{"v":"\\"ab"}', True),
        ("v__in", '[1,"b"]', '{"v":"b"}', True),
        ("v__exists", "false", "{}", True),
        ("v__gte", "1e400", '{"v":10e399}', True),
        ("v__gt", "1e999999999999999999999", '{"v":1e1000000000000000000000}', True),
        ("v", "0." + "1" * 5000, '{"v":0.' + "1" * 5000 + "}", True),
        ("v", "0." + "1" * 5000, '{"v":0.' + "1" * 5001 + "}", False),
        ("v__lt", "9" * 10_000, '{"v":' + "8" + "9" * 9_999 + "}", True),
    ],
)
def test_a_query_string_is_read_as_json_if_it_is_json(
    name: str, text: str, record: str, holds: bool
) -> None:
    assert filters.compile_query([(name, text)])(record.encode()) is holds


def test_a_repeated_parameter_must_hold_too() -> None:
    matches = filters.compile_query([("a__ne", "1"), ("a__ne", "2")])
    assert matches(b'{"a":3}') and not matches(b'{"a":1}') and not matches(b'{"a":2}')


@pytest.mark.parametrize(
    "document",
    [
        None, [], "a", {"a": {"is": 1}}, {"a": {}}, {"a": {"eq": 1, "foo": 2}}, {"": 1},
        {"a..b": 1}, {".a": 1}, {"a": {"contains": 1}}, {"a": {"startswith": None}},
        {"a": {"endswith": ["x"]}}, {"a": {"in": "x"}}, {"a": {"in": 1}}, {"a": {"in": {"b": 1}}},
        {"a": {"exists": 1}}, {"a": {"exists": "true"}}, {"a": {"b": 1}}, {"a": {"city": "Paris"}},
    ],
)  # fmt: skip
def test_a_document_that_makes_no_sense_is_refused(document: Any) -> None:
    with pytest.raises(InvalidFilter):
        filters.compile_document(document)


def test_a_document_says_equality_by_a_value_and_operators_by_an_object() -> None:
    matches = filters.compile_document(
        {"address.city": "Paris", "age": {"gte": 3, "lt": 9}, "tags": ["a"], "in": {"in": [1]}}
    )
    record = {"address": {"city": "Paris"}, "age": 3, "tags": ["a"], "in": 1}
    assert matches(json.dumps(record).encode())
    for change in ({"age": 9}, {"age": 2}, {"tags": ["a", "b"]}, {"in": 2}, {"address": "Paris"}):
        assert not matches(json.dumps(record | change).encode())


@pytest.mark.parametrize(
    ("text", "held", "not_held"),
    [
        (b'{"n":1,"n":0.1}', [], [1, 0.1]),
        (b'{"n":{"gte":1},"n":{"lt":3}}', [1, 2], [0, 3]),
        (b'{"n":{"gte":1,"gte":2,"in":[1,2]}}', [2], [1, 3]),
        (b'{"n":{"eq":{"a":1,"a":2}}}', [{"a": 2}], [{"a": 1}]),
    ],
)
def test_a_name_that_a_document_repeats_must_hold_too(
    text: bytes, held: list[Any], not_held: list[Any]
) -> None:
    matches = filters.compile_document(json_text.parse_members(text))
    for value in held:
        assert matches(json.dumps({"n": value}).encode()), value
    for value in not_held:
        assert not matches(json.dumps({"n": value}).encode()), value


@pytest.mark.parametrize("name", ['"', "\\", "\n", "\x00", "\x7f", "ä", "🧺", " ", "\ud800"])
def test_every_name_that_json_can_write_can_be_asked_for(name: str) -> None:
    matches = filters.compile_document({name: 1})
    for ascii_only in (True, False):
        if name != "\ud800":
            assert matches(json.dumps({name: 1}, ensure_ascii=ascii_only).encode())
        assert not matches(b'{"other":1}')
    assert filters.compile_kwargs({"a": 1})(b'{"\\u0061":1}')


@pytest.mark.parametrize("value", [b"", b"\xff", b"[1", b'{"a":', b'{"a":1} x', b"nul"])
def test_what_is_not_json_has_no_fields(value: bytes) -> None:
    assert not filters.compile_kwargs({"a": 1})(value)
    assert filters.compile_kwargs({"a__exists": False})(value)
    assert filters.compile_kwargs({})(value)


def test_hostile_records_and_filters_cost_little() -> None:
    began = time.process_time()
    deep = b'{"a":' * 511 + b"{}" + b"}" * 511
    huge = b'{"a":' + b"9" * 1_000_000 + b"}"
    distant = b'{"a":1e999999999}'
    for condition in ({"a": 1}, {"a__gt": 10**9000}, {"a__lte": Decimal("1e-999999999")}):
        matches = filters.compile_kwargs(condition)
        for value in (deep, huge, distant):
            matches(value)
    same = filters.compile_document({"a": {"eq": json_text.parse(deep)["a"]}})
    assert same(deep)
    assert time.process_time() - began < 2


def test_the_last_of_two_names_of_one_key_counts() -> None:
    matches = filters.compile_kwargs({"a": 2})
    assert matches(b'{"a":1,"a":2}') and not matches(b'{"a":2,"a":1}')
    assert matches(b'{"a":1,"b":1e400,"a":2}')


# Typed fields: what the contract suite cannot store, or has no class for ------------------------


class Movie(TypedDict):
    shown: date


@dataclass
class Cinema(BackendIntegrationMixin):
    movie: Movie
    open: dict[str, date]
    when: date | None = None


class Stamped:
    """A class that makes its own state, in another form than its annotation says."""

    when: date

    def get_state(self) -> dict[str, Any]:
        return {"when": 5}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing to keep."""


DAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("klass", "keywords", "record", "holds"),
    [
        (Cinema, {"movie__shown__gte": DAY}, '{"movie":{"shown":"2026-11-24"}}', True),
        (Cinema, {"open__monday__lt": DAY}, '{"open":{"monday":"2026-11-24"}}', False),
        (Cinema, {"when": DAY}, '{"when":"20261123"}', True),
        (Cinema, {"when__lt": "2026-12-01"}, '{"when":"20261123"}', True),
        (Cinema, {"when__ne": DAY}, '{"when":"no day"}', True),
        (Cinema, {"when": "no day"}, '{"when":"no day"}', True),
        (Cinema, {"when__gt": DAY}, '{"when":"no day"}', True),
        (Cinema, {"when__gt": DAY}, '{"when":5}', False),
        (Cinema, {"when__gt": DAY}, '{"when":null}', False),
        (Cinema, {"unknown__gt": 3}, '{"unknown":5}', True),
        (Stamped, {"when": 5}, '{"when":5}', True),
        (Stamped, {"when__gt": 4}, '{"when":5}', True),
        (None, {"when": DAY}, '{"when":"2026-11-23"}', True),
        (None, {"price__gt": Decimal("9.5")}, '{"price":10}', True),
        (None, {"price__gt": Decimal("9.5")}, '{"price":"10"}', False),
    ],
)
def test_typed_fields_compare_as_their_type_where_they_can(
    klass: type | None, keywords: dict[str, Any], record: str, holds: bool
) -> None:
    assert filters.compile_kwargs(keywords, klass)(record.encode()) is holds


def test_a_deep_filter_is_compiled_from_any_depth_of_the_stack() -> None:
    deep = b'{"a":' * 511 + b"{}" + b"}" * 511

    def beneath(frames: int) -> Predicate:
        if frames:
            return beneath(frames - 1)
        return filters.compile_document({"a": {"eq": json_text.parse(deep)["a"]}})

    for frames in (0, 400, 800):
        assert beneath(frames)(deep)
