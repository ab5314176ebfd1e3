"""Group commit: operations that come together go out together, as one pipeline on one connection.

A lone operation goes out at once. While others are under way, the operations of one turn of the
event loop are gathered, and sent by an idle connection or, if there is none, wait as one ticket in
the pool's line, where later ones may join the last. The lease belongs to the group: a member that
is abandoned has its reply read and dropped, and only the group's deadline closes the connection.
Asyncio only; the threading side has no use for it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Any

from hiredis import ReplyError

from pannier.aio.pool_driver import ConnectionPool
from pannier.errors import PannierError, PoolFull
from pannier.pool.tickets import Ticket
from pannier.redis import commands as commands
from pannier.redis.replies import ConnectionLost, ends_connection
from pannier.redis.waiting import ReplicaWait

log = logging.getLogger("pannier.stores")

MAX_OPERATIONS = 128
MAX_BYTES = 256 * 1024
LARGE = 64 * 1024
"""A command longer than this goes alone: those behind it would wait for its transfer."""


class Member(ABC):
    """One command of a group. `packed` is its bytes; it is answered by exactly one reply."""

    __slots__ = ("group", "packed")

    packed: bytes
    group: Group | None
    """The group it waits in; None once it is sent, or before it is submitted."""

    @abstractmethod
    def replied(self, reply: Any) -> None:
        """The server's reply, an error reply included."""

    @abstractmethod
    def lost(self, loss: ConnectionLost) -> None:
        """It was sent (unless `loss.sent` is False) and will not be answered."""

    @abstractmethod
    def refused(self, error: PannierError) -> None:
        """No connection could be had; nothing was sent."""


class Group:
    """Operations that share a place in line, and then a connection."""

    __slots__ = ("commit", "connector", "deadline", "members", "size", "ticket")

    def __init__(self, commit: GroupCommit, member: Member) -> None:
        self.commit = commit
        self.members = [member]
        self.size = len(member.packed)
        self.ticket: Ticket | None = None
        self.connector: Any = None
        self.deadline = 0.0

    def __repr__(self) -> str:
        state = "SENT" if self.connector is not None else "WAITING" if self.ticket else "GATHERING"
        return f"<Group {state}, {len(self.members)} operations, {self.size} bytes>"

    def has_room(self, operations: int, size: int) -> bool:
        """Whether so much more may go with it."""
        return len(self.members) + operations <= MAX_OPERATIONS and self.size + size <= MAX_BYTES

    def drop(self, member: Member) -> None:
        """Take out an abandoned member that is not sent yet."""
        position = self.members.index(member)
        del self.members[position]
        self.size -= len(member.packed)
        if self.ticket is not None:
            self.commit.pool.leave(self.ticket, position)
            if not self.members:
                self.commit.left(self)

    # What the pool and the wire call ------------------------------------------------------------

    def granted(self, connector: Any) -> None:
        """A connection is ours."""
        self.commit.left(self)
        if self.members:
            self.commit.send(self, connector)
        else:
            self.commit.pool.give_back(connector)

    def turned_away(self, error: PannierError, count: int) -> None:
        """The `count` oldest members were refused in line."""
        refused, self.members = self.members[:count], self.members[count:]
        if not self.members:
            self.commit.left(self)
        for member in refused:
            self.size -= len(member.packed)
            member.group = None
            member.refused(error)

    def ended(self, replies: list[Any], loss: ConnectionLost | None) -> None:
        """All replies are in, or (`loss`) those before the connection ended."""
        commit, connector, members = self.commit, self.connector, self.members
        commit.flying.discard(self)
        # The connection goes on to the next group before the answers are made of this one's
        # replies, so that the server works meanwhile. Types in C: 0.02 µs a reply.
        broken = loss is not None or (
            ReplyError in map(type, replies)
            and any(type(reply) is ReplyError and ends_connection(reply) for reply in replies)
        )
        commit.pool.give_back(connector, broken=broken)
        if commit.wait is not None:
            replies = commit.wait.settled([*replies, *([loss] if loss is not None else ())])
        if commit.asks:
            replies = replies[1::2]
        for member, reply in zip(members, replies, strict=False):
            try:
                member.replied(reply)
            except Exception:
                # A bug of ours must not cost the members behind this one their answers.
                log.exception("an operation's answer could not be made")
        if loss is not None:
            for member in islice(members, len(replies), None):
                member.lost(loss)


class GroupCommit:
    """The groups of one pool of connections, each of which has a `wire`."""

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        request_timeout: float,
        observe: Callable[[int], None],
        wait: ReplicaWait | None = None,
        asks: bool = False,
    ) -> None:
        """`request_timeout`: seconds for a group's replies, once sent; may be changed at any time.

        `observe` is told the size of each group. With `wait` a group holds writes alone, and is
        answered when replicas have them too: reads beside them would wait for nothing of theirs.
        `asks` sends each command behind an ASKING: to a node of a cluster that takes it over.
        """
        self.pool = pool
        self.request_timeout = request_timeout
        self.wait = wait
        self.asks = asks
        self.flying: set[Group] = set()
        """Sent, and not answered."""
        self._loop = asyncio.get_running_loop()
        self._observe = observe
        self._gathering: Group | None = None
        """What came in this turn of the event loop."""
        self._last: Group | None = None
        """Our last group in the pool's line; later ones may join it."""
        self._flush_comes = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self.flying)} sent, gathering {self._gathering}>"

    def submit(self, member: Member) -> None:
        """Send `member` as soon as may be. One of its three ends is called, perhaps at once."""
        gathering = self._gathering
        size = len(member.packed)
        if gathering is not None:
            members = gathering.members
            together = gathering.size + size
            if len(members) < MAX_OPERATIONS and together <= MAX_BYTES and size <= LARGE:
                members.append(member)
                gathering.size = together
                member.group = gathering
                return
            self._flush()
        elif not self.flying:
            connector = self.pool.take_now()
            if connector is not None:
                member.group = None
                self.send(Group(self, member), connector)
                return
        self._gathering = member.group = Group(self, member)
        if size > LARGE:
            self._flush(alone=True)
        elif not self._flush_comes:
            self._flush_comes = True
            self._loop.call_soon(self._flush_at_turns_end)

    def left(self, group: Group) -> None:
        """The group waits in line no more."""
        if self._last is group:
            self._last = None

    # Out ----------------------------------------------------------------------------------------

    def _flush_at_turns_end(self) -> None:
        self._flush_comes = False
        self._flush()

    def _flush(self, *, alone: bool = False) -> None:
        """Send what was gathered, or put it in line."""
        group, self._gathering = self._gathering, None
        if group is None or not group.members:
            return
        if self._last is not None and not alone:
            last = self._last
            if last.has_room(len(group.members), group.size) and self._join(last, group):
                return
        else:
            connector = self.pool.take_now()
            if connector is not None:
                self.send(group, connector)
                return
        self._enqueue(group, alone=alone)

    def _join(self, last: Group, group: Group) -> bool:
        """Put a group's members into the last one in line; False if it is the last no more."""
        assert last.ticket is not None
        try:
            if not self.pool.join(last.ticket, len(group.members)):
                return False
        except PoolFull as error:
            if len(group.members) == 1:
                group.turned_away(error, 1)
            else:
                self._one_by_one(group)
            return True
        for member in group.members:
            member.group = last
        last.members += group.members
        last.size += group.size
        return True

    def _enqueue(self, group: Group, *, alone: bool) -> None:
        try:
            # Granting inside this call is fine: `send` does not look at the ticket.
            ticket = self.pool.enqueue(len(group.members), group.granted, group.turned_away)
        except PoolFull as error:
            if len(group.members) == 1:
                group.turned_away(error, 1)
            else:
                self._one_by_one(group)
            return
        except PannierError as error:
            group.turned_away(error, len(group.members))
            return
        if group.connector is None and group.members:
            group.ticket = ticket
            self._last = None if alone else group

    def _one_by_one(self, group: Group) -> None:
        """There is no room for all: as many as there is room for wait, the others are refused."""
        for member in group.members:
            single = member.group = Group(self, member)
            if self._last is None or not self._join(self._last, single):
                self._enqueue(single, alone=False)

    def send(self, group: Group, connector: Any) -> None:
        """Write the group on a connection that is ours."""
        members = group.members
        group.connector = connector
        self.flying.add(group)
        if len(members) == 1:
            members[0].group = None
            packed = members[0].packed
        else:
            for member in members:
                member.group = None
            packed = b"".join([member.packed for member in members])
        replies = len(members)
        self._observe(replies)
        if self.asks:
            packed = b"".join([commands.ASKING + member.packed for member in members])
            replies *= 2
        deadline = self._loop.time() + self.request_timeout
        wait = self.wait
        if wait is not None:
            packed += wait.packed
            replies += 1
            deadline += wait.timeout
        group.deadline = deadline
        if deadline < self._timer_at:
            self._wake_at(deadline)
        connector.wire.send(packed, replies, group.ended)

    def _wake_at(self, moment: float) -> None:
        """One timer watches all groups: one a group would cost 1.5 µs."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(moment, self._close_overdue)
        self._timer_at = moment

    def _close_overdue(self) -> None:
        """Close the connections of groups past their deadline; come again for the others."""
        self._timer = None
        self._timer_at = inf
        now = self._loop.time()
        for group in [group for group in self.flying if group.deadline <= now]:
            patience = self.request_timeout + (self.wait.timeout if self.wait is not None else 0.0)
            late = f"no answer within {patience:g} s"
            group.connector.wire.close(late, timed_out=True)
        if self.flying:
            self._wake_at(min(group.deadline for group in self.flying))
