"""Who leads, decided from what a candidate saw of the Lease. Pure: time comes in.

As client-go's leader election does it: a candidate takes a Lease over when it has not seen it
change for its whole duration by the candidate's own clock, so that clocks need not agree; a leader
stops by itself before that, when it could not renew for a shorter time. So two never lead at once,
whatever the wall clocks say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says (coordination.k8s.io/v1), and the version of it that said so."""

    holder: str
    """"" where it was released."""
    transitions: int
    """How often it went from one holder to another: the leader's epoch."""
    duration: float
    """Seconds after which it is free, if it is not renewed."""
    acquired: str
    renewed: str
    version: str
    """The resourceVersion."""

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> LeaseRecord:
        """What the API server answered."""
        spec = lease.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            transitions=spec.get("leaseTransitions") or 0,
            duration=float(spec.get("leaseDurationSeconds") or 0),
            acquired=spec.get("acquireTime") or "",
            renewed=spec.get("renewTime") or "",
            version=lease["metadata"]["resourceVersion"],
        )


class Candidacy:
    """One candidate: what it saw last, and when, and whether it leads.

    Every `now` is a reading of one clock that neither steps nor stops.
    """

    def __init__(self, identity: str, *, duration: float, deadline: float) -> None:
        if not 0 < deadline < duration:
            raise ValueError(f"the renew deadline {deadline} must be less than {duration}")
        self.identity = identity
        self.duration = duration
        self.deadline = deadline
        self.seen: LeaseRecord | None = None
        self._holder = ""
        """Whose the Lease was when it was last there."""
        self._held_for = 0.0
        self._seen_at = -math.inf
        """When it was first seen as it was then."""
        self._leads_until = -math.inf
        self._highest = 0

    @property
    def epoch(self) -> int:
        """The transitions of the Lease when it was last seen."""
        return self.seen.transitions if self.seen is not None else 0

    def leads(self, now: float) -> bool:
        """Whether this candidate may act as the leader at this moment."""
        return now < self._leads_until

    def leads_until(self) -> float:
        """When leading ends if nothing is renewed; in the past for who does not lead."""
        return self._leads_until

    def saw(self, record: LeaseRecord | None, now: float) -> None:
        """The Lease as the API server has it; None where there is none. `now` is read after the
        answer: for others it is held as long from then on."""
        before, self.seen = self.seen, record
        if record is None:
            return
        if before is None or record.version != before.version:
            self._seen_at = now
        self._holder, self._held_for = record.holder, max(self.duration, record.duration)
        self._highest = max(self._highest, record.transitions)
        if record.holder != self.identity:
            self._leads_until = -math.inf

    def took(self, record: LeaseRecord, *, asked_at: float, now: float) -> None:
        """The API server took what this candidate wrote. `asked_at` is read before it was sent:
        others may count from then on."""
        self.saw(record, now)
        self._leads_until = asked_at + self.deadline

    def stops(self) -> None:
        """It leads no more, by its own decision."""
        self._leads_until = -math.inf

    def may_take(self, now: float) -> bool:
        """Whether the Lease is there to be written: its own, free, or not renewed for too long."""
        return now >= self.free_at()

    def free_at(self) -> float:
        """When the Lease is free for this candidate, as far as it has seen.

        That somebody deleted it does not end its holder's term: the holder may not know yet.
        """
        if self._holder in ("", self.identity):
            return -math.inf
        return self._seen_at + self._held_for

    # What is written ------------------------------------------------------------------------------

    def claim(self, wall: datetime) -> dict[str, Any]:
        """The spec that takes or renews the Lease. `wall` is only shown to people."""
        own = self.seen is not None and self.seen.holder == self.identity
        at = micro_time(wall)
        return {
            "holderIdentity": self.identity,
            # Others wait at least as long as this says.
            "leaseDurationSeconds": math.ceil(self.duration),
            "acquireTime": self.seen.acquired if own and self.seen and self.seen.acquired else at,
            "renewTime": at,
            "leaseTransitions": self.epoch if own else self._next_epoch(wall),
        }

    def release(self, wall: datetime) -> dict[str, Any]:
        """The spec that frees the Lease at once."""
        return {
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": micro_time(wall),
            "renewTime": micro_time(wall),
            "leaseTransitions": self.epoch,
        }

    def _next_epoch(self, wall: datetime) -> int:
        if self.seen is not None:
            return max(self.seen.transitions, self._highest) + 1
        # Sidecars ignore an epoch that is lower than one they saw, and they outlive a Lease that
        # somebody deletes, or an operator that is installed anew. So a Lease begins at the minutes
        # since 1970: above whatever one that began earlier can have come to (a transition a minute
        # for years), and far below the 2^31 a Lease can hold.
        return max(self._highest + 1, int(wall.timestamp() // 60))


def micro_time(wall: datetime) -> str:
    """As metav1.MicroTime is read: always with six digits, which `isoformat` leaves out at .0."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
