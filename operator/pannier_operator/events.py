"""Events of StoreBackends (events.k8s.io/v1): one for each transition of what a status says.

What is news between two statuses is decided by `news`. `Events` posts it: never waited for, bounded
in number and pace, repeated news counted in one Event. An Event that cannot be posted is logged and
given up: the status has it all.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cluster import API_ERRORS, call, said
from pannier_operator.conditions import GATHERING_REASON, condition
from pannier_operator.election import micro_time

CONTROLLER: Final = "pannier.dev/operator"
MAX_NOTE: Final = 1024
"""Bytes of a note (the API server's limit)."""

WAITING: Final = 1000
"""News that may wait to be posted; more are dropped."""
REMEMBERED: Final = 2000
"""Events that are remembered, so that the same news is counted in them."""
SAME_WITHIN: Final = 600.0
"""Seconds within which the same news is one Event with a count."""
BURST: Final = 10
"""News of one resource that are posted at once."""
ANOTHER_EVERY: Final = 30.0
"""Seconds after which one resource may have one more."""

log = logging.getLogger("pannier.operator")


@dataclass(frozen=True, slots=True)
class News:
    """What one Event says."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def news(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[News]:
    """What the transition from one status to another tells. Pure.

    Ready becoming True; Ready being False for another reason; records that came to share their
    place. Counts that change and messages that name another pod are no news.
    """
    told = []
    was, is_now = condition(before, "Ready"), condition(after, "Ready")
    if is_now.get("status") == "True":
        if was.get("status") != "True":
            told.append(News("Normal", "Ready", _note(is_now)))
    elif is_now and (was.get("status"), was.get("reason")) != ("False", is_now["reason"]):
        # That sidecars have yet to answer is the way of every change.
        kind: Literal["Normal", "Warning"] = (
            "Normal" if is_now["reason"] in ("Pending", GATHERING_REASON) else "Warning"
        )
        told.append(News(kind, is_now["reason"], _note(is_now)))
    was, is_now = condition(before, "Accepted"), condition(after, "Accepted")
    if is_now.get("reason") == "SharedPrefix" != was.get("reason"):
        told.append(News("Warning", "SharedPrefix", _note(is_now)))
    return told


def _note(said_by: Mapping[str, Any]) -> str:
    message = str(said_by["message"]).encode()[:MAX_NOTE]
    return message.decode(errors="ignore")


@dataclass(slots=True)
class _Posted:
    """An Event that is there."""

    path: str
    count: int
    last: float


@dataclass(slots=True)
class _Allowance:
    """How many more Events one resource may have now."""

    left: float
    at: float


class Events:
    """Posts news for as long as `run` runs."""

    def __init__(
        self, api_client: ApiClient, *, instance: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`instance` says which operator it was: the pod's name."""
        self._api = api_client
        self._instance = instance[:128] or "pannier-operator"
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[Mapping[str, Any], News]] = asyncio.Queue(WAITING)
        self._posted: OrderedDict[tuple[str, News], _Posted] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._dropped = 0

    def written(
        self, resource: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """A status was written (as `status.StatusWriter` tells it): post what is news in it."""
        for each in news(before, after):
            self.post(resource, each)

    def post(self, resource: Mapping[str, Any], what: News) -> None:
        """Post one Event about `resource` (apiVersion, kind, metadata with uid) soon."""
        try:
            self._waiting.put_nowait((resource, what))
        except asyncio.QueueFull:
            self._drop("too many are waiting")

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            resource, what = await self._waiting.get()
            try:
                await self._post(resource, what)
            except API_ERRORS as error:
                metadata = resource["metadata"]
                log.warning(
                    "no Event for %s of StoreBackend %s/%s: %s",
                    what.reason,
                    metadata["namespace"],
                    metadata["name"],
                    said(error),
                )
            finally:
                self._waiting.task_done()

    async def settled(self) -> None:
        """Return once nothing waits to be posted; `run` runs meanwhile."""
        await self._waiting.join()

    # One Event ------------------------------------------------------------------------------------

    async def _post(self, resource: Mapping[str, Any], what: News) -> None:
        now = self._clock()
        uid = resource["metadata"]["uid"]
        if not self._allowed(uid, now):
            self._drop(f"StoreBackend {resource['metadata']['name']} has too many")
            return
        key = uid, what
        posted = self._posted.get(key)
        if posted is not None and now - posted.last < SAME_WITHIN and await self._again(posted):
            posted.last = now
            self._posted.move_to_end(key)
            return
        self._posted[key] = _Posted(await self._create(resource, what), 1, now)
        while len(self._posted) > REMEMBERED:
            self._posted.popitem(last=False)

    async def _create(self, resource: Mapping[str, Any], what: News) -> str:
        metadata = resource["metadata"]
        path = f"/apis/events.k8s.io/v1/namespaces/{metadata['namespace']}/events"
        name = f"{metadata['name'][:200]}.{secrets.token_hex(8)}"
        at = micro_time(datetime.now(UTC))
        await call(
            self._api,
            "POST",
            path,
            body={
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": metadata["namespace"]},
                "eventTime": at,
                "type": what.type,
                "reason": what.reason,
                "note": what.note,
                "action": "Reconcile",
                "reportingController": CONTROLLER,
                "reportingInstance": self._instance,
                "regarding": {
                    "apiVersion": resource["apiVersion"],
                    "kind": resource["kind"],
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "resourceVersion": metadata.get("resourceVersion", ""),
                },
            },
        )
        return f"{path}/{name}"

    async def _again(self, posted: _Posted) -> bool:
        """Count the same news in the Event that is there; False if it is there no more."""
        series = {"count": posted.count + 1, "lastObservedTime": micro_time(datetime.now(UTC))}
        try:
            await call(
                self._api,
                "PATCH",
                posted.path,
                body={"series": series},
                content_type="application/merge-patch+json",
            )
        except ApiException as error:
            if error.status != 404:
                raise
            return False
        posted.count += 1
        return True

    def _allowed(self, uid: str, now: float) -> bool:
        """One resource that flaps must not fill the namespace with Events."""
        allowance = self._allowances.setdefault(uid, _Allowance(BURST, now))
        self._allowances.move_to_end(uid)
        while len(self._allowances) > REMEMBERED:
            self._allowances.popitem(last=False)
        earned = (now - allowance.at) / ANOTHER_EVERY
        allowance.left, allowance.at = min(allowance.left + earned, BURST), now
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True

    def _drop(self, why: str) -> None:
        self._dropped += 1
        # The first, and then ever more seldom.
        if self._dropped.bit_count() == 1:
            log.warning("%d Events were not posted: %s", self._dropped, why)
