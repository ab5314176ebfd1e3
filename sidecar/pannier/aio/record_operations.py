"""One record's operation on its way to Redis: what goes into a group, and how its answer is told.

An operation is sent by the groups of its hash. Who has those, on one server or on a cluster, is its
router's affair, and so is what becomes of an answer that is not the command's own. Asyncio only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pannier.aio.group_commit import GroupCommit, Member
from pannier.errors import BackendUnavailable, PannierError, PoolClosed
from pannier.operations import Outcome
from pannier.redis import commands as commands
from pannier.redis.commands import WriteCommand
from pannier.redis.layout import RedisLayout
from pannier.redis.replies import ConnectionLost, failure, says_noscript
from pannier.redis.slots import Node

ReadDone = Callable[[bytes | None, PannierError | None], None]
WriteDone = Callable[[Outcome | None, PannierError | None], None]


class Groups:
    """The groups of one server: writes that wait for replicas go apart from reads."""

    __slots__ = ("node", "reads", "writes")

    def __init__(self, reads: GroupCommit, writes: GroupCommit, node: Node = ("", 0)) -> None:
        self.reads = reads
        self.writes = writes
        self.node = node
        """Which server of a cluster it is."""


class Router(Protocol):
    """Who knows the servers."""

    layout: RedisLayout

    def send(self, operation: RedisOperation) -> None:
        """Put the operation into the groups of its hash."""

    def retry(self, operation: RedisOperation, failed: ConnectionLost | PannierError) -> bool:
        """Send an operation that was not done once more; False where that has no prospect."""

    def follow(self, operation: RedisOperation, answer: Any) -> bool:
        """Whether an answer that is not the command's own was taken care of: the operation was
        sent on to another server, or ended. An answer is as `RedisRecords._ask_each` gives it."""


class Hash:
    """One Redis hash: how its commands begin, up to the key, and the groups that carry them."""

    __slots__ = ("get", "groups", "name", "put", "router")

    def __init__(self, router: Router, name: str, groups: Groups | None) -> None:
        self.router = router
        self.name = name
        self.groups = groups
        """None: which server has the hash is not known yet."""
        self.get = commands.get(name, "").removesuffix(b"$0\r\n\r\n")
        self.put = commands.put(name, "", b"").removesuffix(b"$0\r\n\r\n$0\r\n\r\n")


class RedisOperation(Member):
    """One record's operation on its way. `abandon` it, and nobody is told how it ended."""

    __slots__ = ("_again", "_done", "_key", "_schema", "hash", "hops")

    def __init__(self, hash_: Hash, schema: str, key: str, packed: bytes, done: Any) -> None:
        self.packed = packed
        self.group = None
        self.hash = hash_
        self.hops = 0
        """How often it was sent on to another server."""
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
        if not isinstance(error, (BackendUnavailable, PoolClosed)) or not self._retried(error):
            self._failed(error, write=False)

    def end(self, error: PannierError) -> None:
        """Tell who waits for it that it failed."""
        done = self._done
        if done is not None:
            done(None, error)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._done is None

    def submit_to(self, groups: Groups) -> None:
        """Go with the groups of its kind."""
        groups.writes.submit(self)

    def _retried(self, failed: ConnectionLost | PannierError) -> bool:
        """Whether it is sent once more, and no more after that."""
        if self._done is None or not self._again:
            return False
        self._again = False
        return self.hash.router.retry(self, failed)

    def _failed(self, answer: Any, *, write: bool) -> None:
        """The answer is not the command's own."""
        router = self.hash.router
        if not router.follow(self, answer):
            where = router.layout.place_of(self._schema, self._key)
            self.end(failure(answer, where, write=write))


class Read(RedisOperation):
    """An HGET."""

    __slots__ = ()

    def submit_to(self, groups: Groups) -> None:
        groups.reads.submit(self)

    def replied(self, reply: Any) -> None:
        done = self._done
        if done is None:
            return
        if reply is None or type(reply) is bytes:
            done(reply, None)
        else:
            self._failed(reply, write=False)

    def lost(self, loss: ConnectionLost) -> None:
        if loss.timed_out or not self._retried(loss):
            self._failed(loss, write=False)


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
            self._failed(reply, write=True)

    def lost(self, loss: ConnectionLost) -> None:
        if loss.sent or not self._retried(loss):
            self._failed(loss, write=True)


class Write(Put):
    """Any other write or erasure, by a command or a script."""

    __slots__ = ("_command",)

    def __init__(
        self, hash_: Hash, schema: str, key: str, command: WriteCommand, done: WriteDone
    ) -> None:
        super().__init__(hash_, schema, key, command.packed, done)
        self._command = command

    def replied(self, reply: Any) -> None:
        done = self._done
        if done is None:
            return
        outcome = self._command.outcome_of(reply)
        if outcome is not None:
            done(outcome, None)
        elif self._again and says_noscript(reply):
            self._again = False
            self.packed = self._command.with_text()
            self.hash.router.send(self)
        else:
            self._failed(reply, write=True)
