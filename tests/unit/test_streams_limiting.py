"""How often strangers may ask, and when a change is acted on; time is a number."""

from __future__ import annotations

from pannier_operator.streams.debouncing import Debounce
from pannier_operator.streams.limiting import (
    MOST_REFUSALS,
    MOST_SOURCES,
    Pace,
    RefusedTokens,
    SourceLimit,
)


class TestRefusedTokens:
    def test_a_token_is_refused_again_for_ten_seconds(self) -> None:
        refused = RefusedTokens()
        refused.add("secret", "wrong-audience", 100.0)
        assert refused.reason("secret", 109.9) == "wrong-audience"
        assert refused.reason("secret", 110.0) is None
        assert refused.reason("another", 101.0) is None

    def test_no_token_is_kept(self) -> None:
        refused = RefusedTokens()
        refused.add("a-very-secret-token", "token-refused", 1.0)
        assert "secret-token" not in repr(vars(refused))

    def test_the_memory_is_bounded_and_the_oldest_go(self) -> None:
        refused = RefusedTokens()
        for number in range(MOST_REFUSALS + 5):
            refused.add(f"t{number}", "token-refused", 1.0)
        assert len(refused) == MOST_REFUSALS
        assert refused.reason("t0", 2.0) is None
        assert refused.reason(f"t{MOST_REFUSALS}", 2.0) == "token-refused"
        refused.add("later", "token-refused", 100.0)
        assert len(refused) == 1


class TestSourceLimit:
    def test_a_burst_is_forgiven_and_then_it_has_to_wait(self) -> None:
        limit = SourceLimit(burst=3, every=2.0)
        for _ in range(3):
            assert limit.wait("10.0.0.1", 100.0) == 0
            limit.refused("10.0.0.1", 100.0)
        assert limit.wait("10.0.0.1", 100.0) == 2.0
        assert limit.wait("10.0.0.1", 101.5) == 0.5
        assert limit.wait("10.0.0.1", 102.0) == 0
        assert limit.wait("10.0.0.2", 100.0) == 0

    def test_all_is_forgiven_in_the_end(self) -> None:
        limit = SourceLimit(burst=2, every=1.0)
        for _ in range(50):
            limit.refused("10.0.0.1", 0.0)
        assert limit.wait("10.0.0.1", 10.0) > 0
        assert limit.wait("10.0.0.1", 60.0) == 0

    def test_the_memory_is_bounded(self) -> None:
        limit = SourceLimit()
        for number in range(MOST_SOURCES + 5):
            limit.refused(f"s{number}", 1.0)
        assert len(limit) == MOST_SOURCES


class TestPace:
    def test_turns_come_at_a_steady_rate(self) -> None:
        pace = Pace(10)
        waits = [pace.turn(5.0, 1.0) for _ in range(4)]
        assert [round(wait, 6) for wait in waits if wait is not None] == [0.0, 0.1, 0.2, 0.3]
        assert pace.turn(50.0, 1.0) == 0.0

    def test_who_would_wait_too_long_takes_no_turn(self) -> None:
        pace = Pace(10)
        waits = [pace.turn(5.0, 0.15) for _ in range(4)]
        assert [wait is None for wait in waits] == [False, False, True, True]
        assert pace.turn(5.3, 0.15) == 0.0


class TestDebounce:
    def test_a_lone_change_waits_for_a_quiet_moment(self) -> None:
        debounce = Debounce()
        debounce.touch(10.0)
        assert debounce.due == 10.1
        assert debounce.take() == 10.0
        assert debounce.first is None

    def test_changes_without_end_are_acted_on_once_a_second(self) -> None:
        debounce = Debounce()
        for step in range(50):
            debounce.touch(10.0 + step * 0.05)
        assert debounce.due == 11.0
        assert debounce.take() == 10.0
