"""Who leads, on paper: clocks that disagree, answers that are late or lost, Leases that vanish."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_operator.election import Candidacy, LeaseRecord, micro_time

WALL = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_EPOCH = int(WALL.timestamp() // 60)


def candidate(name: str = "a") -> Candidacy:
    return Candidacy(name, duration=15, deadline=10)


def record(holder: str, version: int, transitions: int = 7, duration: float = 15) -> LeaseRecord:
    return LeaseRecord(holder, transitions, duration, "acquired", "renewed", str(version))


def took(candidacy: Candidacy, at: float, version: int) -> None:
    spec = candidacy.claim(WALL)
    lease = {"metadata": {"resourceVersion": str(version)}, "spec": spec}
    candidacy.took(LeaseRecord.of(lease), asked_at=at, now=at + 0.1)


def test_the_first_one_makes_the_lease_and_leads() -> None:
    one = candidate()
    one.saw(None, 100)
    assert one.may_take(100)
    took(one, 100, 1)
    assert one.leads(109.9)
    assert not one.leads(110), "the deadline counts from before the request"
    assert one.epoch == FIRST_EPOCH


def test_a_lease_is_taken_only_when_it_did_not_change_for_its_duration() -> None:
    one = candidate()
    one.saw(record("b", 1), 100)
    one.saw(record("b", 1), 110)
    one.saw(record("b", 2), 112)
    assert not one.may_take(126.9)
    assert one.may_take(127)
    took(one, 127, 3)
    assert one.epoch == 8


def test_what_times_the_lease_shows_means_nothing() -> None:
    one = candidate()
    long_ago = replace(record("b", 1), renewed="1970-01-01T00:00:00.000000Z")
    one.saw(long_ago, 100)
    assert not one.may_take(114)


def test_a_holder_that_asks_for_longer_gets_it() -> None:
    one = candidate()
    one.saw(record("b", 1, duration=60), 100)
    assert not one.may_take(159)
    assert one.may_take(160)


def test_a_released_lease_is_free_at_once() -> None:
    one, other = candidate("a"), candidate("b")
    one.saw(None, 100)
    took(one, 100, 1)
    freed = {"metadata": {"resourceVersion": "2"}, "spec": one.release(WALL)}
    other.saw(LeaseRecord.of(freed), 50)
    assert other.may_take(50)
    took(other, 50, 3)
    assert other.epoch == one.epoch + 1


def test_renewing_keeps_the_epoch_and_since_when() -> None:
    one = candidate()
    one.saw(None, 100)
    took(one, 100, 1)
    acquired = one.claim(WALL)["acquireTime"]
    later = one.claim(WALL + timedelta(hours=1))
    assert later["acquireTime"] == acquired
    assert later["renewTime"] == "2026-03-01T01:00:00.000000Z"
    assert later["leaseTransitions"] == FIRST_EPOCH


def test_a_lease_deleted_under_its_holder_is_not_taken_before_the_term_ends() -> None:
    one = candidate()
    one.saw(record("b", 1), 100)
    one.saw(None, 105)
    assert not one.may_take(114.9)
    assert one.may_take(115)
    took(one, 115, 9)
    assert one.epoch == FIRST_EPOCH


def test_the_epoch_never_falls_when_the_lease_is_made_anew() -> None:
    one = candidate()
    ahead = FIRST_EPOCH + 1000
    one.saw(record("b", 1, transitions=ahead), 100)
    one.saw(None, 200)
    took(one, 200, 2)
    assert one.epoch == ahead + 1


def test_who_sees_another_holder_leads_no_more() -> None:
    one = candidate()
    one.saw(None, 100)
    took(one, 100, 1)
    one.saw(record("b", 2), 101)
    assert not one.leads(101)


def test_a_deadline_at_or_past_the_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="must be less"):
        Candidacy("a", duration=15, deadline=15)


def test_micro_times_always_have_six_digits() -> None:
    assert micro_time(WALL) == "2026-03-01T00:00:00.000000Z"


@dataclass
class World:
    """An API server with one Lease, and candidates that reach it late, or not at all."""

    rng: random.Random
    now: float = 0.0
    lease: dict[str, Any] | None = None
    version: int = 0
    in_flight: list[dict[str, Any]] = field(default_factory=list)

    def get(self) -> LeaseRecord | None:
        return LeaseRecord.of(self.lease) if self.lease is not None else None

    def put(self, spec: dict[str, Any], seen: LeaseRecord | None) -> LeaseRecord | None:
        have = self.lease and self.lease["metadata"]["resourceVersion"]
        if have != (seen.version if seen else None):
            return None
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return LeaseRecord.of(self.lease)


@settings(max_examples=300, deadline=None)
@given(st.integers(min_value=0), st.booleans())
def test_two_never_lead_at_once(seed: int, deletions: bool) -> None:
    world = World(random.Random(seed))
    rng = world.rng
    candidates = [candidate(name) for name in "abc"]
    # Each has a clock of its own, which even runs a tenth faster or slower.
    clocks = [(rng.uniform(-1e6, 1e6), rng.uniform(0.9, 1.1)) for _ in candidates]
    epochs: list[tuple[int, str]] = []

    def clock(index: int) -> float:
        offset, rate = clocks[index]
        return offset + world.now * rate

    for _ in range(300):
        world.now += rng.choice([0.01, 0.5, 2, 5, 12])
        index = rng.randrange(3)
        one = candidates[index]
        match rng.choice(["look", "look", "send", "send", "apply", "apply", "lose", "delete"]):
            case "look":
                one.saw(world.get(), clock(index))
            case "send" if one.may_take(clock(index)):
                wall = WALL + timedelta(seconds=rng.uniform(-1e5, 1e5))
                world.in_flight.append(
                    {"who": index, "at": clock(index), "spec": one.claim(wall), "seen": one.seen}
                )
            case "apply" | "lose" as fate if world.in_flight:
                sent = world.in_flight.pop(rng.randrange(len(world.in_flight)))
                who = sent["who"]
                made = world.put(sent["spec"], sent["seen"])
                # Its sender waits five seconds for an answer; what was sent may still be applied.
                if fate == "apply" and made is not None and clock(who) < sent["at"] + 5:
                    candidates[who].took(made, asked_at=sent["at"], now=clock(who))
            case "delete" if deletions and not world.in_flight:
                # Somebody deletes it while all have seen who holds it.
                for each in range(3):
                    candidates[each].saw(world.get(), clock(each))
                world.lease = None
        leading = [i for i in range(3) if candidates[i].leads(clock(i))]
        assert len(leading) <= 1
        for i in leading:
            epochs.append((candidates[i].epoch, candidates[i].identity))
    if not deletions:
        assert epochs == sorted(epochs, key=lambda each: each[0]), "an epoch fell"
        assert len({who for _, who in epochs}) <= len(set(epochs))
        owners: dict[int, str] = {}
        assert all(owners.setdefault(epoch, who) == who for epoch, who in epochs)
