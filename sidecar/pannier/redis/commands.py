"""The Redis store's commands, as the bytes that go on the wire. Pure.

`hash_name` is always the name of the Redis hash a record lives in (see `pannier.redis.layout`) and
`key` the record's key in it. hiredis packs an HGET in 0.4 µs and an HSET in 0.5 µs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import pack_command

from pannier.operations import REFUSED, Condition, Outcome, Write
from pannier.redis.replies import Unreplicated
from pannier.redis.scripts import (
    ATOMIC_BATCH,
    CODES,
    COMPARE_AND_DELETE,
    COMPARE_AND_SET,
    UPDATE,
    Script,
)

_pack = cast(Callable[[tuple[str | bytes, ...]], bytes], pack_command)
"""hiredis's own annotation allows one argument only."""

PING = _pack(("PING",))
SERVER = _pack(("INFO", "server"))
"""Answers with a text that names the server's run (see `pannier.redis.replies.run_of`)."""
ASKING = _pack(("ASKING",))
"""Before each command that a node of a cluster sent on with ASK."""
SLOTS = _pack(("CLUSTER", "SLOTS"))
"""Answers with a list of [first slot, last slot, [host, port, ...] of the master, replicas]."""
WAIT_PROBE = _pack(("WAIT", "0", "1"))
"""Answers at once with a number, where WAIT is known and allowed."""
ROLE = _pack(("ROLE",))
"""Answers with a list that starts with b"master" or b"slave"."""


class WriteCommand:
    """A write: its bytes, and what each integer the server may answer means."""

    __slots__ = ("_arguments", "_script", "outcomes", "packed")

    def __init__(
        self,
        packed: bytes,
        outcomes: dict[int, Outcome],
        script: Script | None = None,
        arguments: tuple[str | bytes, ...] = (),
    ) -> None:
        self.packed = packed
        self.outcomes = outcomes
        self._script = script
        self._arguments = arguments

    def outcome_of(self, reply: Any) -> Outcome | None:
        """What the write did; None where the reply leaves that open.

        A refused write changed nothing, so it needs no replica to have it.
        """
        if type(reply) is int:
            return self.outcomes.get(reply)
        if type(reply) is Unreplicated and type(reply.reply) is int:
            outcome = self.outcomes.get(reply.reply)
            return outcome if outcome in REFUSED else None
        return None

    def outcomes_of(self, reply: Any) -> list[Outcome] | None:
        """The same for each write of an atomic batch, which does none where one is refused."""
        if type(reply) is Unreplicated and type(reply.reply) is list:
            outcomes = [self.outcomes[code] for code in reply.reply]
            return outcomes if any(outcome in REFUSED for outcome in outcomes) else None
        return [self.outcomes[code] for code in reply] if type(reply) is list else None

    def with_text(self) -> bytes:
        """The same with its script's text: for a server that answered NOSCRIPT.

        The server keeps the text it is sent, so this loads the script and runs it in one trip.
        """
        if self._script is None:
            return self.packed
        return _pack(("EVAL", self._script.text, *self._arguments))


HSET_OUTCOMES = {0: Outcome.REPLACED, 1: Outcome.CREATED}
HSETNX_OUTCOMES = {0: Outcome.PRESENT, 1: Outcome.CREATED}
HDEL_OUTCOMES = {0: Outcome.ABSENT, 1: Outcome.DELETED}
HEXISTS_OUTCOMES = {0: Outcome.ABSENT, 1: Outcome.PRESENT}


def get(hash_name: str, key: str) -> bytes:
    """Answers with the value, or None."""
    return _pack(("HGET", hash_name, key))


def exists(hash_name: str, key: str) -> bytes:
    """Answers with 1 or 0."""
    return _pack(("HEXISTS", hash_name, key))


def get_many(hash_name: str, keys: Sequence[str]) -> bytes:
    """Answers with a list: the value, or None, for each key."""
    return _pack(("HMGET", hash_name, *keys))


def put(hash_name: str, key: str, value: bytes) -> bytes:
    """An unconditional write; the answer is a key of HSET_OUTCOMES."""
    return _pack(("HSET", hash_name, key, value))


def write(hash_name: str, key: str, value: bytes, condition: Condition) -> WriteCommand:
    """The one command that stores `value` if `condition` holds."""
    kind = condition.kind
    if kind == "always":
        return WriteCommand(_pack(("HSET", hash_name, key, value)), HSET_OUTCOMES)
    if kind == "absent":
        return WriteCommand(_pack(("HSETNX", hash_name, key, value)), HSETNX_OUTCOMES)
    if kind == "present":
        return _scripted(UPDATE, hash_name, key, value)
    return _scripted(COMPARE_AND_SET, hash_name, key, value, *condition.etags)


def erase(hash_name: str, key: str, condition: Condition) -> WriteCommand:
    """The one command that deletes the record if `condition` holds."""
    if condition.kind == "etag":
        return _scripted(COMPARE_AND_DELETE, hash_name, key, *condition.etags)
    if condition.kind == "absent":
        # Deleting what must be absent never deletes: it only says how things are.
        return WriteCommand(_pack(("HEXISTS", hash_name, key)), HEXISTS_OUTCOMES)
    return WriteCommand(_pack(("HDEL", hash_name, key)), HDEL_OUTCOMES)


def any_write(hash_name: str, write_: Write) -> WriteCommand:
    """The command of one write of a batch."""
    if write_.value is None:
        return erase(hash_name, write_.key, write_.condition)
    return write(hash_name, write_.key, write_.value, write_.condition)


def atomic_batch(hashes: Sequence[str], writes: Sequence[Write]) -> WriteCommand:
    """All of `writes`, `hashes[i]` being where `writes[i]` goes, as one script.

    The answer is a list of the codes in `outcomes`, one for each write.
    """
    places = {name: str(index) for index, name in enumerate(dict.fromkeys(hashes), 1)}
    arguments: list[str | bytes] = [str(len(places)), *places]
    for hash_name, one in zip(hashes, writes, strict=True):
        etags = one.condition.etags
        verb, value = ("delete", b"") if one.value is None else ("set", one.value)
        arguments += (one.condition.kind, places[hash_name], one.key, verb, value, str(len(etags)))
        arguments += etags
    packed = _pack(("EVALSHA", ATOMIC_BATCH.name, *arguments))
    return WriteCommand(packed, CODES, ATOMIC_BATCH, tuple(arguments))


def wait(replicas: int, timeout: float) -> bytes:
    """Answers with the number of replicas that have all this connection wrote before.

    That comes when they are `replicas`, or after `timeout` seconds.
    """
    return _pack(("WAIT", str(replicas), str(max(1, round(timeout * 1000)))))


def _scripted(script: Script, hash_name: str, *arguments: str | bytes) -> WriteCommand:
    given = ("1", hash_name, *arguments)
    return WriteCommand(_pack(("EVALSHA", script.name, *given)), CODES, script, given)


# Counting and walking -----------------------------------------------------------------------


def count(hash_name: str) -> bytes:
    """Answers with the number of records in the hash."""
    return _pack(("HLEN", hash_name))


def scan_records(hash_name: str, position: int, count: int) -> bytes:
    """Answers with the next position and a flat list of keys and values."""
    return _pack(("HSCAN", hash_name, str(position), "COUNT", str(count)))


def scan_hashes(pattern: str, position: int, count: int) -> bytes:
    """Answers with the next position and the names of hashes that match the glob `pattern`."""
    options = ("MATCH", pattern, "COUNT", str(count), "TYPE", "hash")
    return _pack(("SCAN", str(position), *options))


# The layout record and the login -------------------------------------------------------------


def read_layout(name: str) -> bytes:
    """Answers with the layout's version and its number of buckets, each None if it is not there."""
    return _pack(("HMGET", name, "layout", "buckets"))


def write_layout(name: str, buckets: int) -> list[bytes]:
    """The commands that write the layout record's fields where there are none."""
    version = _pack(("HSETNX", name, "layout", "1"))
    return [version, _pack(("HSETNX", name, "buckets", str(buckets)))]


def hello(username: str | None, password: str | None) -> bytes:
    """The RESP3 greeting with login and name (https://redis.io/docs/latest/commands/hello/)."""
    login: tuple[str, ...] = ()
    if username is not None or password is not None:
        login = ("AUTH", username or "default", password or "")
    return _pack(("HELLO", "3", *login, "SETNAME", "pannier"))


def auth(username: str | None, password: str | None) -> bytes:
    """The login of servers that do not know HELLO (before Redis 6, and some proxies)."""
    names = (username,) if username is not None else ()
    return _pack(("AUTH", *names, password or ""))


def select(db: int) -> bytes:
    """Choose the database."""
    return _pack(("SELECT", str(db)))


def master_of(name: str) -> bytes:
    """For a Sentinel: answers with the host and port of the master of that name, or None."""
    return _pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name))
