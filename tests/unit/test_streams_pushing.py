"""What a stream is sent and when: a table of cases, and a random course of events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pannier.config.stream.messages import Applied, State
from pannier_operator.streams.pushing import Disorder, Push, Pushing
from pannier_operator.wanted import Wanted


def push(version: str, nonce: str = "") -> Push:
    wanted = Wanted(version=version, stores={})
    return Push(nonce=nonce or f"n-{version}", wanted=wanted, data=b"{}", seen=0.0)


def applied(which: Push, **changes: Any) -> Applied:
    said = {"version": which.wanted.version, "nonce": which.nonce, "stores": {}} | changes
    return Applied(**said)


class TestPushing:
    def test_the_first_push_goes_out_at_once(self) -> None:
        pushing = Pushing(None)
        first = push("a")
        assert pushing.want(first, 1.0) is first
        assert pushing.in_flight is first

    def test_a_sidecar_that_runs_the_version_gets_no_push(self) -> None:
        pushing = Pushing("a")
        assert pushing.want(push("a"), 1.0) is None
        assert pushing.in_flight is None
        said = pushing.reported(State(version="a", stores={}))
        assert said is not None and said.version == "a"

    def test_a_sidecar_that_runs_another_version_gets_it(self) -> None:
        pushing = Pushing("old")
        new = push("new")
        assert pushing.want(new, 1.0) is new
        assert pushing.reported(State(version="old", stores={})) is None

    def test_only_the_newest_waits_for_an_answer(self) -> None:
        pushing = Pushing(None)
        first, second, third = push("1"), push("2"), push("3")
        pushing.want(first, 1.0)
        assert pushing.want(second, 1.1) is None
        assert pushing.want(third, 1.2) is None
        assert pushing.applied(applied(first)) is first
        assert pushing.then(1.3) is third
        assert pushing.applied(applied(third)) is third
        assert pushing.then(1.4) is None

    def test_a_change_that_is_taken_back_is_taken_back_there_too(self) -> None:
        pushing = Pushing("a")
        away, back = push("b"), push("a")
        assert pushing.want(away, 1.0) is away
        assert pushing.want(back, 1.1) is None
        pushing.applied(applied(away))
        assert pushing.then(1.2) is back

    def test_what_is_in_flight_is_not_sent_again(self) -> None:
        pushing = Pushing(None)
        first, second, again = push("1"), push("2"), push("1", "another nonce")
        pushing.want(first, 1.0)
        pushing.want(second, 1.1)
        pushing.want(again, 1.2)
        assert pushing.applied(applied(first)) is first
        assert pushing.then(1.3) is None
        assert pushing.acknowledged is again.wanted

    @pytest.mark.parametrize("nonce", ["", "n-0", "n-2"])
    def test_an_answer_to_another_nonce_is_ignored(self, nonce: str) -> None:
        pushing = Pushing(None)
        first = push("1")
        pushing.want(first, 1.0)
        assert pushing.applied(applied(first, nonce=nonce)) is None
        assert pushing.in_flight is first

    def test_an_answer_to_nothing_is_ignored(self) -> None:
        assert Pushing(None).applied(applied(push("1"))) is None

    def test_a_second_answer_is_ignored(self) -> None:
        pushing = Pushing(None)
        first = push("1")
        pushing.want(first, 1.0)
        pushing.applied(applied(first))
        assert pushing.applied(applied(first)) is None

    def test_an_answer_that_names_another_version_breaks_the_stream(self) -> None:
        pushing = Pushing(None)
        first = push("1")
        pushing.want(first, 1.0)
        with pytest.raises(Disorder, match="another version"):
            pushing.applied(applied(first, version="2"))

    def test_reports_of_what_is_acknowledged_count_while_the_next_is_under_way(self) -> None:
        pushing = Pushing("a")
        pushing.want(push("a"), 1.0)
        pushing.want(push("b"), 1.1)
        said = pushing.reported(State(version="a", stores={}))
        assert said is not None and said.version == "a"
        assert pushing.reported(State(version="b", stores={})) is None

    def test_it_is_overdue_after_its_time_and_not_before(self) -> None:
        pushing = Pushing(None)
        assert not pushing.is_overdue(1000.0, 15.0)
        pushing.want(push("1"), 10.0)
        assert not pushing.is_overdue(25.0, 15.0)
        assert pushing.is_overdue(25.1, 15.0)


class Course(RuleBasedStateMachine):
    """A fleet that wants, a sidecar that answers well or late or twice, and a line between."""

    def __init__(self) -> None:
        super().__init__()
        self.pushing = Pushing(None)
        self.now = 0.0
        self.numbers = 0
        self.newest: Push | None = None
        self.line: list[Push] = []
        """Sent and not answered."""
        self.answered: list[Push] = []
        self.runs: str | None = None
        """What the sidecar really runs."""

    def sent(self, which: Push | None) -> None:
        if which is not None:
            assert which.nonce not in {each.nonce for each in [*self.line, *self.answered]}
            self.line.append(which)

    @rule(version=st.sampled_from("abc"))
    def want(self, version: str) -> None:
        if self.newest is not None and self.newest.wanted.version == version:
            return  # a fleet makes no new push of the same version
        self.numbers += 1
        self.newest = push(version, f"n{self.numbers}")
        self.sent(self.pushing.want(self.newest, self.now))

    @rule()
    def offer_again(self) -> None:
        if self.newest is not None:
            self.sent(self.pushing.want(self.newest, self.now))

    @precondition(lambda self: self.line)
    @rule()
    def answer(self) -> None:
        push = self.line.pop(0)
        self.runs = push.wanted.version
        self.answered.append(push)
        assert self.pushing.applied(applied(push)) is push
        self.sent(self.pushing.then(self.now))

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def answer_something_old(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.answered))
        assert self.pushing.applied(applied(old)) is None

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_two_in_flight(self) -> None:
        assert len(self.line) <= 1
        assert (self.pushing.in_flight is not None) == bool(self.line)

    @invariant()
    def the_newest_is_never_lost(self) -> None:
        """Whatever happened: once the line is empty, the sidecar runs the newest."""
        if self.newest is not None and not self.line:
            assert self.runs == self.newest.wanted.version

    @invariant()
    def what_is_acknowledged_is_what_runs(self) -> None:
        if self.pushing.acknowledged is not None:
            assert self.pushing.acknowledged.version == self.runs

    def teardown(self) -> None:
        while self.line:
            self.answer()
            self.never_two_in_flight()
            self.the_newest_is_never_lost()


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
