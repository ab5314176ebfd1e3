"""The sidecar's store on a Redis Cluster: groups for each master, and what the nodes send on.

A node's refusal (MOVED, ASK, CLUSTERDOWN) concerns the operation it answers, and that one alone is
sent on or ends. Whatever hints at another order of the cluster has the slot map looked at again,
once for all who hint, while operations go on. Asyncio only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from pannier.aio.group_commit import GroupCommit
from pannier.aio.record_operations import Groups, Hash, RedisOperation
from pannier.aio.stores.grouped_records import GroupedRecords
from pannier.aio.stores.redis_cluster import (
    MOST_TURNS,
    RedisClusterStoreBackend,
    disorder,
    unserved,
)
from pannier.errors import BackendRefused, BackendUnavailable, PannierError, PoolClosed, PoolTimeout
from pannier.redis.replies import ConnectionLost, code_of
from pannier.redis.slots import Node, redirection, slot_of

log = logging.getLogger("pannier.stores")

SLOW_PAUSE = 1.0
"""Seconds between two looks at the slots because a node did not answer in time."""


class GroupedClusterStore(GroupedRecords, RedisClusterStoreBackend):
    """A RedisClusterStoreBackend whose single-record operations can be submitted with a callback.

    An operation counts as waiting, with `max_waiting`, at the node it goes to. Those that were sent
    or refused once and wait for news of the cluster are bounded by what was admitted before.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._groups: dict[tuple[Node, bool], Groups] = {}
        """By node, and whether it must be ASKed."""
        self._looking: asyncio.Task[None] | None = None
        self._waiting: list[RedisOperation] = []
        """Those that go on when the slot map was looked at."""

    # Who has what -------------------------------------------------------------------------------

    def groups_of(self, name: str) -> Groups | None:
        node = self._slots.master_of(slot_of(name))
        return self._groups_at(node) if node is not None else None

    def _groups_at(self, node: Node, *, asks: bool = False) -> Groups | None:
        groups = self._groups.get((node, asks))
        if groups is None and not self._pools.is_closed:
            pool = self._pools.of(node).pool
            groups = self._groups[node, asks] = self._new_groups(pool, node, asks=asks)
        return groups

    async def _learn(self, last: Node | None = None) -> None:
        await super()._learn(last)
        self._hashes.clear()
        for place, groups in list(self._groups.items()):
            if not self._pools.holds(groups.node, groups.reads.pool):
                del self._groups[place]

    def _look_again(self, last: Node | None = None) -> None:
        """Have the slot map looked at, the node `last` being asked last."""
        if self._looking is None and not self._pools.is_closed:
            self._looking = asyncio.create_task(self._look(last))

    async def _look(self, last: Node | None) -> None:
        failed: PannierError | None = None
        try:
            await self._learn(last)
        except PannierError as error:
            failed = error
        except Exception as error:
            # Those who wait must not wait for ever.
            log.exception("the Redis Cluster's answer about its slots could not be read")
            failed = BackendRefused(f"The Redis Cluster says of its slots what is none: {error!r}")
        self._looking = None
        waiting, self._waiting = self._waiting, []
        for operation in waiting:
            if failed is not None:
                operation.end(failed)
            else:
                operation.hash = self._hash_again(operation.hash)
                self.send(operation)

    def _hash_again(self, known: Hash) -> Hash:
        """The same hash by the slot map of now."""
        return Hash(self, known.name, self.groups_of(known.name))

    # What becomes of an operation ---------------------------------------------------------------

    def send(self, operation: RedisOperation) -> None:
        if operation.is_abandoned:
            return
        found = operation.hash
        if found.groups is None:
            found = operation.hash = self._hash_again(found)
        if found.groups is not None:
            operation.submit_to(found.groups)
        elif self._pools.is_closed:
            operation.end(PoolClosed("This store was closed."))
        else:
            operation.refused(unserved(found.name))

    def retry(self, operation: RedisOperation, failed: ConnectionLost | PannierError) -> bool:
        """Its node is gone, or was: another may have its slots by now."""
        if self._pools.is_closed:
            return False
        groups = operation.hash.groups
        self._waiting.append(operation)
        self._look_again(groups.node if groups is not None else None)
        return True

    def follow(self, operation: RedisOperation, answer: Any) -> bool:
        groups = operation.hash.groups
        if groups is None:
            return False
        if type(answer) is not ReplyError:
            if is_slow(answer):
                # A node that hangs may be replaced; one that is only busy needs no more to do.
                if time.monotonic() >= self._learned_at + SLOW_PAUSE:
                    self._look_again(groups.node)
            elif isinstance(answer, (ConnectionLost, BackendUnavailable)):
                self._look_again(groups.node)
            return False
        found = redirection(str(answer), groups.node)
        if found is None:
            if code_of(answer) == "CLUSTERDOWN":
                self._look_again(groups.node)
            return False
        operation.hops += 1
        name = operation.hash.name
        if operation.hops == MOST_TURNS:
            operation.end(disorder(name))
            return True
        kind, slot, node = found
        if kind == "MOVED":
            self._slots.move(slot, node)
            self._hashes.clear()
            self._look_again(groups.node)  # where one slot moved, others may have
            operation.hash = self._hash_again(operation.hash)
        else:
            operation.hash = Hash(self, name, self._groups_at(node, asks=True))
        self.send(operation)
        return True

    def commits(self) -> Sequence[GroupCommit]:
        return [one for groups in self._groups.values() for one in (groups.reads, groups.writes)]

    # Life ---------------------------------------------------------------------------------------

    async def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        await super().reconfigure(request_timeout=request_timeout, **pool)
        self._take_timeout()

    async def close(self) -> None:
        self._pools.is_closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        waiting, self._waiting = self._waiting, []
        for operation in waiting:
            operation.end(PoolClosed("This store was closed."))
        await super().close()


def is_slow(answer: Any) -> bool:
    """Whether time ran out, which says little about the node."""
    return isinstance(answer, PoolTimeout) or (
        isinstance(answer, ConnectionLost) and answer.timed_out
    )
