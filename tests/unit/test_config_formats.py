"""The grammars of a document's texts, against their regular expressions.

The StoreBackend resource checks the same texts by these expressions, so the two must agree.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pannier.config.formats import FORMATS
from pannier.config.names import LONGEST_NAME
from pannier.config.units import LONGEST_TEXT

WITHOUT_RANGE = sorted(set(FORMATS) - {"duration", "size"})

PIECES = st.sampled_from(
    [
        *"abZ09.-_:/[]%~@?# ", "..", "::", ":1", ":0", ":65535", ":65536", ":080", "http://",
        "https://", "localhost", "[::1]", "fe80::1%eth0", "10.0.0.1", "a" * 64, "b" * 255,
        "\x00", "\x7f", "\n", "\u2028", "\u00e4", "\u0663", "Mi", "ms", "1",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def parses(name: str, text: str) -> bool:
    try:
        FORMATS[name].parse(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", WITHOUT_RANGE)
def test_what_is_read_is_what_the_expression_matches(name: str) -> None:
    @settings(deadline=None, max_examples=300)
    @given(TEXTS)
    @example("/")
    @example("/a//b/")
    @example("/a/..")
    @example("/...")
    @example("/.a")
    @example("host:")
    @example("[::1]:")
    @example("[host]:1")
    def agrees(text: str) -> None:
        longest = LONGEST_NAME if name in ("subdomain", "secret-key") else 10_000
        components = text.split("/") if name == "hdfs-path" else []
        fits = len(text) <= longest and all(len(each.encode()) <= 255 for each in components)
        matches = re.fullmatch(FORMATS[name].pattern, text) is not None
        assert parses(name, text) == (matches and fits)

    agrees()


@pytest.mark.parametrize("name", ["duration", "size"])
def test_what_the_expression_does_not_match_is_not_read(name: str) -> None:
    @settings(deadline=None)
    @given(TEXTS)
    def agrees(text: str) -> None:
        if parses(name, text):
            assert re.fullmatch(FORMATS[name].pattern, text)
            assert len(text) <= LONGEST_TEXT

    agrees()
