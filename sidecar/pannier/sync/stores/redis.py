# Generated from sidecar/pannier/aio/stores/redis.py by tools/async_to_sync.py; do not edit.
"""The Redis store: one hash a schema, one round trip an operation, everything atomic on the server.

How it reaches the server is in two places: `_one` for a record's command, `_send` for a pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from pannier import redis_commands as commands
from pannier import redis_scanning as scanning
from pannier.errors import BackendRefused
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
from pannier.redis_address import RedisTls, node_of
from pannier.redis_commands import WriteCommand
from pannier.redis_layout import RedisLayout
from pannier.redis_replies import (
    ConnectionLost,
    code_of,
    ends_connection,
    failure,
    result_of,
    says_noscript,
)
from pannier.redis_scanning import BatchSizes, Place
from pannier.sync.connectors.redis import RedisConnector
from pannier.sync.connectors.redis_sentinel import SentinelRedisConnector, Sentinels
from pannier.sync.managers import ConnectorManagerFactory
from pannier.sync.stores.base import KeyValueStoreBackendBase

SENTINEL_PORT = 26379
SCHEMA_SCAN = 1000
"""Redis keys walked by one SCAN: about 0.3 ms of the server's time."""
SCHEMA_SCANS = 10
"""SCANs for one page of schemas, so that a page ends in a server full of other people's keys."""


class RedisStoreBackend(KeyValueStoreBackendBase):
    """Records in Redis hashes: `<key_prefix><schema>`, or with buckets `...<schema>:<bucket>`.

    `unix_socket` is dialed instead of host and port; with `sentinels`, a list of `host:port`, they
    are asked where `sentinel_master` is. `tls` asks for TLS, `RedisTls()` trusting
    what the system trusts. `key_prefix` and `hash_buckets` cannot be changed while there is data.
    `request_timeout` is the longest wait, in seconds, for one answer once its command was sent.
    The rest are the pool's settings (see PoolSettings) and its `name` in errors. It connects at
    first use.

    Raises ValueError for a prefix, a number of buckets, a pool setting or TLS material that cannot
    be used.
    """

    connector_klass = RedisConnector
    capabilities = frozenset({"cas", "merge-patch", "atomic-batch"})

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        *,
        unix_socket: str | None = None,
        sentinels: Sequence[str] = (),
        sentinel_master: str | None = None,
        tls: RedisTls | None = None,
        key_prefix: str = "pannier:",
        hash_buckets: int = 1,
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
        if tls is not None and unix_socket is not None:
            raise ValueError("A unix socket has no TLS: give one of tls and unix_socket.")
        if bool(sentinels) != bool(sentinel_master) or (sentinels and unix_socket is not None):
            raise ValueError("Sentinels need sentinel_master, the name they know it by, alone.")
        self.layout = RedisLayout(key_prefix, hash_buckets)
        self.request_timeout = request_timeout
        self.is_open = False
        """Whether the layout record was checked; every operation sees to it by `open`."""
        self._sizes = BatchSizes()
        connecting: dict[str, Any] = {
            "db": db,
            "username": username,
            "password": password,
            "tls": tls.context() if tls is not None else None,
            "server_name": tls.server_name if tls is not None else None,
            "timeout": min(connection_timeout, request_timeout),
        }
        connector: type[RedisConnector] = RedisConnector
        if sentinels:
            nodes = [node_of(text, SENTINEL_PORT) for text in sentinels]
            connecting["sentinels"] = Sentinels(sentinel_master or "", nodes)
            connector = SentinelRedisConnector
        else:
            connecting |= {"host": host, "port": port, "unix_socket": unix_socket}
        self._manager = ConnectorManagerFactory.create_manager(
            connector,
            connecting,
            connection_mode,
            max_connections=max_connections,
            connection_timeout=connection_timeout,
            idle_timeout=idle_timeout,
            min_idle=min_idle,
            max_lifetime=max_lifetime,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
            name=name,
        )

    # Opening and transport --------------------------------------------------------------------

    def open(self) -> None:
        """Check the layout record, or write it where there is none; does nothing once it was done.

        Raises BackendRefused where the data under this prefix is laid out otherwise.
        """
        if self.is_open:
            return
        record = self.layout.record
        found = self._alone(commands.read_layout(record), write=False, where=record)
        if not self.layout.check(found):
            # Writing a field that is there does nothing, so whoever comes second reads the first's.
            packed, replies = commands.write_layout(record, self.layout.buckets)
            answers = self._send(packed + commands.read_layout(record), replies + 1, write=False)
            refusal = next((one for one in answers if isinstance(one, Exception)), None)
            if isinstance(refusal, ReplyError) and code_of(refusal) != "NOPERM":
                # Not writable now: reads go on, a write will be told the same; checked next time.
                return
            if isinstance(refusal, ConnectionLost):
                raise failure(refusal, record, write=False)
            if refusal is None:
                self.layout.check(answers[-1])
        self.is_open = True

    def _exchange(self, packed: bytes, replies: int) -> list[Any]:
        """Send a pipeline on a connection of the pool. Raises ConnectionLost, PannierError."""
        with self._manager.connection() as connector:
            answers: list[Any] = connector.execute(packed, replies, self.request_timeout)
            for answer in answers:
                if type(answer) is ReplyError and ends_connection(answer):
                    connector.retire()
            return answers

    def _send(self, packed: bytes, replies: int, *, write: bool) -> list[Any]:
        """The answers to a pipeline: a reply, a ReplyError, or the ConnectionLost that ate it.

        A connection that is lost costs a read one more try on another; a write only where not a
        byte of it was sent, for else it could be done twice.
        """
        tries = 2
        while True:
            tries -= 1
            try:
                return self._exchange(packed, replies)
            except ConnectionLost as lost:
                repeatable = not lost.sent or (not write and not lost.timed_out)
                if not (tries and repeatable):
                    return [*lost.replies, *[lost] * (replies - len(lost.replies))]

    def _one(self, packed: bytes, *, write: bool) -> Any:
        """The answer to one record's command, as `_send` gives it."""
        if not self.is_open:
            self.open()
        return (self._send(packed, 1, write=write))[0]

    def _alone(self, packed: bytes, *, write: bool, where: str) -> Any:
        """The reply to one command; raises the error it stands for."""
        reply = (self._send(packed, 1, write=write))[0]
        if isinstance(reply, Exception):
            raise failure(reply, where, write=write)
        return reply

    # One record ---------------------------------------------------------------------------------

    def contains(self, schema: str, key: str) -> bool:
        packed = commands.exists(self.layout.hash_of(schema, key), key)
        reply = self._one(packed, write=False)
        if isinstance(reply, Exception):
            raise failure(reply, self.layout.place_of(schema, key), write=False)
        return bool(reply)

    def read(self, schema: str, key: str) -> bytes | None:
        reply = self._one(commands.get(self.layout.hash_of(schema, key), key), write=False)
        if reply is None or type(reply) is bytes:
            return reply
        raise failure(reply, self.layout.place_of(schema, key), write=False)

    def write(self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS) -> Outcome:
        command = commands.write(self.layout.hash_of(schema, key), key, value, condition)
        return self._write(command, schema, key)

    def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        command = commands.erase(self.layout.hash_of(schema, key), key, condition)
        return self._write(command, schema, key)

    def _write(self, command: WriteCommand, schema: str, key: str) -> Outcome:
        reply = self._one(command.packed, write=True)
        if says_noscript(reply):
            reply = self._one(command.with_text(), write=True)
        outcome = command.outcomes.get(reply) if type(reply) is int else None
        if outcome is None:
            raise failure(reply, self.layout.place_of(schema, key), write=True)
        return outcome

    # Many at once -------------------------------------------------------------------------------

    def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        self.open()
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(self.layout.hash_of(schema, key), []).append(place)
        packed = b"".join(
            commands.get_many(name, [keys[place] for place in wanted])
            for name, wanted in places.items()
        )
        values: list[bytes | None] = [None] * len(keys)
        answers = self._send(packed, len(places), write=False) if places else []
        for (name, wanted), answer in zip(places.items(), answers, strict=True):
            if isinstance(answer, Exception):
                raise failure(answer, name, write=False)
            for place, value in zip(wanted, answer, strict=True):
                values[place] = value
        return values

    def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        self.open()
        if not writes:
            return []
        names = [self.layout.hash_of(schema, write.key) for write in writes]
        if atomic:
            return self._write_atomically(schema, names, writes)
        asked = [commands.any_write(name, write) for name, write in zip(names, writes, strict=True)]
        # With its text a script cannot be unknown: sent again alone, a write would come too late
        # for those after it in the batch.
        packed = b"".join([command.with_text() for command in asked])
        answers = self._send(packed, len(asked), write=True)
        return [
            result_of(answer, command.outcomes, self.layout.place_of(schema, write.key))
            for answer, command, write in zip(answers, asked, writes, strict=True)
        ]

    def _write_atomically(
        self, schema: str, names: Sequence[str], writes: Sequence[Write]
    ) -> list[WriteResult]:
        command = commands.atomic_batch(names, writes)
        reply = (self._send(command.packed, 1, write=True))[0]
        if says_noscript(reply):
            reply = (self._send(command.with_text(), 1, write=True))[0]
        if not isinstance(reply, list):
            keys = ", ".join(dict.fromkeys(names[:3]))
            where = f"{schema} (a batch of {len(writes)}, Redis key {keys})"
            raise failure(reply, where, write=True)
        return [command.outcomes[code] for code in reply]

    def size(self, schema: str) -> int:
        self.open()
        return sum(self._counts(self.layout.hashes_of(schema)))

    def _counts(self, names: Sequence[str]) -> list[int]:
        packed = b"".join([commands.count(name) for name in names])
        counts = self._send(packed, len(names), write=False) if names else []
        for name, count in zip(names, counts, strict=True):
            if isinstance(count, Exception):
                raise failure(count, name, write=False)
        return counts

    # Walking ------------------------------------------------------------------------------------

    def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        scope = self.layout.prefix + schema
        place, run = scanning.decode(cursor, scope, buckets=self.layout.buckets)
        self.open()
        name = self.layout.hash_at(schema, place.bucket)
        wanted = place.count or self._sizes.count_for(schema, count)
        run, (position, flat) = self._step(
            commands.scan_records(name, place.position, wanted), name, run
        )
        keys, values = decoded(flat[0::2], name), flat[1::2]
        self._sizes.learn(schema, values)
        if not resumable and not place.bounds:
            # The usual walk pays for no order and no bounds.
            following = scanning.onward(place.bucket, int(position), self.layout.buckets)
            return ScanPage(keys, values, encoded(following, scope, run), no_cursor)
        batch = scanning.batch_of(place, wanted, int(position), keys, buckets=self.layout.buckets)
        kept = [keys[index] for index in batch.keep]
        return ScanPage(
            kept,
            [values[index] for index in batch.keep],
            encoded(batch.next, scope, run),
            lambda item: scanning.encode(batch.after(kept[item]), scope, run),
        )

    def _step(self, packed: bytes, where: str, made_in: str) -> tuple[str, Any]:
        """One step of a walk: the run of the server that answered, and its reply.

        `made_in`: the run that the walk's position is of. Raises InvalidCursor in another.
        """
        tries = 2
        while True:
            tries -= 1
            try:
                with self._manager.connection() as connector:
                    run: str = connector.run
                    scanning.check_run(made_in, run)
                    reply = (connector.execute(packed, 1, self.request_timeout))[0]
            except ConnectionLost as lost:
                if tries and not lost.timed_out:
                    continue
                raise failure(lost, where, write=False) from lost
            if isinstance(reply, Exception):
                raise failure(reply, where, write=False)
            return run, reply

    def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        pattern = self.layout.pattern
        place, run = scanning.decode(cursor, pattern)
        self.open()
        found: dict[str, int] = {}
        for _ in range(SCHEMA_SCANS):
            wanted = place.count or SCHEMA_SCAN
            run, (position, raw) = self._step(
                commands.scan_hashes(pattern, place.position, wanted), pattern, run
            )
            names = decoded(raw, "the list of keys")
            batch = scanning.batch_of(place, wanted, int(position), names)
            counts = self._schema_counts([names[index] for index in batch.keep])
            for name, (schema, count) in counts.items():
                if len(found) == limit:
                    return SchemaPage(list(found.items()), scanning.encode(place, pattern, run))
                found[schema] = count
                place = batch.after(name)
            if batch.next is None or len(found) == limit:
                return SchemaPage(list(found.items()), encoded(batch.next, pattern, run))
            place = batch.next
        return SchemaPage(list(found.items()), scanning.encode(place, pattern, run))

    def _schema_counts(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Schema and number of records by the name of a hash, in the order of `names`.

        Of a schema's buckets only the first that holds records stands for it, so a list of hashes
        in any order and in any number of parts names each schema once.
        """
        owners = {name: self.layout.owner_of(name) for name in names}
        hashes = {owner[0]: self.layout.hashes_of(owner[0]) for owner in owners.values() if owner}
        counts = self._counts([name for each in hashes.values() for name in each])
        held = dict(zip([name for each in hashes.values() for name in each], counts, strict=True))
        standing: dict[str, tuple[str, int]] = {}
        for name, owner in owners.items():
            if owner is None:
                continue
            buckets = hashes[owner[0]]
            if name == next((bucket for bucket in buckets if held[bucket]), None):
                standing[name] = (owner[0], sum(held[bucket] for bucket in buckets))
        return standing

    # Life ---------------------------------------------------------------------------------------

    def ping(self) -> None:
        self.open()
        reply = (self._send(commands.PING, 1, write=False))[0]
        if isinstance(reply, ReplyError) and code_of(reply) == "NOPERM":
            return  # a user who may not PING was answered all the same
        if isinstance(reply, Exception):
            raise failure(reply, "a PING", write=False)

    def stats(self) -> dict[str, int]:
        return self._manager.stats()

    def pools(self) -> Sequence[Any]:
        return (self._manager.pool,)

    def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        """Change the timeout and the pool's settings (see PoolSettings) of the live store."""
        self._manager.reconfigure(**pool)
        if request_timeout is not None:
            self.request_timeout = request_timeout

    def close(self) -> None:
        self._manager.shutdown()


def decoded(names: Sequence[bytes], where: str) -> list[str]:
    """Fields or keys as text: all at once, unless one holds the control character that parts them
    (1,000 one by one take 60 µs more)."""
    try:
        together = b"\n".join(names).decode().split("\n")
        if len(together) == len(names):
            return together
        return [name.decode() for name in names]
    except UnicodeDecodeError:
        raise BackendRefused(
            f"{where} holds a name that is not UTF-8, which Pannier did not write: remove it, or "
            "use another key_prefix."
        ) from None


def encoded(place: Place | None, scope: str, run: str) -> str | None:
    """The cursor of a place; None at the end."""
    return scanning.encode(place, scope, run) if place is not None else None


def no_cursor(item: int) -> str:
    """What `cursor_after` is where nobody asked for it."""
    raise LookupError(f"Only a resumable scan can go on after its item {item}.")
