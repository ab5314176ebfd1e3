"""An operator's life on one event loop: everything put together, started in order, ended in order.

Start: the admin port, the watches, complete lists, then leading, then streams: a sidecar is never
told of a state of the world that is not whole. SIGTERM: unready, `drain_delay`, streams closed
over `drain_spread`, the Lease released last. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kubernetes.aio.client import ApiClient

from pannier.errors import PannierError
from pannier_operator import metrics
from pannier_operator.cache import Cache, Key, Kind
from pannier_operator.cluster import connect
from pannier_operator.health import Health
from pannier_operator.listing import Lister
from pannier_operator.reconciling import Reconciler, backend_counts, complain
from pannier_operator.served import Scope, scopes_of
from pannier_operator.settings import OperatorSettings
from pannier_operator.snapshots import Snapshots
from pannier_operator.tally import Tally
from pannier_operator.wanted import WantedStore
from pannier_operator.watching import Watching
from pannier_operator.work_queue import WorkQueue

log = logging.getLogger("pannier.operator")


class CannotListen(PannierError):
    """An address is taken or cannot be bound; the operator does not start."""

    title = "Cannot listen"


async def live(settings: OperatorSettings) -> None:
    """Run one operator until a signal ends it. Raises CannotListen and CannotReach."""
    stop = Stop()
    async with connect(settings) as api:
        await Operator(settings, api, stop).run()


class Operator:
    """All parts of one operator."""

    def __init__(self, settings: OperatorSettings, api: ApiClient, stop: Stop) -> None:
        self.settings = settings
        self.stop = stop
        scopes = scopes_of(settings)
        self.cache = Cache(self._changed)
        self.snapshots = Snapshots(self.cache)
        self.counts = metrics.Counts()
        self.queue: WorkQueue[Key] = WorkQueue(
            self._reconcile, workers=settings.workers, complain=complain
        )
        self.watching = Watching(
            api, settings, scopes, self.cache,
            began=self._watch_began, heed_signals=stop.heed,
        )  # fmt: skip
        self.lister = Lister(
            api, self.cache, scopes, every=settings.relist_every, deaf=self._watch_is_deaf
        )
        self.lister.resynced = self.reconcile_all
        self.reconciler = Reconciler(
            api, self.cache, self.snapshots,
            fleet=NoFleet(), statuses=NoStatuses(), counts=self.counts, queue=self.queue.add,
        )  # fmt: skip
        self.health = Health(metrics.page_of(self.counts))
        for check in (stop.reasons, self.lister.reasons, self.watching.reasons):
            self.health.demand(check)
        self.counts.queue_depth = lambda: self.queue.depth
        self.counts.storebackends = lambda: backend_counts(self.cache.all("storebackends"))

    # Its life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until a signal."""
        tasks: list[asyncio.Task[None]] = []
        try:
            port = await self._listen()
            log.info("health and metrics are on port %d", port)
            tasks = [
                asyncio.create_task(self._follow(), name="follow the cluster"),
                asyncio.create_task(self.stop.wait(), name="wait for a signal"),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.sleep(self.settings.drain_delay)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.health.close()

    async def _follow(self) -> None:
        """Watch, list and reconcile."""
        async with asyncio.TaskGroup() as group:
            await self.lister.probe()
            group.create_task(self.watching.run(), name="watch")
            group.create_task(self.lister.run(), name="list")
            await self.lister.completed()
            log.info("everything is listed: %r", self.cache)
            # Earlier, a Secret that only was not listed yet would be taken for missing.
            group.create_task(self.queue.run(), name="reconcile")

    async def _listen(self) -> int:
        """Open the admin port. Raises CannotListen."""
        address = self.settings.admin_listen
        host, _, port = address.rpartition(":")
        try:
            return await self.health.start(host.strip("[]"), int(port))
        except OSError as error:
            raise CannotListen(f"--admin-listen {address}: {error.strerror or error}.") from None

    # What happens -------------------------------------------------------------------------------

    def _changed(self, kind: Kind, key: Key) -> None:
        """The cache has news."""
        for backend in self.snapshots.changed(kind, key):
            self.queue.add(backend)

    def _watch_began(self, scope: Scope) -> None:
        self.lister.ask(scope)

    def _watch_is_deaf(self, scope: Scope, keys: Sequence[Key]) -> None:
        self.watching.restart(f"the watch of {scope} did not tell of {keys[0]}, a list did")

    def reconcile_all(self) -> None:
        """Look at every StoreBackend again."""
        for seen in self.cache.all("storebackends"):
            self.queue.add(seen.key)

    async def _reconcile(self, key: Key) -> None:
        await self.reconciler.reconcile(key)


class NoFleet:
    """No sidecars, for as long as no streams are served."""

    def changed(self, namespace: str) -> None:
        """Nobody is to be told."""

    def tally(self, namespace: str, store: WantedStore) -> Tally:
        """Nobody runs it."""
        return Tally()


class NoStatuses:
    """Statuses that nobody writes."""

    def changed(
        self, resource: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Nothing is written."""

    def forget(self, namespace: str, name: str) -> None:
        """Nothing is known."""


class Stop:
    """SIGTERM or SIGINT, heard once; heard twice the process ends at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.heed()

    def heed(self) -> None:
        """Take the signals. To be called again after kopf, which takes them for itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    async def wait(self) -> None:
        """Return when the operator is to end."""
        await self._asked.wait()

    def reasons(self) -> Iterator[str]:
        """Why the operator is not ready, once it is to end."""
        if self._asked.is_set():
            yield "it is stopping"

    def _on_signal(self, number: signal.Signals) -> None:
        if self._asked.is_set():
            log.warning("%s again: ending now", number.name)
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: stopping", number.name)
        self._asked.set()
