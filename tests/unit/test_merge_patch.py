"""JSON merge patch against RFC 7396: its own examples, a naive model, and the bytes left alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import InvalidRecord, NotAnObject, json_text, merge_patch

RFC_EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""Appendix A, without the cases whose patch or target is no object, which Pannier refuses."""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner),
    max_leaves=12,
)
objects = st.dictionaries(st.text("abc", max_size=2), values)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@pytest.mark.parametrize(("target", "patch", "result"), RFC_EXAMPLES)
def test_the_examples_of_the_rfc_hold(target: Any, patch: Any, result: Any) -> None:
    text = merge_patch.apply(json.dumps(target).encode(), json.dumps(patch).encode())
    assert json.loads(text) == result


@given(objects, objects, st.sampled_from([None, 1]))
def test_it_does_what_the_model_does_in_the_same_order(
    target: dict[str, Any], patch: dict[str, Any], indent: int | None
) -> None:
    text = merge_patch.apply(
        json.dumps(target, indent=indent).encode(), json.dumps(patch, indent=indent).encode()
    )
    json_text.check(text)
    assert json.dumps(json.loads(text)) == json.dumps(merged(target, patch))


def test_what_is_not_named_keeps_its_bytes() -> None:
    target = b'{"z": 1.50, "a" : {"n":1E+400,"m":[1, 2.0]}, "k":"\\u00e9\\/", "d":{"x":1,"x":2}}'

    text = merge_patch.apply(target, b'{"a":{"m":null,"new":0.10},"q":-0.0}')

    assert text == (
        b'{"z":1.50,"a":{"n":1E+400,"new":0.10},"k":"\\u00e9\\/","d":{"x":1,"x":2},"q":-0.0}'
    )


@pytest.mark.parametrize("other", [b"[]", b"1", b'"{}"', b"null", b" true "])
def test_patch_and_record_must_be_objects(other: bytes) -> None:
    with pytest.raises(NotAnObject):
        merge_patch.apply(b"{}", other)
    with pytest.raises(NotAnObject):
        merge_patch.apply(other, b" \r\n\t{}")


@pytest.mark.parametrize("patch", [b"", b"{", b'{"a":1,}', b'{"a":"\xff"}', b'{"a":"\\ud800"}'])
def test_a_patch_that_is_not_json_is_refused(patch: bytes) -> None:
    with pytest.raises(InvalidRecord):
        merge_patch.apply(b"{}", patch)


def test_512_levels_are_merged() -> None:
    target = b'{"a":' * 511 + b'{"x":1}' + b"}" * 511
    patch = b'{"a":' * 511 + b'{"y":2}' + b"}" * 511

    began = time.process_time()
    text = merge_patch.apply(target, patch)

    assert text == b'{"a":' * 511 + b'{"x":1,"y":2}' + b"}" * 511
    assert time.process_time() - began < 1
