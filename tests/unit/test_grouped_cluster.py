"""The sidecar's store on a cluster: which operation goes to which node, and what is sent on.

The nodes are on paper, so that a test decides what each answers; the pools are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hiredis import ReplyError

from pannier.aio.stores import cluster_pools, grouped_cluster, redis_cluster
from pannier.aio.stores.grouped_cluster import GroupedClusterStore
from pannier.aio.stores.redis_cluster import MOST_TURNS
from pannier.errors import BackendUnavailable, OutcomeUnknown, PannierError, PoolClosed
from pannier.operations import ALWAYS, IF_PRESENT, Outcome
from pannier.redis import commands as commands
from pannier.redis.replies import ConnectionLost
from pannier.redis.slots import SLOTS, slot_of

A, B = 7001, 7002
SLOT = slot_of("pannier:S")


class PaperNodes:
    """Two nodes: what they say of the slots, and the connections to them."""

    def __init__(self) -> None:
        self.slots: Any = [[0, SLOTS - 1, [b"n", A]]]
        self.asked: list[int] = []
        """Ports that were asked for the slots, in order."""
        self.down: set[int] = set()
        self.connectors: list[PaperConnector] = []
        self.answering = asyncio.Event()
        self.answering.set()

    def busy(self, port: int) -> list[PaperWire]:
        """The wires of a node that owe replies."""
        return [one.wire for one in self.connectors if one.port == port and one.wire.done]


class PaperWire:
    """Keeps what was sent; the test answers it."""

    def __init__(self) -> None:
        self.packed = b""
        self.done: Callable[[list[Any], ConnectionLost | None], None] | None = None

    def send(self, packed: bytes, replies: int, done: Any) -> None:
        self.packed, self.done = packed, done

    def answer(self, *replies: Any, loss: ConnectionLost | None = None) -> None:
        done, self.done = self.done, None
        assert done is not None
        done(list(replies), loss)


class PaperConnector:
    """A connection to one of the nodes."""

    nodes: PaperNodes
    timeout = 1.0

    def __init__(self, host: str, port: int, **_: Any) -> None:
        self.port = port
        self.wire = PaperWire()
        self.closed = False
        self.nodes.connectors.append(self)

    async def connect(self) -> None:
        if self.port in self.nodes.down:
            raise BackendUnavailable(f"nobody at {self.port}")

    async def disconnect(self) -> None:
        self.closed = True

    async def is_connected(self) -> bool:
        return True

    def looks_alive(self) -> bool:
        return True

    async def execute(self, packed: bytes, replies: int, timeout: float) -> list[Any]:
        assert packed == commands.SLOTS
        self.nodes.asked.append(self.port)
        await self.nodes.answering.wait()
        return [self.nodes.slots]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> PaperNodes:
    kept = PaperNodes()
    kind = type("Connector", (PaperConnector,), {"nodes": kept})
    monkeypatch.setattr(redis_cluster, "RedisConnector", kind)
    monkeypatch.setattr(cluster_pools, "RedisConnector", kind)
    monkeypatch.setattr(redis_cluster, "LEARN_PAUSE", 0.0)
    return kept


class Ends(dict[str, Any]):
    """By key: the value, the outcome or the error each operation ended in."""

    def of(self, key: str) -> Any:
        def done(result: Any, error: PannierError | None) -> None:
            assert key not in self, "told twice"
            self[key] = error if error is not None else result

        return done


@pytest.fixture
async def store(nodes: PaperNodes) -> AsyncIterator[GroupedClusterStore]:
    made = GroupedClusterStore([f"n:{A}", f"n:{B}"], max_connections=1)
    made.is_open = True
    await made._learn()
    nodes.asked.clear()
    yield made
    for port in (A, B):
        for wire in nodes.busy(port):
            wire.answer(loss=ConnectionLost("the test ends"))
    await made.close()


@pytest.fixture
def ends() -> Ends:
    return Ends()


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition()` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def sent(nodes: PaperNodes, port: int) -> PaperWire:
    """The wire on which something was sent to the node."""
    await until(lambda: nodes.busy(port))
    return nodes.busy(port)[0]


async def ended(ends: Ends, *keys: str) -> None:
    """Return once all these operations ended."""
    await until(lambda: set(keys) <= set(ends))


def moved(port: int) -> ReplyError:
    return ReplyError(f"MOVED {SLOT} n:{port}")


async def group(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends, *submit: Callable[[], object]
) -> PaperWire:
    """Have several operations sent to A as one group; its wire."""
    store.submit_read("S", "first", ends.of("first"))
    wire = await sent(nodes, A)
    for one in submit:
        one()
    wire.answer(b"0")
    return await sent(nodes, A)


async def test_only_what_was_refused_is_sent_on(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    wire = await group(
        store, nodes, ends,
        lambda: store.submit_read("S", "a", ends.of("a")),
        lambda: store.submit_write("S", "b", b"1", ALWAYS, ends.of("b")),
        lambda: store.submit_read("S", "c", ends.of("c")),
    )  # fmt: skip
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    wire.answer(b"1", moved(B), b"3")
    assert (ends["a"], ends["c"]) == (b"1", b"3")
    wire = await sent(nodes, B)
    assert wire.packed == commands.put("pannier:S", "b", b"1")
    wire.answer(1)
    assert ends["b"] is Outcome.CREATED
    store.submit_read("S", "d", ends.of("d"))
    (await sent(nodes, B)).answer(b"4")
    assert ends["d"] == b"4", "later ones go to where the slot is now"


async def test_a_group_that_moved_has_the_slots_looked_at_once_and_goes_on_as_a_group(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    keys = [f"k{number}" for number in range(50)]
    wire = await group(
        store, nodes, ends, *[lambda k=k: store.submit_read("S", k, ends.of(k)) for k in keys]
    )  # fmt: skip
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    wire.answer(*[moved(B)] * 50)
    wire = await sent(nodes, B)
    replies = wire.packed.count(b"HGET")
    wire.answer(*[b"1"] * replies)
    if replies < 50:
        (await sent(nodes, B)).answer(*[b"1"] * (50 - replies))
    await ended(ends, *keys)
    assert nodes.asked == [B], "the node that sent them on is asked last"


async def test_what_is_asked_for_elsewhere_goes_there_once_and_the_slot_stays(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    store.submit_write("S", "a", b"1", ALWAYS, ends.of("a"))
    (await sent(nodes, A)).answer(ReplyError(f"ASK {SLOT} n:{B}"))
    wire = await sent(nodes, B)
    assert wire.packed == commands.ASKING + commands.put("pannier:S", "a", b"1")
    wire.answer("OK", 1)
    assert ends["a"] is Outcome.CREATED
    store.submit_read("S", "b", ends.of("b"))
    (await sent(nodes, A)).answer(b"2")
    assert ends["b"] == b"2"
    assert not nodes.asked


async def test_nodes_that_send_on_in_a_circle_end_the_operation(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    store.submit_write("S", "a", b"1", ALWAYS, ends.of("a"))
    nodes.answering.clear()  # nobody settles it
    ports = [A, B] * MOST_TURNS
    for turn in range(MOST_TURNS):
        (await sent(nodes, ports[turn])).answer(moved(ports[turn + 1]))
    assert isinstance(ends["a"], BackendUnavailable)
    assert "do not agree" in str(ends["a"]) and "nothing was done" in str(ends["a"])
    assert not nodes.busy(A) and not nodes.busy(B)
    nodes.answering.set()


async def test_a_cluster_that_is_down_ends_the_operation_and_is_looked_at(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    wire = await group(
        store, nodes, ends,
        lambda: store.submit_write("S", "a", b"1", ALWAYS, ends.of("a")),
        lambda: store.submit_read("S", "b", ends.of("b")),
    )  # fmt: skip
    wire.answer(ReplyError("CLUSTERDOWN The cluster is down"), b"2")
    assert ends["a"].code == "backend-unavailable"
    assert ends["b"] == b"2"
    await until(lambda: nodes.asked)
    assert nodes.asked == [B]


@pytest.mark.parametrize("said", ["TRYAGAIN Multiple keys request", "LOADING Redis is loading"])
async def test_what_a_node_cannot_do_now_is_not_done(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends, said: str
) -> None:
    store.submit_write("S", "a", b"1", IF_PRESENT, ends.of("a"))
    (await sent(nodes, A)).answer(ReplyError(said))
    assert ends["a"].code == "backend-unavailable"


async def test_a_write_that_was_sent_is_never_sent_again_and_a_read_goes_where_the_slot_is(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    wire = await group(
        store, nodes, ends,
        lambda: store.submit_write("S", "w", b"1", ALWAYS, ends.of("w")),
        lambda: store.submit_read("S", "r", ends.of("r")),
    )  # fmt: skip
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    wire.answer(loss=ConnectionLost("reset by peer"))
    assert isinstance(ends["w"], OutcomeUnknown)
    wire = await sent(nodes, B)
    assert wire.packed == commands.get("pannier:S", "r")
    wire.answer(b"1")
    assert ends["r"] == b"1"


async def test_a_node_that_is_gone_costs_nothing_where_another_has_its_slots(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.down.add(A)
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    store.submit_write("S", "a", b"1", ALWAYS, ends.of("a"))
    (await sent(nodes, B)).answer(1)
    assert ends["a"] is Outcome.CREATED
    assert nodes.asked == [B]


async def test_a_node_that_is_gone_and_not_replaced_is_said_after_one_look(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.down.add(A)
    for key in "abc":
        store.submit_write("S", key, b"1", ALWAYS, ends.of(key))
    await ended(ends, *"abc")
    assert {type(end) for end in ends.values()} == {BackendUnavailable}


async def test_a_slot_that_nobody_serves_is_said_and_another_works_on(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.slots = [[0, SLOT - 1, [b"n", A]], [SLOT + 1, SLOTS - 1, [b"n", A]]]
    await store._learn()
    store.submit_read("S", "a", ends.of("a"))
    store.submit_read("T", "b", ends.of("b"))
    (await sent(nodes, A)).answer(b"2")
    await ended(ends, "a")
    assert f"serves slot {SLOT}" in str(ends["a"])
    assert ends["b"] == b"2"


async def test_an_operation_abandoned_while_the_slots_are_looked_at_is_not_sent(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.answering.clear()
    read = store.submit_read("S", "a", ends.of("a"))
    (await sent(nodes, A)).answer(loss=ConnectionLost("reset by peer"))
    store.submit_read("S", "b", ends.of("b"))
    (await sent(nodes, A)).answer(loss=ConnectionLost("reset by peer"))
    read.abandon()
    nodes.answering.set()
    wire = await sent(nodes, A)
    assert wire.packed == commands.get("pannier:S", "b")
    wire.answer(b"2")
    assert ends == {"b": b"2"}


async def test_closing_ends_those_that_wait_for_news(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.answering.clear()
    store.submit_read("S", "a", ends.of("a"))
    (await sent(nodes, A)).answer(loss=ConnectionLost("reset by peer"))
    await store.close()
    assert isinstance(ends["a"], PoolClosed)
    store.submit_read("Never seen", "b", ends.of("b"))
    await ended(ends, "b")
    assert isinstance(ends["b"], PoolClosed)


async def test_an_answer_about_the_slots_that_is_none_ends_those_that_wait_for_it(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.slots = [["nonsense"]]
    store.submit_read("S", "a", ends.of("a"))
    (await sent(nodes, A)).answer(loss=ConnectionLost("reset by peer"))
    await ended(ends, "a")
    assert ends["a"].code == "backend-refused"
    assert "could not be read" in caplog.text


async def test_a_changed_timeout_holds_for_the_groups_of_every_node(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    nodes.slots = [[0, SLOT, [b"n", A]], [SLOT + 1, SLOTS - 1, [b"n", B]]]
    await store._learn()
    assert slot_of("pannier:T1") > SLOT
    for schema, port in (("S", A), ("T1", B)):
        store.submit_read(schema, "a", ends.of(schema))
        (await sent(nodes, port)).answer(b"1")
    await store.reconfigure(request_timeout=0.5, max_connections=3)
    assert {commit.request_timeout for commit in store.commits()} == {0.5}
    assert len(store.commits()) == 4
    assert {pool.settings.max_connections for pool in store.pools()} == {3}


async def test_the_pool_of_a_node_without_slots_is_closed_and_what_it_counted_stays(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    await store.reconfigure(min_idle=1)
    store.submit_read("S", "a", ends.of("a"))
    (await sent(nodes, A)).answer(b"1")
    (old,) = store.pools()
    granted = sum(old.timings.acquire.counts)
    assert granted
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    await store._learn()
    assert store.stats()["max"] == 0
    assert all(one.closed for one in nodes.connectors if one.port == A)
    (former,) = store.pools()
    assert sum(former.timings.acquire.counts) == granted
    assert sum(former.counters.closed.values()) == store.stats()["closed"] > 0
    store.submit_read("S", "b", ends.of("b"))
    (await sent(nodes, B)).answer(b"2")
    assert ends == {"a": b"1", "b": b"2"}
    assert store.stats()["max"] == 1


async def test_a_pool_in_use_is_not_closed_under_its_users(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    store.submit_read("S", "a", ends.of("a"))
    wire = await sent(nodes, A)
    store.submit_read("S", "b", ends.of("b"))
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    await store._learn()
    wire.answer(b"1")
    (await sent(nodes, A)).answer(b"2")
    assert ends == {"a": b"1", "b": b"2"}
    await store._learn()
    assert store.stats()["max"] == 0


async def test_an_operation_for_a_pool_that_is_closed_just_now_goes_to_where_its_slot_is(
    store: GroupedClusterStore, nodes: PaperNodes, ends: Ends
) -> None:
    groups = store.groups_of("pannier:S")
    assert groups is not None
    await groups.reads.pool.shutdown(0)
    nodes.slots = [[0, SLOTS - 1, [b"n", B]]]
    store.submit_write("S", "a", b"1", ALWAYS, ends.of("a"))
    (await sent(nodes, B)).answer(1)
    assert ends["a"] is Outcome.CREATED


@pytest.mark.parametrize("pause", [0.0, 1000.0])
async def test_a_node_that_hangs_has_the_slots_looked_at_now_and_then(
    store: GroupedClusterStore,
    nodes: PaperNodes,
    ends: Ends,
    monkeypatch: pytest.MonkeyPatch,
    pause: float,
) -> None:
    monkeypatch.setattr(grouped_cluster, "SLOW_PAUSE", pause)
    await store.reconfigure(connection_timeout=0.05)
    store.submit_read("S", "sent", ends.of("sent"))
    wire = await sent(nodes, A)
    store.submit_read("S", "waits", ends.of("waits"))
    await ended(ends, "waits")
    assert ends["waits"].code == "pool-exhausted"
    if pause:
        wire.answer(loss=ConnectionLost("no answer", timed_out=True))
        await ended(ends, "sent")
        assert ends["sent"].code == "timeout"
        assert not nodes.asked and store._looking is None
    else:
        await until(lambda: nodes.asked == [B])
