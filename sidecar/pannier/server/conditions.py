"""Preconditions (RFC 9110 section 13) read from headers or from a batch's `ifMatch`. Pure.

An ETag here is its opaque text, without quotes; strong tags and weak ones are kept apart, because
`If-Match` compares strongly (a weak tag never matches) and `If-None-Match` weakly.
"""

from __future__ import annotations

import re

from pannier.errors import Unsupported
from pannier.operations import ALWAYS, IF_ABSENT, IF_PRESENT, Condition
from pannier.server.refusals import InvalidRequest

_ITEM = re.compile(r'[ \t,]*(?:(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"[ \t]*(?:,|\Z)|\Z)')
"""One tag of a list with what separates it from its neighbours, or the list's end."""
_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x7e]+")


NEVER = Condition("etag", ())
"""`If-Match` and `If-None-Match: *` together: a record cannot both be there and not."""


class Tags:
    """What one `If-Match` or `If-None-Match` names."""

    __slots__ = ("any", "strong", "weak")

    def __init__(self, any: bool, strong: tuple[str, ...] = (), weak: tuple[str, ...] = ()) -> None:
        self.any = any
        self.strong = strong
        self.weak = weak


class Preconditions:
    """The conditions of a request, evaluated on the record's present ETag (without quotes)."""

    __slots__ = ("match", "none_match")

    def __init__(self, match: Tags | None, none_match: Tags | None) -> None:
        self.match = match
        self.none_match = none_match

    def matches(self, tag: str) -> bool:
        """Whether `If-Match` holds for a present record: strong comparison."""
        match = self.match
        return match is None or match.any or tag in match.strong

    def excludes(self, tag: str) -> bool:
        """Whether `If-None-Match` names a present record: weak comparison."""
        none = self.none_match
        return none is not None and (none.any or tag in none.strong or tag in none.weak)


def parse(if_match: str | None, if_none_match: str | None) -> Preconditions | None:
    """The conditions of these two header values (lines joined by commas), None without any.

    Raises InvalidRequest for what is neither `*` nor a list of quoted tags.
    """
    if if_match is None and if_none_match is None:
        return None
    return Preconditions(
        parse_tags("If-Match", if_match) if if_match is not None else None,
        parse_tags("If-None-Match", if_none_match) if if_none_match is not None else None,
    )


def parse_tags(header: str, value: str) -> Tags:
    """The tags of one header value. Raises InvalidRequest."""
    value = value.strip(" \t")
    if value == "*":
        return Tags(any=True)
    strong: list[str] = []
    weak: list[str] = []
    place = 0
    while place < len(value) or not value:
        item = _ITEM.match(value, place)
        if item is None or (item[2] is None and not strong and not weak):
            raise InvalidRequest(
                f'{header} must be * or ETags in double quotes, as in {header}: "3f2a...".'
            )
        if item[2] is not None:
            (weak if item[1] else strong).append(item[2])
        place = item.end()
    return Tags(False, tuple(strong), tuple(weak))


def for_put(conditions: Preconditions | None) -> Condition:
    """The condition of a PUT. Raises Unsupported for an `If-None-Match` other than `*`."""
    if conditions is None:
        return ALWAYS
    none_match = conditions.none_match
    if none_match is None:
        return for_match(conditions.match)
    if not none_match.any:
        raise Unsupported("If-None-Match on PUT can only be *: it inserts a new record.")
    return IF_ABSENT if conditions.match is None else NEVER


def for_delete(conditions: Preconditions | None) -> Condition:
    """The condition of a DELETE. Raises Unsupported for an `If-None-Match`."""
    if conditions is None:
        return ALWAYS
    if conditions.none_match is not None:
        raise Unsupported("DELETE takes If-Match, not If-None-Match.")
    return for_match(conditions.match)


def for_match(match: Tags | None) -> Condition:
    """The condition of an `If-Match` alone."""
    if match is None:
        return ALWAYS
    return IF_PRESENT if match.any else Condition("etag", match.strong)


def for_batch(value: object) -> Tags | None:
    """The tags of an operation's `ifMatch`: the header's text; one tag may come without quotes.

    Raises InvalidRequest.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest("ifMatch must be an ETag, as a string.")
    if value != "*" and _BARE.fullmatch(value):
        return Tags(False, (value,))
    return parse_tags("ifMatch", value)
