"""Walking Redis's tables in pages: cursors, and going on in the middle of a batch. Pure.

HSCAN and SCAN walk the buckets of a hash table in the order of their reversed binary number
(`dictScan` in Redis's dict.c explains it), so a position stands for a fraction of all possible
hash values, whatever the table's size is: what is before it has been walked, and growing or
shrinking the table moves no record across it. (A shrunk table's bucket may begin before the
position: records of it are seen again.) A small hash (a listpack) is answered whole, position 0.

Between two pages of a client a batch can only be cut by the records' own order, their names'. So a
cursor into a batch holds the position the batch began at, its COUNT, and a *bound*: "up to
position `end`, every name up to `after` has been delivered". Going on asks Redis for the same
batch and drops those names. If nothing changed it is the same batch. If it is not:

- It ends before the bound's end: what is left up to there is asked for in ever smaller steps under
  the same bound. That is also how it is without any change, where Redis has merely finished moving
  the records of a table that grew (an incremental rehash) and can stop at finer places now.
- It passes the bound's end (records were deleted, so the COUNT reached further): beyond it nothing
  was delivered, so the scan goes on from the bound's end and not from where this batch ended. A
  step of one bucket (COUNT 1) that passes the end began at or behind it, so it is dropped.

So a record that is there all the time is seen at least once, and exactly once if nothing changes.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import msgspec

from pannier.errors import InvalidCursor

_POSITIONS = 1 << 64
NEAR = 32
"""Names: a bound's end this near is walked up to bucket by bucket."""
_MAX_BOUNDS = 4
"""Bounds are nested only where a rehash ended between pages; past these few, names are repeated."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Up to the position `end` (0: to the table's end), names up to `after` were delivered."""

    end: int
    after: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scan goes on. A place without bounds is the start of a batch not yet read."""

    bucket: int = 0
    """Which of the schema's hashes (see `pannier.redis.layout`)."""
    position: int = 0
    """The cursor for Redis."""
    count: int = 0
    """The COUNT the batch at this position was read with; 0 where it was not."""
    bounds: tuple[Bound, ...] = ()
    """The nearest first; each further one with an earlier name."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One answer of Redis, with the names that were delivered before taken out."""

    place: Place
    """Where it was read from, with the COUNT it was read with."""
    stop: int
    """The position it covers the table up to; 0: to the end."""
    keep: Sequence[int]
    """The indexes in Redis's answer of what is to be delivered, in the order of names."""
    next: Place | None
    """Where the scan goes on after it; None: the table is walked."""

    def after(self, name: str) -> Place:
        """The place right after `name`, one of this batch's."""
        nearest = Bound(self.stop, name)
        further = [bound for bound in self.place.bounds if reach(bound.end) > reach(self.stop)]
        return replace(self.place, bounds=(nearest, *further)[:_MAX_BOUNDS])


def reach(end: int) -> int:
    """How far a position that ends something is into the table: a number that only grows."""
    return _POSITIONS if end == 0 else fraction(end)


def fraction(position: int) -> int:
    """How far a position is into the table, of 2**64."""
    return int(f"{position:064b}"[::-1], 2)


def onward(bucket: int, stop: int, buckets: int) -> Place | None:
    """The place of the batch after one that ended at `stop`; None: all buckets are walked."""
    if stop:
        return Place(bucket, stop)
    return Place(bucket + 1) if bucket + 1 < buckets else None


def batch_of(
    place: Place, count: int, stop: int, names: Sequence[str], *, buckets: int = 1
) -> Batch:
    """What an answer of Redis means: `names` were read at `place` with COUNT `count` up to `stop`.

    `names` are in Redis's order.
    """
    read = replace(place, count=count)
    order = sorted(range(len(names)), key=names.__getitem__)
    if not place.bounds:
        return Batch(read, stop, order, onward(place.bucket, stop, buckets))
    bound, further = place.bounds[0], place.bounds[1:]
    end, reached = reach(bound.end), reach(stop)
    keep = [index for index in order if names[index] > bound.after]
    if reached < end:
        # In ever smaller steps to the bound's end, the last ones of a single bucket.
        density = len(names) / (reached - fraction(place.position))
        ahead = density * (end - reached)
        step = 1 if ahead < NEAR else min(count, int(ahead / 4))
        return Batch(read, stop, keep, Place(place.bucket, stop, step, place.bounds))
    if further:
        beyond: Place | None = Place(place.bucket, bound.end, 1, further)
    else:
        beyond = onward(place.bucket, bound.end, buckets)
    passed_in_one_step = reached > end and count == 1
    return Batch(read, bound.end, () if passed_in_one_step else keep, beyond)


class BatchSizes:
    """How many records to ask Redis for, so that an answer has about BATCH_BYTES.

    What is asked for is a number of records, so it starts small and learns their size.
    """

    BATCH_BYTES = 2 * 1024 * 1024
    FIRST = 16
    """With records of 1 MiB, the largest the sidecar takes, the first answer has 16 MiB."""
    KEPT = 1000
    """Schemas whose size is remembered."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes: dict[str, float] = {}

    def count_for(self, schema: str, wanted: int) -> int:
        """The COUNT to send where about `wanted` records are asked for."""
        size = self._bytes.get(schema)
        most = self.FIRST if size is None else int(self.BATCH_BYTES / size)
        return max(1, min(wanted, most))

    def learn(self, schema: str, values: Sequence[bytes]) -> None:
        """Take notice of a batch that came: of larger records at once, of smaller ones slowly."""
        if not values:
            return
        mean = sum(map(len, values)) / len(values) + 1
        before = self._bytes.get(schema)
        if before is None and len(self._bytes) >= self.KEPT:
            self._bytes.clear()
        self._bytes[schema] = mean if before is None or mean > before else (before + mean) / 2


# Cursors ------------------------------------------------------------------------------------


class _Text(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds, in as few bytes as JSON can say it."""

    bucket: int
    position: int
    count: int
    bounds: list[tuple[int, str]]
    run: str


_decoder = msgspec.json.Decoder(_Text)


def encode(place: Place, scope: str, run: str = "") -> str:
    """The cursor for `place`: URL-safe, and good only in the same `scope` (prefix and schema).

    `run` is which run of the server its position belongs to: each one draws another seed for its
    hash function, so in another run the position means nothing.
    """
    bounds = [(bound.end, bound.after) for bound in place.bounds]
    begins = not place.position and not bounds
    held = _Text(place.bucket, place.position, place.count, bounds, "" if begins else run)
    inner = msgspec.json.encode(held)
    seal = crc32(inner, crc32(scope.encode())).to_bytes(4, "big")
    return urlsafe_b64encode(seal + inner).rstrip(b"=").decode()


def decode(cursor: str | None, scope: str, *, buckets: int = 1) -> tuple[Place, str]:
    """The place of a cursor (of None, the start) and its run. Raises InvalidCursor."""
    if cursor is None:
        return Place(), ""
    try:
        packed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        held: Any = _decoder.decode(packed[4:])
    except (ValueError, msgspec.MsgspecError):
        raise _foreign() from None
    bounds = tuple(Bound(end, after) for end, after in held.bounds)
    place = Place(held.bucket, held.position, held.count, bounds)
    positions = (place.position, *(bound.end for bound in bounds))
    sound = (
        0 <= place.bucket < buckets
        and all(0 <= position < _POSITIONS for position in positions)
        and (1 <= place.count <= 1_000_000 if bounds else place.count == 0)
        and len(bounds) <= _MAX_BOUNDS
        and encode(place, scope, held.run) == cursor
    )
    if not sound:
        raise _foreign()
    return place, held.run


def check_run(made_in: str, run: str) -> None:
    """Raise InvalidCursor where a cursor of one run of the server meets another.

    Going on would leave out records, unseen, which are there all the time.
    """
    if made_in and run and made_in != run:
        raise InvalidCursor(
            "Since this cursor was made the Redis server was restarted, or another took its place: "
            "start from the first page again."
        )


def _foreign() -> InvalidCursor:
    return InvalidCursor(
        "This cursor was not made by this store for this schema: pass a page's `next`, unchanged."
    )
