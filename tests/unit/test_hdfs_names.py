"""File names of records in HDFS: every key has one, no two share one, none escapes or is hidden."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pannier.errors import InvalidCursor, InvalidKey
from pannier.keys import check_key
from pannier.webhdfs.names import (
    MAX_COMPONENT,
    MAX_DEPTH,
    check_base_path,
    check_place,
    is_part,
    key_of,
    lifetime_of,
    relative_path,
    temporary_name,
    url_path,
)

HOSTILE = [
    "../../etc/passwd", "#LATEST", "a:b", "%2e", "%", "+", " ", "~", "~2F", "a~", "..a", "a..",
    "_hidden", ".hidden", "a/b", "/", "//", "x.json", ".json", "e\u0301", "\u00e9", "A", "a", "-",
    "x" * 195, "x" * 196, "x" * 199, "x" * 200, "x" * 512, "." * 512, "_" * 512, "/" * 512,
    "\u00e9" * 256, "\U0001f9fa" * 128, "x" * 199 + "." * 100, "x" * 196 + ".x",
]  # fmt: skip


def is_key(text: str) -> bool:
    try:
        check_key(text)
    except InvalidKey:
        return False
    return True


KEYS = st.one_of(
    st.text(min_size=1, max_size=512),
    st.text(alphabet="aA~./_%:2Fé", min_size=1, max_size=512),
    st.sampled_from(HOSTILE),
).filter(is_key)


@given(KEYS)
def test_every_key_comes_back_from_its_file_name(key: str) -> None:
    assert key_of(relative_path(key)) == key


@given(KEYS, KEYS)
def test_no_two_keys_share_a_file_or_stand_in_each_others_way(one: str, other: str) -> None:
    if one != other:
        first, second = relative_path(one), relative_path(other)
        assert first != second
        assert not second.startswith(first + "/")


@given(KEYS)
def test_no_name_escapes_is_hidden_is_too_long_or_needs_quoting(key: str) -> None:
    parts = relative_path(key).split("/")
    assert len(parts) <= MAX_DEPTH
    for part in parts:
        assert re.fullmatch(r"[A-Za-z0-9~-][A-Za-z0-9._~-]*", part), part
        assert len(part) <= MAX_COMPONENT
        assert part not in (".", "..", "~", ".json")
    assert all(is_part(part) for part in parts[:-1])
    assert parts[-1].endswith(".json")
    assert not is_part(parts[-1])
    path = f"/base/Schema/{relative_path(key)}"
    assert url_path(path) == path


def test_a_plain_key_is_its_own_file_name() -> None:
    assert relative_path("42") == "42.json"
    assert relative_path("order-7.Final_2") == "order-7.Final_2.json"


def test_names_differ_by_case_as_keys_do() -> None:
    assert relative_path("Ab") != relative_path("aB")


@pytest.mark.parametrize(
    "name",
    [
        "README", "x.txt", "x.JSON", ".json", "~2f.json", "~41.json", "_x.json", ".x.json",
        "~.json", "~2.json", "~ZZ.json", "~FF.json", "~00.json", "a b.json", "a%20b.json",
        "dir/x.json",
        "x~/y.json", "~2E.json", "~2E~2E.json", "x" * 196 + ".json", "é.json", "~/x.json",
        "a//b.json",
    ],
)  # fmt: skip
def test_a_name_that_no_key_has_is_not_ours(name: str) -> None:
    assert key_of(name) is None


@given(st.text(alphabet="aA~./_2FEé%", max_size=60))
@example("x~/.json")
def test_whatever_is_taken_for_ours_is_what_we_would_have_written(name: str) -> None:
    key = key_of(f"{name}.json")
    assert key is None or relative_path(key) == f"{name}.json"


@given(KEYS)
def test_every_files_place_is_a_cursor(key: str) -> None:
    assert "/".join(check_place(relative_path(key))) == relative_path(key)


@pytest.mark.parametrize(
    "cursor", ["", "..", "../x.json", "/x.json", "a/b.json", "x", "x.json/y.json", "x~/../y.json",
               "~/" * 20 + "x.json", "é.json", "a&op=DELETE.json", "x" * 300 + ".json"]
)  # fmt: skip
def test_a_cursor_that_no_scan_made_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        check_place(cursor)


@pytest.mark.parametrize(
    ("given_path", "path"),
    [("/volnux", "/volnux"), ("/", ""), ("/a/b/", "/a/b"), ("/a b", "/a b")],
)
def test_a_base_path_is_kept_without_its_last_slash(given_path: str, path: str) -> None:
    assert check_base_path(given_path) == path


@pytest.mark.parametrize("path", ["", "volnux", "/a/../b", "/a/./b", "/a//b", "/a:b", "/a\nb"])
def test_a_base_path_that_hdfs_would_not_take_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"base path"):
        check_base_path(path)


def test_a_temporary_name_says_how_long_its_writer_may_take() -> None:
    name = temporary_name(3600)
    assert name != temporary_name(3600)
    assert lifetime_of(name) == 3600
    for foreign in ("x", "a" * 32, "a" * 32 + "-", "a" * 32 + "-1x", "g" * 32 + "-3600"):
        assert lifetime_of(foreign) is None
