"""When the operator is dialed again, by how the last stream or dial ended. Pure.

Exponential with full jitter (the AWS architecture blog, "Exponential Backoff And Jitter"): all the
sidecars of a cluster lose their streams in one instant when an operator dies.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from pannier.config.stream.messages import Close

FIRST_BOUND: Final = 0.5
"""Seconds within which the first new dial comes."""
LAST_BOUND: Final = 30.0
"""Seconds within which a new dial comes at the latest: the operator is found this soon."""
SHORTEST: Final = 0.05
"""Seconds. Full jitter draws from 0 on; this floor keeps a refusing port from a tight loop."""
LIVED: Final = 10.0
"""Seconds after which a stream counts as having worked, so that the backoff starts anew."""
LONGEST_ASKED: Final = 300.0
"""Seconds: the longest wait that an operator's Retry-After is believed."""


class Cause(Enum):
    """Why there is no stream any more, or none yet."""

    UNREACHABLE = "unreachable"
    """The dial came to nothing: address, TLS, no answer, or no operator at that address."""
    BROKEN = "broken"
    """The stream was cut, or one of the two broke the protocol."""
    LATER = "later"
    UNAUTHORIZED = "unauthorized"
    GOING_AWAY = "going away"
    REAUTHENTICATE = "reauthenticate"
    REPLACED = "replaced"
    ASKED = "asked"
    """Somebody wants it dialed anew now (SIGHUP)."""


SPREADS: Final = {
    Cause.ASKED: (0.0, 0.0),
    Cause.REAUTHENTICATE: (0.05, 1.0),
    # The next leader needs some seconds to take over, and all its sidecars come at once.
    Cause.GOING_AWAY: (0.1, 5.0),
    # Two sidecars of one pod uid would take the stream from each other in turns.
    Cause.REPLACED: (30.0, 60.0),
    # An operator remembers a refusal for 10 s; a projected token is renewed within minutes.
    Cause.UNAUTHORIZED: (10.0, 30.0),
}
"""Seconds, from and to, in which the next dial comes; the other causes back off."""


def cause_of_close(code: int | None) -> Cause:
    """What the operator's close code means; None: the connection was cut without one."""
    match code:
        case Close.GOING_AWAY | 1012:  # 1012: service restart (IANA's registry)
            return Cause.GOING_AWAY
        case Close.UNAUTHORIZED:
            return Cause.UNAUTHORIZED
        case Close.REAUTHENTICATE:
            return Cause.REAUTHENTICATE
        case Close.REPLACED:
            return Cause.REPLACED
        case Close.LATER | 1013:  # 1013: try again later
            return Cause.LATER
    return Cause.BROKEN


def cause_of_status(status: int) -> Cause:
    """What an HTTP status in place of the WebSocket means."""
    if status in (401, 403):
        return Cause.UNAUTHORIZED
    return Cause.LATER if status == 429 or status >= 500 else Cause.UNREACHABLE


class Redialing:
    """Counts failures in a row, and says how long to wait after each ending."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0

    def after(self, cause: Cause, *, lived: float = 0.0, retry_after: float | None = None) -> float:
        """Seconds until the next dial, after a stream that lived so long (0: a failed dial)."""
        if lived >= LIVED:
            self._failures = 0
        spread = SPREADS.get(cause)
        if spread is not None:
            first, last = spread
            return first + (last - first) * self._random()
        bound = min(LAST_BOUND, FIRST_BOUND * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        jittered = max(SHORTEST, bound * self._random())
        if retry_after is None:
            return jittered
        # Not sooner than asked, and not all at that very moment.
        return min(retry_after, LONGEST_ASKED) + jittered
