"""Group commit: what goes out together, who waits, and who is told what when a connection breaks.

The pool is the real one; the wires are on paper, so that a test decides when replies come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from hiredis import ReplyError

from pannier.aio.group_commit import LARGE, MAX_BYTES, MAX_OPERATIONS, GroupCommit
from pannier.aio.pool_driver import ConnectionPool
from pannier.aio.record_operations import Groups, Hash, Put, Read, RedisOperation, Write
from pannier.aio.stores.grouped_redis import GroupedRedisStore
from pannier.errors import (
    BackendUnavailable,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    PoolFull,
    PoolTimeout,
    StoreFull,
)
from pannier.operations import ALWAYS, IF_PRESENT, Outcome
from pannier.pool.settings import PoolSettings
from pannier.redis import commands as commands
from pannier.redis.layout import RedisLayout
from pannier.redis.replies import ConnectionLost
from pannier.redis.waiting import ReplicaWait


class PaperWire:
    """Keeps what was sent; the test answers it."""

    def __init__(self, connector: PaperConnector) -> None:
        self.connector = connector
        self.sent: list[int] = []
        """The number of replies asked for, by pipeline."""
        self.packed = b""
        self.done: Callable[[list[Any], ConnectionLost | None], None] | None = None

    def send(self, packed: bytes, replies: int, done: Any) -> None:
        assert self.done is None, "one pipeline at a time"
        self.packed, self.done = packed, done
        self.sent.append(replies)

    def answer(self, *replies: Any, loss: ConnectionLost | None = None) -> None:
        done, self.done = self.done, None
        assert done is not None
        if loss is not None:
            self.connector.alive = False
        done(list(replies), loss)

    def close(self, reason: str, *, timed_out: bool = False) -> None:
        self.answer(loss=ConnectionLost(reason, timed_out=timed_out))


class PaperConnector:
    """A connection without a server."""

    made: ClassVar[list[PaperConnector]]

    def __init__(self) -> None:
        self.alive = True
        self.wire = PaperWire(self)
        self.made.append(self)

    async def connect(self) -> None: ...

    async def disconnect(self) -> None:
        self.alive = False

    async def is_connected(self) -> bool:
        return self.alive

    def looks_alive(self) -> bool:
        return self.alive


class Bench:
    """A group commit over a pool, and what became of the operations submitted to it."""

    def __init__(
        self,
        pool: ConnectionPool,
        made: list[PaperConnector],
        wait: ReplicaWait | None = None,
        *,
        asks: bool = False,
    ) -> None:
        self.pool = pool
        self.connectors = made
        self.layout = RedisLayout("pannier:", 1)
        self.sizes: list[int] = []
        self.commit = GroupCommit(
            pool, request_timeout=5.0, observe=self.sizes.append, wait=wait, asks=asks
        )
        self.hash = Hash(self, "h", Groups(self.commit, self.commit))
        self.ended: dict[str, Any] = {}
        """By key: the value, the outcome or the error each operation ended in."""

    @property
    def busy(self) -> list[PaperWire]:
        """The wires that owe replies."""
        return [one.wire for one in self.connectors if one.wire.done is not None]

    def read(self, key: str) -> RedisOperation:
        return self._submit(Read(self.hash, "S", key, commands.get("h", key), self._done(key)))

    def put(self, key: str, value: bytes = b"1") -> RedisOperation:
        packed = commands.put("h", key, value)
        return self._submit(Put(self.hash, "S", key, packed, self._done(key)))

    def update(self, key: str) -> RedisOperation:
        command = commands.write("h", key, b"1", IF_PRESENT)
        return self._submit(Write(self.hash, "S", key, command, self._done(key)))

    def _submit(self, operation: RedisOperation) -> RedisOperation:
        self.commit.submit(operation)
        return operation

    # The router, of one server.

    def send(self, operation: RedisOperation) -> None:
        self.commit.submit(operation)

    def retry(self, operation: RedisOperation, failed: Exception) -> bool:
        if isinstance(failed, ConnectionLost):
            self.commit.submit(operation)
            return True
        return False

    def follow(self, operation: RedisOperation, answer: Any) -> bool:
        return False

    def _done(self, key: str) -> Any:
        def done(result: Any, error: PannierError | None) -> None:
            assert key not in self.ended, "told twice"
            self.ended[key] = error if error is not None else result

        return done


@asynccontextmanager
async def a_bench(
    connections: int = 1,
    *,
    ahead: bool = True,
    wait: ReplicaWait | None = None,
    asks: bool = False,
    **pool: Any,
) -> AsyncIterator[Bench]:
    """A bench whose connections are open and idle already (`ahead`), or not yet."""
    made: list[PaperConnector] = []
    kind = type("Connector", (PaperConnector,), {"made": made})
    pool.setdefault("connection_timeout", 5.0)
    settings = PoolSettings(
        max_connections=connections, min_idle=connections if ahead else 0, **pool
    )
    bench = Bench(ConnectionPool(kind, {}, settings), made, wait, asks=asks)
    if ahead:
        bench.pool.give_back(await bench.pool.acquire())
        await turns()
    try:
        yield bench
    finally:
        for wire in bench.busy:
            wire.answer(loss=ConnectionLost("the test ends"))
        await bench.pool.shutdown(0.1)


async def turns(count: int = 5) -> None:
    """Let the event loop go round a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


# What goes together -----------------------------------------------------------------------------


async def test_a_lone_operation_goes_out_at_once() -> None:
    async with a_bench() as bench:
        bench.read("a")
        assert [wire.sent for wire in bench.busy] == [[1]], "before the loop went round"


async def test_operations_of_one_turn_go_out_together_while_another_is_under_way() -> None:
    async with a_bench(2) as bench:
        bench.read("a")
        for key in "bcd":
            bench.read(key)
        await turns()
        assert sorted(wire.sent[-1] for wire in bench.busy) == [1, 3]
        assert bench.sizes == [1, 3]


async def test_operations_that_find_every_connection_busy_wait_as_one_group() -> None:
    async with a_bench() as bench:
        bench.read("a")
        for key in "bc":
            bench.read(key)
        await turns()
        bench.read("d")
        await turns()
        assert bench.pool.stats()["pending"] == 3
        bench.busy[0].answer(b"1")
        assert bench.busy[0].sent == [1, 3]
        assert bench.pool.stats()["pending"] == 0
        bench.busy[0].answer(b"2", b"3", None)
        assert bench.ended == {"a": b"1", "b": b"2", "c": b"3", "d": None}


async def test_a_group_takes_no_more_than_its_bounds() -> None:
    async with a_bench() as bench:
        bench.read("first")
        for number in range(MAX_OPERATIONS + 5):
            bench.read(str(number))
        await turns()
        value = b"x" * (LARGE - 100)
        for number in range(6):
            bench.put(f"big {number}", value)
        await turns()
        while bench.busy:
            wire = bench.busy[0]
            assert wire.sent[-1] <= MAX_OPERATIONS
            assert len(wire.packed) <= MAX_BYTES
            wire.answer(*[1] * wire.sent[-1])
        assert len(bench.ended) == 1 + MAX_OPERATIONS + 5 + 6


async def test_a_large_value_goes_alone_and_nobody_joins_it() -> None:
    async with a_bench() as bench:
        bench.read("a")
        bench.read("gathered before it")
        bench.put("large", b"x" * (LARGE + 1))
        bench.read("b")
        await turns()
        for replies in ([b"1"], [b"2"], [1], [b"3"]):
            bench.busy[0].answer(*replies)
        assert bench.sizes == [1, 1, 1, 1]
        assert bench.ended["large"] is Outcome.CREATED
        assert bench.ended["b"] == b"3"


async def test_a_newcomer_joins_only_the_last_in_line() -> None:
    async with a_bench() as bench:
        bench.read("a")
        bench.read("b")
        await turns()
        stranger = asyncio.create_task(bench.pool.acquire())
        await turns()
        bench.read("c")
        await turns()
        bench.busy[0].answer(b"1")
        bench.busy[0].answer(b"2")
        connector = await stranger
        assert "c" not in bench.ended and not bench.busy, "it did not overtake the stranger"
        bench.pool.give_back(connector)
        bench.busy[0].answer(b"3")
        assert bench.ended["c"] == b"3"


async def test_the_pool_grows_when_operations_wait() -> None:
    async with a_bench(3, ahead=False) as bench:
        for key in "abc":
            bench.read(key)
            await turns()
        assert len(bench.connectors) >= 2
        for wire in bench.busy:
            wire.answer(*[b"1"] * wire.sent[-1])
        assert set(bench.ended) == {"a", "b", "c"}


# Waiting counts operations ------------------------------------------------------------------------


async def test_max_waiting_counts_operations_not_groups() -> None:
    async with a_bench(max_waiting=3) as bench:
        bench.read("under way")
        for key in "abcde":
            bench.read(key)
        await turns()
        refused = {key for key, end in bench.ended.items() if isinstance(end, PoolFull)}
        assert refused == {"d", "e"}
        assert bench.pool.stats()["pending"] == 3
        assert bench.pool.stats()["rejected"] >= 2


async def test_each_waiting_operation_has_its_own_connection_timeout() -> None:
    async with a_bench(connection_timeout=0.15) as bench:
        bench.read("under way")
        bench.read("early")
        await asyncio.sleep(0.08)
        bench.read("late")
        await asyncio.sleep(0.1)
        assert isinstance(bench.ended.get("early"), PoolTimeout)
        assert "late" not in bench.ended
        bench.busy[0].answer(b"1")
        bench.busy[0].answer(b"2")
        assert bench.ended["late"] == b"2"


async def test_no_connection_refuses_every_operation_at_once() -> None:
    class Unreachable(PaperConnector):
        made: ClassVar[list[PaperConnector]] = []

        async def connect(self) -> None:
            raise BackendUnavailable("nobody there")

    pool = ConnectionPool(Unreachable, {}, PoolSettings(max_connections=2))
    bench = Bench(pool, [])
    for key in "abc":
        bench.read(key)
    await turns(20)
    assert {type(end) for end in bench.ended.values()} == {BackendUnavailable}
    assert set(bench.ended) == {"a", "b", "c"}
    await pool.shutdown(0.1)


# Abandoned ----------------------------------------------------------------------------------------


async def test_an_abandoned_member_is_read_and_dropped_and_the_others_are_answered() -> None:
    async with a_bench() as bench:
        bench.read("first")
        members = [bench.read(key) for key in "abc"]
        await turns()
        bench.busy[0].answer(b"0")
        members[1].abandon()
        bench.busy[0].answer(b"1", b"2", b"3")
        assert bench.ended == {"first": b"0", "a": b"1", "c": b"3"}
        assert bench.pool.stats()["in_use"] == 0
        assert len(bench.connectors) == 1, "its connection was kept"


@pytest.mark.parametrize("waiting", [False, True])
async def test_what_is_abandoned_before_it_is_sent_is_never_sent(waiting: bool) -> None:
    async with a_bench() as bench:
        bench.read("first")
        members = [bench.put(key) for key in "abc"]
        if waiting:
            await turns()
        members[1].abandon()
        await turns()
        assert bench.pool.stats()["pending"] == 2
        bench.busy[0].answer(b"0")
        assert commands.put("h", "b", b"1") not in bench.busy[0].packed
        bench.busy[0].answer(1, 0)
        assert bench.ended == {"first": b"0", "a": Outcome.CREATED, "c": Outcome.REPLACED}


async def test_a_group_that_all_abandoned_leaves_the_line() -> None:
    async with a_bench() as bench:
        bench.read("first")
        members = [bench.read(key) for key in "ab"]
        await turns()
        for member in members:
            member.abandon()
        assert bench.pool.stats()["pending"] == 0
        bench.busy[0].answer(b"0")
        assert not bench.busy
        assert bench.pool.stats()["idle"] == 1
        bench.read("next")
        bench.busy[0].answer(b"1")
        assert bench.ended == {"first": b"0", "next": b"1"}


# Broken connections -------------------------------------------------------------------------------


async def sent_together(
    bench: Bench, *submit: Callable[[], object], first: tuple[Any, ...] = (b"0",)
) -> PaperWire:
    """Submit several operations so that they are under way as one group; its wire."""
    bench.read("first")
    for one in submit:
        one()
    await turns()
    bench.busy[0].answer(*first)
    return bench.busy[0]


async def test_a_lost_connection_costs_reads_one_more_try_and_leaves_writes_unknown() -> None:
    async with a_bench(2) as bench:
        bench.read("first")
        bench.read("read")
        bench.put("put")
        await turns()
        wire = next(wire for wire in bench.busy if wire.sent[-1] == 2)
        wire.answer(loss=ConnectionLost("reset by peer"))
        await turns()
        assert isinstance(bench.ended["put"], OutcomeUnknown)
        assert "read" not in bench.ended
        for wire in bench.busy:
            wire.answer(*[b"9"] * wire.sent[-1])
        await turns()
        for wire in bench.busy:
            wire.answer(*[b"9"] * wire.sent[-1])
        assert bench.ended["read"] == b"9"


async def test_a_read_is_tried_only_once_more() -> None:
    async with a_bench(2) as bench:
        bench.read("a")
        for _ in range(2):
            bench.busy[0].answer(loss=ConnectionLost("reset by peer"))
            await turns()
        assert isinstance(bench.ended["a"], BackendUnavailable)


async def test_a_write_of_which_nothing_was_sent_goes_out_on_another_connection() -> None:
    async with a_bench(2) as bench:
        bench.put("a")
        bench.busy[0].answer(loss=ConnectionLost("closed", sent=False))
        await turns()
        bench.busy[0].answer(1)
        assert bench.ended == {"a": Outcome.CREATED}


async def test_replies_that_came_before_the_loss_count() -> None:
    async with a_bench() as bench:
        wire = await sent_together(
            bench, lambda: bench.put("a"), lambda: bench.put("b"), lambda: bench.put("c")
        )
        wire.answer(1, 0, loss=ConnectionLost("reset by peer"))
        assert bench.ended["a"] is Outcome.CREATED
        assert bench.ended["b"] is Outcome.REPLACED
        assert isinstance(bench.ended["c"], OutcomeUnknown)


async def test_only_the_deadline_of_the_group_closes_its_connection() -> None:
    async with a_bench() as bench:
        bench.commit.request_timeout = 0.05
        bench.read("first")
        bench.read("a")
        bench.put("b")
        await turns()
        bench.busy[0].answer(b"0")
        wire = bench.busy[0]
        await asyncio.wait_for(until(lambda: "b" in bench.ended), 5)
        assert isinstance(bench.ended["a"], OperationTimeout)
        assert isinstance(bench.ended["b"], OutcomeUnknown)
        assert not wire.connector.alive
        assert bench.pool.stats()["in_use"] == 0


async def test_a_shorter_timeout_holds_for_the_next_group() -> None:
    async with a_bench(2) as bench:
        bench.read("slow")
        bench.commit.request_timeout = 0.05
        bench.read("quick")
        await asyncio.wait_for(until(lambda: "quick" in bench.ended), 2)
        assert isinstance(bench.ended["quick"], OperationTimeout)
        assert "slow" not in bench.ended


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


# Error replies ------------------------------------------------------------------------------------


async def test_an_error_reply_hits_only_its_own_operation() -> None:
    async with a_bench() as bench:
        wire = await sent_together(
            bench, lambda: bench.read("a"), lambda: bench.put("b"), lambda: bench.read("c")
        )
        wire.answer(b"1", ReplyError("OOM command not allowed"), b"3")
        assert bench.ended["a"] == b"1"
        assert bench.ended["b"].code == "store-full"
        assert bench.ended["c"] == b"3"
        assert bench.connectors[0].alive


async def test_a_read_only_server_loses_the_connection_but_answers_its_group() -> None:
    async with a_bench() as bench:
        wire = await sent_together(bench, lambda: bench.read("a"), lambda: bench.put("b"))
        wire.answer(b"1", ReplyError("READONLY You can't write against a read only replica."))
        await turns()
        assert bench.ended["a"] == b"1"
        assert bench.ended["b"].code == "backend-unavailable"
        assert not bench.connectors[0].alive


async def test_an_unknown_script_is_sent_again_alone_with_its_text() -> None:
    async with a_bench() as bench:
        wire = await sent_together(
            bench, lambda: bench.update("a"), lambda: bench.put("b"), lambda: bench.read("c")
        )
        wire.answer(ReplyError("NOSCRIPT No matching script."), 1, b"3")
        await turns()
        assert set(bench.ended) == {"first", "b", "c"}
        assert bench.busy[0].sent[-1] == 1
        assert b"EVAL\r\n" in bench.busy[0].packed
        bench.busy[0].answer(2)
        assert bench.ended["a"] is Outcome.REPLACED


async def test_a_failing_answer_leaves_the_other_members_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_bench() as bench:
        wire = await sent_together(bench, lambda: bench.read("a"), lambda: bench.read("b"))
        bench.ended["a"] = "told already"  # so that telling it again raises
        wire.answer(b"1", b"2")
        assert bench.ended["b"] == b"2"
        assert "answer could not be made" in caplog.text


# The store's own bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [1, 16])
@pytest.mark.parametrize("key", ["k", "ü" * 20, "a b", "x" * 512])
async def test_the_store_sends_the_commands_of_the_library(key: str, buckets: int) -> None:
    store = GroupedRedisStore(port=1, hash_buckets=buckets)
    store.is_open = True
    sent: list[bytes] = []

    class Commit:
        def submit(self, member: RedisOperation) -> None:
            sent.append(member.packed)

    commit: Any = Commit()
    store._groups = Groups(commit, commit)
    name = store.layout.hash_of("Cart", key)
    for _ in range(2):
        store.submit_read("Cart", key, lambda value, error: None)
        store.submit_write("Cart", key, b"{}", IF_PRESENT, lambda outcome, error: None)
        store.submit_write("Cart", key, b'"v"', ALWAYS, lambda outcome, error: None)
    expected = [
        commands.get(name, key),
        commands.write(name, key, b"{}", IF_PRESENT).packed,
        commands.put(name, key, b'"v"'),
    ]
    assert sent == expected * 2
    await store.close()


# Waiting for replicas ---------------------------------------------------------------------------


async def test_one_wait_stands_for_all_writes_of_a_group() -> None:
    wait = ReplicaWait(2, 0.25)
    async with a_bench(wait=wait) as bench:
        bench.put("first")
        (wire,) = bench.busy
        assert wire.packed.endswith(wait.packed)
        for key in "abc":
            bench.put(key)
        await turns()
        wire.answer(1, 2)
        assert bench.ended == {"first": Outcome.CREATED}
        (wire,) = bench.busy
        assert wire.packed.count(b"WAIT") == 1
        assert wire.packed.endswith(b"$4\r\nWAIT\r\n$1\r\n2\r\n$3\r\n250\r\n")
        assert wire.sent[-1] == 4
        wire.answer(1, 0, ReplyError("OOM command not allowed"), 1)
        assert isinstance(bench.ended["a"], OutcomeUnknown)
        assert isinstance(bench.ended["b"], OutcomeUnknown)
        assert "1 of 2 replicas had it within 0.25 s" in str(bench.ended["a"])
        assert isinstance(bench.ended["c"], StoreFull), "what was not done is not unknown"
        assert bench.sizes == [1, 3], "WAIT is no operation"


async def test_a_group_lost_before_its_wait_is_answered_is_unknown_as_a_whole() -> None:
    async with a_bench(connections=2, wait=ReplicaWait(1, 1.0)) as bench:
        bench.put("first")
        for key in "ab":
            bench.put(key)
        await turns()
        wire = bench.busy[1]
        wire.answer(1, loss=ConnectionLost("it ended"))
        assert [type(bench.ended[key]) for key in "ab"] == [OutcomeUnknown] * 2
        assert "done on the Redis master" in str(bench.ended["a"])
        assert "did not answer" in str(bench.ended["b"])


async def test_a_write_that_waits_has_the_waits_time_on_top() -> None:
    async with a_bench(wait=ReplicaWait(1, 0.3)) as bench:
        bench.commit.request_timeout = 0.05
        began = asyncio.get_running_loop().time()
        bench.put("a")
        await asyncio.wait_for(until(lambda: "a" in bench.ended), 10)
        assert asyncio.get_running_loop().time() - began >= 0.34
        assert "no answer within 0.35 s" in str(bench.ended["a"])


# Asking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [None, ReplicaWait(1, 1.0)])
async def test_a_node_that_must_be_asked_is_asked_for_each_operation(
    wait: ReplicaWait | None,
) -> None:
    after = [] if wait is None else [1]
    async with a_bench(asks=True, wait=wait) as bench:
        bench.put("a")
        (wire,) = bench.busy
        assert wire.packed.startswith(commands.ASKING + commands.put("h", "a", b"1"))
        for key in "bcd":
            bench.put(key)
        await turns()
        wire.answer("OK", 1, *after)
        assert bench.busy[0].packed.count(commands.ASKING) == 3
        bench.busy[0].answer("OK", 0, "OK", ReplyError("OOM command not allowed"), "OK", 1, *after)
        assert [bench.ended[key] for key in "abd"] == [
            Outcome.CREATED, Outcome.REPLACED, Outcome.CREATED,
        ]  # fmt: skip
        assert bench.ended["c"].code == "store-full"
        assert bench.sizes == [1, 3]


async def test_a_loss_while_asking_counts_the_answers_of_commands_alone() -> None:
    async with a_bench(asks=True) as bench:
        wire = await sent_together(
            bench, lambda: bench.put("a"), lambda: bench.put("b"), first=("OK", b"0")
        )
        wire.answer("OK", 1, "OK", loss=ConnectionLost("reset by peer"))
        assert bench.ended["a"] is Outcome.CREATED
        assert isinstance(bench.ended["b"], OutcomeUnknown)
