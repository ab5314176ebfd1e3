"""Which of the operators' snapshots count: none twice, and none of a leader that was deposed. Pure.

The epoch is the term of the operator's Lease. A sidecar may reach a deposed leader that has not
noticed yet (it was paused, or the Service still points to it), and what that one pushes is old. But
a lower epoch is not old for ever: an operator that was removed and installed again has a new Lease,
which begins at 0. The rule: a lower epoch is refused for `EPOCH_HELD` seconds after a stream with
the higher one was last heard, and believed then. A deposed leader that lives stops serving within
its Lease's duration (15 s by default), so a minute is enough for it and little for a new operator.
A sidecar that starts from its kept configuration counts the minute from its start.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from pannier.config.stream.messages import Snapshot

EPOCH_HELD: Final = 60.0
"""Seconds after which a lower epoch is another Lease's, not a deposed leader's."""
NONCES_KEPT: Final = 256
"""Nonces of one stream that are remembered; a push takes at least 100 ms, a stream 30 minutes."""


class Verdict(Enum):
    """What to do with a snapshot."""

    TAKE = "take"
    REPEATED = "repeated"
    """It was taken already on this stream: it is passed over, and not answered again."""
    STALE = "stale"
    """A deposed leader's: nothing is touched, and the stream ends, to look for the leader."""


class Turns:
    """What was heard so far; `now` is a monotonic time in seconds."""

    def __init__(self, *, epoch: int | None, now: float) -> None:
        self.epoch = epoch
        """The term of the leader whose configuration runs; None: none was heard of yet."""
        self._heard_at = now
        self._nonces: deque[str] = deque(maxlen=NONCES_KEPT)

    def judge(self, snapshot: Snapshot, now: float) -> Verdict:
        """Whether this snapshot counts; one that does is remembered."""
        if snapshot.nonce in self._nonces:
            return Verdict.REPEATED
        # A stream that has pushed the present epoch cannot have become older itself.
        held = bool(self._nonces) or now - self._heard_at < EPOCH_HELD
        if self.epoch is not None and snapshot.epoch < self.epoch and held:
            return Verdict.STALE
        self.epoch = snapshot.epoch
        self._nonces.append(snapshot.nonce)
        self._heard_at = now
        return Verdict.TAKE

    def ended(self, now: float) -> None:
        """The stream has ended: up to now the one it pushed for was the leader."""
        if self._nonces:
            self._heard_at = now
        self._nonces.clear()
