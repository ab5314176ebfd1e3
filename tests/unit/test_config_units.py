"""Durations and sizes as documents and flags write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1ms", 0.001),
        ("500ms", 0.5),
        ("5s", 5),
        ("5m", 300),
        ("24h", 86_400),
        ("1m30s", 90),
        ("1h1m1s1ms", 3661.001),
        ("30s1m", 90),
        ("007s", 7),
        ("23h60m", 86_400),
    ],
)
def test_a_duration_means_its_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 s", "5sec", "5S", "1.5s", "-5s", "s", "1d", "5s ", "\n5s", "5s\n", "1s2", "٣s"],
)
def test_a_text_that_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="1m30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0ms", "0h0m"])
def test_a_duration_below_a_millisecond_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at least 1ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["24h1ms", "25h", "86401s", "9" * 5000 + "ms", "0" * 63 + "1s"])
def test_a_duration_over_a_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 24h"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(1, 86_400_000))
def test_every_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64Mi", 64 * 1024**2),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1.5Gi", 3 * 512 * 1024**2),
        (".5k", 500),
        ("1.0001k", 1001),
        ("1Ei", 1024**6),
        ("0", 0),
    ],
)
def test_a_size_means_its_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64MB", "64mi", "Mi", "-1", "1 Mi", "1e3", "1" * 65, "1Mi\n"])
def test_a_text_that_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="64Mi"):
        parse_size(text)


@pytest.mark.parametrize("text", ["2Ei", "1152921504606846977", "9" * 64])
def test_a_size_past_the_largest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too large: at most 1Ei"):
        parse_size(text)


@settings(deadline=None)
@given(st.integers(0, 2**60))
def test_every_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size
