"""Writes the status of StoreBackends: the last state always, at most once a second each.

It holds what is to be written per resource, when, and what the API server has. What a status says
is decided in `pannier_operator.conditions`. Only the leader writes: `may_write` is asked before
each request, and each carries the resourceVersion it was made from, so that a late request of a
replaced leader, or one for a deleted resource's namesake, changes nothing. (A uid in a patch of
/status of a custom resource is not looked at by the API server.)
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cluster import call, said
from pannier_operator.conditions import patience

API_VERSION: Final = "pannier.dev/v1alpha1"
FIELD_MANAGER: Final = "pannier-operator"

EVERY: Final = 1.0
"""Seconds between two writes of one resource (contract)."""
CONCURRENCY: Final = 16
"""Requests under way at once: a start with 5,000 resources is no flood."""
TIMEOUT: Final = 5.0
"""Seconds for one request."""
LONGEST_BACKOFF: Final = 30.0

Status = Mapping[str, Any]
Make = Callable[[Status], Status]
"""Makes the status to be written from the one the resource has."""
Written = Callable[[Mapping[str, Any], Status, Status], None]
"""Told of each write: the resource's reference (apiVersion, kind, metadata), its status before and
after."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class _Pending:
    """One resource: what the API server has of it, and what is to be written."""

    namespace: str
    name: str
    uid: str
    version: str
    """The resourceVersion of `status`."""
    status: Status
    make: Make | None = None
    """None: nothing is to be written."""
    due: float = 0.0
    """When it is written, by the clock."""
    not_before: float = 0.0
    failures: int = 0
    under_way: bool = False
    """A request is: what the API server has is not known until it is answered."""
    sooner: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `due` was moved."""
    task: asyncio.Task[None] | None = None

    def has(self, resource: Mapping[str, Any]) -> None:
        """Take what was seen of the resource, unless it is older than what a write brought back."""
        version = resource["metadata"]["resourceVersion"]
        if _is_newer(version, self.version):
            self.version = version
            self.status = resource.get("status") or {}

    @property
    def path(self) -> str:
        return f"/apis/{API_VERSION}/namespaces/{self.namespace}/storebackends/{self.name}"

    def reference(self) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": "StoreBackend",
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
                "resourceVersion": self.version,
            },
        }


class StatusWriter:
    """Writes statuses while this operator leads.

    `changed` and `forget` never wait; a task a resource writes what is due. `close` at the end.
    """

    def __init__(
        self,
        api_client: ApiClient,
        *,
        may_write: Callable[[], bool],
        written: Written | None = None,
        every: float = EVERY,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api_client
        self._may_write = may_write
        self._written = written
        self._every = every
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._clock = clock
        self._resources: dict[tuple[str, str], _Pending] = {}

    def changed(self, resource: Mapping[str, Any], make: Make) -> None:
        """The status of `resource` (as the API server has it) may be another now.

        `make` is called now and again when it is written, each time with the status that the
        resource has then; what it gives must not be changed afterwards.
        """
        if not self._may_write():
            return
        pending = self._pending(resource)
        before = pending.status
        after = make(before)
        if after == before and not pending.under_way:
            pending.make = None
            return
        due = max(self._clock() + patience(before, after), pending.not_before)
        waiting = pending.make is not None
        pending.make = make
        pending.due = min(due, pending.due) if waiting else due
        pending.sooner.set()
        if pending.task is None or pending.task.done():
            pending.task = asyncio.create_task(
                self._write(pending), name=f"status of {pending.namespace}/{pending.name}"
            )

    def forget(self, namespace: str, name: str) -> None:
        """The resource is gone."""
        pending = self._resources.pop((namespace, name), None)
        if pending is not None and pending.task is not None:
            pending.task.cancel()

    def stop(self) -> None:
        """Drop all that is to be written: this operator leads no more."""
        for namespace, name in list(self._resources):
            self.forget(namespace, name)

    async def settled(self) -> None:
        """Return once nothing is to be written."""
        while tasks := [e.task for e in self._resources.values() if e.task and not e.task.done()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop, and wait until no request is under way."""
        tasks = [each.task for each in self._resources.values() if each.task is not None]
        self.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pending(self, resource: Mapping[str, Any]) -> _Pending:
        metadata = resource["metadata"]
        key = metadata["namespace"], metadata["name"]
        pending = self._resources.get(key)
        if pending is not None and pending.uid != metadata["uid"]:
            self.forget(*key)
            pending = None
        if pending is None:
            pending = self._resources[key] = _Pending(
                namespace=key[0],
                name=key[1],
                uid=metadata["uid"],
                version=metadata["resourceVersion"],
                status=resource.get("status") or {},
            )
        pending.has(resource)
        return pending

    # Writing --------------------------------------------------------------------------------------

    async def _write(self, pending: _Pending) -> None:
        while pending.make is not None:
            await self._wait(pending)
            async with self._slots:
                if (make := pending.make) is None:
                    return
                if not self._may_write():
                    pending.make = None
                    return
                pending.make = None
                pending.not_before = pending.due = self._clock() + self._every
                pending.under_way = True
                try:
                    await self._write_once(pending, make)
                except _Gone:
                    if self._resources.get((pending.namespace, pending.name)) is pending:
                        del self._resources[pending.namespace, pending.name]
                    return
                except Exception as error:
                    self._try_again(pending, make, error)
                finally:
                    pending.under_way = False

    async def _write_once(self, pending: _Pending, make: Make) -> None:
        before = pending.status
        after = make(before)
        if after == before:
            pending.not_before = pending.due = self._clock()
            return
        await self._patch(pending, before, after)
        pending.failures = 0
        if self._written is not None:
            self._written(pending.reference(), before, pending.status)

    async def _wait(self, pending: _Pending) -> None:
        while (rest := pending.due - self._clock()) > 0:
            pending.sooner.clear()
            try:
                async with asyncio.timeout(rest):
                    await pending.sooner.wait()
            except TimeoutError:
                pass

    async def _patch(self, pending: _Pending, before: Status, after: Status) -> None:
        try:
            answer = await call(
                self._api,
                "PATCH",
                f"{pending.path}/status",
                query={"fieldManager": FIELD_MANAGER},
                body={
                    "metadata": {"resourceVersion": pending.version},
                    "status": merge_patch(before, after),
                },
                content_type="application/merge-patch+json",
                timeout=self._timeout,
            )
        except ApiException as error:
            if error.status == 404:
                raise _Gone from None
            if error.status == 409:
                await self._look_again(pending)
            raise
        pending.has(answer)

    async def _look_again(self, pending: _Pending) -> None:
        """After a conflict: somebody changed the resource, or made it anew."""
        try:
            resource = await call(self._api, "GET", pending.path, timeout=self._timeout)
        except ApiException as error:
            if error.status == 404:
                raise _Gone from None
            raise
        if resource["metadata"]["uid"] != pending.uid:
            raise _Gone
        pending.has(resource)

    def _try_again(self, pending: _Pending, make: Make, error: Exception) -> None:
        pending.failures += 1
        if pending.make is None:
            pending.make = make
        conflict = isinstance(error, ApiException) and error.status == 409
        if conflict:
            # The resource was edited in between, perhaps many times a second: the second between
            # two writes is not for those that changed nothing, and the edits may end any moment.
            backoff = random.uniform(0, min(0.02 * 2 ** min(pending.failures, 9), self._every))
        else:
            backoff = min(self._every * 2 ** min(pending.failures, 9), LONGEST_BACKOFF)
            backoff *= random.uniform(0.5, 1)
        pending.not_before = pending.due = self._clock() + backoff
        if not conflict:
            log.warning(
                "The status of StoreBackend %s/%s could not be written; trying again in %.1f s: %s",
                pending.namespace,
                pending.name,
                backoff,
                said(error),
            )


class _Gone(Exception):
    """The resource is deleted, perhaps made anew under its name."""


# Words --------------------------------------------------------------------------------------------


def merge_patch(before: Status, after: Status) -> dict[str, Any]:
    """The JSON merge patch (RFC 7396) that turns `before` into `after`: lists whole, and null for
    what is no longer there."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        was = before.get(key)
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            if inner := merge_patch(was, value):
                patch[key] = inner
        elif key not in before or was != value:
            patch[key] = value
    return patch


def _is_newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is newer: since Kubernetes 1.35 they are numbers to be compared
    (KEP-5504). Of any other kind, what came last is taken."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
