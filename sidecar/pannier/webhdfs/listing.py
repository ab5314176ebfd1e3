"""Listing a schema's files in the NameNode's own order, in batches, from any place on.

A place is a file's path below its schema's directory. LISTSTATUS_BATCH goes on after a name, so a
listing is taken up again in each directory of the place, from the innermost outwards. What is not
a record's file is passed over: it is not ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from pannier.errors import BackendRefused, InvalidSchema
from pannier.keys import check_schema
from pannier.webhdfs.names import MAX_DEPTH, is_part, key_of
from pannier.webhdfs.records import FAILURES, read_failed
from pannier.webhdfs.replies import Kind, Refusal
from pannier.webhdfs.session import MAX_ANSWER, Session


@dataclass(frozen=True, slots=True)
class Entry:
    """One record's file; its size in bytes."""

    place: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Some entries of a schema; `next` is the place to go on from, None at the end."""

    entries: list[Entry]
    next: str | None


class Status(msgspec.Struct):
    """What we read of a FileStatus."""

    pathSuffix: str
    type: str
    length: int = 0
    modificationTime: int = 0


class _Statuses(msgspec.Struct):
    FileStatus: list[Status]


class _Partial(msgspec.Struct):
    FileStatuses: _Statuses


class _Directory(msgspec.Struct):
    partialListing: _Partial
    remainingEntries: int


class _Answer(msgspec.Struct):
    DirectoryListing: _Directory


_decoder = msgspec.json.Decoder(_Answer)


def entries_after(
    session: Session, base: str, schema: str, place: str | None, count: int, seconds: float
) -> Batch:
    """Up to `count` records after `place`, or those that were listed when `seconds` were over."""
    until = time.monotonic() + seconds
    entries: list[Entry] = []
    for passed, entry in walk(session, f"{base}/{schema}", place):
        if entry is not None:
            entries.append(entry)
        if len(entries) >= count or time.monotonic() > until:
            return Batch(entries, passed)
    return Batch(entries, None)


def tally(
    session: Session, base: str, schema: str, place: str | None, seconds: float
) -> tuple[int, str | None]:
    """How many records come after `place`, and the place to go on from if `seconds` were over."""
    until = time.monotonic() + seconds
    found = 0
    for number, (passed, entry) in enumerate(walk(session, f"{base}/{schema}", place)):
        found += entry is not None
        if not number % 64 and time.monotonic() > until:
            return found, passed
    return found, None


def schemas_after(session: Session, base: str, name: str | None) -> tuple[list[str], bool]:
    """Schemas that have a directory, after `name`, and whether there are more."""
    statuses, more = children(session, base or "/", name)
    return [status.pathSuffix for status in statuses if is_schema(status)], more


def is_schema(status: Status) -> bool:
    """Whether an entry of the base path is a schema's directory."""
    try:
        check_schema(status.pathSuffix)
    except InvalidSchema:
        return False
    return status.type == "DIRECTORY"


def walk(session: Session, root: str, place: str | None) -> Iterator[tuple[str, Entry | None]]:
    """Every place after `place`, each with its entry, or None where there is no record of ours."""
    parts = place.split("/") if place else []
    if not parts:
        yield from below(session, root, [], None)
    while parts:
        *parts, after = parts
        yield from below(session, root, parts, after)


def below(
    session: Session, root: str, directories: Sequence[str], after: str | None
) -> Iterator[tuple[str, Entry | None]]:
    """What is in one directory after the name `after`, and in those below it."""
    more = True
    while more:
        statuses, more = children(session, "/".join([root, *directories]), after)
        for status in statuses:
            after = status.pathSuffix
            parts = [*directories, after]
            if status.type == "DIRECTORY" and is_part(after) and len(parts) < MAX_DEPTH:
                yield from below(session, root, parts, None)
            path = "/".join(parts)
            yield path, entry_of(status, path)


def entry_of(status: Status, path: str) -> Entry | None:
    """The record whose file this is; None for what no writer of ours left there."""
    if status.type != "FILE" or not 0 < status.length <= MAX_ANSWER:
        return None
    key = key_of(path)
    return Entry(path, key, status.length) if key is not None else None


def children(session: Session, path: str, after: str | None) -> tuple[list[Status], bool]:
    """One batch of a directory after a name, and whether there is more; a missing one is empty."""
    params = {"startAfter": after} if after is not None else {}
    try:
        reply = session.ask("GET", "LISTSTATUS_BATCH", path, session.deadline(), params=params)
    except FAILURES as failure:
        if isinstance(failure, Refusal) and failure.kind is Kind.MISSING:
            return [], False
        raise read_failed(failure) from failure.__cause__
    try:
        listing = _decoder.decode(reply.body).DirectoryListing
    except msgspec.DecodeError:
        raise BackendRefused(
            "The answer to a listing is none: is this WebHDFS's address?"
        ) from None
    statuses = listing.partialListing.FileStatuses.FileStatus
    return statuses, listing.remainingEntries > 0 and bool(statuses)
