"""Leads by the Lease `pannier-operator`: takes it, renews it, gives it back.

What may be done when is decided in `pannier_operator.election`. kubernetes.aio's own leader
election is not used: it goes by the wall clock, does not count transitions, gives nothing back at
the end, and one unreached API server ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cluster import API_ERRORS, call, said
from pannier_operator.election import Candidacy, LeaseRecord

LEASE: Final = "pannier-operator"

log = logging.getLogger("pannier.operator")


def identity_of(pod_name: str) -> str:
    """Who a process is among candidates: no other process, and no earlier life of its pod."""
    return f"{(pod_name or socket.gethostname())[:63]}_{secrets.token_hex(8)}"


def steady() -> float:
    """Seconds of a clock that never steps, and that goes on while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Leader:
    """One candidate for the Lease, for as long as `run` runs.

    `elected(epoch)` and `lost()` are called in turn, from `run`. They must not block: `lost` ends
    at once whatever only a leader does. `leads()` is the truth at any moment, also for a process
    that was stopped for a while and has not noticed yet; ask it before each write.
    """

    def __init__(
        self,
        api_client: ApiClient,
        *,
        namespace: str,
        identity: str,
        elected: Callable[[int], None] = lambda epoch: None,
        lost: Callable[[], None] = lambda: None,
        duration: float = 15.0,
        renew_every: float = 5.0,
        clock: Callable[[], float] = steady,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`identity` must be no other process's, nor that of an earlier life of the same pod.
        A leader that could not renew for two thirds of `duration` (seconds) stops leading."""
        self._api = api_client
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._elected = elected
        self._lost = lost
        self._renew_every = renew_every
        self._clock = clock
        self._wall = wall
        self._candidacy = Candidacy(identity, duration=duration, deadline=duration * 2 / 3)
        self._told = False
        """Whether `elected` was called last."""
        self._elected_at = 0.0
        self._complained = ""
        self._troubled_since: float | None = None
        """Since when the Lease could be neither looked at nor written."""

    def reasons(self) -> Iterator[str]:
        """Why this operator can neither lead nor know who does: also a sign that the API server
        does not answer, which an open watch shows late."""
        since = self._troubled_since
        if since is not None and (waited := self._clock() - since) > self._candidacy.duration:
            yield f"no answer about the Lease for {waited:.0f} s: {self._complained}"

    def leads(self) -> bool:
        """Whether this operator leads at this moment."""
        return self._told and self._candidacy.leads(self._clock())

    def led_for(self) -> float:
        """Seconds since this operator was elected; 0 for who does not lead."""
        return self._clock() - self._elected_at if self.leads() else 0.0

    @property
    def epoch(self) -> int:
        """The Lease's transitions: grows with each change of the leader."""
        return self._candidacy.epoch

    @property
    def holder(self) -> str:
        """Who holds the Lease, as far as is known; "" for nobody."""
        seen = self._candidacy.seen
        return seen.holder if seen is not None else ""

    async def run(self) -> None:
        """Be a candidate, and lead when elected, until cancelled. The Lease is not given back."""
        try:
            while True:
                await self._try()
                await asyncio.sleep(self._pause())
        finally:
            self._step_down("stopping")

    async def release(self) -> None:
        """Give the Lease back, if it is held: others need not wait. After `run` has ended."""
        seen = self._candidacy.seen
        self._step_down("released")
        if seen is None or seen.holder != self._candidacy.identity:
            return
        try:
            await self._write(self._candidacy.release(self._wall()), seen, timeout=2.0)
        except API_ERRORS as error:
            log.warning("the Lease %s could not be released: %s", LEASE, said(error))

    # One turn -------------------------------------------------------------------------------------

    async def _try(self) -> None:
        """Look or renew once, and say who leads now."""
        candidacy = self._candidacy
        try:
            # A leader that cannot renew stops at its deadline, not when a slow answer comes.
            async with self._until_deadline():
                if not candidacy.leads(self._clock()):
                    await self._look()
                if candidacy.may_take(self._clock()):
                    await self._take()
            self._complained, self._troubled_since = "", None
        except ApiException as error:
            if error.status == 409:
                # Somebody else wrote it: look at once who leads.
                with contextlib.suppress(*API_ERRORS):
                    await self._look()
            else:
                self._complain(error)
        except API_ERRORS as error:
            self._complain(error)
        self._tell()

    @contextlib.asynccontextmanager
    async def _until_deadline(self) -> Any:
        until = self._candidacy.leads_until()
        rest = until - self._clock() if self._told else self._renew_every
        async with asyncio.timeout(max(rest, 0)):
            yield

    async def _look(self) -> None:
        try:
            lease = await call(self._api, "GET", f"{self._path}/{LEASE}", timeout=self._renew_every)
        except ApiException as error:
            if error.status != 404:
                raise
            self._candidacy.saw(None, self._clock())
        else:
            self._candidacy.saw(LeaseRecord.of(lease), self._clock())

    async def _take(self) -> None:
        asked_at = self._clock()
        spec = self._candidacy.claim(self._wall())
        lease = await self._write(spec, self._candidacy.seen, timeout=self._renew_every)
        self._candidacy.took(LeaseRecord.of(lease), asked_at=asked_at, now=self._clock())

    async def _write(
        self, spec: dict[str, Any], seen: LeaseRecord | None, *, timeout: float
    ) -> Any:
        metadata = {"name": LEASE, "namespace": self._namespace}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        if seen is None:
            return await call(self._api, "POST", self._path, body=lease, timeout=timeout)
        # Only over the very version that was seen: of two that take it, one gets a conflict.
        metadata["resourceVersion"] = seen.version
        path = f"{self._path}/{LEASE}"
        try:
            return await call(self._api, "PUT", path, body=lease, timeout=timeout)
        except ApiException as error:
            if error.status == 404:
                self._candidacy.saw(None, self._clock())
            raise

    def _pause(self) -> float:
        now = self._clock()
        quick = self._renew_every / 5
        if self._told:
            renewed_at = self._candidacy.leads_until() - self._candidacy.deadline
            due = renewed_at + self._renew_every
            return due - now if due > now else quick
        # Followers look often enough to see a released Lease soon, and exactly when a silent
        # leader's is free.
        free = self._candidacy.free_at() - now
        pause = min(self._renew_every * 2 / 5, max(free, quick))
        return pause * random.uniform(0.9, 1.1)

    # What it means --------------------------------------------------------------------------------

    def _tell(self) -> None:
        leads = self._candidacy.leads(self._clock())
        if leads and not self._told:
            self._told = True
            self._elected_at = self._clock()
            log.info("leading, epoch %d", self.epoch)
            self._elected(self.epoch)
        elif not leads and self._told:
            held = self.holder == self._candidacy.identity
            self._step_down("it could not be renewed" if held else f"{self.holder} holds it")

    def _step_down(self, why: str) -> None:
        self._candidacy.stops()
        if self._told:
            self._told = False
            log.warning("leading no more: the Lease %s: %s", LEASE, why)
            self._lost()

    def _complain(self, error: BaseException) -> None:
        text = said(error)
        if self._troubled_since is None:
            self._troubled_since = self._clock()
        if text != self._complained:
            self._complained = text
            log.warning("the Lease %s could not be looked at or written: %s", LEASE, text)
