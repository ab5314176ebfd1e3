"""The pod label `pannier.dev/leader=true`, by which the Service `pannier-stream` finds the leader.

The leader puts it on its own pod and takes it from every other one: a leader that was killed keeps
its label, and sidecars would dial it in vain. Whoever leads no more takes it from itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cluster import API_ERRORS, METADATA_LIST, METADATA_ONLY, call, said

LABEL: Final = "pannier.dev/leader"
LOOK_EVERY: Final = 10.0
"""Seconds between looks for labels that are not as they should be, while leading."""
LONGEST_BACKOFF: Final = 10.0

log = logging.getLogger("pannier.operator")


class LeaderLabel:
    """Keeps the label true for as long as `run` runs. `changed` says to look at once."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        namespace: str,
        pod_name: str,
        leads: Callable[[], bool],
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`leads` is asked before each step (`Leader.leads`): one that was stopped for a while must
        not take the label from its successor. `pod_name` "" is an operator outside the cluster:
        nothing is labelled."""
        self._api = api_client
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._pod_name = pod_name
        self._look_every = look_every
        self._leads = leads
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """This operator leads now, or leads no more."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the label true until cancelled."""
        if not self._pod_name:
            return
        failures = 0
        # The first turn takes off the label that an earlier life of the container left.
        is_off = False
        while True:
            self._changed.clear()
            pause = self._look_every
            try:
                if self._leads():
                    is_off = False
                    await self._put_on()
                elif not is_off:
                    await self._patch(self._pod_name, None)
                    is_off = True
                failures = 0
            except API_ERRORS as error:
                failures += 1
                pause = min(0.5 * 2 ** min(failures, 10), LONGEST_BACKOFF)
                log.warning("the label %s could not be put right: %s", LABEL, said(error))
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def remove(self) -> None:
        """Take the label from the own pod, for good: before the streams are closed."""
        self._leads = lambda: False
        if self._pod_name:
            try:
                await self._patch(self._pod_name, None)
            except API_ERRORS as error:
                log.warning("the label %s could not be taken off: %s", LABEL, said(error))

    async def _put_on(self) -> None:
        pods = await call(
            self._api,
            "GET",
            self._path,
            query={"labelSelector": f"{LABEL}=true"},
            accept=METADATA_LIST,
        )
        labelled = {each["metadata"]["name"] for each in pods.get("items") or ()}
        # Its own first: while both have it sidecars find it at the second dial, while none has it
        # they find nobody.
        if self._pod_name not in labelled and self._leads():
            await self._patch(self._pod_name, "true")
        for name in sorted(labelled - {self._pod_name}):
            if self._leads():
                await self._patch(name, None)
                log.info("took the label %s from pod %s, which leads no more", LABEL, name)

    async def _patch(self, pod: str, value: str | None) -> None:
        try:
            await call(
                self._api,
                "PATCH",
                f"{self._path}/{pod}",
                query={"fieldManager": "pannier-operator"},
                body={"metadata": {"labels": {LABEL: value}}},
                accept=METADATA_ONLY,
                content_type="application/merge-patch+json",
            )
        except ApiException as error:
            if error.status != 404 or value is not None:
                raise
