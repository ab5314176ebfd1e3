"""The store: the reference's API on top of a few primitives over stored bytes.

A backend implements the primitives (`read` to `close`); everything a user of the library calls
is written here once, for all of them. The sidecar calls the primitives themselves, so a record
reaches the backend byte for byte as it was sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from pannier import filters, records
from pannier.aio.connectors.base import BackendConnectorBase
from pannier.errors import ObjectDoesNotExist, ObjectExistError
from pannier.keys import check_schema, key_text
from pannier.operations import (
    ALWAYS,
    IF_ABSENT,
    IF_PRESENT,
    Condition,
    Outcome,
    ScanPage,
    SchemaPage,
    Write,
    WriteResult,
)

R = TypeVar("R")

SCAN_COUNT = 1000


class KeyValueStoreBackendBase(ABC):
    """A store of records: schema name -> record key -> one JSON document."""

    connector_klass: ClassVar[type[BackendConnectorBase]]
    capabilities: ClassVar[frozenset[str]] = frozenset()
    """Of "cas", "merge-patch" and "atomic-batch", those this store has; it refuses the others."""

    # The reference's API ---------------------------------------------------------------------

    async def exists(self, schema_name: str, record_key: str | int) -> bool:
        """Whether the record is there."""
        check_schema(schema_name)
        return await self.contains(schema_name, key_text(record_key))

    async def count(self, schema_name: str) -> int:
        """The number of records in the schema; 0 where it is unknown."""
        check_schema(schema_name)
        return await self.size(schema_name)

    async def insert_record(self, schema_name: str, record_key: str | int, record: Any) -> None:
        """Store a new record. Raises ObjectExistError, and changes nothing, if the key is there."""
        check_schema(schema_name)
        key, value = key_text(record_key), records.dump(record)
        if await self.write(schema_name, key, value, IF_ABSENT) is Outcome.PRESENT:
            raise ObjectExistError(f"{schema_name}/{key} exists already.")

    async def update_record(self, schema_name: str, record_key: str | int, record: Any) -> None:
        """Replace a record. Raises ObjectDoesNotExist, and creates nothing, if it is missing."""
        check_schema(schema_name)
        key, value = key_text(record_key), records.dump(record)
        if await self.write(schema_name, key, value, IF_PRESENT) is Outcome.ABSENT:
            raise missing(schema_name, key)

    async def upsert_record(self, schema_name: str, record_key: str | int, record: Any) -> None:
        """Store a record whether or not its key is there already."""
        check_schema(schema_name)
        await self.write(schema_name, key_text(record_key), records.dump(record), ALWAYS)

    async def delete_record(self, schema_name: str, record_key: str | int) -> None:
        """Delete a record. Raises ObjectDoesNotExist if it is missing."""
        check_schema(schema_name)
        key = key_text(record_key)
        if await self.erase(schema_name, key) is Outcome.ABSENT:
            raise missing(schema_name, key)

    async def get_record(self, schema_name: str, klass: type[R], record_key: str | int) -> R:
        """The record, as a new `klass` built without `__init__`. Raises ObjectDoesNotExist."""
        check_schema(schema_name)
        key = key_text(record_key)
        value = await self.read(schema_name, key)
        if value is None:
            raise missing(schema_name, key)
        return records.load(klass, value)

    async def reload_record(self, schema_name: str, record: Any) -> None:
        """Set the stored state into `record` (found by its `id`). Raises ObjectDoesNotExist."""
        check_schema(schema_name)
        key = key_text(record.id)
        value = await self.read(schema_name, key)
        if value is None:
            raise missing(schema_name, key)
        records.restore(record, value)

    async def filter_record(
        self, schema_name: str, record_klass: type[R], **filter_kwargs: Any
    ) -> list[R]:
        """All records of the schema that meet every condition (see `pannier.filters`)."""
        found = self.iter_records(schema_name, record_klass, **filter_kwargs)
        return [record async for record in found]

    async def iter_records(
        self, schema_name: str, record_klass: type[R], **filter_kwargs: Any
    ) -> AsyncIterator[R]:
        """The same as `filter_record`, one by one, in constant memory and in no promised order."""
        check_schema(schema_name)
        matches = filters.compile_kwargs(filter_kwargs, record_klass)
        cursor: str | None = None
        while True:
            page = await self.scan(schema_name, cursor, SCAN_COUNT)
            for value in page.values:
                if matches(value):
                    yield records.load(record_klass, value)
            cursor = page.next
            if cursor is None:
                return

    # The primitives over stored bytes: names and keys are valid already -----------------------

    async def contains(self, schema: str, key: str) -> bool:
        """Whether the record is there; backends that can say so without reading it do."""
        return await self.read(schema, key) is not None

    @abstractmethod
    async def read(self, schema: str, key: str) -> bytes | None:
        """The stored bytes, or None where there is no record."""

    @abstractmethod
    async def write(
        self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS
    ) -> Outcome:
        """Store `value` if `condition` holds: CREATED, REPLACED, or ABSENT, PRESENT, MISMATCH."""

    @abstractmethod
    async def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        """Delete the record if `condition` holds: DELETED, ABSENT or MISMATCH."""

    @abstractmethod
    async def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        """The stored bytes of each key, None where there is no record, in the order asked."""

    @abstractmethod
    async def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        """Carry out `writes` in order, each with its own result.

        `atomic`: all or nothing; where one is refused nothing changed, and the results say which.
        """

    @abstractmethod
    async def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        """One batch of about `count` records from `cursor` on (None: from the start).

        A record present throughout a scan is seen at least once, exactly once if nothing changes.
        `resumable` makes `ScanPage.cursor_after` valid for every item. Raises InvalidCursor.
        """

    @abstractmethod
    async def size(self, schema: str) -> int:
        """The number of records in the schema; 0 where it is unknown."""

    @abstractmethod
    async def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        """Up to `limit` schemas that hold records, with their counts. Raises InvalidCursor."""

    async def ping(self) -> None:
        """Return if the backend serves now; raise the error that says why it does not."""

    def stats(self) -> dict[str, int]:
        """The pool's figures: `max in_use idle opening pending` and its counters (all 0 here)."""
        return dict.fromkeys(
            ("max", "in_use", "idle", "opening", "pending", "timeouts", "rejected", "closed",
             "leaks"), 0
        )  # fmt: skip

    def pools(self) -> Sequence[Any]:
        """The pools beneath this store, for metrics: none, one, or one a node of a cluster."""
        return ()

    @abstractmethod
    async def close(self) -> None:
        """Close every connection; a closed store may be closed again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def missing(schema: str, key: str) -> ObjectDoesNotExist:
    """The error for a record that is not there."""
    return ObjectDoesNotExist(
        f"{schema}/{key} does not exist: check its schema and key, or insert it first.",
        schema=schema,
        key=key,
    )
