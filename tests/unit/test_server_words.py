"""The server's pure words: conditions, targets, cursors, keys made by it, addresses, logs."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import logs
from pannier.errors import InvalidCursor, InvalidKey, InvalidSchema, PannierError
from pannier.server import conditions, cursors, listening, streaming, targets
from pannier.server.admission import Admission, TokenFile
from pannier.server.budget import Budget
from pannier.server.refusals import BadRequest
from pannier.server.uuid7 import uuid7

# Conditions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        ('"a"', ("a",), ()),
        (' "a" ,W/"b",\t"c,d" , ', ("a", "c,d"), ("b",)),
        (',,"a"', ("a",), ()),
        ('""', ("",), ()),
    ],
)
def test_tags_are_read_as_rfc_9110_writes_them(
    value: str, strong: tuple[str, ...], weak: tuple[str, ...]
) -> None:
    tags = conditions.parse_tags("If-Match", value)
    assert (tags.any, tags.strong, tags.weak) == (False, strong, weak)


@given(st.text(alphabet='",W/ \t*a', max_size=40))
def test_any_text_is_tags_or_refused(value: str) -> None:
    try:
        tags = conditions.parse_tags("If-Match", value)
    except PannierError:
        return
    assert tags.any or tags.strong or tags.weak


@pytest.mark.parametrize("value", ['"a"' + "," * 32_000 + "x", "," * 32_000, '"a" ' * 8_000])
def test_a_hostile_list_of_tags_takes_no_long_time(value: str) -> None:
    began = time.process_time()
    with pytest.raises(PannierError):
        conditions.parse_tags("If-Match", value)
    assert time.process_time() - began < 0.5


def test_a_batch_takes_a_tag_without_quotes() -> None:
    for value in ("abc", '"abc"'):
        tags = conditions.for_batch(value)
        assert tags is not None
        assert tags.strong == ("abc",)
    assert conditions.for_batch("*").any  # type: ignore[union-attr]


# Targets ----------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_any_target_is_parsed_or_broken(raw: bytes) -> None:
    try:
        target = targets.parse(b"/" + raw)
    except BadRequest:
        return
    for decode in (targets.decode_store, targets.decode_schema, targets.decode_key):
        with suppress(InvalidKey, InvalidSchema):
            decode(target.key)


@given(st.text(min_size=1, max_size=60))
def test_an_encoded_key_comes_back(key: str) -> None:
    raw = "".join(f"%{byte:02x}" for byte in key.encode(errors="replace")).encode()
    try:
        assert targets.decode_key(raw) == key.encode(errors="replace").decode()
    except InvalidKey:
        return


def test_a_plus_is_a_space_in_a_query_only() -> None:
    assert targets.decode_key(b"a+b") == "a+b"
    assert targets.parse_query(b"a+b=c+d%2B&&x=1=2&y") == [("a b", "c d+"), ("x", "1=2"), ("y", "")]


# Cursors ----------------------------------------------------------------------------------------


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_cursor_comes_back_for_its_schema_alone(cursor: str, schema: str) -> None:
    try:
        text = cursors.wrap(schema, cursor)
    except UnicodeEncodeError:
        return
    assert cursors.unwrap(schema, text) == cursor
    with pytest.raises(InvalidCursor):
        cursors.unwrap(schema + "x", text)


@given(st.text(max_size=60))
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursor):
        cursors.unwrap("Cart", text)


# Keys -------------------------------------------------------------------------------------------


def test_made_keys_differ_and_sort_by_time() -> None:
    keys = [uuid7() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert {UUID(key).version for key in keys} == {7}
    stamps = [UUID(key).int >> 80 for key in keys]
    assert stamps == sorted(stamps)


# Streams ----------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8, unique=True))
def test_keys_are_encoded_together_as_they_are_one_by_one(keys: list[str]) -> None:
    try:
        alone = [json.dumps(key, ensure_ascii=False).encode()[1:-1] for key in keys]
    except UnicodeEncodeError:
        return
    if keys:
        assert [json.loads(b'"%b"' % each) for each in streaming.encoded(keys)] == [
            json.loads(b'"%b"' % each) for each in alone
        ]


# Admission --------------------------------------------------------------------------------------


@given(st.binary(max_size=30))
def test_only_known_hosts_are_let_in(host: bytes) -> None:
    refusal = Admission().refusal(host, None, None)
    name = host.rpartition(b":")[0] if host[-1:].isdigit() or host[-1:] == b":" else host
    known = {b"localhost", b"127.0.0.1", b"[::1]"}
    if refusal is None:
        assert name.lower() in known or host.lower() in known


def test_a_token_that_is_made_empty_leaves_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    tokens = TokenFile(path)
    path.write_text("")
    assert tokens.matches(b"Bearer first")
    assert not tokens.matches(b"Bearer ")
    assert "first" not in repr(tokens)


def test_a_budget_refuses_what_is_over_it_and_takes_what_must_go_out() -> None:
    budget = Budget(100)
    budget.take(60)
    with pytest.raises(PannierError) as refused:
        budget.take(41)
    assert (refused.value.code, budget.taken) == ("overloaded", 60)
    budget.take(41, force=True)
    budget.give(101)
    assert budget.taken == 0


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:3900", "localhost", 3900),
        ("3900", "localhost", 3900),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:0", "::1", 0),
        ("[::]:65535", "::", 65535),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert listening.parse(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", ":", "localhost", "a.b:1", "::1:1", "localhost:65536", "[x]:1"]
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address|no port"):
        listening.parse(text)


# Logs -------------------------------------------------------------------------------------------


def record(level: int, message: str, created: float) -> logging.LogRecord:
    made = logging.LogRecord("pannier", level, "", 0, message, (), None)
    made.created = created
    return made


def test_a_repeated_trouble_is_logged_once_a_second_with_what_was_left_out() -> None:
    filtered = logs.OnceASecond()
    passed = []
    for count in range(30):
        each = record(logging.ERROR, "the backend is away", 1000 + count / 10)
        if filtered.filter(each):
            passed.append(each.getMessage())
    assert passed == [
        "the backend is away",
        "the backend is away (and 9 more like it)",
        "the backend is away (and 9 more like it)",
    ]
    assert filtered.filter(record(logging.ERROR, "something else", 1002.95))
    assert all(filtered.filter(record(logging.INFO, "news", 1003.0)) for _ in range(5))


def test_a_json_line_is_one_object() -> None:
    made = record(logging.WARNING, 'a "quote"\nand a line', 1000.5)
    line = logs.JsonFormat().format(made)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:16:40.500+00:00",
        "level": "warning",
        "logger": "pannier",
        "message": 'a "quote"\nand a line',
    }
