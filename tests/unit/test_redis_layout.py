"""The names of Redis hashes, and the record that guards how they are laid out."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.errors import BackendRefused
from pannier.redis.layout import RedisLayout

schemas = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


def test_a_schema_is_one_hash_under_the_prefix() -> None:
    assert RedisLayout("pannier:", 1).hash_of("Cart", "42") == "pannier:Cart"


def test_with_buckets_the_crc32_of_the_key_chooses_the_hash() -> None:
    layout = RedisLayout("pannier:", 16)
    key = "ключ/42"
    assert layout.hash_of("Cart", key) == f"pannier:Cart:{crc32(key.encode()) % 16}"
    assert layout.hashes_of("Cart") == [f"pannier:Cart:{bucket}" for bucket in range(16)]


@given(schema=schemas, key=st.text(min_size=1), buckets=st.sampled_from([1, 2, 7, 16384]))
def test_the_owner_of_a_records_hash_is_its_schema(schema: str, key: str, buckets: int) -> None:
    layout = RedisLayout("p.a/n-1:", buckets)
    owner = layout.owner_of(layout.hash_of(schema, key))
    assert owner is not None
    assert owner[0] == schema
    assert layout.hash_at(*owner) == layout.hash_of(schema, key)


@given(schema=schemas, buckets=st.sampled_from([1, 4]))
def test_the_layout_record_is_no_schemas_hash(schema: str, buckets: int) -> None:
    layout = RedisLayout("pannier:", buckets)
    assert layout.record == "pannier::layout"
    assert layout.owner_of(layout.record) is None
    assert layout.record not in layout.hashes_of(schema)


@pytest.mark.parametrize("name", [
    "pannier:Cart:4", "pannier:Cart:04", "pannier:Cart:", "pannier:Cart", "pannier:Cart:x",
    "pannier:-Cart:1", "other:Cart:1", "pannier::layout", "pannier:", "pannier:Cart:1:1",
])  # fmt: skip
def test_other_peoples_keys_have_no_owner(name: str) -> None:
    assert RedisLayout("pannier:", 4).owner_of(name) is None


@pytest.mark.parametrize("prefix", ["", "a" * 65, "a*", "a?", "a[b]", "a b", "é", "a\\"])
def test_a_prefix_that_could_be_a_glob_or_too_long_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="key_prefix"):
        RedisLayout(prefix, 1)


@pytest.mark.parametrize("buckets", [0, -1, 16385])
def test_a_number_of_buckets_out_of_bounds_is_refused(buckets: int) -> None:
    with pytest.raises(ValueError, match="hash_buckets"):
        RedisLayout("pannier:", buckets)


def test_a_layout_record_is_missing_or_ours_or_a_clear_refusal() -> None:
    layout = RedisLayout("pannier:", 4)
    assert layout.check([None, None]) is False
    assert layout.check([b"1", b"4"]) is True
    with pytest.raises(BackendRefused, match="not 4: set hash_buckets to 8"):
        layout.check([b"1", b"8"])
    with pytest.raises(BackendRefused, match="layout 2"):
        layout.check([b"2", b"4"])
