"""YAML texts into placed values: lines, YAML 1.2 scalars, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.config.placed import Placed, line_of, placed
from pannier.config.yaml_documents import MAX_BYTES, MAX_DEPTH, read_yaml


def plain(place: Placed) -> Any:
    """The value without its lines."""
    if isinstance(place.value, dict):
        return {name: plain(inner) for name, inner in place.value.items()}
    if isinstance(place.value, list):
        return [plain(inner) for inner in place.value]
    return place.value


def only(text: str) -> Any:
    """The one good document of a text."""
    found = read_yaml(text.encode())
    assert not found.problems
    assert found.complete
    (document,) = found.documents
    assert not document.problems
    return plain(document.root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2026-11-23", "2026-11-23"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert only(f"field: {text}") == {"field": value}


def test_a_nan_is_read() -> None:
    assert math.isnan(only("a: .nan")["a"])


def test_a_field_knows_the_line_of_its_name() -> None:
    text = b"a: 1\nspec:\n  # a comment\n  redis:\n    host: x\n  list:\n    - 1\n    - 2\n"
    (document,) = read_yaml(text).documents
    root = document.root
    assert line_of(root, "a") == 1
    assert line_of(root, "spec.redis") == 4
    assert line_of(root, "spec.redis.host") == 5
    assert line_of(root, "spec.redis.nothing") == 4
    items = root.value["spec"].value["list"].value  # type: ignore[call-overload, index]
    assert [item.line for item in items] == [7, 8]


def test_documents_are_split_and_empty_ones_are_null() -> None:
    found = read_yaml(b"---\na: 1\n---\n---\nb: 2\n...\n")
    assert [plain(document.root) for document in found.documents] == [{"a": 1}, None, {"b": 2}]


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    (document,) = read_yaml(b"a:\n  b: 1\n  c: 2\n  b: 3\n").documents
    (problem,) = document.problems
    assert (problem.line, problem.field) == (4, "a.b")
    assert "line 2" in problem.message


@pytest.mark.parametrize("key", ["1", "true", "null", "1.5", "~"])
def test_a_key_that_is_no_text_is_refused(key: str) -> None:
    (document,) = read_yaml(f"a: 1\n{key}: 2\n".encode()).documents
    (problem,) = document.problems
    assert problem.line == 2
    assert "text" in problem.message


def test_a_merge_key_is_refused() -> None:
    (document,) = read_yaml(b"a: &a {x: 1}\nb:\n  <<: *a\n").documents
    assert "merge" in document.problems[0].message


def test_an_alias_is_the_anchored_value() -> None:
    assert only("a: &a {x: 1}\nb: *a\nc: [*a, *a]") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": [{"x": 1}, {"x": 1}],
    }


def test_an_anchor_does_not_reach_the_next_document() -> None:
    found = read_yaml(b"a: &a 1\n---\nb: *a\n")
    assert not found.complete
    assert "anchor" in found.problems[0].message


def test_an_alias_bomb_stays_small() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (document,) = read_yaml("\n".join(lines).encode()).documents
    bomb = document.root.value["a29"]  # type: ignore[call-overload, index]
    # 9**30 values if it were unfolded; here every level is one list shared by nine places.
    assert len({id(item.value) for item in bomb.value}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: 'x",
        "a: b: c",
        "\ta: 1",
        "a: *nothing",
        "a: !!python/object/apply:os.system ['true']",
        "a: !secret x",
        "!!set {a}",
        "? [a]\n: 1",
        "a: &a [*a]",
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "{a: " * 5000,
        "a: \x01",
        "%YAML 9.9\n---\na: 1",
        "!!int x",
    ],
)
def test_a_text_that_cannot_be_read_is_a_problem_and_never_an_exception(text: str) -> None:
    found = read_yaml(text.encode())
    assert not found.complete
    assert len(found.problems) == 1


def test_what_stands_before_a_broken_place_is_still_read() -> None:
    found = read_yaml(b"a: 1\n---\nb: [1\n---\nc: 1\n")
    assert [plain(document.root) for document in found.documents] == [{"a": 1}]
    assert not found.complete
    assert found.problems[0].line is not None


def test_broken_utf_8_is_refused_with_its_line() -> None:
    found = read_yaml(b"a: 1\nb: \xff\n")
    assert found.problems[0].line == 2


def test_a_byte_order_mark_is_passed_over() -> None:
    assert only("\ufeffa: 1") == {"a": 1}


def test_a_file_over_its_limit_is_refused() -> None:
    found = read_yaml(b"#" * (MAX_BYTES + 1))
    assert "larger" in found.problems[0].message


def test_no_message_quotes_what_may_be_a_credential() -> None:
    for text in ("password: *hunter2", "password: !hunter2", "hunter2: {a: [1"):
        assert "hunter2" not in str(read_yaml(text.encode()).problems)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:{}[]-,&*!?|>'\"#%@ \n\t0.~", max_size=60))
def test_no_text_at_all_raises(text: str) -> None:
    read_yaml(text.encode())


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_decoded_json_keeps_its_values_and_its_order(value: Any) -> None:
    made = plain(placed(value))
    assert made == value
    if isinstance(value, dict):
        assert list(made) == list(value)
