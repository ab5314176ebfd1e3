"""The sidecar's Redis store: one record's operations with callbacks, sent in groups.

What the library's Redis store does with a coroutine per operation, this does with one small object
(a GET costs 3 µs less); scans, counts and batches are inherited and go alone. Asyncio only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pannier import redis_commands as commands
from pannier.aio.group_commit import GroupCommit, Member
from pannier.aio.stores.redis import RedisStoreBackend
from pannier.counting import SizeCounts
from pannier.errors import PannierError
from pannier.operations import ALWAYS, Condition, Outcome
from pannier.redis_commands import WriteCommand
from pannier.redis_replies import ConnectionLost, failure, says_noscript
from pannier.redis_waiting import ReplicaWait

SCHEMAS_KEPT = 1024
"""How many schemas' beginnings of commands are kept."""

ReadDone = Callable[[bytes | None, PannierError | None], None]
WriteDone = Callable[[Outcome | None, PannierError | None], None]


class Starts:
    """The bytes with which every HGET and every HSET of one hash begins, up to the key."""

    __slots__ = ("get", "put")

    def __init__(self, name: str) -> None:
        self.get = commands.get(name, "").removesuffix(b"$0\r\n\r\n")
        self.put = commands.put(name, "", b"").removesuffix(b"$0\r\n\r\n$0\r\n\r\n")


class RedisOperation(Member):
    """One record's operation on its way. `abandon` it, and nobody is told how it ended."""

    __slots__ = ("_again", "_done", "_key", "_schema", "_store")

    def __init__(
        self, store: GroupedRedisStore, schema: str, key: str, packed: bytes, done: Any
    ) -> None:
        self.packed = packed
        self.group = None
        self._store = store
        self._schema = schema
        self._key = key
        self._done = done
        self._again = True
        """Whether it may be sent once more; never where it could be done twice."""

    def abandon(self) -> None:
        """Nobody waits for it any more. A write that was sent already is done all the same."""
        self._done = None
        if self.group is not None:
            self.group.drop(self)
            self.group = None

    def refused(self, error: PannierError) -> None:
        done = self._done
        if done is not None:
            done(None, error)

    @property
    def commit(self) -> GroupCommit:
        """Whose groups it goes with."""
        return self._store.commit

    def send_again(self) -> None:
        """Send it once more, and no more after that."""
        self._again = False
        self.commit.submit(self)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._done is None

    @property
    def _where(self) -> str:
        return self._store.layout.place_of(self._schema, self._key)


class Read(RedisOperation):
    """An HGET."""

    __slots__ = ()

    @property
    def commit(self) -> GroupCommit:
        return self._store.read_commit

    def replied(self, reply: Any) -> None:
        done = self._done
        if done is None:
            return
        if reply is None or type(reply) is bytes:
            done(reply, None)
        else:
            done(None, failure(reply, self._where, write=False))

    def lost(self, loss: ConnectionLost) -> None:
        if self._done is None:
            return
        if self._again and not loss.timed_out:
            self.send_again()
        else:
            self._done(None, failure(loss, self._where, write=False))


class Put(RedisOperation):
    """An unconditional HSET: the usual write, without an object for its command."""

    __slots__ = ()

    def replied(self, reply: Any) -> None:
        done = self._done
        if done is None:
            return
        if reply == 0:
            done(Outcome.REPLACED, None)
        elif reply == 1:
            done(Outcome.CREATED, None)
        else:
            done(None, failure(reply, self._where, write=True))

    def lost(self, loss: ConnectionLost) -> None:
        if self._done is None:
            return
        if self._again and not loss.sent:
            self.send_again()
        else:
            self._done(None, failure(loss, self._where, write=True))


class Write(Put):
    """Any other write or erasure, by a command or a script."""

    __slots__ = ("_command",)

    def __init__(
        self,
        store: GroupedRedisStore,
        schema: str,
        key: str,
        command: WriteCommand,
        done: WriteDone,
    ) -> None:
        super().__init__(store, schema, key, command.packed, done)
        self._command = command

    def replied(self, reply: Any) -> None:
        done = self._done
        if done is None:
            return
        outcome = self._command.outcome_of(reply)
        if outcome is not None:
            done(outcome, None)
        elif self._again and says_noscript(reply):
            self.packed = self._command.with_text()
            self.send_again()
        else:
            done(None, failure(reply, self._where, write=True))


class GroupedRedisStore(RedisStoreBackend):
    """A RedisStoreBackend whose single-record operations can be submitted with a callback."""

    sizes: SizeCounts | None = None
    """Where the sizes of groups are counted, once the store is served."""

    _commit: GroupCommit | None = None
    _read_commit: GroupCommit | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._starts: dict[str, Starts] = {}

    async def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        await super().reconfigure(request_timeout=request_timeout, **pool)
        self.commit.request_timeout = self.read_commit.request_timeout = self.request_timeout

    @property
    def commit(self) -> GroupCommit:
        """The groups of this store's pool."""
        if self._commit is None:
            self._commit = self._new_commit(self.wait)
        return self._commit

    @property
    def read_commit(self) -> GroupCommit:
        """The groups that reads go with: with writes, unless those wait for replicas."""
        if self._read_commit is None:
            self._read_commit = self._new_commit(None) if self.wait is not None else self.commit
        return self._read_commit

    def _new_commit(self, wait: ReplicaWait | None) -> GroupCommit:
        return GroupCommit(
            self.pools()[0],
            request_timeout=self.request_timeout,
            observe=lambda size: self.sizes.observe(size) if self.sizes else None,
            wait=wait,
        )

    def submit_read(self, schema: str, key: str, done: ReadDone) -> RedisOperation | Opening:
        """Read the record, and call `done` once with its bytes (or None) or with an error."""
        starts = self._starts.get(schema) or self._starts_of(schema)
        if starts is None:
            packed = commands.get(self.layout.hash_of(schema, key), key)
        else:  # the same bytes, in 0.2 µs instead of 0.4
            field = key.encode()
            packed = b"%b$%d\r\n%b\r\n" % (starts.get, len(field), field)
        operation = Read(self, schema, key, packed, done)
        if not self.is_open:
            return Opening(self, operation)
        (self._read_commit or self.read_commit).submit(operation)
        return operation

    def submit_write(
        self, schema: str, key: str, value: bytes, condition: Condition, done: WriteDone
    ) -> RedisOperation | Opening:
        """Store the record if `condition` holds, and call `done` once."""
        starts = self._starts.get(schema) or self._starts_of(schema)
        if starts is None or condition is not ALWAYS:
            command = commands.write(self.layout.hash_of(schema, key), key, value, condition)
            return self._submit(Write(self, schema, key, command, done))
        field = key.encode()
        packed = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            starts.put, len(field), field, len(value), value,
        )  # fmt: skip
        return self._submit(Put(self, schema, key, packed, done))

    def submit_erase(
        self, schema: str, key: str, condition: Condition, done: WriteDone
    ) -> RedisOperation | Opening:
        """Delete the record if `condition` holds, and call `done` once."""
        command = commands.erase(self.layout.hash_of(schema, key), key, condition)
        return self._submit(Write(self, schema, key, command, done))

    def _starts_of(self, schema: str) -> Starts | None:
        """How the schema's commands begin; None where that depends on the key (buckets)."""
        if self.layout.buckets > 1:
            return None
        if len(self._starts) >= SCHEMAS_KEPT:
            self._starts.clear()
        starts = self._starts[schema] = Starts(self.layout.hash_at(schema, 0))
        return starts

    def _submit(self, operation: RedisOperation) -> RedisOperation | Opening:
        if not self.is_open:
            return Opening(self, operation)
        commit = self._commit or self.commit
        commit.submit(operation)
        return operation


class Opening:
    """An operation that came before the store's layout was checked: it waits for that."""

    __slots__ = ("_operation", "_task")

    def __init__(self, store: GroupedRedisStore, operation: RedisOperation) -> None:
        self._operation = operation
        self._task = asyncio.ensure_future(self._open(store))

    async def _open(self, store: GroupedRedisStore) -> None:
        try:
            await store.open()
        except PannierError as error:
            self._operation.refused(error)
        else:
            if not self._operation.is_abandoned:
                self._operation.commit.submit(self._operation)

    def abandon(self) -> None:
        """Nobody waits for it any more; what it opens may serve others."""
        self._operation.abandon()
