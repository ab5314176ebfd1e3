"""The tallies: each answer moves one sidecar, and the counts are those of a plain recount."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.config.stream.messages import StoreEntry, StoreReport, StoreState
from pannier_operator.streams.counting import NamespaceCounts, StoreAnswers
from pannier_operator.streams.hearsay import code, printable
from pannier_operator.wanted import Audience, WantedStore

ALL = Audience("shop", "default")
CHECKOUT = Audience("shop", "checkout")


def store(
    name: str = "cart", fingerprint: str = "f1", accounts: frozenset[str] | None = None
) -> WantedStore:
    return WantedStore(
        name=name, uid="u", generation=1, fingerprint=fingerprint,
        entry=StoreEntry(name=name), service_accounts=accounts,
    )  # fmt: skip


def report(state: StoreState, code: str = "", message: str = "", **more: Any) -> StoreReport:
    return StoreReport(state=state, code=code, message=message, **more)


class TestATally:
    def counts(self, sidecars: int) -> NamespaceCounts:
        counts = NamespaceCounts()
        counts.connected[ALL] = sidecars
        return counts

    def test_those_that_have_not_answered_are_pending(self) -> None:
        counts = self.counts(3)
        counts.hear("a", "pod-a", "cart", "f1", report("applied", reachable=True))
        tally = counts.tally(store())
        assert (tally.connected, tally.synced, tally.pending, tally.rejected) == (3, 1, 2, 0)
        assert (tally.reachable, tally.unreachable) == (1, 0)

    def test_an_answer_to_an_older_fingerprint_is_no_answer_to_the_new_one(self) -> None:
        counts = self.counts(2)
        counts.hear("a", "pod-a", "cart", "f1", report("applied"))
        counts.hear("b", "pod-b", "cart", "f1", report("rejected", "invalid-request", "no"))
        new = counts.tally(store(fingerprint="f2"))
        assert (new.synced, new.pending, new.rejected, new.rejections) == (0, 2, 0, ())

    def test_the_longest_standing_five_rejections_are_named(self) -> None:
        counts = self.counts(9)
        for number in range(9):
            counts.hear(number, f"pod-{number}", "cart", "f1", report("rejected", "bad", "no"))
        counts.hear(0, "pod-0", "cart", "f1", report("rejected", "bad", "still no"))
        counts.hear(1, "pod-1", "cart", "f1", report("applied"))
        tally = counts.tally(store())
        assert tally.rejected == 8
        assert [each.pod for each in tally.rejections] == [f"pod-{n}" for n in (0, 2, 3, 4, 5)]
        assert tally.rejections[0].message == "still no"

    def test_pendings_are_named_where_they_said_why(self) -> None:
        counts = self.counts(3)
        counts.hear("a", "pod-a", "cart", "f1", report("pending"))
        counts.hear("b", "pod-b", "cart", "f1", report("pending", "backend-unavailable", "away"))
        tally = counts.tally(store())
        assert tally.pending == 3
        assert [(each.pod, each.code) for each in tally.pendings] == [
            ("pod-b", "backend-unavailable")
        ]

    def test_only_sidecars_of_its_service_accounts_count(self) -> None:
        counts = self.counts(3)
        counts.connected[CHECKOUT] = 2
        counts.lost[CHECKOUT] = 1
        counts.lost[ALL] = 4
        tally = counts.tally(store(accounts=frozenset({"checkout"})))
        assert (tally.connected, tally.lost) == (2, 1)

    def test_a_sidecar_that_is_gone_is_counted_nowhere(self) -> None:
        counts = self.counts(1)
        counts.hear("a", "pod-a", "cart", "f1", report("rejected", "bad", "no", reachable=False))
        assert counts.forget("a", "cart")
        assert not counts.forget("a", "cart")
        assert not counts.stores
        assert counts.tally(store()).unreachable == 0

    def test_silence_about_the_backend_is_no_news_of_it(self) -> None:
        answers = StoreAnswers()
        answers.hear("a", "pod-a", "f1", report("applied", reachable=True))
        answers.hear("a", "pod-a", "f2", report("applied"))
        assert answers.tally("f2", connected=1, lost=0).reachable == 1

    def test_the_same_word_twice_is_no_change(self) -> None:
        answers = StoreAnswers()
        for said in (report("applied", reachable=True), report("rejected", "bad", "no")):
            assert answers.hear("a", "pod-a", "f1", said)
            assert not answers.hear("a", "pod-a", "f1", said)
        assert answers.hear("a", "pod-a", "f1", report("rejected", "bad", "otherwise"))

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 5),
                st.sampled_from(["f1", "f2"]),
                st.sampled_from(["applied", "pending", "rejected", "gone"]),
                st.sampled_from([True, False, None]),
            ),
            max_size=60,
        )
    )
    @settings(deadline=None)
    def test_it_is_what_a_recount_says(self, events: list[tuple[int, str, Any, Any]]) -> None:
        answers = StoreAnswers()
        plain: dict[int, tuple[str, str, bool | None]] = {}
        for sidecar, fingerprint, state, reachable in events:
            if state == "gone":
                answers.forget(sidecar)
                plain.pop(sidecar, None)
                continue
            answers.hear(sidecar, "p", fingerprint, report(state, reachable=reachable))
            known = plain.get(sidecar, ("", "", None))[2]
            plain[sidecar] = (fingerprint, state, known if reachable is None else reachable)
        for fingerprint in ("f1", "f2"):
            states = Counter(state for f, state, _ in plain.values() if f == fingerprint)
            tally = answers.tally(fingerprint, connected=len(plain), lost=0)
            assert tally.synced == states["applied"]
            assert tally.rejected == states["rejected"]
            assert tally.pending == len(plain) - states["applied"] - states["rejected"]
            assert tally.reachable == sum(r is True for _, _, r in plain.values())
            assert tally.unreachable == sum(r is False for _, _, r in plain.values())
        assert bool(answers) == bool(plain)

    def test_an_answer_costs_the_same_among_ten_thousand_sidecars(self) -> None:
        def cost(sidecars: int) -> float:
            answers = StoreAnswers()
            for each in range(sidecars):
                answers.hear(each, "p", "f1", report("applied"))
            best = 9.0
            for round_ in range(5):
                started = time.process_time()
                for each in range(500):
                    answers.hear(each, "p", f"r{round_}", report("rejected", "bad", "no"))
                    answers.tally(f"r{round_}", connected=sidecars, lost=0)
                best = min(best, time.process_time() - started)
            return best

        assert cost(10_000) < 10 * cost(500)  # a step for each sidecar would be 20 times


class TestHearsay:
    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("plain", "plain"),
            ("two\nlines\r\n\tof it", "two lines of it"),
            ("red \x1b[31m alarm", "red [31m alarm"),
            ("right\u202eto left", "right to left"),
            ("nul\0 and \x85 next", "nul and next"),
            ("half \ud800 of one", "half of one"),
            ("  ", ""),
            ("größe ≤ 3", "größe ≤ 3"),
        ],
    )
    def test_a_message_is_one_printable_line(self, said: str, shown: str) -> None:
        assert printable(said) == shown

    @given(st.text(max_size=3000))
    def test_whatever_it_is_it_is_short_and_printable(self, said: str) -> None:
        shown = printable(said)
        assert len(shown) <= 256 and shown.isprintable()

    def test_a_long_one_is_cut_and_shows_it(self) -> None:
        assert printable("x" * 1000) == "x" * 255 + "…"

    @pytest.mark.parametrize("good", ["backend-unavailable", "internal", "a1-b2"])
    def test_a_code_is_a_problem_code(self, good: str) -> None:
        assert code(good) == good

    @pytest.mark.parametrize("bad", ["", "A", "a--b", "a_b", "-a", "a\n", "x" * 65, "é", "a b"])
    def test_anything_else_is_unknown(self, bad: str) -> None:
        assert code(bad) == "unknown"
