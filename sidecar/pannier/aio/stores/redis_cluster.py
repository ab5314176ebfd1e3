"""The Redis store on a cluster: a pool for each master, and commands sent to who has their key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from hiredis import ReplyError

from pannier.aio.connectors.redis import RedisConnector
from pannier.aio.stores.cluster_pools import ClusterPools
from pannier.aio.stores.redis_records import RedisRecords
from pannier.aio.worker import each
from pannier.errors import BackendUnavailable, PannierError, PoolClosed, Unsupported
from pannier.operations import Write, WriteResult
from pannier.pool.modes import ConnectionMode
from pannier.redis import commands as commands
from pannier.redis import scanning as scanning
from pannier.redis.address import RedisTls, node_of
from pannier.redis.layout import RedisLayout
from pannier.redis.replies import ConnectionLost, Unreplicated, ends_connection, failure
from pannier.redis.slots import Node, SlotMap, redirection, slot_of
from pannier.redis.waiting import ReplicaWait

CLUSTER_PORT = 6379
MOST_TURNS = 5
"""How often a command is sent on, before its redirections count as a cluster in disorder."""
LEARN_DIALS = 2
"""A question about who has what asks no further node after the time of so many dials, unless
nothing at all is known yet."""
LEARN_PAUSE = 0.1
"""Seconds between two questions about who has what."""


class RedisClusterStoreBackend(RedisRecords):
    """Records in a Redis Cluster: as `RedisStoreBackend`, found from `nodes`, `host:port` each.

    A schema is one hash, so it lives on one master, unless `hash_buckets` spread it over more. The
    pool's settings count for each master, and so do the replicas waited for. An atomic batch whose
    records are in several slots is refused with Unsupported.
    """

    connector_klass = RedisConnector

    def __init__(
        self,
        nodes: Sequence[str],
        username: str | None = None,
        password: str | None = None,
        *,
        tls: RedisTls | None = None,
        key_prefix: str = "pannier:",
        hash_buckets: int = 1,
        request_timeout: float = 5.0,
        wait_replicas: int = 0,
        wait_timeout: float = 1.0,
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
        wait = ReplicaWait(wait_replicas, wait_timeout) if wait_replicas else None
        super().__init__(RedisLayout(key_prefix, hash_buckets), request_timeout, wait)
        self._seeds = [node_of(text, CLUSTER_PORT) for text in nodes]
        if not self._seeds:
            raise ValueError("A cluster needs at least one of its nodes.")
        self._connecting: dict[str, Any] = {
            "username": username,
            "password": password,
            "tls": tls.context() if tls is not None else None,
            "server_name": tls.server_name if tls is not None else None,
            "timeout": min(connection_timeout, request_timeout),
        }
        settings: dict[str, Any] = {
            "max_connections": max_connections,
            "connection_timeout": connection_timeout,
            "idle_timeout": idle_timeout,
            "min_idle": min_idle,
            "max_lifetime": max_lifetime,
            "max_waiting": max_waiting,
            "leak_threshold": leak_threshold,
        }
        self._pools = ClusterPools(self._connecting, connection_mode, name, settings)
        self._slots = SlotMap()
        self._learned_at = float("-inf")
        self._silent: dict[Node, float] = {}
        """When a node last did not tell who has what: it is asked after those that may."""

    # Who has what -------------------------------------------------------------------------------

    async def _master_of(self, name: str) -> Node:
        """The master that has the key."""
        slot = slot_of(name)
        node = self._slots.master_of(slot)
        if node is None:
            await self._learn()
            node = self._slots.master_of(slot)
        if node is None:
            raise unserved(name)
        return node

    async def _learn(self, last: Node | None = None) -> None:
        """Ask the nodes, one after the other, until one tells who has which slots.

        `last`, which may be gone, is asked when no other told. What was learned just now stays as
        it is. Where there is something to go by, nodes that hang are not waited for one by one:
        the next question begins with those that were not asked. Raises BackendUnavailable if none
        ever told.
        """
        now = time.monotonic()
        # Those who come while the first question is under way ask too: they have nothing to go by.
        if self._slots.masters and now < self._learned_at + LEARN_PAUSE:
            return
        self._learned_at = now
        failures: list[str] = []
        nodes = dict.fromkeys([*self._slots.masters, *self._seeds])
        silent = self._silent = {node: self._silent.get(node, 0.0) for node in nodes}
        until = now + LEARN_DIALS * self._connecting["timeout"]
        for node in sorted(nodes, key=lambda node: (node == last, silent[node])):
            if failures and self._slots.masters and time.monotonic() >= until:
                break
            connector = RedisConnector(*node, **self._connecting)
            try:
                await connector.connect()
                reply = (await connector.execute(commands.SLOTS, 1, connector.timeout))[0]
            except (BackendUnavailable, ConnectionLost) as error:
                failures.append(str(error))
                silent[node] = time.monotonic()
                continue
            finally:
                await connector.disconnect()
            if isinstance(reply, list) and reply:
                silent[node] = 0.0
                self._slots.learn(reply, node)
                await self._pools.keep_only(self._slots.masters)
                return
            failures.append(f"{connector} knows no cluster: {reply}.")
        if not self._slots.masters:
            raise BackendUnavailable(f"No node of the Redis Cluster answers: {' '.join(failures)}")

    # The transport ------------------------------------------------------------------------------

    async def _ask_each(self, asked: Sequence[tuple[str, bytes]], *, write: bool) -> list[Any]:
        """A pipeline to each node; what a node sends on elsewhere is sent there, in order.

        A connection that is lost costs a read one more try, a write only if it was not sent.
        """
        answers: list[Any] = [None] * len(asked)
        waiting = list(range(len(asked)))
        asking: dict[int, Node] = {}
        tried_again: set[int] = set()
        for _ in range(MOST_TURNS):
            try:
                parts = await self._parts(asked, waiting, asking)
            except BackendUnavailable as error:
                for index in waiting:
                    answers[index] = error
                return answers
            asking = {}
            waiting = []
            lost: Node | None = None
            wait = self.wait if write else None
            gotten = await each(partial(self._converse, wait), parts, len(parts))
            for (node, _, indexes, _), got in zip(parts, gotten, strict=True):
                for index, answer in zip(indexes, got, strict=True):
                    answers[index] = answer
                    if isinstance(answer, ReplyError):
                        if self._redirect(index, node, answer, asking):
                            waiting.append(index)
                    elif isinstance(answer, (ConnectionLost, BackendUnavailable, PoolClosed)):
                        lost = node
                        if index not in tried_again and is_repeatable(answer, write):
                            tried_again.add(index)
                            waiting.append(index)
            if self._pools.is_closed:
                return answers
            if lost is not None:
                try:
                    await self._learn(lost)
                except BackendUnavailable:
                    return answers
            if not waiting:
                return answers
            waiting = in_order(waiting, asked, answers) if write else sorted(waiting)
        for index in waiting:
            if isinstance(answers[index], ReplyError):
                answers[index] = disorder(asked[index][0])
        return answers

    async def _parts(
        self, asked: Sequence[tuple[str, bytes]], waiting: Sequence[int], asking: dict[int, Node]
    ) -> list[tuple[Node, bool, list[int], list[bytes]]]:
        """The commands of `waiting`, by the node they go to, and whether it must be ASKed."""
        parts: dict[tuple[Node, bool], list[int]] = {}
        for index in waiting:
            node = asking.get(index)
            place = (node, True) if node else (await self._master_of(asked[index][0]), False)
            parts.setdefault(place, []).append(index)
        return [
            (node, asks, indexes, [asked[index][1] for index in indexes])
            for (node, asks), indexes in parts.items()
        ]

    async def _converse(
        self, wait: ReplicaWait | None, part: tuple[Node, bool, list[int], list[bytes]]
    ) -> list[Any]:
        """The answers of one node to its commands, behind which its replicas are waited for."""
        node, asks, _, packed = part
        if asks:
            packed = [one for command in packed for one in (commands.ASKING, command)]
        timeout = self.request_timeout
        if wait is not None:
            packed = [*packed, wait.packed]
            timeout += wait.timeout
        got: list[Any]
        try:
            async with self._pools.of(node).connection() as connector:
                got = await connector.execute(b"".join(packed), len(packed), timeout)
                for answer in got:
                    if type(answer) is ReplyError and ends_connection(answer):
                        connector.retire()
        except ConnectionLost as lost:
            got = [*lost.replies, *[lost] * (len(packed) - len(lost.replies))]
        except PannierError as error:
            got = [error] * len(packed)
        if wait is not None:
            got = wait.settled(got)
        return got[1::2] if asks else got

    def _redirect(
        self, index: int, node: Node, answer: ReplyError, asking: dict[int, Node]
    ) -> bool:
        """Whether the command is to be sent to another node; takes notice of which."""
        found = redirection(str(answer), node)
        if found is None:
            return False
        kind, slot, other = found
        if kind == "MOVED":
            self._slots.move(slot, other)
        else:
            asking[index] = other
        return True

    async def _write_atomically(
        self, schema: str, names: Sequence[str], writes: Sequence[Write]
    ) -> list[WriteResult]:
        if len({slot_of(name) for name in names}) > 1:
            raise Unsupported(
                f"This batch of {schema} lies in several slots of the Redis Cluster, and only one "
                "can be written atomically: use records of one bucket, or hash_buckets 1."
            )
        return await super()._write_atomically(schema, names, writes)

    # Walking ------------------------------------------------------------------------------------

    async def _servers(self) -> list[Node]:
        if not self._slots.masters:
            await self._learn()
        return self._slots.masters

    async def _step(
        self, packed: bytes, where: str, made_in: str, *, server: Node | None = None
    ) -> tuple[str, Any]:
        tries = 3
        asking: dict[int, Node] = {}
        for _ in range(MOST_TURNS):
            tries -= 1
            node, asked = asking.pop(0, None), packed
            if node is not None:
                asked = commands.ASKING + packed
            elif server is not None:
                node = self._still_master(server)
            else:
                node = await self._master_of(where)
            try:
                async with self._pools.of(node).connection() as connector:
                    run: str = connector.run
                    replies = 1 if asked is packed else 2
                    reply = (await connector.execute(asked, replies, self.request_timeout))[-1]
            except (ConnectionLost, BackendUnavailable, PoolClosed) as error:
                if tries > 0 and is_repeatable(error, False) and not self._pools.is_closed:
                    await self._learn(node)
                    continue
                raise failure(error, where, write=False) from None
            if isinstance(reply, ReplyError) and self._redirect(0, node, reply, asking):
                continue
            if isinstance(reply, Exception):
                raise failure(reply, where, write=False)
            scanning.check_run(made_in, run)
            return run, reply
        raise disorder(where)

    def _still_master(self, node: Node) -> Node:
        if node not in self._slots.masters:
            raise BackendUnavailable("The Redis Cluster lost a master just now; ask again.")
        return node

    # Life ---------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        totals = super().stats()
        for pool in self._pools.all():
            for figure, value in pool.stats().items():
                totals[figure] = totals.get(figure, 0) + value
        return totals

    def pools(self) -> Sequence[Any]:
        return self._pools.all()

    async def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        """Change the timeout and each master's pool (see PoolSettings) of the live store.

        Raises ValueError or TypeError, and changes nothing.
        """
        if request_timeout is None:
            request_timeout = self.request_timeout
        await self._pools.reconfigure(request_timeout, **pool)
        self.request_timeout = request_timeout

    async def close(self) -> None:
        await self._pools.close()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {', '.join(f'{host}:{port}' for host, port in self._seeds)}>"
        )


def unserved(name: str) -> BackendUnavailable:
    """The error where no master has the slot of a key."""
    return BackendUnavailable(
        f"No node of the Redis Cluster serves slot {slot_of(name)} ({name}); nothing was done."
    )


def disorder(name: str) -> BackendUnavailable:
    """The error for a command that was sent on from node to node too often."""
    return BackendUnavailable(
        f"The nodes of the Redis Cluster sent {name} on {MOST_TURNS} times: they do not agree on "
        "who has its slot; nothing was done."
    )


def is_repeatable(failed: ConnectionLost | BackendUnavailable | PoolClosed, write: bool) -> bool:
    """Whether a command that ended so can be sent again without being done twice."""
    if isinstance(failed, ConnectionLost):
        return not failed.sent or (not write and not failed.timed_out)
    return True


def in_order(
    waiting: Sequence[int], asked: Sequence[tuple[str, bytes]], answers: list[Any]
) -> list[int]:
    """Those of `waiting` that can still be sent without coming behind a later write of their key.

    A slot that moved in the middle of a batch may have answered a later one; then the earlier one
    is not done.
    """
    last_done: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if type(answer) is Unreplicated or not (isinstance(answer, Exception) or answer is None):
            last_done[asked[index][0]] = index
    sendable: list[int] = []
    for index in sorted(waiting):
        if last_done.get(asked[index][0], -1) > index:
            answers[index] = ConnectionLost("its slot moved in mid-batch", sent=False)
        else:
            sendable.append(index)
    return sendable
