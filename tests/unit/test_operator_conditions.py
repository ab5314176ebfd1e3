"""What a StoreBackend's status says, case by case, and what holds in every case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier.config.stream.messages import StoreEntry
from pannier_operator.conditions import (
    CONDITIONS,
    MAX_DETAIL,
    MAX_MESSAGE,
    MAX_REJECTIONS,
    SETTLE,
    Unresolved,
    condition,
    patience,
    status_of,
)
from pannier_operator.tally import Rejection, Tally
from pannier_operator.wanted import WantedStore

NOW = datetime(2026, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC)


def resource(generation: int = 3) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "carts", "generation": generation}}


def wanted(generation: int = 3) -> WantedStore:
    return WantedStore(
        name="carts",
        uid="u",
        generation=generation,
        fingerprint="f",
        entry=StoreEntry(name="carts", document={}),
    )


NO_SECRET = Unresolved("SecretNotFound", "Secret carts-redis does not exist: create it")
REFUSED = Rejection("carts-7", "invalid-config", "spec.redis.hashBuckets cannot be changed")
DOWN = Rejection("carts-8", "backend-unavailable", "10.0.0.9:6379 refuses connections")
SLOW = Rejection("carts-9", "store-busy", "still draining")

# resolved, tally -> Ready, Accepted, Synced, Reachable as "status reason"
CASES: dict[str, tuple[WantedStore | Unresolved, Tally | None, tuple[str, str, str, str]]] = {
    "nobody connected": (
        wanted(),
        Tally(),
        ("True NoSidecars", "True Accepted", "True NoSidecars", "Unknown NoSidecars"),
    ),
    "nobody counted": (
        wanted(),
        None,
        ("True NoSidecars", "True Accepted", "True NoSidecars", "Unknown NoSidecars"),
    ),
    "all run it": (
        wanted(),
        Tally(connected=12, synced=12, reachable=12),
        ("True Ready", "True Accepted", "True Synced", "True Reachable"),
    ),
    "all run it, none has said whether the backend answers": (
        wanted(),
        Tally(connected=12, synced=12),
        ("True Ready", "True Accepted", "True Synced", "Unknown NotReported"),
    ),
    "one has not answered": (
        wanted(),
        Tally(connected=12, synced=11, pending=1, reachable=11),
        ("False Pending", "True Accepted", "False Pending", "True Reachable"),
    ),
    "the count lags behind": (
        wanted(),
        Tally(connected=2, synced=1),
        ("False Pending", "True Accepted", "False Pending", "Unknown NotReported"),
    ),
    "one is pending for a reason of its own": (
        wanted(),
        Tally(connected=2, synced=1, pending=1, reachable=2, pendings=(SLOW,)),
        ("False Pending", "True Accepted", "False Pending", "True Reachable"),
    ),
    "one refused": (
        wanted(),
        Tally(connected=12, synced=11, rejected=1, reachable=12, rejections=(REFUSED,)),
        ("False Rejected", "True Accepted", "False Rejected", "True Reachable"),
    ),
    "refused and pending: the refusal is named": (
        wanted(),
        Tally(connected=2, rejected=1, pending=1, rejections=(REFUSED,), pendings=(DOWN,)),
        ("False Rejected", "True Accepted", "False Rejected", "Unknown NotReported"),
    ),
    "the new backend is not reached": (
        wanted(),
        Tally(connected=1, pending=1, reachable=1, pendings=(DOWN,)),
        (
            "False BackendUnreachable",
            "True Accepted",
            "False BackendUnreachable",
            "True Reachable",
        ),
    ),
    "the backend went away": (
        wanted(),
        Tally(connected=2, synced=2, unreachable=2),
        (
            "False BackendUnreachable",
            "True Accepted",
            "True Synced",
            "False BackendUnreachable",
        ),
    ),
    "one pod does not reach it": (
        wanted(),
        Tally(connected=2, synced=2, reachable=1, unreachable=1),
        ("False PartlyUnreachable", "True Accepted", "True Synced", "False PartlyUnreachable"),
    ),
    "not accepted": (
        NO_SECRET,
        None,
        ("False SecretNotFound", "False SecretNotFound", "False NotAccepted", "Unknown NoSidecars"),
    ),
    "not accepted while an older one serves": (
        NO_SECRET,
        Tally(connected=3, reachable=3),
        ("False SecretNotFound", "False SecretNotFound", "False NotAccepted", "True Reachable"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_conditions(name: str) -> None:
    resolved, tally, expected = CASES[name]
    status = status_of(resource(), resolved, tally, now=NOW)
    found = tuple(f"{each['status']} {each['reason']}" for each in status["conditions"])
    assert [each["type"] for each in status["conditions"]] == list(CONDITIONS)
    assert found == expected


def test_a_refusal_names_a_pod_its_code_and_what_it_said() -> None:
    tally = Tally(connected=2, synced=1, rejected=1, rejections=(REFUSED,))
    status = status_of(resource(), wanted(), tally, now=NOW)
    for name in ("Ready", "Synced"):
        message = condition(status, name)["message"]
        assert "1 of 2 sidecars" in message
        assert "pod carts-7 says invalid-config: spec.redis.hashBuckets cannot" in message
    assert status["rejections"] == [
        {
            "pod": "carts-7",
            "code": "invalid-config",
            "message": "spec.redis.hashBuckets cannot be changed",
        }
    ]


def test_the_counts_are_all_there() -> None:
    tally = Tally(connected=12, synced=9, pending=2, rejected=1, reachable=10, lost=4)
    status = status_of(resource(), wanted(), tally, now=NOW)
    assert status["sidecars"] == {
        "connected": 12,
        "synced": 9,
        "pending": 2,
        "rejected": 1,
        "reachable": 10,
        "lost": 4,
    }
    assert status["synced"] == "9/12"


def test_not_accepted_says_that_the_old_store_serves_on() -> None:
    status = status_of(resource(), NO_SECRET, None, now=NOW)
    assert condition(status, "Ready")["message"] == (
        "Secret carts-redis does not exist: create it. Until then nothing is pushed: sidecars that "
        "run an earlier configuration of this store serve on with it."
    )


def test_sidecars_that_are_gone_show_where_none_is_left() -> None:
    status = status_of(resource(), wanted(), Tally(lost=2), now=NOW)
    assert "2 sidecars lost in the last 15 minutes" in condition(status, "Synced")["message"]


def test_every_condition_carries_the_generation_it_speaks_of() -> None:
    # The resource was edited since: what was resolved is generation 3.
    status = status_of(resource(generation=4), wanted(3), Tally(), now=NOW)
    assert status["observedGeneration"] == 3
    assert {each["observedGeneration"] for each in status["conditions"]} == {3}


def test_a_shared_place_is_accepted_with_a_warning() -> None:
    status = status_of(
        resource(),
        wanted(),
        Tally(connected=1, synced=1),
        now=NOW,
        shares_with=[("shop", "orders"), ("bank", "vault")],
    )
    accepted = condition(status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "SharedPrefix")
    assert "StoreBackend orders and 1 of other namespaces" in accepted["message"]
    assert "vault" not in str(status), "a tenant's names are not another's to read"
    assert "see the condition Accepted" in condition(status, "Ready")["message"]


def test_since_when_changes_with_the_status_alone() -> None:
    first = status_of(resource(), wanted(), Tally(connected=1, synced=1), now=NOW)
    later = NOW + timedelta(hours=1)
    more = status_of(resource(4), wanted(4), Tally(connected=2, synced=2), now=later, before=first)
    assert {each["lastTransitionTime"] for each in more["conditions"]} == {"2026-03-01T12:00:00Z"}
    worse = status_of(
        resource(4), wanted(4), Tally(connected=2, rejected=2), now=later, before=more
    )
    assert condition(worse, "Ready")["lastTransitionTime"] == "2026-03-01T13:00:00Z"
    assert condition(worse, "Accepted")["lastTransitionTime"] == "2026-03-01T12:00:00Z"


def test_what_a_sidecar_says_is_one_printable_line_of_bounded_length() -> None:
    hostile = Rejection("p\x1b[2J", "c\n" * 99, "x\x00\x1b[31m\r\n" + "y" * 1000)
    tally = Tally(connected=9, rejected=9, rejections=(hostile,) * 9)
    status = status_of(resource(), wanted(), tally, now=NOW)
    assert len(status["rejections"]) == MAX_REJECTIONS
    for each in status["rejections"]:
        assert all(text.isprintable() for text in each.values())
        assert len(each["message"]) == MAX_DETAIL
    assert condition(status, "Synced")["message"].isprintable()


def test_only_a_newcomer_that_has_not_answered_may_wait() -> None:
    ready = status_of(resource(), wanted(), Tally(connected=1, synced=1), now=NOW)
    newcomer = Tally(connected=2, synced=1, pending=1)
    waits = status_of(resource(), wanted(), newcomer, now=NOW, before=ready)
    assert patience(ready, waits) == SETTLE
    assert patience(waits, ready) == 0, "good news does not wait"
    edited = status_of(resource(4), wanted(4), newcomer, now=NOW, before=ready)
    assert patience(ready, edited) == 0, "kubectl wait asks about the new generation"
    broken = Tally(connected=2, synced=1, rejected=1, rejections=(REFUSED,))
    assert patience(ready, status_of(resource(), wanted(), broken, now=NOW)) == 0
    assert patience(None, waits) == 0


def test_a_new_leader_does_not_take_sidecars_that_have_yet_to_dial_it_for_gone() -> None:
    all_run_it = Tally(connected=12, synced=12, reachable=12)
    before = status_of(resource(), wanted(), all_run_it, now=NOW)
    later = NOW + timedelta(minutes=1)

    def after(tally: Tally, generation: int = 3, gathering: bool = True) -> dict[str, Any]:
        return status_of(
            resource(generation),
            wanted(generation),
            tally,
            now=later,
            before=before,
            gathering=gathering,
        )

    assert after(Tally()) == before, "a change of the leader is no news of the store"
    assert after(Tally(connected=3, synced=3, reachable=3)) == before
    # An edit meanwhile: kubectl wait must not return because nobody is there yet.
    edited = after(Tally(connected=3, synced=3, reachable=3), generation=4)
    assert condition(edited, "Ready")["status"] == "False"
    assert condition(edited, "Synced")["reason"] == "Reconnecting"
    assert "9 sidecars" in condition(edited, "Synced")["message"]
    assert edited["sidecars"]["lost"] == 9
    before = edited
    still = after(Tally(connected=4, synced=4, reachable=4), generation=4)
    assert "8 sidecars" in condition(still, "Synced")["message"], "it knows them from its own"
    refused = after(Tally(connected=3, synced=2, rejected=1, rejections=(REFUSED,)), generation=4)
    assert condition(refused, "Synced")["reason"] == "Rejected"
    # All are back, or there was time enough.
    assert condition(after(all_run_it, generation=4), "Ready")["status"] == "True"
    gone = after(Tally(lost=12), generation=4, gathering=False)
    assert condition(gone, "Synced")["reason"] == "NoSidecars"
    # What was never connected is not waited for.
    first = status_of(resource(), wanted(), Tally(), now=NOW, gathering=True)
    assert condition(first, "Synced")["reason"] == "NoSidecars"
    # Nor does it hide that the resource is not accepted any more.
    broken = status_of(resource(), NO_SECRET, Tally(), now=later, before=before, gathering=True)
    assert condition(broken, "Ready")["reason"] == "SecretNotFound"


counts = st.integers(min_value=0, max_value=5000)
rejections = st.lists(
    st.builds(Rejection, pod=st.text(), code=st.text(), message=st.text(max_size=2000)), max_size=8
).map(tuple)
tallies = st.builds(
    Tally,
    connected=counts,
    synced=counts,
    pending=counts,
    rejected=counts,
    reachable=counts,
    unreachable=counts,
    lost=counts,
    rejections=rejections,
    pendings=rejections,
)
outcomes = st.one_of(
    st.builds(wanted, st.integers(min_value=1, max_value=9)),
    st.builds(Unresolved, st.sampled_from(["InvalidSpec", "SecretNotFound"]), st.text()),
)
neighbours = st.lists(st.tuples(st.sampled_from(["shop", "bank"]), st.text(max_size=60)))


@settings(deadline=None)
@given(outcomes, tallies, outcomes, tallies, neighbours, st.booleans())
def test_what_holds_always(
    first: Any,
    first_tally: Tally,
    second: Any,
    second_tally: Tally,
    shares_with: Any,
    gathering: bool,
) -> None:
    before = status_of(resource(), first, first_tally, now=NOW, shares_with=shares_with)
    later = NOW + timedelta(minutes=1)

    def made(now: datetime, before: Any) -> dict[str, Any]:
        return status_of(
            resource(), second, second_tally, now=now, before=before, gathering=gathering
        )

    after = made(later, before)
    assert after == made(later, before)
    again = made(later + timedelta(minutes=1), after)
    assert again == after, "time alone changes nothing"
    for status in (before, after):
        holds = {each["type"]: each["status"] for each in status["conditions"]}
        assert (holds["Ready"] == "True") == (
            holds["Accepted"] == "True"
            and holds["Synced"] == "True"
            and holds["Reachable"] != "False"
        )
        assert holds["Ready"] in ("True", "False")
        for each in status["conditions"]:
            assert 0 < len(each["message"]) <= MAX_MESSAGE
            assert each["message"].isprintable()
            assert each["reason"].isalnum() and each["reason"][0].isupper()
            assert each["observedGeneration"] == status["observedGeneration"]
    for was, is_now in zip(before["conditions"], after["conditions"]):
        moved = was["lastTransitionTime"] != is_now["lastTransitionTime"]
        assert moved == (was["status"] != is_now["status"])
