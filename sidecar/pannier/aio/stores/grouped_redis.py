"""The sidecar's store on one Redis server, or on the master that Sentinels name. Asyncio only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pannier.aio.group_commit import GroupCommit
from pannier.aio.record_operations import Groups, RedisOperation
from pannier.aio.stores.grouped_records import GroupedRecords
from pannier.aio.stores.redis import RedisStoreBackend
from pannier.errors import PannierError
from pannier.redis.replies import ConnectionLost


class GroupedRedisStore(GroupedRecords, RedisStoreBackend):
    """A RedisStoreBackend whose single-record operations can be submitted with a callback."""

    _groups: Groups | None = None

    async def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        await super().reconfigure(request_timeout=request_timeout, **pool)
        self._take_timeout()

    @property
    def groups(self) -> Groups:
        """The groups of this store's one pool."""
        if self._groups is None:
            self._groups = self._new_groups(self.pools()[0])
        return self._groups

    def groups_of(self, name: str) -> Groups:
        return self.groups

    def send(self, operation: RedisOperation) -> None:
        operation.submit_to(self.groups)

    def retry(self, operation: RedisOperation, failed: ConnectionLost | PannierError) -> bool:
        if not isinstance(failed, ConnectionLost):
            return False  # there is nobody else to ask
        operation.submit_to(self.groups)
        return True

    def follow(self, operation: RedisOperation, answer: Any) -> bool:
        return False

    def commits(self) -> Sequence[GroupCommit]:
        groups = self._groups
        return (groups.reads, groups.writes) if groups is not None else ()
