"""Records in Redis hashes: every primitive of a store, one round trip each, atomic on the server.

How it reaches the server is left to its subclasses: one server in `pannier.aio.stores.redis`, the
nodes of a cluster in `pannier.aio.stores.redis_cluster`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from pannier.aio.stores.base import KeyValueStoreBackendBase
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
from pannier.redis import commands as commands
from pannier.redis import scanning as scanning
from pannier.redis.commands import WriteCommand
from pannier.redis.layout import RedisLayout
from pannier.redis.replies import code_of, failure, says_noscript
from pannier.redis.scanning import BatchSizes, Place
from pannier.redis.slots import Node
from pannier.redis.waiting import ReplicaWait, check_probe

SCHEMA_SCAN = 1000
"""Redis keys walked by one SCAN: about 0.3 ms of the server's time."""
SCHEMA_SCANS = 10
"""SCANs for one page of schemas, so that a page ends in a server full of other people's keys."""


class RedisRecords(KeyValueStoreBackendBase):
    """A store whose records are in Redis hashes, laid out as `RedisLayout` says."""

    capabilities = frozenset({"cas", "merge-patch", "atomic-batch"})

    def __init__(
        self, layout: RedisLayout, request_timeout: float, wait: ReplicaWait | None
    ) -> None:
        self.layout = layout
        self.wait = wait
        """What replicas must have of a write before it counts as done; None: nothing."""
        self.request_timeout = request_timeout
        """The longest wait, in seconds, for one answer once its command was sent."""
        self.is_open = False
        """Whether the layout record was checked; every operation sees to it by `open`."""
        self._sizes = BatchSizes()

    # The transport ------------------------------------------------------------------------------

    @abstractmethod
    async def _ask_each(self, asked: Sequence[tuple[str, bytes]], *, write: bool) -> list[Any]:
        """The answers to commands, each given with the name of the Redis key it is about.

        An answer is a reply, a ReplyError, the ConnectionLost that ate it, or the PannierError that
        kept the command from being sent. Commands about one key are carried out in order.
        """

    @abstractmethod
    async def _step(
        self, packed: bytes, where: str, made_in: str, *, server: Node | None = None
    ) -> tuple[str, Any]:
        """One step of a walk: the run of the server that answered, and its reply.

        `where` is the key that is walked, or with `server` what is walked on that server.
        `made_in`: the run that the walk's position is of; raises InvalidCursor in another.
        """

    async def _servers(self) -> list[Node]:
        """The servers that hold the keys, in an order that only other servers change."""
        return [("", 0)]

    async def _ask(self, name: str, packed: bytes, *, write: bool) -> Any:
        """The answer to one command, as `_ask_each` gives it."""
        if not self.is_open:
            await self.open()
        return (await self._ask_each([(name, packed)], write=write))[0]

    async def open(self) -> None:
        """Check the layout record, or write it where there is none; does nothing once it was done.

        Raises BackendRefused where the data under this prefix is laid out otherwise.
        """
        if self.is_open:
            return
        record = self.layout.record
        asked = [(record, commands.read_layout(record))]
        probe = [(record, commands.WAIT_PROBE)] if self.wait is not None else []
        found, *probed = await self._ask_each([*asked, *probe], write=False)
        for answer in probed:
            check_probe(answer)
        if isinstance(found, Exception):
            raise failure(found, record, write=False)
        if not self.layout.check(found):
            # Writing a field that is there does nothing, so whoever comes second reads the first's.
            fields = commands.write_layout(record, self.layout.buckets)
            answers = await self._ask_each(
                [*((record, packed) for packed in fields), *asked], write=False
            )
            refusal = next((one for one in answers if isinstance(one, Exception)), None)
            if isinstance(refusal, ReplyError) and code_of(refusal) != "NOPERM":
                # Not writable now: reads go on, a write will be told the same; checked next time.
                return
            if refusal is not None and not isinstance(refusal, ReplyError):
                raise failure(refusal, record, write=False)
            if refusal is None:
                self.layout.check(answers[-1])
        self.is_open = True

    # One record ---------------------------------------------------------------------------------

    async def contains(self, schema: str, key: str) -> bool:
        name = self.layout.hash_of(schema, key)
        reply = await self._ask(name, commands.exists(name, key), write=False)
        if isinstance(reply, Exception):
            raise failure(reply, self.layout.place_of(schema, key), write=False)
        return bool(reply)

    async def read(self, schema: str, key: str) -> bytes | None:
        name = self.layout.hash_of(schema, key)
        reply = await self._ask(name, commands.get(name, key), write=False)
        if reply is None or type(reply) is bytes:
            return reply
        raise failure(reply, self.layout.place_of(schema, key), write=False)

    async def write(
        self, schema: str, key: str, value: bytes, condition: Condition = ALWAYS
    ) -> Outcome:
        name = self.layout.hash_of(schema, key)
        return await self._write(commands.write(name, key, value, condition), name, schema, key)

    async def erase(self, schema: str, key: str, condition: Condition = ALWAYS) -> Outcome:
        name = self.layout.hash_of(schema, key)
        return await self._write(commands.erase(name, key, condition), name, schema, key)

    async def _write(self, command: WriteCommand, name: str, schema: str, key: str) -> Outcome:
        reply = await self._ask(name, command.packed, write=True)
        if says_noscript(reply):
            reply = await self._ask(name, command.with_text(), write=True)
        outcome = command.outcome_of(reply)
        if outcome is None:
            raise failure(reply, self.layout.place_of(schema, key), write=True)
        return outcome

    # Many at once -------------------------------------------------------------------------------

    async def read_many(self, schema: str, keys: Sequence[str]) -> list[bytes | None]:
        await self.open()
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(self.layout.hash_of(schema, key), []).append(place)
        asked = [
            (name, commands.get_many(name, [keys[place] for place in wanted]))
            for name, wanted in places.items()
        ]
        values: list[bytes | None] = [None] * len(keys)
        answers = await self._ask_each(asked, write=False) if asked else []
        for (name, wanted), answer in zip(places.items(), answers, strict=True):
            if isinstance(answer, Exception):
                raise failure(answer, name, write=False)
            for place, value in zip(wanted, answer, strict=True):
                values[place] = value
        return values

    async def write_many(
        self, schema: str, writes: Sequence[Write], *, atomic: bool = False
    ) -> list[WriteResult]:
        await self.open()
        if not writes:
            return []
        names = [self.layout.hash_of(schema, write.key) for write in writes]
        if atomic:
            return await self._write_atomically(schema, names, writes)
        written = [commands.any_write(name, one) for name, one in zip(names, writes, strict=True)]
        # With its text a script cannot be unknown: sent again alone, a write would come too late
        # for those after it in the batch.
        packed = [command.with_text() for command in written]
        answers = await self._ask_each(list(zip(names, packed, strict=True)), write=True)
        return [
            self._result(answer, command, schema, write.key)
            for answer, command, write in zip(answers, written, writes, strict=True)
        ]

    def _result(self, answer: Any, command: WriteCommand, schema: str, key: str) -> WriteResult:
        outcome = command.outcome_of(answer)
        if outcome is not None:
            return outcome
        return failure(answer, self.layout.place_of(schema, key), write=True)

    async def _write_atomically(
        self, schema: str, names: Sequence[str], writes: Sequence[Write]
    ) -> list[WriteResult]:
        command = commands.atomic_batch(names, writes)
        reply = await self._ask(names[0], command.packed, write=True)
        if says_noscript(reply):
            reply = await self._ask(names[0], command.with_text(), write=True)
        outcomes = command.outcomes_of(reply)
        if outcomes is None:
            keys = ", ".join(dict.fromkeys(names[:3]))
            where = f"{schema} (a batch of {len(writes)}, Redis key {keys})"
            raise failure(reply, where, write=True)
        return list(outcomes)

    async def size(self, schema: str) -> int:
        await self.open()
        return sum(await self._counts(self.layout.hashes_of(schema)))

    async def _counts(self, names: Sequence[str]) -> list[int]:
        asked = [(name, commands.count(name)) for name in names]
        counts = await self._ask_each(asked, write=False) if asked else []
        for name, count in zip(names, counts, strict=True):
            if isinstance(count, Exception):
                raise failure(count, name, write=False)
        return counts

    # Walking ------------------------------------------------------------------------------------

    async def scan(
        self, schema: str, cursor: str | None, count: int, *, resumable: bool = False
    ) -> ScanPage:
        scope = self.layout.prefix + schema
        place, run = scanning.decode(cursor, scope, buckets=self.layout.buckets)
        await self.open()
        name = self.layout.hash_at(schema, place.bucket)
        wanted = place.count or self._sizes.count_for(schema, count)
        run, (position, flat) = await self._step(
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

    async def schemas(self, cursor: str | None, limit: int) -> SchemaPage:
        pattern = self.layout.pattern
        servers = await self._servers()
        # A cursor says by a number which server comes next, so it is good for these servers alone:
        # after a failover that number may be another's, and a server be left out.
        scope = " ".join([pattern, *(f"{host}:{port}" for host, port in servers)])
        place, run = scanning.decode(cursor, scope, buckets=len(servers))
        await self.open()
        found: dict[str, int] = {}
        passed: dict[str, int] = {}
        """Schemas of which buckets were met, but not the one that stands for them."""
        for _ in range(SCHEMA_SCANS):
            wanted = place.count or SCHEMA_SCAN
            run, (position, raw) = await self._step(
                commands.scan_hashes(pattern, place.position, wanted),
                pattern,
                run,
                server=servers[place.bucket],
            )
            names = decoded(raw, "the list of keys")
            batch = scanning.batch_of(place, wanted, int(position), names, buckets=len(servers))
            counts = await self._schema_counts([names[index] for index in batch.keep])
            for name, (schema, count, stands) in counts.items():
                if not stands:
                    passed[schema] = count
                    continue
                if len(found) == limit:
                    return SchemaPage(list(found.items()), scanning.encode(place, scope, run))
                found[schema] = count
                place = batch.after(name)
            if batch.next is None and cursor is None:
                # All servers were walked: what stands for these moved to where the walk had been.
                for schema in passed.keys() - found.keys():
                    if len(found) < limit:
                        found[schema] = passed[schema]
            if batch.next is None or len(found) == limit:
                return SchemaPage(list(found.items()), encoded(batch.next, scope, run))
            place = batch.next
            run = run if place.position else ""
        return SchemaPage(list(found.items()), scanning.encode(place, scope, run))

    async def _schema_counts(self, names: Sequence[str]) -> dict[str, tuple[str, int, bool]]:
        """By the name of a hash, in the order of `names`: its schema, that one's number of records,
        and whether the hash stands for it.

        Of a schema's buckets only the first that holds records stands for it, so a list of hashes
        in any order and in any number of parts names each schema once.
        """
        owners = {name: self.layout.owner_of(name) for name in names}
        hashes = {owner[0]: self.layout.hashes_of(owner[0]) for owner in owners.values() if owner}
        counts = await self._counts([name for each in hashes.values() for name in each])
        held = dict(zip([name for each in hashes.values() for name in each], counts, strict=True))
        counted: dict[str, tuple[str, int, bool]] = {}
        for name, owner in owners.items():
            if owner is None:
                continue
            buckets = hashes[owner[0]]
            first = next((bucket for bucket in buckets if held[bucket]), None)
            if first is not None:
                total = sum(held[bucket] for bucket in buckets)
                counted[name] = (owner[0], total, name == first)
        return counted

    async def ping(self) -> None:
        await self.open()
        reply = await self._ask(self.layout.record, commands.PING, write=False)
        if isinstance(reply, ReplyError) and code_of(reply) == "NOPERM":
            return  # a user who may not PING was answered all the same
        if isinstance(reply, Exception):
            raise failure(reply, "a PING", write=False)


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
