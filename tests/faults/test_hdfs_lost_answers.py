"""No write is reported done or missing by guess: lost answers of a real NameNode, by a relay."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import BackendUnavailable, OperationTimeout, OutcomeUnknown
from pannier.operations import ALWAYS, IF_ABSENT, IF_PRESENT, Condition, Outcome
from tests.faults.hdfs_load import eventually_writes
from tests.faults.namenode_relay import Fate, Relay
from tests.real.hdfs import HDFS, USER


class Plan:
    """The fates of the next requests of an operation; everything else passes."""

    def __init__(self) -> None:
        self.fates: dict[str, list[Fate]] = {}
        self.seen: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}

    def decide(self, operation: str, target: str) -> Fate:
        self.seen.append(operation)
        if operation in self.before:
            self.before.pop(operation)()
        fates = self.fates.get(operation)
        return fates.pop(0) if fates else Fate.PASS


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def relay(hdfs: HDFS, plan: Plan) -> Iterator[Relay]:
    relay = Relay(hdfs.ports[0], plan.decide)
    yield relay
    relay.close()


@pytest.fixture
async def store(hdfs: HDFS, relay: Relay) -> AsyncIterator[HDFSStoreBackend]:
    store = HDFSStoreBackend(
        hdfs.new_base_path(), namenodes=[relay.address], username=USER, request_timeout=1
    )
    await store.write("S", "old", b"1")
    yield store
    await store.close()


@pytest.fixture
async def direct(hdfs: HDFS, store: HDFSStoreBackend) -> AsyncIterator[HDFSStoreBackend]:
    """The same records without the relay."""
    direct = HDFSStoreBackend(store.base_path, namenodes=hdfs.addresses, username=USER)
    yield direct
    await direct.close()


@pytest.mark.parametrize(
    ("key", "condition", "outcome"),
    [
        ("new", IF_ABSENT, Outcome.CREATED),
        ("new", ALWAYS, Outcome.CREATED),
        ("old", IF_PRESENT, Outcome.REPLACED),
    ],
)
async def test_a_rename_that_was_applied_and_not_answered_is_found_out_to_be_done(
    store: HDFSStoreBackend,
    direct: HDFSStoreBackend,
    plan: Plan,
    key: str,
    condition: Condition,
    outcome: Outcome,
) -> None:
    plan.fates["RENAME"] = [Fate.LOSE_ANSWER]
    assert await store.write("S", key, b'"mine"', condition) is outcome
    assert await direct.read("S", key) == b'"mine"'


async def test_a_replacement_that_was_applied_and_not_answered_is_found_out_to_be_done(
    store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.fates["RENAME"] = [Fate.PASS, Fate.LOSE_ANSWER]  # NONE is refused, OVERWRITE is lost
    assert await store.write("S", "old", b'"mine"', ALWAYS) is Outcome.REPLACED
    assert await direct.read("S", "old") == b'"mine"'


@pytest.mark.parametrize("condition", [IF_ABSENT, ALWAYS])
async def test_a_rename_that_never_arrived_is_reported_as_not_done_and_stays_so(
    hdfs: HDFS,
    store: HDFSStoreBackend,
    direct: HDFSStoreBackend,
    plan: Plan,
    condition: Condition,
) -> None:
    plan.fates["RENAME"] = [Fate.LOSE_REQUEST]
    with pytest.raises(BackendUnavailable):
        await store.write("S", "new", b'"mine"', condition)
    assert await direct.read("S", "new") is None
    assert hdfs.rest().names(f"{store.base_path}/.pannier-writing") == []


async def test_an_insert_of_a_present_key_whose_answer_is_lost_never_claims_to_have_won(
    store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.fates["RENAME"] = [Fate.LOSE_ANSWER]
    with pytest.raises(BackendUnavailable):
        await store.write("S", "old", b'"mine"', IF_ABSENT)
    assert await direct.read("S", "old") == b"1"


async def test_a_write_of_which_nothing_more_can_be_learned_is_unknown_in_bounded_time(
    store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.fates["RENAME"] = [Fate.CUT_ALL]
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        await store.write("S", "new", b'"mine"', IF_ABSENT)
    assert time.monotonic() - began < 4
    assert await direct.read("S", "new") == b'"mine"'


async def test_a_second_lost_answer_is_not_taken_for_the_first_ones_success(
    store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.fates["RENAME"] = [Fate.LOSE_REQUEST]
    plan.fates["DELETE"] = [Fate.LOSE_ANSWER]  # our own deletion of the temporary file
    with pytest.raises(OutcomeUnknown):
        await store.write("S", "new", b'"mine"', IF_ABSENT)
    assert await direct.read("S", "new") is None


@pytest.mark.parametrize("fate", [Fate.LOSE_ANSWER, Fate.LOSE_REQUEST])
async def test_a_delete_that_was_not_answered_is_unknown_and_sent_once(
    store: HDFSStoreBackend, plan: Plan, fate: Fate
) -> None:
    plan.fates["DELETE"] = [fate]
    with pytest.raises(OutcomeUnknown):
        await store.erase("S", "old")
    assert plan.seen.count("DELETE") == 1


@pytest.mark.parametrize("operation", ["OPEN", "GETFILESTATUS", "LISTSTATUS_BATCH"])
async def test_a_read_whose_answer_was_cut_is_made_once_more(
    store: HDFSStoreBackend, plan: Plan, operation: str
) -> None:
    plan.fates[operation] = [Fate.LOSE_ANSWER]
    assert await store.read("S", "old") == b"1"
    assert await store.contains("S", "old")
    assert await store.count("S") == 1


async def test_an_operation_on_one_record_asks_the_namenode_no_more_than_it_must(
    store: HDFSStoreBackend, plan: Plan
) -> None:
    await store.close()  # so that the sweep beside the first write is over
    async with HDFSStoreBackend(
        store.base_path, namenodes=store.namenodes, username=USER, max_connections=1
    ) as fresh:
        fresh.sweeper.is_due(time.monotonic())
        await fresh.ping()
        for operation, asked in (
            (lambda: fresh.write("S", "new", b"1", IF_ABSENT), ["CREATE", "RENAME"]),
            (lambda: fresh.write("S", "new", b"1"), ["CREATE", "RENAME", "RENAME"]),
            (
                lambda: fresh.write("S", "new", b"1", IF_PRESENT),
                ["GETFILESTATUS", "CREATE", "RENAME"],
            ),
            (lambda: fresh.read("S", "new"), ["OPEN"]),
            (lambda: fresh.contains("S", "new"), ["GETFILESTATUS"]),
            (lambda: fresh.erase("S", "new"), ["DELETE"]),
            (lambda: fresh.write("S", "new", b"1", IF_PRESENT), ["GETFILESTATUS"]),
        ):
            plan.seen.clear()
            await operation()
            assert plan.seen == asked


async def test_a_new_file_whose_creation_was_not_answered_is_not_done(
    store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.fates["CREATE"] = [Fate.LOSE_ANSWER, Fate.LOSE_ANSWER]
    with pytest.raises(BackendUnavailable):
        await store.write("S", "new", b"1")
    assert await direct.read("S", "new") is None


async def test_a_rename_at_a_namenode_paused_meanwhile_is_unknown_and_may_come_later(
    hdfs: HDFS, store: HDFSStoreBackend, direct: HDFSStoreBackend, plan: Plan
) -> None:
    plan.before["RENAME"] = hdfs.namenode.pause
    began = time.monotonic()
    try:
        with pytest.raises(OutcomeUnknown):
            await store.write("S", "new", b'"mine"', IF_ABSENT)
        assert time.monotonic() - began < 4
        began = time.monotonic()
        with pytest.raises((OperationTimeout, BackendUnavailable)):
            await store.read("S", "old")
        assert time.monotonic() - began < 4
    finally:
        hdfs.namenode.resume()
    # What was queued is carried out in some order: the rename, or our deletion of its source.
    later = await eventually_writes(store, "new", b'"again"', IF_ABSENT, schema="S")
    value = await direct.read("S", "new")
    assert (later, value) in [(Outcome.PRESENT, b'"mine"'), (Outcome.CREATED, b'"again"')]
