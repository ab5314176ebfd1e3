# Generated from sidecar/pannier/aio/stores/sidecar.py by tools/async_to_sync.py; do not edit.
"""The store behind a sidecar: the library's API over the sidecar's HTTP one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pannier import filters, records
from pannier import sidecar_requests as requests
from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    PannierError,
    TooLarge,
    Unsupported,
)
from pannier.http_answers import Answer, AnswerLost, SidecarAddress
from pannier.keys import check_schema, is_store_name
from pannier.operations import (
    ALWAYS,
    Condition,
    Outcome,
    ScanPage,
    SchemaPage,
    Write,
    WriteResult,
)
from pannier.pool.modes import ConnectionMode
from pannier.sidecar_problems import error_of, error_of_loss
from pannier.sync.connectors.sidecar import SidecarConnector
from pannier.sync.managers import ConnectorManagerFactory
from pannier.sync.stores.pooled import PooledStoreBase

R = TypeVar("R")


class SidecarStoreBackend(PooledStoreBase):
    """Records in the store that a sidecar serves under the name `store`.

    `unix_socket` is dialed instead of host and port. `token` is the bearer token of a sidecar that
    asks for one. `request_timeout` is the longest wait, in seconds, for one answer; the sidecar
    has limits of its own, so it rarely counts. The rest are the pool's settings (see
    PoolSettings). It connects at first use. What the store behind the sidecar cannot do ends in
    Unsupported.
    """

    connector_klass = SidecarConnector
    capabilities = frozenset({"cas", "merge-patch", "atomic-batch"})

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 3900,
        store: str = "default",
        *,
        unix_socket: str | None = None,
        token: str | None = None,
        request_timeout: float = 30.0,
        connection_mode: ConnectionMode | None = None,
        max_connections: int = 10,
        connection_timeout: float = 30.0,
        idle_timeout: float = 300.0,
        min_idle: int = 0,
        max_lifetime: float | None = None,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
    ) -> None:
        if not is_store_name(store):
            raise ValueError(f"{store!r} is no store name: it must be a DNS label.")
        self.store = store
        self.request_timeout = request_timeout
        self._address = SidecarAddress(host, port, unix_socket)
        self._manager = ConnectorManagerFactory.create_manager(
            self.connector_klass,
            {
                "host": host,
                "port": port,
                "unix_socket": unix_socket,
                "token": token,
                "timeout": min(connection_timeout, request_timeout),
            },
            connection_mode,
            max_connections=max_connections,
            connection_timeout=connection_timeout,
            idle_timeout=idle_timeout,
            min_idle=min_idle,
            max_lifetime=max_lifetime,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
        )

    # Transport ----------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        target: str,
        where: str,
        *,
        write: bool = False,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """The answer to one request, whatever its status. `where` names it in errors.

        A connection that is lost costs a read one more try on another; a write only where not a
        byte of it was sent, for else it could be done twice.
        """
        tries = 2
        while True:
            tries -= 1
            try:
                with self._manager.connection() as connector:
                    answer: Answer = connector.execute(
                        method, target, headers, body, timeout=self.request_timeout
                    )
                    return answer
            except AnswerLost as lost:
                repeatable = not lost.sent or (not write and not lost.timed_out)
                if not (tries and repeatable):
                    raise error_of_loss(lost, where, write=write) from lost

    def _document(self, target: str, where: str, body: bytes | None = None) -> bytes:
        """The body of a read that must succeed."""
        answer = self._ask("GET" if body is None else "POST", target, where, body=body)
        if answer.status != 200:
            raise error_of(answer, where, write=False)
        return answer.body

    # One record ---------------------------------------------------------------------------------

    def contains(self, schema: str, key: str) -> bool:
        where = f"{schema}/{key}"
        answer = self._ask("HEAD", requests.key_path(self.store, schema, key), where)
        if answer.status == 200:
            return True
        # A refusal of a HEAD has no body that could say what is missing: the record or the store.
        return self.read(schema, key) is not None

    def read(self, schema: str, key: str) -> bytes | None:
        where = f"{schema}/{key}"
        answer = self._ask("GET", requests.key_path(self.store, schema, key), where)
        if answer.status == 200:
            return answer.body
        if requests.refused_outcome(answer) is Outcome.ABSENT:
            return None
        raise error_of(answer, where, write=False)

    def write(self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS) -> Outcome:
        return self._write("PUT", schema, key, condition, value)

    def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        return self._write("DELETE", schema, key, condition, None)

    def _write(
        self, method: str, schema: str, key: str, condition: Condition, body: bytes | None
    ) -> Outcome:
        where = f"{schema}/{key}"
        answer = self._ask(
            method,
            requests.key_path(self.store, schema, key),
            where,
            write=True,
            headers=requests.condition_headers(condition),
            body=body,
        )
        if answer.status == 201:
            return Outcome.CREATED
        if answer.status == 204:
            return Outcome.DELETED if body is None else Outcome.REPLACED
        outcome = requests.refused_outcome(answer)
        if outcome is None:
            raise error_of(answer, where, write=True)
        return outcome

    # Many at once -------------------------------------------------------------------------------

    def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        found: dict[str, bytes] = {}
        ahead = [
            keys[place : place + requests.MOST] for place in range(0, len(keys), requests.MOST)
        ]
        target = f"/v1/{self.store}/{schema}:batchGet"
        while ahead:
            some = ahead.pop()
            try:
                body = self._document(target, schema, requests.batch_get(some))
            except TooLarge:
                if len(some) == 1:
                    raise
                middle = len(some) // 2
                ahead += [some[:middle], some[middle:]]
            else:
                found.update(requests.records_of(body))
        return [found.get(key) for key in keys]

    def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        if atomic and len(writes) > requests.MOST:
            raise Unsupported(f"A sidecar writes at most {requests.MOST} records all or nothing.")
        results: list[WriteResult] = []
        for some in [writes] if atomic else requests.in_parts(writes):
            try:
                results += self._write_some(schema, some, atomic=atomic)
            except PannierError as error:
                if not results:
                    raise
                # What was written before keeps its result; of the rest nothing was sent.
                results += [error] * len(some)
                unsent = BackendUnavailable(f"Not sent, since a batch before it failed: {error}")
                results += [unsent] * (len(writes) - len(results))
                break
        return results

    def _write_some(
        self, schema: str, writes: Sequence[Write], *, atomic: bool
    ) -> list[WriteResult]:
        answer = self._ask(
            "POST",
            f"/v1/{self.store}/{schema}:batchWrite",
            f"{schema} (a batch of {len(writes)})",
            write=True,
            body=requests.batch_write(writes, atomic=atomic),
        )
        if answer.status != 200 and not requests.is_rejected_batch(answer):
            raise error_of(answer, schema, write=True)
        return requests.results_of(answer.body, writes)

    # Walking ------------------------------------------------------------------------------------

    def iter_records(
        self, schema_name: str, record_klass: type[R], **filter_kwargs: Any
    ) -> Iterator[R]:
        """The same as `filter_record`, one by one, in constant memory and in no promised order.

        What can be filtered without the class's types is filtered by the sidecar.
        """
        check_schema(schema_name)
        conditions = filters.conditions_of_kwargs(filter_kwargs, record_klass)
        matches = filters.compile_conditions(conditions)
        document = requests.filter_document(conditions)
        target = f"/v1/{self.store}/{schema_name}:query"
        cursor: str | None = None
        while True:
            body = requests.query(document, requests.MOST, cursor)
            page = self._document(target, schema_name, body)
            for _, value in requests.records_of(page):
                if matches(value):
                    yield records.load(record_klass, value)
            cursor = requests.next_cursor(page)
            if cursor is None:
                return

    def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        if resumable:
            raise Unsupported("A sidecar's pages go on only where they end.")
        query = requests.page_query(min(count, requests.MOST), cursor)
        page = self._document(f"/v1/{self.store}/{schema}{query}", schema)
        found = requests.records_of(page)
        keys, values = [key for key, _ in found], [value for _, value in found]
        return ScanPage(keys, values, requests.next_cursor(page), no_cursor)

    def size(self, schema: str) -> int:
        body = self._document(f"/v1/{self.store}/{schema}:count", schema)
        return requests.member(body, "count", int)

    def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        query = requests.page_query(min(limit, requests.MOST), cursor)
        body = self._document(f"/v1/{self.store}:schemas{query}", self.store)
        named = [(one["name"], one["count"]) for one in requests.member(body, "schemas", list)]
        return SchemaPage(named, requests.next_cursor(body))

    # Life ---------------------------------------------------------------------------------------

    def ping(self) -> None:
        body = self._document(f"/v1/{self.store}", self.store)
        state = requests.member(body, "state", str)
        if state != "ready":
            raise BackendUnavailable(f"The sidecar's store {self.store} is {state}.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.store} at {self._address}>"


def no_cursor(item: int) -> str:
    """What `cursor_after` is on a page that goes on only at its end."""
    raise BackendRefused(f"A sidecar's page cannot go on after its item {item}.")
