"""How often strangers may ask: refused tokens, refusals by source, a pace for all. Pure.

Each of them is bounded in memory, whoever asks however often.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

REFUSALS_KEPT: Final = 10.0
"""Seconds for which a refused token is refused again without a question to the API server."""
MOST_REFUSALS: Final = 10_000
MOST_SOURCES: Final = 10_000


class RefusedTokens:
    """Tokens that were refused a moment ago, by a keyed hash: no token is ever kept."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._refused: dict[bytes, tuple[float, str]] = {}
        """Until when, and why; in the order of time."""

    def add(self, token: str, reason: str, now: float) -> None:
        """It was refused now."""
        while self._refused:
            oldest = next(iter(self._refused))
            if self._refused[oldest][0] > now and len(self._refused) < MOST_REFUSALS:
                break
            del self._refused[oldest]
        self._refused[self._hash(token)] = (now + REFUSALS_KEPT, reason)

    def reason(self, token: str, now: float) -> str | None:
        """Why it was refused a moment ago; None: it was not."""
        if not self._refused:
            return None
        until, reason = self._refused.get(self._hash(token), (now, ""))
        return reason if until > now else None

    def __len__(self) -> int:
        return len(self._refused)

    def _hash(self, token: str) -> bytes:
        data = token.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16, key=self._key).digest()


class SourceLimit:
    """Refusals by address: each may have `burst` at once, and one more every `every` seconds.

    Only refusals count, so sidecars with good tokens behind one address do not disturb each other;
    one that brings bad ones makes the others of its address wait, for seconds.
    """

    def __init__(self, *, burst: int = 20, every: float = 1.0) -> None:
        self._burst = burst
        self._every = every
        self._free_at: dict[str, float] = {}
        """By source: when all its refusals will be forgiven; in the order of the last one."""

    def wait(self, source: str, now: float) -> float:
        """Seconds until the source may try again; 0: now."""
        behind = self._free_at.get(source, now) - now
        return max(behind - (self._burst - 1) * self._every, 0.0)

    def refused(self, source: str, now: float) -> None:
        """One of its attempts was refused."""
        behind = max(self._free_at.pop(source, now), now)
        while self._free_at:
            oldest = next(iter(self._free_at))
            if self._free_at[oldest] > now and len(self._free_at) < MOST_SOURCES:
                break
            del self._free_at[oldest]
        self._free_at[source] = behind + self._every

    def __len__(self) -> int:
        return len(self._free_at)


class Pace:
    """Turns at a steady rate: so many a second, no burst."""

    def __init__(self, per_second: float) -> None:
        self._every = 1.0 / per_second
        self._next = 0.0

    def turn(self, now: float, within: float) -> float | None:
        """Seconds to wait for one's turn; None, and no turn is taken, if it is not `within`."""
        wait = max(self._next - now, 0.0)
        if wait > within:
            return None
        self._next = now + wait + self._every
        return wait
