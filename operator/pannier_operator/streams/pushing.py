"""What one stream is to be sent and when: one push in flight, only the newest waits. Pure.

It is told what is wanted, what the sidecar said and what time it is; it answers what to send now.
"""

from __future__ import annotations

from dataclasses import dataclass

from pannier.config.stream.messages import Applied, State
from pannier_operator.wanted import Wanted


@dataclass(frozen=True, slots=True, eq=False)
class Push:
    """One snapshot as it goes out: the same bytes to every stream of its audience."""

    nonce: str
    """Names it; no two pushes share one."""
    wanted: Wanted
    """What the bytes say."""
    data: bytes
    """The message, encoded once: 5,000 streams do not encode a kilobyte 5,000 times."""
    seen: float
    """When the change was seen that it carries, in seconds of the fleet's clock."""


class Disorder(Exception):
    """A message that no sidecar in its right mind sends here; the stream ends with its text."""


class Pushing:
    """What was sent on one stream, what was acknowledged, and what waits."""

    __slots__ = ("_running", "_waiting", "acknowledged", "in_flight", "sent_at")

    def __init__(self, running: str | None) -> None:
        """`running` is the version of `hello`."""
        self._running = running
        """The version the sidecar runs, as far as it said."""
        self._waiting: Push | None = None
        self.in_flight: Push | None = None
        """Sent and not answered."""
        self.sent_at = 0.0
        """When the one in flight was sent."""
        self.acknowledged: Wanted | None = None
        """What the sidecar said last that it runs, store by store; None: nothing that we know."""

    def want(self, push: Push, now: float) -> Push | None:
        """The audience is to run this. What comes back is to be sent now, if anything."""
        if self.in_flight is not None:
            # Wanted back while another is under way: the one in flight must not stay the last.
            self._waiting = None if push is self.in_flight else push
            return None
        if self._running == push.wanted.version:
            # A sidecar that runs it already gets nothing; it says by `state` how its stores are.
            self.acknowledged = push.wanted
            return None
        self.in_flight, self.sent_at = push, now
        return push

    def applied(self, answer: Applied) -> Push | None:
        """The sidecar answered: the push it answered, or None for one that is not awaited.

        `then` says what goes out next. Raises Disorder where nonce and version disagree.
        """
        push = self.in_flight
        if push is None or answer.nonce != push.nonce:
            return None
        if answer.version != push.wanted.version:
            raise Disorder("applied names another version than the snapshot of its nonce")
        self.in_flight = None
        self._running = push.wanted.version
        self.acknowledged = push.wanted
        return push

    def then(self, now: float) -> Push | None:
        """What is to be sent now that an answer has come."""
        push, self._waiting = self._waiting, None
        return None if push is None else self.want(push, now)

    def reported(self, report: State) -> Wanted | None:
        """What the report speaks of; None: of something that was overtaken."""
        if self.acknowledged is None or report.version != self.acknowledged.version:
            return None
        return self.acknowledged

    def is_overdue(self, now: float, within: float) -> bool:
        """Whether a push has been out for longer than `within` seconds."""
        return self.in_flight is not None and now - self.sent_at > within
