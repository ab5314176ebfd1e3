# Generated from sidecar/pannier/aio/stores/hdfs.py by tools/async_to_sync.py; do not edit.
"""The HDFS store: one JSON file a record, `<base path>/<schema>/<key>.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from pannier.errors import PannierError, Unsupported
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
from pannier.sync.connectors.hdfs import HDFSConnector
from pannier.sync.managers import ConnectorManagerFactory
from pannier.sync.stores.pooled import PooledStoreBase
from pannier.sync.worker import beside, each, see_through
from pannier.webhdfs import listing, records
from pannier.webhdfs.login import KerberosLogin, Login, SimpleLogin, TokenLogin
from pannier.webhdfs.namenodes import Cluster
from pannier.webhdfs.names import check_base_path, check_name, check_place
from pannier.webhdfs.session import Session
from pannier.webhdfs.sweeping import Sweeper, sweep

P = ParamSpec("P")
T = TypeVar("T")

PAGE_BYTES = 4 << 20
"""A scan's page holds no more bytes of records than this, if it holds more than one record."""
MAX_PARALLEL = 16
"""Files read or written at once for one call; more gave no more from one NameNode and DataNode."""


class HDFSStoreBackend(PooledStoreBase):
    """Records as JSON files in HDFS, readable by any Hadoop tool.

    `base_path` is where the schemas' directories are; its user must be able to write there.
    `namenodes`, as `http://host:port` or https, stands for `host` and `port` where there are
    several (high availability). `username` is for HDFS without security, `delegation_token` and
    `kerberos` are for HDFS with it. `request_timeout` is the longest wait, in seconds, for one
    answer once its request was sent. The rest are the pool's settings (see PoolSettings).

    An insert has one winner and a replaced record is never seen in part. An update that races a
    delete may create the record anew: HDFS has no rename that demands a present destination.
    Compare-and-set, merge patch and atomic batches are not supported.
    """

    connector_klass = HDFSConnector

    def __init__(
        self,
        base_path: str = "/volnux",
        *,
        host: str = "127.0.0.1",
        port: int = 9870,
        username: str | None = None,
        namenodes: Sequence[str] | None = None,
        delegation_token: str | None = None,
        kerberos: KerberosLogin | None = None,
        request_timeout: float = 5.0,
        connection_mode: ConnectionMode | None = None,
        max_connections: int = 10,
        connection_timeout: float = 30.0,
        idle_timeout: float = 300.0,
        min_idle: int = 0,
        max_lifetime: float | None = None,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        self.base_path = check_base_path(base_path)
        self._cluster = Cluster(
            namenodes if namenodes is not None else [f"http://{host}:{port}"],
            login_of(username, delegation_token, kerberos),
            request_timeout=request_timeout,
        )
        self.sweeper = Sweeper(time.monotonic())
        """When leftovers of crashed writers are looked for next."""
        self._manager = ConnectorManagerFactory.create_manager(
            HDFSConnector,
            {"cluster": self._cluster},
            connection_mode,
            max_connections=max_connections,
            connection_timeout=connection_timeout,
            idle_timeout=idle_timeout,
            min_idle=min_idle,
            max_lifetime=max_lifetime,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
            name=name or f"HDFS pool of {', '.join(self._cluster.addresses)}",
        )

    @property
    def request_timeout(self) -> float:
        """Seconds to wait for one answer; may be set on the live store."""
        return self._cluster.request_timeout

    @request_timeout.setter
    def request_timeout(self, seconds: float) -> None:
        self._cluster.request_timeout = seconds

    @property
    def namenodes(self) -> tuple[str, ...]:
        """The NameNodes' addresses."""
        return self._cluster.addresses

    @property
    def _parallel(self) -> int:
        """How many connections one call uses at once."""
        return min(MAX_PARALLEL, self.stats()["max"])

    # One record -----------------------------------------------------------------------------------

    def contains(self, schema: str, key: str) -> bool:
        return self._lent(records.is_there, self.base_path, schema, key)

    def read(self, schema: str, key: str) -> bytes | None:
        return self._lent(records.read, self.base_path, schema, key)

    def write(self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS) -> Outcome:
        refuse_etags(condition)
        if self.sweeper.is_due(time.monotonic()):
            beside(self._sweep)
        return self._lent(records.write, self.base_path, schema, key, value, condition)

    def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        refuse_etags(condition)
        return self._lent(records.erase, self.base_path, schema, key)

    def _sweep(self) -> None:
        """Remove what crashed writers left; what fails is left to the next sweep."""
        with suppress(PannierError):
            self._lent(sweep, self.base_path)

    # Many at once ---------------------------------------------------------------------------------

    def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        def one(key: str) -> bytes | None:
            return self.read(schema, key)

        return each(one, keys, self._parallel)

    def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        if atomic:
            raise Unsupported("HDFS has no atomic batches; send the writes without `atomic`.")
        results: list[WriteResult] = [Outcome.ABSENT] * len(writes)
        # Writes of one key are carried out in their order, those of different keys together.
        by_key: dict[str, list[int]] = {}
        for place, write in enumerate(writes):
            by_key.setdefault(write.key, []).append(place)

        def one_key(places: list[int]) -> None:
            for place in places:
                results[place] = self._one_of_many(schema, writes[place])

        each(one_key, list(by_key.values()), self._parallel)
        return results

    def _one_of_many(self, schema: str, write: Write) -> WriteResult:
        try:
            if write.value is None:
                return self.erase(schema, write.key, write.condition)
            return self.write(schema, write.key, write.value, write.condition)
        except PannierError as error:
            return error

    def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        """One batch: listed in one go, then read in parallel, up to 4 MiB or half the timeout."""
        if cursor is not None:
            check_place(cursor)
        seconds = self.request_timeout / 2
        until = time.monotonic() + seconds
        batch = self._lent(listing.entries_after, self.base_path, schema, cursor, count, seconds)
        entries = fitting(batch.entries)
        read: list[bytes | None] = []
        while len(read) < len(entries) and (not read or time.monotonic() < until):
            some = entries[len(read) : len(read) + 4 * self._parallel]
            read += each(self._value_of(schema), some, self._parallel)
        cut = len(read) < len(batch.entries)
        # A record that was deleted since it was listed, and a file that is none of ours, are out.
        found = [(entry, value) for entry, value in zip(entries, read) if value is not None]
        return ScanPage(
            [entry.key for entry, _ in found],
            [value for _, value in found],
            entries[len(read) - 1].place if cut else batch.next,
            lambda item: found[item][0].place,
        )

    def _value_of(self, schema: str) -> Callable[[listing.Entry], Any]:
        def value_of(entry: listing.Entry) -> bytes | None:
            return self._lent(records.read_if_ours, self.base_path, schema, entry.place)

        return value_of

    def size(self, schema: str) -> int:
        """The number of records, by listing: foreign files under the path do not count."""
        total, place = 0, None
        while True:
            found, place = self._lent(
                listing.tally, self.base_path, schema, place, self.request_timeout / 2
            )
            total += found
            if place is None:
                return total

    def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        if cursor is not None:
            check_name(cursor)
        some: list[tuple[str, int]] = []
        more = True
        while more:
            names, more = self._lent(listing.schemas_after, self.base_path, cursor)
            for name in names:
                found = self.count(name)
                cursor = name
                if found:
                    some.append((name, found))
                if len(some) == limit:
                    return SchemaPage(some, cursor)
        return SchemaPage(some, None)

    def ping(self) -> None:
        self._lent(Session.probe)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_path or '/'} at {', '.join(self.namenodes)}>"

    # The connection -------------------------------------------------------------------------------

    def _lent(
        self,
        operation: Callable[Concatenate[Session, P], T],
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> T:
        """Carry out a blocking operation on a connection of the pool.

        Cancelled while it waits for one, it leaves the queue; cancelled later, the operation goes
        on to its end and gives the connection back then.
        """
        connector = self._manager.get_connection()
        return see_through(self._carried_out(connector, operation, *arguments, **keywords))

    def _carried_out(
        self,
        connector: HDFSConnector,
        operation: Callable[Concatenate[Session, P], T],
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> T:
        try:
            return connector.run(operation, *arguments, **keywords)
        finally:
            self._manager.release_connection(connector)


def login_of(username: str | None, token: str | None, kerberos: KerberosLogin | None) -> Login:
    """The one way to log in that was asked for. Raises ValueError where there are several."""
    if sum(given is not None for given in (username, token, kerberos)) > 1:
        raise ValueError("Give one of username, delegation_token and kerberos")
    if token is not None:
        return TokenLogin(token)
    return kerberos if kerberos is not None else SimpleLogin(username)


def refuse_etags(condition: Condition) -> None:
    """Raise Unsupported for a condition that HDFS cannot test and apply in one step."""
    if condition.kind == "etag":
        raise Unsupported("HDFS has no compare-and-set; use no If-Match, or `If-Match: *`.")


def fitting(entries: Sequence[listing.Entry]) -> list[listing.Entry]:
    """The first entries that PAGE_BYTES hold, one at least."""
    size = 0
    for place, entry in enumerate(entries):
        size += entry.size
        if size > PAGE_BYTES and place:
            return list(entries[:place])
    return list(entries)
