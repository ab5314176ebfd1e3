"""The quick way to read a batchWrite says the same as the careful one, or nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.errors import PannierError
from pannier.operations import Outcome, Write
from pannier.server import batches

LIMIT = 40

MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(
            ['"put"', '"insert"', '"update"', '"delete"', '"upsert"', "null", "1"]
        ),
        "key": st.sampled_from(
            ['"a"', '"\\u00e9"', "7", "7.0", "7.5", "true", "null", '""', '"."',
             '"' + "k" * 600 + '"', "12345678901234567890123", '"\\ud800"']
        ),
        "record": st.sampled_from(
            ["{}", "null", ' {"a" : [1, 2]} ', "1e400", "9" * 60, "[" * 20 + "]" * 20, '"\\u0000"',
             "{", '"\\ud800"']
        ),
        "ifMatch": st.sampled_from(
            ["null", '"*"', '"abc"', '"\\"abc\\""', '"W/\\"abc\\""', "7", '""']
        ),
        "more": st.just("1"),
    },
)  # fmt: skip
OPERATIONS = st.lists(
    MEMBERS.map(
        lambda found: "{" + ",".join(f'"{name}":{text}' for name, text in found.items()) + "}"
    ),
    max_size=4,
)
BODIES = st.one_of(
    st.builds(
        lambda operations, atomic: '{"operations":[' + ",".join(operations) + "]" + atomic + "}",
        OPERATIONS,
        st.sampled_from(["", ',"atomic":true', ',"atomic":false', ',"atomic":null', ',"x":1']),
    ),
    st.sampled_from(["", "[]", "{}", '{"operations":null}', '{"operations":{}}', "nonsense"]),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(BODIES)
def test_the_quick_way_agrees_with_the_careful_one(body: str) -> None:
    quick = batches._read_usual(body.encode(), LIMIT)
    try:
        careful = batches._read_carefully(body.encode(), LIMIT)
    except PannierError:
        assert quick is None
        return
    if quick is not None:
        assert (quick.writes, quick.named, quick.atomic) == (
            careful.writes, careful.named, careful.atomic,
        )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b'{"operations":[{"op":"put","key":"a","record":"\xff"}]}',
        b'{"operations":[{"op":"put","key":"a","record":%b}]}' % (b"[" * 600 + b"]" * 600),
        b'{"operations":[{"op":"put","key":"a","record":%b}]}' % (b"[" * 9000 + b"]" * 9000),
        b'{"operations":[%b]}' % b",".join([b'{"op":"delete","key":"a"}'] * 1001),
        b'{"operations":[{"op":"put","key":"a","record":1,"ifMatch":null}]}',
    ],
)
def test_what_is_refused_is_left_to_the_careful_way(body: bytes) -> None:
    assert batches._read_usual(body, 1 << 20) is None
    with pytest.raises(PannierError):
        batches._read_carefully(body, 1 << 20)


def test_the_usual_batch_takes_the_quick_way() -> None:
    body = (
        b'{"operations":[{"op":"put","key":"a","record":{}},{"op":"insert","key":7,"record":1},'
        b'{"op":"update","key":"b","record":[],"ifMatch":"abc"},{"op":"delete","key":"c"}]}'
    )
    assert batches._read_usual(body, LIMIT) is not None


@pytest.mark.parametrize("outcome", [Outcome.CREATED, Outcome.REPLACED])
@pytest.mark.parametrize("key", ["a", 'a"\\b', "é"])
def test_a_stored_record_has_the_same_text_both_ways(key: str, outcome: Outcome) -> None:
    write = Write(key, b'{"a":1}')
    slow = json.loads(batches._json(batches.result_of(write, False, outcome)))
    quick = batches._stored(write, outcome)
    assert json.loads(quick) == slow
    assert quick == batches._json(batches.result_of(write, False, outcome))
