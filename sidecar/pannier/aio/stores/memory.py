"""The memory store: schemas of records in dictionaries, for tests and development."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import sha1
from threading import RLock

from pannier.aio.connectors.memory import InMemoryConnector
from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.errors import InvalidCursor, PannierError, PoolClosed, StoreFull
from pannier.operations import (
    ALWAYS,
    Condition,
    Outcome,
    ScanPage,
    SchemaPage,
    Write,
    WriteResult,
)

RECORD_OVERHEAD = 250
"""Bytes a record takes beside its key and value (dict entry, objects, its place in the order)."""


class Schema:
    """One schema's records, with the order of their first insertion for stable scans."""

    __slots__ = ("births", "order", "records")

    def __init__(self) -> None:
        self.records: dict[str, tuple[int, bytes]] = {}
        self.order: list[str | None] = []
        """Keys by birth number; None where the record is gone."""
        self.births: list[int] = []

    def put(self, key: str, value: bytes, birth: int) -> None:
        """Store a value; a replaced record keeps its place in the order."""
        present = self.records.get(key)
        if present is not None:
            self.records[key] = (present[0], value)
            return
        self.records[key] = (birth, value)
        self.order.append(key)
        self.births.append(birth)

    def drop(self, key: str) -> bytes:
        """Remove a present record and return its value."""
        birth, value = self.records.pop(key)
        self.order[bisect_right(self.births, birth) - 1] = None
        if len(self.order) > 64 and len(self.order) > 2 * len(self.records):
            self._compact()
        return value

    def _compact(self) -> None:
        self.order = list(self.records)
        self.births = [birth for birth, _ in self.records.values()]


class InMemoryKeyValueStoreBackend(KeyValueStoreBackendBase):
    """Records in this process's memory. Two stores share nothing; closing one drops its records.

    `max_bytes` bounds what it holds (keys, values and about 250 bytes a record); the write that
    would pass it raises StoreFull and changes nothing. None: no bound.
    """

    connector_klass = InMemoryConnector
    capabilities = frozenset({"cas", "merge-patch", "atomic-batch"})

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._schemas: dict[str, Schema] = {}
        self._bytes = 0
        self._births = 0
        self._closed = False
        # Threads may share a store: a condition is tested and its write made under this lock, and
        # no reader sees a batch half done. The event loop never waits for it: nothing is awaited
        # while it is held.
        self._changing = RLock()

    async def read(self, schema: str, key: str) -> bytes | None:
        return self.read_now(schema, key)

    async def write(
        self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS
    ) -> Outcome:
        return self.write_now(schema, key, value, condition)

    async def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        return self.erase_now(schema, key, condition)

    # The same without a coroutine, for the sidecar's fast lane ---------------------------------

    def read_now(self, schema: str, key: str) -> bytes | None:
        """What `read` answers, at once."""
        with self._changing:
            self._check_open()
            held = self._schemas.get(schema)
            found = held.records.get(key) if held is not None else None
            return found[1] if found is not None else None

    def write_now(
        self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS
    ) -> Outcome:
        """What `write` does, at once."""
        with self._changing:
            present = self.read_now(schema, key)
            refused = refusal(present, condition)
            if refused is not None:
                return refused
            growth = len(value) - len(present) if present is not None else record_size(key, value)
            if growth > 0 and self.max_bytes is not None and self._bytes + growth > self.max_bytes:
                raise StoreFull(
                    f"The memory store holds {self._bytes} of {self.max_bytes} bytes; delete "
                    "records or raise maxBytes."
                )
            self._schemas.setdefault(schema, Schema()).put(key, bytes(value), self._births)
            self._births += 1
            self._bytes += growth
            return Outcome.CREATED if present is None else Outcome.REPLACED

    def erase_now(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        """What `erase` does, at once."""
        with self._changing:
            present = self.read_now(schema, key)
            if present is None:
                return Outcome.ABSENT
            refused = refusal(present, condition)
            if refused is not None:
                return refused
            held = self._schemas[schema]
            self._bytes -= record_size(key, held.drop(key))
            if not held.records:
                del self._schemas[schema]
            return Outcome.DELETED

    # Many at once -------------------------------------------------------------------------------

    async def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        return [self.read_now(schema, key) for key in keys]

    async def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        with self._changing:
            before = (
                {write.key: self.read_now(schema, write.key) for write in writes} if atomic else {}
            )
            results = [self._one_of_many(schema, write) for write in writes]
            if atomic and any(is_refusal(write, result) for write, result in zip(writes, results)):
                for key, value in before.items():
                    self._put_back(schema, key, value)
            return results

    def _one_of_many(self, schema: str, write: Write) -> WriteResult:
        try:
            if write.value is None:
                return self.erase_now(schema, write.key, write.condition)
            return self.write_now(schema, write.key, write.value, write.condition)
        except PannierError as error:
            return error

    def _put_back(self, schema: str, key: str, value: bytes | None) -> None:
        bound, self.max_bytes = self.max_bytes, None
        if value is None:
            self.erase_now(schema, key)
        else:
            self.write_now(schema, key, value)
        self.max_bytes = bound

    async def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        with self._changing:
            self._check_open()
            held = self._schemas.get(schema)
            after = parse_birth(cursor)
            if held is None:
                return ScanPage([], [], None, str)
            start = bisect_right(held.births, after)
            stop = min(start + count, len(held.order))
            births: list[int] = []
            keys: list[str] = []
            values: list[bytes] = []
            for place in range(start, stop):
                key = held.order[place]
                if key is not None:
                    births.append(held.births[place])
                    keys.append(key)
                    values.append(held.records[key][1])
            more = str(held.births[stop - 1]) if stop < len(held.order) else None
            return ScanPage(keys, values, more, lambda item: str(births[item]))

    async def size(self, schema: str) -> int:
        self._check_open()
        held = self._schemas.get(schema)
        return len(held.records) if held is not None else 0

    async def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        with self._changing:
            self._check_open()
            names = sorted(name for name in self._schemas if cursor is None or name > cursor)
            some = [(name, len(self._schemas[name].records)) for name in names[:limit]]
            return SchemaPage(some, names[limit - 1] if len(names) > limit else None)

    async def ping(self) -> None:
        self._check_open()

    async def close(self) -> None:
        with self._changing:
            self._closed = True
            self._schemas.clear()
            self._bytes = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._schemas)} schemas, {self._bytes} bytes>"

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosed("This memory store was closed.")


def refusal(present: bytes | None, condition: Condition) -> Outcome | None:
    """Why a write under `condition` is refused, given the present value; None if it is not."""
    if condition.kind == "always":
        return None
    if condition.kind == "absent":
        return Outcome.PRESENT if present is not None else None
    if present is None:
        return Outcome.ABSENT
    if condition.kind == "etag":
        tag = sha1(present, usedforsecurity=False).hexdigest()
        return None if tag in condition.etags else Outcome.MISMATCH
    return None


def is_refusal(write: Write, result: WriteResult) -> bool:
    """Whether this result of a batch means that its write was not done."""
    return not isinstance(result, Outcome) or result in (
        Outcome.ABSENT,
        Outcome.PRESENT,
        Outcome.MISMATCH,
    )


def record_size(key: str, value: bytes) -> int:
    """Bytes a record counts against `max_bytes`."""
    return len(key) + len(value) + RECORD_OVERHEAD


def parse_birth(cursor: str | None) -> int:
    """The birth number a cursor goes on after; -1 for the start."""
    if cursor is None:
        return -1
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 20:
        raise InvalidCursor("This cursor was not made by this store.")
    return int(cursor)
