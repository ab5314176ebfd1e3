"""An operator's life on one event loop: everything put together, started in order, ended in order.

Start: the admin port, the watches, complete lists, then leading, then streams: a sidecar is never
told of a state of the world that is not whole. SIGTERM: unready, `drain_delay`, streams closed
over `drain_spread`, the Lease released last. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from kubernetes.aio.client import ApiClient

from pannier.config.stream.messages import Close
from pannier.errors import PannierError
from pannier.version import installed_version
from pannier_operator import metrics
from pannier_operator.cache import Cache, Key, Kind
from pannier_operator.certificates.keeping import Certificates, service_names
from pannier_operator.cluster import connect
from pannier_operator.conditions import GATHERING
from pannier_operator.events import Events
from pannier_operator.health import Health
from pannier_operator.injection.webhook import Webhook
from pannier_operator.leader_label import LeaderLabel
from pannier_operator.leading import Leader, identity_of
from pannier_operator.listing import Lister
from pannier_operator.namespaces import Namespaces
from pannier_operator.reconciling import Reconciler, backend_counts, complain
from pannier_operator.served import Scope, scopes_of
from pannier_operator.settings import OperatorSettings, host_and_port
from pannier_operator.snapshots import Snapshots
from pannier_operator.status import StatusWriter
from pannier_operator.stopping import Stop
from pannier_operator.streams.authenticating import Authenticator
from pannier_operator.streams.fleet import Fleet, StreamSettings
from pannier_operator.streams.server import StreamServer
from pannier_operator.watching import Watching
from pannier_operator.work_queue import WorkQueue

log = logging.getLogger("pannier.operator")

HAND_OVER_SPREAD: Final = 2.0
"""Seconds over which streams are closed by an operator that leads no more."""


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
        # What is known of the cluster.
        self.cache = Cache(self._changed)
        self.snapshots = Snapshots(self.cache)
        self.namespaces = Namespaces(self.cache, self.snapshots, settings.watch_namespace)
        self.lister = Lister(
            api, self.cache, scopes, every=settings.relist_every, deaf=self._watch_is_deaf
        )
        self.lister.resynced = self.reconcile_all
        self.watching = Watching(
            api,
            settings,
            scopes,
            self.cache,
            probe=self.lister.probe,
            began=self.lister.ask,
            heed_signals=stop.heed,
        )
        # Who leads.
        self.leader = Leader(
            api,
            namespace=settings.namespace,
            identity=identity_of(settings.pod_name),
            elected=self._elected,
            lost=self._lost,
            duration=settings.lease_duration,
            renew_every=settings.lease_renew,
        )
        self.label = LeaderLabel(
            api,
            namespace=settings.namespace,
            pod_name=settings.pod_name,
            leads=self.leader.leads,
        )
        # Sidecars.
        self.counts = metrics.Counts()
        self.certificates = Certificates(
            api,
            namespace=settings.namespace,
            names=names_of(settings),
            may_write=self.leader.leads,
            served=self.namespaces.served,
            watched=settings.watch_namespace,
        )
        self.fleet = Fleet(
            wanted_for=self.snapshots.wanted_for,
            reported=lambda namespace, store: self.queue.add(Key(namespace, store)),
            epoch=lambda: self.leader.epoch,
            settings=StreamSettings(stream_age=settings.stream_max_age),
            figures=self.counts,
        )
        self.streams = StreamServer(
            self.fleet,
            Authenticator(api, serves=self.namespaces.may_dial),
            ready=self._serves_streams,
        )
        self.webhook = Webhook(
            api,
            settings,
            self.certificates,
            serves=self.namespaces.may_dial,
            may_write=self.leader.leads,
            leaving=lambda: stop.is_asked,
            results=self.counts.injections,
        )
        self._leaving = False
        self._handing_over: asyncio.Task[None] | None = None
        # What is told to people.
        self.events = Events(api, instance=settings.pod_name)
        # Streams that are closed on leaving are no news of their stores.
        self.statuses = StatusWriter(
            api,
            may_write=lambda: self.leader.leads() and not self._leaving,
            written=self.events.written,
        )
        self.queue: WorkQueue[Key] = WorkQueue(
            self._reconcile, workers=settings.workers, complain=complain
        )
        self.reconciler = Reconciler(
            api,
            self.cache,
            self.snapshots,
            fleet=self.fleet,
            statuses=self.statuses,
            gathering=lambda: self.leader.led_for() < GATHERING,
            counts=self.counts,
            queue=self.queue,
        )
        self.health = Health(metrics.page_of(self.counts))
        for check in (
            stop.reasons,
            self.lister.reasons,
            self.watching.reasons,
            self.certificates.reasons,
            self.webhook.reasons,
            self.leader.reasons,
        ):
            self.health.demand(check)
        self.counts.streams = lambda: self.fleet.streams
        self.counts.queue_depth = lambda: self.queue.depth
        self.counts.leader = self.leader.leads
        self.counts.storebackends = lambda: backend_counts(self.cache.all("storebackends"))

    # Its life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until a signal. Raises CannotListen."""
        try:
            where = ", ".join(self.settings.watch_namespace) or "the whole cluster"
            log.info("pannier operator %s serves %s", installed_version(), where)
            await self._open_admin_port()
            follow = asyncio.create_task(self._follow(), name="follow the cluster")
            lead = asyncio.create_task(self._lead(), name="lead")
            serve = asyncio.create_task(self._serve(), name="serve streams")
            inject = asyncio.create_task(self._inject(), name="serve the webhook")
            tasks = (follow, lead, serve, inject)
            try:
                await first_of(self.stop.wait(), *tasks)
                await first_of(asyncio.sleep(self.settings.drain_delay), *tasks)
                self._leaving = True
                await self.streams.close_all(Close.GOING_AWAY, self.settings.drain_spread)
            finally:
                # Others may lead only when nothing is done here that a leader does.
                self._leaving = True
                await end(inject)
                await self.webhook.server.close()
                await end(serve)
                await self.streams.close()
                await end(follow)
                await self.statuses.close()
                await self.label.remove()
                await end(lead)
                await self.leader.release()
        finally:
            await self.health.close()

    async def _follow(self) -> None:
        """Watch, list and reconcile, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watching.run(), name="watch")
            group.create_task(self.lister.run(), name="list")
            await self.lister.completed()
            log.info("everything is listed: %r", self.cache)
            # Earlier, a Secret that only was not listed yet would be taken for missing.
            group.create_task(self.queue.run(), name="reconcile")
            group.create_task(self.events.run(), name="events")

    async def _lead(self) -> None:
        """Be a candidate once everything is known, until cancelled."""
        await self.lister.completed()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leader.run(), name="the Lease")
            group.create_task(self.label.run(), name="the leader's label")

    async def _serve(self) -> None:
        """Keep certificates, and serve streams once there is one, until cancelled.

        Whoever dials before everything is listed, or dials one that does not lead, is told to come
        again. Raises CannotListen.
        """
        keep = asyncio.create_task(self.certificates.run(), name="certificates")
        try:
            await first_of(self.certificates.ready.wait(), keep)
            address = self.settings.listen
            try:
                await self.streams.start(*host_and_port(address), self.certificates.context)
            except OSError as error:
                raise cannot_listen("--listen", address, error) from None
            log.info("streams are on port %d", self.streams.port)
            await keep
        finally:
            await end(keep)

    async def _inject(self) -> None:
        """Serve the webhook, if it is to be, once there is a certificate, until cancelled. It needs
        neither lists nor a leader. Raises CannotListen."""
        if self.settings.injects:
            try:
                await self.webhook.start()
            except OSError as error:
                address = self.settings.webhook_listen
                raise cannot_listen("--webhook-listen", address, error) from None
            log.info("the webhook is on port %d", self.webhook.server.port)
            await self.webhook.trust.run()
        await asyncio.Event().wait()

    async def _open_admin_port(self) -> None:
        address = self.settings.admin_listen
        try:
            port = await self.health.start(*host_and_port(address))
        except OSError as error:
            raise cannot_listen("--admin-listen", address, error) from None
        log.info("health and metrics are on port %d", port)

    def _serves_streams(self) -> bool:
        """Whether sidecars are served now."""
        return not self._leaving and self.lister.is_complete and self.leader.leads()

    # What happens -------------------------------------------------------------------------------

    def _changed(self, kind: Kind, key: Key) -> None:
        """The cache has news."""
        for backend in self.snapshots.changed(kind, key):
            self.queue.add(backend)
        if self.namespaces.changed(kind, key):
            self.certificates.changed()

    def _watch_is_deaf(self, scope: Scope, keys: Sequence[Key]) -> None:
        self.watching.restart(f"the watch of {scope} did not tell of {keys[0]}, a list did")

    def _elected(self, epoch: int) -> None:
        self.label.changed()
        self.certificates.changed()
        self.webhook.trust.changed()
        self.reconcile_all()
        # What waited for sidecars to dial is looked at again.
        asyncio.get_running_loop().call_later(GATHERING + 0.1, self.reconcile_all)

    def _lost(self) -> None:
        self.statuses.stop()
        self.label.changed()
        if not self._leaving:
            self._handing_over = asyncio.create_task(
                self.streams.close_all(Close.LATER, HAND_OVER_SPREAD), name="hand streams over"
            )

    def reconcile_all(self) -> None:
        """Look at every StoreBackend again."""
        for seen in self.cache.all("storebackends"):
            self.queue.add(seen.key)

    async def _reconcile(self, key: Key) -> None:
        await self.reconciler.reconcile(key)


def names_of(settings: OperatorSettings) -> tuple[str, ...]:
    """By which names this operator is dialed, by sidecars and by the API server."""
    names = service_names(settings.stream_service, settings.namespace, settings.stream_name)
    if settings.injects:
        names = service_names(settings.webhook_service, settings.namespace, names)
    return names


async def first_of(wait: Any, *tasks: asyncio.Task[None]) -> None:
    """Return when `wait` is over. Raises what ended one of `tasks` before."""
    waiting = asyncio.ensure_future(wait)
    done, _ = await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        task.result()


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task, and return when it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def cannot_listen(flag: str, address: str, error: OSError) -> CannotListen:
    """The refusal of an address, in words."""
    return CannotListen(f"{flag} {address}: {error.strerror or error}.")
