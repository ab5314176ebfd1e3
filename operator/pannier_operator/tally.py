"""How one StoreBackend fares in the sidecars, counted: what its status is made of. Pure words.

`streams` counts, `conditions` reads.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """One sidecar that does not run what it was sent."""

    pod: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The sidecars of one StoreBackend, by what they said of it last."""

    connected: int = 0
    """Streams whose sidecar is to have this store."""
    synced: int = 0
    """Of those, that acknowledged the wanted fingerprint as applied."""
    pending: int = 0
    """Of those, that have not answered yet, or said it is pending (backend not reached)."""
    rejected: int = 0
    """Of those, that refused it and serve what they had."""
    reachable: int = 0
    """Of those, whose backend answers."""
    unreachable: int = 0
    """Of those, whose backend does not answer."""
    lost: int = 0
    """Sidecars gone without a bye, in the last 15 minutes."""
    rejections: tuple[Rejection, ...] = ()
    """At most five, the longest-standing first."""
    pendings: tuple[Rejection, ...] = ()
    """At most five that said why they are pending, the longest-standing first."""
