"""Configurations applied to the table of served stores, each store for itself.

A store that is bad, pending or gone never disturbs another. What is wanted of one store is its
keeper's work; here is only who is wanted at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.config.configuration import Configuration, ResolvedStore
from pannier.config.factory import build
from pannier.config.keeper import End, Keeper
from pannier.config.served import ServedStore, StoreTable, StoreType


class Applier:
    """Applies configurations to `table`. Made and used inside the running event loop."""

    def __init__(
        self,
        table: StoreTable,
        *,
        make: Callable[[ResolvedStore], KeyValueStoreBackendBase] = build,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._make = make
        self._clock = clock
        self._keepers: dict[str, Keeper] = {}
        self._retiring: dict[asyncio.Task[None], Keeper] = {}

    def apply(self, configuration: Configuration) -> None:
        """Want `configuration` from now on. New stores are in the table when this returns."""
        table = self._table
        for name, store in configuration.stores.items():
            self._keeper(name, store.document.spec.type).want(store)
        for name, reason in configuration.refused.items():
            kind = configuration.refused_types.get(name, "memory")
            self._keeper(name, kind).refuse(reason)
        for name, reason in configuration.kept.items():
            keeper = self._keeper(name, "memory")
            if keeper.running is None:
                keeper.refuse(reason)
        for name in self._removed_by(configuration):
            self._remove(name)
        table.version = configuration.version
        table.source = configuration.source
        table.error = configuration.error
        if configuration.stores or not configuration.refused:
            # An operator's configuration may be one of no store.
            table.applied_at = self._clock()

    def would_remove(self, configuration: Configuration) -> bool:
        """Whether applying `configuration` would remove a store that is served."""
        return bool(self._removed_by(configuration))

    def refuse(self, error: str) -> None:
        """Note that a whole configuration could not be used; everything runs on as it is."""
        self._table.error = error
        self._table.applies["rejected"] += 1

    def forget(self, reason: str) -> None:
        """Serve nothing any more, as before a first configuration; each store finishes first."""
        for name in list(self._keepers):
            self._remove(name)
        table = self._table
        table.version, table.applied_at, table.error = "", None, reason

    def ends(self) -> dict[str, End | None]:
        """What became of each wanted store so far; None: not known yet."""
        return {name: keeper.end for name, keeper in self._keepers.items()}

    async def settled(self, within: float) -> dict[str, End | None]:
        """What became of each wanted store after at most `within` seconds; None: not known yet."""
        waiting = [asyncio.ensure_future(keeper.decided()) for keeper in self._keepers.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=within)
        for wait in waiting:
            wait.cancel()
        return self.ends()

    async def close(self) -> None:
        """Close every store at once; the requests are done by now, or are given up."""
        keepers = [*self._keepers.values(), *self._retiring.values()]
        retiring = list(self._retiring)
        for task in retiring:
            task.cancel()
        if retiring:
            await asyncio.wait(retiring)
        await asyncio.gather(*(keeper.close() for keeper in keepers))
        self._keepers.clear()

    def _keeper(self, name: str, kind: StoreType) -> Keeper:
        """The keeper of this store; a new one, and its place in the table, where there is none."""
        keeper = self._keepers.get(name)
        if keeper is None:
            served = ServedStore(name, kind)
            before = self._table.stores.get(name)
            if before is not None:
                # It was removed and is still draining: its counts go on under the same name.
                served.counts = before.counts
            self._table.stores[name] = served
            keeper = Keeper(served, leaving=self._table.leaving, ended=self._count, make=self._make)
            self._keepers[name] = keeper
        return keeper

    def _removed_by(self, configuration: Configuration) -> set[str]:
        if not configuration.complete:
            return set()
        named = {*configuration.stores, *configuration.refused, *configuration.kept}
        return self._keepers.keys() - named

    def _remove(self, name: str) -> None:
        keeper = self._keepers.pop(name)
        task = asyncio.create_task(self._retire(keeper), name=f"retiring {name}")
        self._retiring[task] = keeper
        task.add_done_callback(lambda done: self._retiring.pop(done, None))

    async def _retire(self, keeper: Keeper) -> None:
        await keeper.retire()
        name = keeper.served.name
        if self._table.stores.get(name) is keeper.served:
            del self._table.stores[name]

    def _count(self, end: End) -> None:
        self._table.applies[end.state] += 1
