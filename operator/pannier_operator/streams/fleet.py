"""All streams: what each audience is to run, pushing it to them, and what they said of it.

What is wanted is computed and encoded once for each audience, not for each stream. Nothing here
costs a step for each stream but a push itself, and pushes go out in slices, by turns between
namespaces, so that answers are read and other work is done in between.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from pannier.config.stream.messages import (
    MAX_SNAPSHOT_BYTES,
    Applied,
    Close,
    Snapshot,
    StoreReport,
    encode,
)
from pannier_operator.streams.counting import NamespaceCounts
from pannier_operator.streams.debouncing import Debounce
from pannier_operator.streams.figures import PushResult, StreamFigures
from pannier_operator.streams.hearsay import printable
from pannier_operator.streams.news import News
from pannier_operator.streams.outbox import Outbox
from pannier_operator.streams.pushing import Push
from pannier_operator.streams.session import Ending, Session
from pannier_operator.tally import Tally
from pannier_operator.wanted import Audience, Wanted, WantedStore

log = logging.getLogger("pannier_operator.streams")


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """What may be set; all in seconds."""

    stream_age: float = 1800.0
    """After this, give or take a fifth, a stream is closed to authenticate anew: so a deleted pod
    or service account keeps its stream no longer."""
    answer_within: float = 15.0
    """How long a push may be unanswered before its stream is closed. A sidecar answers within
    0.5 s; the rest is for machines that stand still."""
    seat_kept: float = 10.0
    """How long a sidecar that was asked to authenticate anew counts as connected without."""
    lost_for: float = 900.0
    """How long a sidecar that is gone without a bye is counted as lost."""


@dataclass(eq=False, slots=True)
class _Group:
    """The streams of one audience."""

    audience: Audience
    push: Push | None = None
    sessions: dict[Session, None] = field(default_factory=dict)
    warned: bool = False
    """Whether fields that its sidecars do not know were logged for this push."""


@dataclass(eq=False, slots=True)
class _Namespace:
    name: str
    counts: NamespaceCounts = field(default_factory=NamespaceCounts)
    groups: dict[Audience, _Group] = field(default_factory=dict)
    debounce: Debounce = field(default_factory=Debounce)
    timer: asyncio.TimerHandle | None = None


class Fleet:
    """All live sessions and what they said. It lives on one event loop."""

    def __init__(
        self,
        *,
        wanted_for: Callable[[Audience], Wanted],
        reported: Callable[[str, str], None],
        epoch: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        settings: StreamSettings | None = None,
        figures: StreamFigures | None = None,
    ) -> None:
        """`reported(namespace, store)` is called when a store's tally may have changed."""
        self.settings = settings or StreamSettings()
        self.figures = figures or StreamFigures()
        self.clock = clock
        self._wanted_for = wanted_for
        self._epoch = epoch
        self._namespaces: dict[str, _Namespace] = {}
        self._seats: dict[str, Session] = {}
        """By pod uid: the live session, or one whose pod is expected back."""
        self._open: dict[Session, None] = {}
        """Also those whose hello is awaited."""
        self._live: dict[Session, None] = {}
        self._expected: dict[str, float] = {}
        """Pod uids that were asked to authenticate anew, and until when they count."""
        self._lost: dict[str, tuple[Audience, float]] = {}
        """By pod uid, in the order of time: who is gone, and until when that counts."""
        self._outbox = Outbox(self._offer)
        self._news = News(reported)
        self._ticking: asyncio.Task[None] | None = None
        self._instance = uuid4().hex[:8]
        self._pushes = 0

    # What others ask ----------------------------------------------------------------------------

    @property
    def streams(self) -> int:
        """How many sidecars are connected."""
        return len(self._live)

    def changed(self, namespace: str) -> None:
        """What the namespace's sidecars are to run may have changed: they hear of it soon."""
        place = self._namespaces.get(namespace)
        if place is None or not place.groups:
            return
        place.debounce.touch(self.clock())
        if place.timer is None:
            self._set_timer(place)

    def tally(self, namespace: str, store: WantedStore) -> Tally:
        """How the store fares in the namespace's sidecars."""
        place = self._namespaces.get(namespace)
        return Tally() if place is None else place.counts.tally(store)

    def start(self) -> None:
        """Begin to look at the clock; on the loop that the streams live on."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick_for_ever(), name="streams' clock")

    async def stop(self) -> None:
        """Forget all timers and tasks; sessions are closed by `close_all` before."""
        for place in self._namespaces.values():
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None
        self._news.stop()
        await self._outbox.stop()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
            self._ticking = None

    async def close_all(self, code: Close, spread: float) -> None:
        """Close every stream, one after another over `spread` seconds. None counts as lost."""
        sessions = list(self._open)
        random.shuffle(sessions)  # not one namespace after another
        started = time.monotonic()
        for nth, session in enumerate(sessions):
            ahead = started + spread * nth / len(sessions) - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            session.close(code, "the operator stops or hands over: dial again")
        for uid in list(self._expected):
            self._vacate(self._seats[uid], lost=False)
        for uid in list(self._lost):
            self._find(uid)

    # What sessions tell -------------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """A stream begins; its hello is awaited."""
        self._open[session] = None

    def shut(self, session: Session) -> None:
        """A stream is about to be closed."""
        self._open.pop(session, None)

    def enter(self, session: Session) -> None:
        """A sidecar has said hello. An older stream of its pod is closed."""
        place = self._namespaces.setdefault(
            session.audience.namespace, _Namespace(session.audience.namespace)
        )
        group = place.groups.setdefault(session.audience, _Group(session.audience))
        uid = session.pod.uid
        self._find(uid)
        before = self._seats.get(uid)
        if before is not None:
            self._hand_over(before, session, place)
        else:
            place.counts.connected[session.audience] += 1
        self._seats[uid] = session
        self._live[session] = None
        group.sessions[session] = None
        if group.push is None:
            self._refresh(group, self.clock())
        if group.push is not None and session.version == group.push.wanted.version:
            # Nothing goes out, and it must be known before the `state` that follows hello at once.
            self._offer(session)
        elif group.push is not None:
            self._outbox.add(session)
        self._tell_all(group)

    def answered(self, session: Session, push: Push, answer: Applied) -> None:
        """A push was answered: count it, and send what waited for that."""
        now = self.clock()
        self._outbox.lands(session)
        place = self._namespaces[session.audience.namespace]
        for name in [each for each in session.states if each not in push.wanted.stores]:
            del session.states[name]
            place.counts.forget(session.pod.uid, name)
        for name, store in push.wanted.stores.items():
            if name not in answer.stores and not store.entry.keep:
                session.states[name] = "pending"
        self.heard(session, push.wanted, answer.stores, answered=push)
        result: PushResult = "applied"
        for name, report in answer.stores.items():
            if report.state == "rejected" and name in push.wanted.stores:
                result = "rejected"
                break
        else:
            if not _settled(session, push.wanted):
                result = "pending"
        session.unsettled = push if result == "pending" else None
        self.figures.pushes[result] += 1
        if result == "applied":
            self.figures.push_seconds.observe(now - max(push.seen, session.entered_at))
        group = place.groups[session.audience]
        if answer.warnings and not group.warned:
            group.warned = True
            log.info(
                "sidecars of %s/%s do not know %d fields, %s among them, and ignore them",
                session.audience.namespace, session.audience.service_account,
                len(answer.warnings), printable(answer.warnings[0]),
            )  # fmt: skip
        follow = session.pushing.then(now)
        if follow is not None and session.send(follow):
            self._outbox.flies(session, len(follow.data))

    def heard(
        self,
        session: Session,
        wanted: Wanted,
        reports: Mapping[str, StoreReport],
        *,
        answered: Push | None = None,
    ) -> None:
        """A sidecar said how stores of what it acknowledged are."""
        place = self._namespaces[session.audience.namespace]
        pod = session.pod
        for name, report in session.take(wanted, reports).items():
            fingerprint = wanted.stores[name].fingerprint
            if place.counts.hear(pod.uid, pod.name, name, fingerprint, report):
                self._news.add(place.name, name)
        push = session.unsettled
        if answered is None and push is not None and push.wanted is wanted \
                and _settled(session, wanted):  # fmt: skip
            session.unsettled = None
            seconds = self.clock() - max(push.seen, session.entered_at)
            self.figures.push_seconds.observe(seconds)

    def leave(self, session: Session, ending: Ending, code: Close) -> None:
        """A stream that had entered has ended."""
        if self._outbox.lands(session):
            self.figures.pushes["failed"] += 1
        self._live.pop(session, None)
        place = self._namespaces[session.audience.namespace]
        group = place.groups[session.audience]
        group.sessions.pop(session, None)
        self._outbox.discard(session)
        uid = session.pod.uid
        if self._seats.get(uid) is not session:
            self._tidy(place, group)
            return  # replaced: its seat is another's
        if ending is Ending.CLOSED and code is Close.REAUTHENTICATE:
            self._expected[uid] = self.clock() + self.settings.seat_kept
            return
        self._vacate(session, lost=ending is Ending.GONE)

    # Seats: who counts as connected, and who as lost --------------------------------------------

    def _hand_over(self, before: Session, session: Session, place: _Namespace) -> None:
        """The pod has a new stream: close the old one; what it said stands if it still runs it."""
        self._expected.pop(session.pod.uid, None)
        known = before.pushing.acknowledged
        if known is not None and known.version == session.version:
            session.states = before.states
        else:
            for store in before.states:
                place.counts.forget(session.pod.uid, store)
        before.close(Close.REPLACED, "a newer stream of this pod has taken its place")

    def _vacate(self, session: Session, *, lost: bool) -> None:
        """A sidecar is gone: it is counted no more, or as lost."""
        place = self._namespaces[session.audience.namespace]
        group = place.groups[session.audience]
        uid = session.pod.uid
        self._tell_all(group)
        for store in session.states:
            place.counts.forget(uid, store)
            self._news.add(place.name, store)
        self._seats.pop(uid, None)
        self._expected.pop(uid, None)
        place.counts.connected[session.audience] -= 1
        if not place.counts.connected[session.audience]:
            del place.counts.connected[session.audience]
        if lost:
            place.counts.lost[session.audience] += 1
            self._lost[uid] = (session.audience, self.clock() + self.settings.lost_for)
        self._tidy(place, group)

    def _find(self, uid: str) -> None:
        """A pod that came back is not lost."""
        lost = self._lost.pop(uid, None)
        if lost is None:
            return
        audience, _ = lost
        place = self._namespaces[audience.namespace]
        place.counts.lost[audience] -= 1
        if not place.counts.lost[audience]:
            del place.counts.lost[audience]

    def _tidy(self, place: _Namespace, group: _Group) -> None:
        """Forget what nobody is in any more."""
        if not group.sessions and group.audience not in place.counts.connected:
            self._tell_all(group)
            place.groups.pop(group.audience, None)
        if not place.groups and not place.counts:
            if place.timer is not None:
                place.timer.cancel()
            self._namespaces.pop(place.name, None)

    # Pushing ------------------------------------------------------------------------------------

    def _set_timer(self, place: _Namespace) -> None:
        ahead = max(place.debounce.due - self.clock(), 0)
        place.timer = asyncio.get_running_loop().call_later(ahead, self._debounced, place)

    def _debounced(self, place: _Namespace) -> None:
        """The namespace has been quiet, or busy for long enough: see what its audiences get."""
        place.timer = None
        if place.debounce.due > self.clock() + 0.001:
            self._set_timer(place)
            return
        seen = place.debounce.take()
        for group in place.groups.values():
            if self._refresh(group, seen):
                for session in group.sessions:
                    self._outbox.add(session)

    def _refresh(self, group: _Group, seen: float) -> bool:
        """See what the audience is to run now; whether that is another push than before."""
        audience = group.audience
        try:
            wanted = self._wanted_for(audience)
        except Exception:
            log.exception("what %s is to run could not be computed", audience)
            return False
        if group.push is not None and group.push.wanted.version == wanted.version:
            return False
        self._pushes += 1
        nonce = f"{self._instance}-{self._pushes}"
        data = encode(
            Snapshot(
                version=wanted.version,
                epoch=self._epoch(),
                nonce=nonce,
                stores=[store.entry for store in wanted.stores.values()],
            )
        )
        if len(data) > MAX_SNAPSHOT_BYTES:
            log.error(
                "the %d stores of %s/%s are %d bytes, more than the %d a stream carries: "
                "their sidecars keep what they run; give stores to fewer service accounts",
                len(wanted.stores), audience.namespace, audience.service_account, len(data),
                MAX_SNAPSHOT_BYTES,
            )  # fmt: skip
            # Nothing goes out, but who waits for it is counted: the statuses must not say Ready.
            self._news.add_all(audience.namespace, wanted.stores)
            return False
        self._tell_all(group)
        group.push = Push(nonce=nonce, wanted=wanted, data=data, seen=seen)
        group.warned = False
        return True

    def _offer(self, session: Session) -> None:
        """Send what the session is to run now, unless it runs it, or has not answered yet."""
        group = self._namespaces[session.audience.namespace].groups[session.audience]
        if group.push is not None and session.offer(group.push, self.clock()):
            self._outbox.flies(session, len(group.push.data))

    def _tell_all(self, group: _Group) -> None:
        """Every tally of the audience's stores may have changed."""
        if group.push is not None:
            self._news.add_all(group.audience.namespace, group.push.wanted.stores)

    # The clock ----------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.tick()

    def tick(self) -> None:
        """Look at the clock: pings, ages, unanswered pushes, lost sidecars."""
        now = self.clock()
        within = self.settings.answer_within
        for session in list(self._live):
            session.tick(now)
            if session.flying and session.pushing.is_overdue(now, within):
                self.figures.pushes["timeout"] += 1
                self._outbox.lands(session)
                reason = f"a snapshot was not answered within {within:g} s"
                session.close(Close.LATER, reason, Ending.GONE)
        for uid in [uid for uid, until in self._expected.items() if now >= until]:
            self._vacate(self._seats[uid], lost=True)
        while self._lost:
            uid = next(iter(self._lost))
            audience, until = self._lost[uid]
            if now < until:
                break
            place = self._namespaces[audience.namespace]
            self._find(uid)
            for store in self._stores_of(place, audience):
                self._news.add(place.name, store)
            if not place.groups and not place.counts:
                self._namespaces.pop(place.name, None)

    def _stores_of(self, place: _Namespace, audience: Audience) -> list[str]:
        """The names of what the audience is to run now."""
        try:
            return list(self._wanted_for(audience).stores)
        except Exception:
            log.exception("what %s is to run could not be computed", audience)
            return []


def _settled(session: Session, wanted: Wanted) -> bool:
    """Whether the sidecar said of every store of it, but the kept ones, that it is applied."""
    return all(
        session.states.get(name) == "applied" or store.entry.keep
        for name, store in wanted.stores.items()
    )
