"""What the streams count, in plain attributes; `pannier_operator.metrics` exposes it. Pure."""

from __future__ import annotations

from typing import Final, Literal

from pannier.histograms import Histogram

PushResult = Literal["applied", "pending", "rejected", "timeout", "failed"]
PUSH_RESULTS: Final[tuple[PushResult, ...]] = (
    "applied", "pending", "rejected", "timeout", "failed",
)  # fmt: skip
"""Of one push to one sidecar: applied, pending or rejected as it answered first (the worst of its
stores), timeout where it did not answer, failed where the stream ended before it could."""

REFUSALS: Final = (
    "no-token", "token-refused", "wrong-audience", "not-a-pod", "namespace-not-served",
    "rate-limited", "later", "full", "not-ready", "bad-request",
)  # fmt: skip
"""Why a stream was not opened."""


class StreamFigures:
    """Counters and a histogram; the number of streams is `Fleet.streams`."""

    def __init__(self) -> None:
        self.pushes: dict[str, int] = dict.fromkeys(PUSH_RESULTS, 0)
        self.refusals: dict[str, int] = dict.fromkeys(REFUSALS, 0)
        self.push_seconds = Histogram()
        """From a change seen to every store of the snapshot applied, in seconds."""
