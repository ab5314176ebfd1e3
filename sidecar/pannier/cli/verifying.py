"""Whether what was imported is there: every record's ETag compared, in constant memory.

While records are stored, their keys and ETags go to a temporary file on disk; afterwards it is
read through, and the records are asked for in batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha1
from typing import Final

import msgspec

from pannier.cli.client import Client, Refusal, path_of
from pannier.cli.moved import Moved
from pannier.cli.sending import Line

BATCH_KEYS: Final = 500
MOST_DIFFERENT: Final = 100_000
"""Differences remembered at most; beyond it they are counted only."""


class Stored(msgspec.Struct, array_like=True):
    """One record that was stored."""

    line: int
    schema: str
    key: str
    etag: str


class Found(msgspec.Struct):
    """One record that is there; its bytes are not built."""

    key: str
    etag: str


class FoundRecords(msgspec.Struct):
    """The answer to a batchGet."""

    records: list[Found]


class Ledger:
    """The keys and ETags of what was stored, in the order it was stored."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="pannier-import-")  # noqa: SIM115 - closed by `close`

    def note(self, schema: str, line: Line) -> None:
        """Add one record."""
        etag = f'"{sha1(line.record, usedforsecurity=False).hexdigest()}"'
        entry = Stored(line.number, schema, line.key or "", etag)
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def compare(
        self,
        client: Client,
        store: str,
        moved: Moved,
        *,
        different: Callable[[Stored], None],
        show: Callable[[], None],
    ) -> None:
        """Compare every record with what is there; `different` is told each that differs."""
        moved.compared = 0
        unequal: dict[tuple[str, str], Stored] = {}
        for entries in self._batches():
            found = fetch(client, store, entries[0].schema, [entry.key for entry in entries])
            for entry in entries:
                moved.compared += 1
                place = (entry.schema, entry.key)
                if found.get(entry.key) == entry.etag:
                    # An earlier line of the same key differs from what the later one stored.
                    unequal.pop(place, None)
                elif len(unequal) < MOST_DIFFERENT:
                    unequal[place] = entry
                else:
                    moved.different += 1
            show()
        moved.different += len(unequal)
        for entry in sorted(unequal.values(), key=lambda entry: entry.line):
            different(entry)

    def close(self) -> None:
        """Drop the file."""
        self._file.close()

    def _batches(self) -> Iterator[list[Stored]]:
        """Entries of one schema, some hundred at a time."""
        self._file.seek(0)
        entries: list[Stored] = []
        for text in self._file:
            entry = msgspec.json.decode(text, type=Stored)
            if entries and (len(entries) >= BATCH_KEYS or entries[0].schema != entry.schema):
                yield entries
                entries = []
            entries.append(entry)
        if entries:
            yield entries


def fetch(client: Client, store: str, schema: str, keys: list[str]) -> dict[str, str]:
    """The ETags of the records that are there, by key."""
    path = path_of(store, schema, action=":batchGet")
    body = msgspec.json.encode({"keys": list(dict.fromkeys(keys))})
    try:
        reply = client.request("POST", path, body, {"Content-Type": "application/json"})
    except Refusal as refusal:
        if refusal.status != 413 or len(keys) == 1:
            raise
        middle = len(keys) // 2
        first = fetch(client, store, schema, keys[:middle])
        return first | fetch(client, store, schema, keys[middle:])
    answer = msgspec.json.decode(reply.body, type=FoundRecords)
    return {found.key: found.etag for found in answer.records}
