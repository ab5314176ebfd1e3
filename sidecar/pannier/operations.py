"""The words every store and lane share for one operation on stored bytes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from pannier.errors import PannierError


class Outcome(Enum):
    """What a write did. A refused write changed nothing."""

    CREATED = "created"
    REPLACED = "replaced"
    DELETED = "deleted"
    ABSENT = "absent"
    """Refused (or nothing to delete): the record is not there."""
    PRESENT = "present"
    """Refused: the record is there, and the write demanded that it is not."""
    MISMATCH = "mismatch"
    """Refused: the record's ETag is none of those asked for."""


REFUSED = frozenset((Outcome.ABSENT, Outcome.PRESENT, Outcome.MISMATCH))
"""The outcomes of a write that changed nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a write to be applied, tested and applied in one atomic step."""

    kind: Literal["always", "absent", "present", "etag"]
    etags: tuple[str, ...] = ()
    """For kind "etag": the acceptable ETags, lower-case hex SHA-1 without quotes."""


ALWAYS = Condition("always")
IF_ABSENT = Condition("absent")
IF_PRESENT = Condition("present")


def if_match(*etags: str) -> Condition:
    """The condition that the record's present ETag is one of `etags` (hex, without quotes)."""
    return Condition("etag", etags)


class Write(NamedTuple):
    """One write of a batch: `value` None deletes the record.

    A tuple, because a frozen dataclass takes 0.7 µs to make, and this 0.3.
    """

    key: str
    value: bytes | None
    condition: Condition = ALWAYS


WriteResult = Outcome | PannierError
"""One write's result in a batch: what it did, or the error it ended in (returned, not raised)."""


@dataclass(frozen=True, slots=True)
class ScanPage:
    """One backend batch of a schema's records, `keys[i]` with `values[i]`."""

    keys: list[str]
    values: list[bytes]
    next: str | None
    """The cursor of the next batch; None ends the scan. A batch may be empty while it is set."""
    cursor_after: Callable[[int], str]
    """For a resumable scan: the cursor that goes on right after item i of this batch."""


@dataclass(frozen=True, slots=True)
class SchemaPage:
    """One batch of schema names, each with its number of records."""

    schemas: list[tuple[str, int]]
    next: str | None
