"""What each sidecar is to run: the words between who computes it and who pushes it. Pure.

`pannier_operator.snapshots` makes these from what was seen of the cluster, `streams` pushes them,
and a StoreBackend's status compares what sidecars acknowledged with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pannier.config.stream.messages import StoreEntry


@dataclass(frozen=True, slots=True)
class Audience:
    """Who a sidecar is, as TokenReview says: it decides which stores it gets."""

    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod a stream's token is bound to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class WantedStore:
    """One StoreBackend as it goes to sidecars."""

    name: str
    uid: str
    generation: int
    """The generation of the resource that the entry was made from."""
    fingerprint: str
    """A hash over the resource's uid and generation and its Secrets' uid and resourceVersion, never
    over a credential: a sidecar that acknowledged it runs this very configuration."""
    entry: StoreEntry
    service_accounts: frozenset[str] | None = None
    """Whose sidecars get it; None: every pod's of the namespace."""

    def is_for(self, audience: Audience) -> bool:
        """Whether a sidecar of this service account (in the store's namespace) gets it."""
        return self.service_accounts is None or audience.service_account in self.service_accounts


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything one audience is to run."""

    version: str
    stores: Mapping[str, WantedStore]
    """By name, in the order of names."""


def version_of(stores: Iterable[WantedStore]) -> str:
    """The version of a set of stores: 16 hexadecimal digits over names and fingerprints."""
    digest = hashlib.sha256()
    for store in sorted(stores, key=lambda each: each.name):
        digest.update(f"{store.name}\0{store.fingerprint}\n".encode())
    return digest.hexdigest()[:16]
