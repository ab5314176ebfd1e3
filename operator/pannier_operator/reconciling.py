"""One StoreBackend made right: resolved, its sidecars told, its status written. Idempotent.

It may be asked for any key at any time, any number of times. It decides nothing by itself:
resolving, pushing and what a status says are in rooms of their own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cache import Cache, Key, Seen
from pannier_operator.cluster import API_ERRORS, METADATA_ONLY, call, said
from pannier_operator.conditions import condition, status_of
from pannier_operator.metrics import Counts
from pannier_operator.resolving import Resolved
from pannier_operator.snapshots import Snapshots
from pannier_operator.tally import Tally
from pannier_operator.wanted import WantedStore
from pannier_operator.work_queue import WorkQueue

log = logging.getLogger("pannier.operator")

LOOK_AGAIN: Final = 30.0
"""Seconds after which a Secret that is missing is looked for again: nothing tells of one that was
made without its label."""


class Fleet(Protocol):
    """The sidecars (`streams.fleet`)."""

    def changed(self, namespace: str) -> None:
        """What the namespace's sidecars are to run may have changed."""

    def tally(self, namespace: str, store: WantedStore) -> Tally:
        """How a store fares in them."""


class Statuses(Protocol):
    """Who writes statuses (`status`)."""

    def changed(
        self,
        resource: Mapping[str, Any],
        make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        """The status of `resource` may be another now: `make` makes it from the one before."""

    def forget(self, namespace: str, name: str) -> None:
        """The resource is gone."""


class Reconciler:
    """Makes StoreBackends right, one at a time for each key."""

    def __init__(
        self,
        api: ApiClient,
        cache: Cache,
        snapshots: Snapshots,
        *,
        fleet: Fleet,
        statuses: Statuses,
        gathering: Callable[[], bool] = lambda: False,
        counts: Counts,
        queue: WorkQueue[Key],
    ) -> None:
        self._api = api
        self._cache = cache
        self._snapshots = snapshots
        self._fleet = fleet
        self._statuses = statuses
        self._gathering = gathering
        self._counts = counts
        self._queue = queue
        self._told: dict[Key, str] = {}
        """The fingerprint of each that the fleet was told of last."""

    async def reconcile(self, key: Key) -> None:
        """Make the StoreBackend of that key right. Raises what the API raised; try again then."""
        began = time.perf_counter()
        result = "error"
        try:
            await self._reconcile(key)
            result = "ok"
        finally:
            self._counts.reconciles[result] += 1
            self._counts.reconcile_seconds.observe(time.perf_counter() - began)

    async def _reconcile(self, key: Key) -> None:
        resolved = self._snapshots.resolved(key)
        if resolved is not None and resolved.missing:
            resolved = await self._look_for(key, resolved)
            self._queue.add_after(key, LOOK_AGAIN)
        seen = self._cache.get("storebackends", key.namespace, key.name)
        if seen is None or resolved is None:
            self._tell(key, None)
            self._statuses.forget(key.namespace, key.name)
            return
        for other in self._snapshots.company_changed(key):
            self._queue.add(other)
        self._tell(key, resolved.wanted.fingerprint)
        self._statuses.changed(seen.content, self._status_maker(key, seen))

    async def _look_for(self, key: Key, resolved: Resolved) -> Resolved | None:
        """See whether the Secret that is missing is there without its label."""
        is_there = await exists(self._api, key.namespace, resolved.missing)
        self._snapshots.mark_unlabelled(key.namespace, resolved.missing, is_there=is_there)
        return self._snapshots.resolved(key)

    def _tell(self, key: Key, fingerprint: str | None) -> None:
        """Tell the fleet of what it was not told yet, and the log."""
        before = self._told.get(key)
        if fingerprint == before:
            return
        if fingerprint is None:
            del self._told[key]
            log.info("deleted", extra={"resource": str(key)})
        else:
            self._told[key] = fingerprint
            resolved = self._snapshots.resolved(key)
            if resolved is not None and resolved.unresolved is not None:
                why = resolved.unresolved
                log.warning("%s: %s", why.reason, why.message, extra={"resource": str(key)})
            else:
                log.info(
                    "%s, fingerprint %s",
                    "changed" if before else "found", fingerprint, extra={"resource": str(key)},
                )  # fmt: skip
        self._fleet.changed(key.namespace)

    def _status_maker(
        self, key: Key, seen: Seen
    ) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        """What makes the status, from what is known at the moment it is written."""

        def make(before: Mapping[str, Any]) -> Mapping[str, Any]:
            now = self._cache.get("storebackends", key.namespace, key.name)
            resolved = self._snapshots.resolved(key)
            if now is None or resolved is None or now.uid != seen.uid:
                return before  # It is gone: nothing is to be written.
            others = self._snapshots.places.others(key)
            return status_of(
                now.content,
                resolved.unresolved or resolved.wanted,
                self._fleet.tally(key.namespace, resolved.wanted),
                now=datetime.now(UTC),
                before=before,
                gathering=self._gathering(),
                shares_with=[(other.namespace, other.name) for other in others],
            )

        return make


def complain(key: Key, error: Exception, again: float) -> None:
    """Log that reconciling failed; what the API server refuses is no fault of ours to trace."""
    about = {"resource": str(key)}
    if isinstance(error, API_ERRORS):
        log.warning("reconciling failed, again in %.1f s: %s", again, said(error), extra=about)
    else:
        log.error("reconciling failed, again in %.1f s", again, exc_info=error, extra=about)


async def exists(api: ApiClient, namespace: str, secret: str) -> bool:
    """Whether a Secret of that name is there, labelled or not; its content is not asked for.

    Without the right to look, it is not known to be there.
    """
    try:
        await call(
            api,
            "GET",
            f"/api/v1/namespaces/{namespace}/secrets/{secret}",
            accept=METADATA_ONLY,
        )
    except ApiException as error:
        if error.status == 403:
            log.debug("cannot look for the Secret %s/%s: %s", namespace, secret, said(error))
        if error.status in (403, 404):
            return False
        raise
    return True


def backend_counts(backends: Iterable[Seen]) -> dict[tuple[str, str], int]:
    """(type, ready) -> how many, from what the resources say of themselves."""
    counts: dict[tuple[str, str], int] = {}
    for seen in backends:
        spec = seen.content.get("spec")
        kind = spec.get("type") if isinstance(spec, dict) else None
        ready = str(condition(seen.content.get("status"), "Ready").get("status", "Unknown")).lower()
        labels = (kind if kind in ("memory", "redis", "hdfs") else "unknown", ready)
        counts[labels] = counts.get(labels, 0) + 1
    return counts
