"""How every store fares in the sidecars, kept up to date answer by answer. Pure.

A thousand sidecars that answer one change cost a thousand small steps, not a thousand times a
thousand: each answer moves its sidecar from one place to another, and a tally reads the lengths.
Answers are kept by the fingerprint they answered, so a tally is right for whatever is wanted now,
also in the moment after an edit when nobody has been pushed to yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pannier.config.stream.messages import StoreReport, StoreState
from pannier_operator.streams.hearsay import code, printable
from pannier_operator.tally import Rejection, Tally
from pannier_operator.wanted import Audience, WantedStore

MOST_SHOWN: Final = 5
"""Rejections and pendings that a tally names."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one sidecar said of one store last."""

    fingerprint: str
    state: StoreState
    reachable: bool | None


class StoreAnswers:
    """All answers about the StoreBackends of one name in one namespace."""

    __slots__ = ("_applied", "_by_sidecar", "_reachable", "_unreachable", "_why")

    def __init__(self) -> None:
        self._by_sidecar: dict[Hashable, Answer] = {}
        self._applied: Counter[str] = Counter()
        self._why: dict[tuple[str, StoreState], dict[Hashable, Rejection]] = {}
        """Who is pending or refused, by fingerprint, in the order in which they said so."""
        self._reachable = 0
        self._unreachable = 0

    def __bool__(self) -> bool:
        return bool(self._by_sidecar)

    def hear(self, sidecar: Hashable, pod: str, fingerprint: str, report: StoreReport) -> bool:
        """Take one sidecar's word; whether a tally may differ now."""
        before = self._by_sidecar.get(sidecar)
        reachable = report.reachable
        if reachable is None and before is not None:
            reachable = before.reachable  # silence about the backend is no news of it
        answer = Answer(fingerprint, report.state, reachable)
        if before is not None and before != answer:
            self._take_out(sidecar, before)
        if before != answer:
            self._by_sidecar[sidecar] = answer
            self._reachable += reachable is True
            self._unreachable += reachable is False
            if report.state == "applied":
                self._applied[fingerprint] += 1
        if report.state == "applied":
            return before != answer
        why = self._why.setdefault((fingerprint, report.state), {})
        said = Rejection(
            pod,
            code(report.code) if report.code or report.state == "rejected" else "",
            printable(report.message),
        )
        changed = before != answer or why.get(sidecar) != said
        why[sidecar] = said  # an assignment keeps its place: the longest-standing stay first
        return changed

    def forget(self, sidecar: Hashable) -> bool:
        """The sidecar has the store no more, or is gone; whether a tally may differ now."""
        answer = self._by_sidecar.pop(sidecar, None)
        if answer is None:
            return False
        self._take_out(sidecar, answer)
        return True

    def _take_out(self, sidecar: Hashable, answer: Answer) -> None:
        self._reachable -= answer.reachable is True
        self._unreachable -= answer.reachable is False
        if answer.state == "applied":
            self._applied[answer.fingerprint] -= 1
            if not self._applied[answer.fingerprint]:
                del self._applied[answer.fingerprint]
            return
        place = (answer.fingerprint, answer.state)
        why = self._why[place]
        del why[sidecar]
        if not why:
            del self._why[place]

    def tally(self, fingerprint: str, *, connected: int, lost: int) -> Tally:
        """The counts as they are for a store that is wanted with this fingerprint."""
        synced = self._applied.get(fingerprint, 0)
        refused = self._why.get((fingerprint, "rejected"), {})
        pending = self._why.get((fingerprint, "pending"), {})
        return Tally(
            connected=connected,
            synced=synced,
            pending=max(connected - synced - len(refused), 0),
            rejected=len(refused),
            reachable=self._reachable,
            unreachable=self._unreachable,
            lost=lost,
            rejections=tuple(islice(refused.values(), MOST_SHOWN)),
            pendings=tuple(islice(_explained(pending), MOST_SHOWN)),
        )


def _explained(pending: dict[Hashable, Rejection]) -> Iterator[Rejection]:
    """Those that said why; the look is bounded, as thousands may have said nothing."""
    return (each for each in islice(pending.values(), 100) if each.code or each.message)


class NamespaceCounts:
    """The sidecars of one namespace: how many of each audience, lost ones, and their answers."""

    __slots__ = ("connected", "lost", "stores")

    def __init__(self) -> None:
        self.connected: Counter[Audience] = Counter()
        self.lost: Counter[Audience] = Counter()
        self.stores: dict[str, StoreAnswers] = {}

    def __bool__(self) -> bool:
        return bool(self.connected or self.lost or self.stores)

    def hear(
        self, sidecar: Hashable, pod: str, store: str, fingerprint: str, report: StoreReport
    ) -> bool:
        """Take one sidecar's word about one store; whether its tally may differ now."""
        answers = self.stores.get(store)
        if answers is None:
            answers = self.stores[store] = StoreAnswers()
        return answers.hear(sidecar, pod, fingerprint, report)

    def forget(self, sidecar: Hashable, store: str) -> bool:
        """The sidecar has this store no more, or is gone; whether its tally may differ now."""
        answers = self.stores.get(store)
        if answers is None:
            return False
        changed = answers.forget(sidecar)
        if not answers:
            del self.stores[store]
        return changed

    def tally(self, store: WantedStore) -> Tally:
        """How the store fares; a step for each service account, none for each sidecar."""
        connected = sum(n for audience, n in self.connected.items() if store.is_for(audience))
        lost = sum(n for audience, n in self.lost.items() if store.is_for(audience))
        answers = self.stores.get(store.name) or StoreAnswers()
        return answers.tally(store.fingerprint, connected=connected, lost=lost)
