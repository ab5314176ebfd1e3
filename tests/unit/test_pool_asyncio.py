"""The asyncio driver, with real sockets: what no pure test can show."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from pannier.aio.managers import PooledConnectorManager
from pannier.aio.pool_driver import ConnectionPool
from pannier.errors import BackendUnavailable, NotBorrowed, PannierError, PoolClosed, PoolTimeout
from pannier.pool.backoff import SHORTEST
from pannier.pool.settings import PoolSettings
from tests.unit.tiny_server import HELLO, PING, AsyncConnector, TinyServer, tiny_server

__all__ = ["tiny_server"]

MakePool = Callable[..., ConnectionPool]


@pytest.fixture
async def make_pool(tiny_server: TinyServer) -> AsyncIterator[MakePool]:
    """Makes pools of connections to the tiny server, and shuts them down."""
    pools = []

    def make(connector_class: type[Any] = AsyncConnector, **settings: Any) -> ConnectionPool:
        pool = ConnectionPool(
            connector_class,
            {"port": tiny_server.port},
            PoolSettings(**settings),
            name="shop",
            random=lambda: 0.0,  # the shortest backoff
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        await pool.shutdown(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110, what is waited for has no event
        await asyncio.sleep(0.001)


def at_rest(pool: ConnectionPool) -> bool:
    """Whether nothing is borrowed and nobody waits."""
    return gauges(pool)[0] == gauges(pool)[3] == 0


async def settled(pool: ConnectionPool) -> None:
    """Wait until nothing of the pool runs in the background."""
    await until(lambda: not pool._tasks)


def gauges(pool: ConnectionPool) -> tuple[int, int, int, int]:
    stats = pool.stats()
    return stats["in_use"], stats["idle"], stats["opening"], stats["pending"]


async def test_a_connection_is_lent_connected_and_used_again(make_pool: MakePool) -> None:
    pool = make_pool()
    connector = await pool.acquire()
    assert await connector.ask(b"one") == b"one"
    pool.give_back(connector)
    assert await pool.acquire() is connector
    pool.give_back(connector)
    assert gauges(pool) == (0, 1, 0, 0)


async def test_an_idle_connection_is_taken_without_a_round_trip(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool()
    assert pool.take_now() is None
    pool.give_back(await pool.acquire())
    for _ in range(100):
        connector = pool.take_now()
        assert connector is not None
        pool.give_back(connector)
    assert tiny_server.lines == [HELLO]


async def test_a_connection_older_than_the_freshness_rule_is_asked_first(
    tiny_server: TinyServer,
) -> None:
    now = [100.0]
    config = {"port": tiny_server.port}
    pool = ConnectionPool(AsyncConnector, config, PoolSettings(), clock=lambda: now[0])
    pool.give_back(await pool.acquire())
    now[0] += 0.6
    assert pool.take_now() is None
    pool.give_back(await pool.acquire())
    assert tiny_server.lines == [HELLO, PING]
    await pool.shutdown(0)


async def test_a_connection_the_server_closed_is_never_lent(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=2)
    first, second = await pool.acquire(), await pool.acquire()
    pool.give_back(first)
    pool.give_back(second)
    tiny_server.cut()
    await until(lambda: not first.looks_alive() and not second.looks_alive())
    connector = await pool.acquire()
    assert connector not in (first, second)
    assert await connector.ask(b"alive") == b"alive"
    pool.give_back(connector)
    assert pool.counters.closed["broken"] == 2


async def test_an_idle_connection_the_server_closed_is_not_counted(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(min_idle=1)
    connector = await pool.acquire()
    pool.give_back(connector)
    await settled(pool)
    tiny_server.cut()
    await until(lambda: not connector.looks_alive())
    await until(lambda: pool.counters.closed["broken"] == 2 or not pool.stats())
    await until(lambda: gauges(pool) == (0, 1, 0, 0))
    assert tiny_server.accepted == 3, "min_idle is filled with a live one"


async def test_a_released_connection_that_the_server_closed_is_not_handed_on(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await until(lambda: pool.stats()["pending"] == 1)
    tiny_server.cut()
    await until(lambda: not connector.looks_alive())
    pool.give_back(connector)
    fresh = await waiter
    assert fresh is not connector
    pool.give_back(fresh)


async def test_a_slow_dial_holds_up_neither_a_release_nor_an_idle_borrow(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=3)
    first, second = await pool.acquire(), await pool.acquire()
    tiny_server.mute.add(HELLO)
    third = asyncio.create_task(pool.acquire())
    await until(lambda: tiny_server.count(HELLO) == 3)
    pool.give_back(second)
    assert await third is second, "what comes back first serves the longest waiter"
    pool.give_back(first)
    assert await pool.acquire() is first
    assert gauges(pool) == (2, 0, 1, 0)
    tiny_server.speak()
    await until(lambda: gauges(pool) == (2, 1, 0, 0))
    pool.give_back(first)
    pool.give_back(second)


async def test_a_dial_slower_than_connection_timeout_goes_on_and_becomes_idle(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    tiny_server.mute.add(HELLO)
    pool = make_pool(connection_timeout=0.05)
    with pytest.raises(PoolTimeout, match="Pool shop"):
        await pool.acquire()
    assert gauges(pool) == (0, 0, 1, 0)
    tiny_server.speak()
    await until(lambda: gauges(pool) == (0, 1, 0, 0))
    assert tiny_server.accepted == 1


async def test_a_backend_that_is_not_there_is_told_at_once_and_dialed_seldom(
    tiny_server: TinyServer,
) -> None:
    tiny_server.stop()
    config = {"port": tiny_server.port}
    pool = ConnectionPool(AsyncConnector, config, PoolSettings(), random=lambda: 1.0)
    with pytest.raises(BackendUnavailable) as first:
        await pool.acquire()
    assert isinstance(first.value.__cause__, ConnectionRefusedError)
    with pytest.raises(BackendUnavailable, match="next dial is due"):
        await pool.acquire()
    with pytest.raises(BackendUnavailable):
        pool.enqueue(1, print, print)
    assert gauges(pool) == (0, 0, 0, 0)


async def test_64_tasks_on_16_connections_get_within_a_tenth_of_the_same_share(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_connections=16)
    counts = [0] * 64
    enough = asyncio.Event()

    async def work(number: int) -> None:
        while not enough.is_set():
            connector = await pool.acquire()
            for _ in range(3):  # the same work for each, so that the count tells of the pool alone
                await asyncio.sleep(0)
            counts[number] += 1
            pool.give_back(connector)
            if sum(counts) > 6400:
                enough.set()

    await asyncio.gather(*(work(number) for number in range(64)))
    assert max(counts) <= 1.1 * min(counts)
    assert gauges(pool) == (0, 16, 0, 0)


async def test_min_idle_is_opened_when_the_pool_is_made_in_a_loop(make_pool: MakePool) -> None:
    pool = make_pool(min_idle=3)
    await until(lambda: gauges(pool) == (0, 3, 0, 0))


async def test_idle_connections_are_closed_by_a_timer_of_the_loop(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(idle_timeout=0.05, min_idle=1)
    borrowed = [await pool.acquire() for _ in range(3)]
    for connector in borrowed:
        pool.give_back(connector)
    await until(lambda: gauges(pool) == (0, 1, 0, 0))
    await until(lambda: tiny_server.open_connections == 1)
    assert pool.counters.closed["idle"] == tiny_server.accepted - 1
    assert sum(pool.timings.reaper.counts) == pool.counters.reaper_runs >= 1


async def test_a_leak_is_logged_with_where_the_connector_was_taken(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    async def forgetful() -> Any:
        return await pool.acquire()

    pool = make_pool(leak_threshold=0.01)
    with caplog.at_level(logging.WARNING, "pannier.pool"):
        dialed = await forgetful()
        again = await forgetful()
        await until(lambda: pool.stats()["leaks"] == 2)
    assert [record.message.count("in forgetful") for record in caplog.records] == [1, 1]
    pool.give_back(dialed)
    pool.give_back(again)


# Giving back ------------------------------------------------------------------------------------


async def test_releasing_twice_raises_also_when_it_is_being_handed_to_another(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    other = asyncio.create_task(pool.acquire())
    await until(lambda: pool.stats()["pending"] == 1)
    pool.give_back(connector)
    with pytest.raises(NotBorrowed, match="already"):
        pool.give_back(connector)
    assert await other is connector
    assert gauges(pool) == (1, 0, 0, 0)
    pool.give_back(connector)  # what one task borrowed another may give back
    with pytest.raises(NotBorrowed):
        pool.give_back(connector)
    with pytest.raises(ValueError, match="not borrowed"):
        pool.give_back(object())
    assert gauges(pool) == (0, 1, 0, 0)


# The callbacks ----------------------------------------------------------------------------------


async def test_a_thousand_hand_overs_in_a_row_need_no_stack(make_pool: MakePool) -> None:
    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    served = []

    def granted(connector: Any) -> None:
        served.append(connector)
        pool.give_back(connector)

    for _ in range(5000):
        pool.enqueue(1, granted, lambda error, count: None)
    pool.give_back(connector)
    assert served == [connector] * 5000
    assert gauges(pool) == (0, 1, 0, 0)


async def test_who_fails_when_granted_loses_no_slot(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    def granted(connector: Any) -> None:
        raise RuntimeError("a bug of the borrower")

    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    pool.enqueue(1, granted, lambda error, count: None)
    waiter = asyncio.create_task(pool.acquire())
    await until(lambda: pool.stats()["pending"] == 2)
    pool.give_back(connector)
    fresh = await waiter
    assert fresh is not connector, "nobody knows what the borrower did to it"
    pool.give_back(fresh)
    assert "a borrower failed" in caplog.text


async def test_members_join_the_tail_and_are_refused_each_at_his_time(make_pool: MakePool) -> None:
    refused: list[tuple[type[PannierError], int]] = []
    now = [100.0]
    pool = make_pool(max_connections=1, connection_timeout=10.0)
    pool._clock = lambda: now[0]
    connector = await pool.acquire()
    ticket = pool.enqueue(2, print, lambda error, count: refused.append((type(error), count)))
    now[0] += 5
    assert pool.join(ticket)
    assert pool.stats()["pending"] == 3
    pool.leave(ticket, 0)
    for _ in range(2):
        now[0] += 5
        pool._tick()
    assert refused == [(PoolTimeout, 1), (PoolTimeout, 1)]
    pool.give_back(connector)


# Cancelled at every await -----------------------------------------------------------------------


class Interrupted:
    """Awaits a coroutine, and throws into it at its n-th suspension.

    `late`: only once what it waited for is done, as when a hand-over and a cancellation cross.
    """

    def __init__(
        self, work: Coroutine[Any, Any, Any], at: int, error: BaseException, late: bool
    ) -> None:
        self.work, self.at, self.error, self.late = work, at, error, late
        self.suspensions = 0

    def __await__(self) -> Any:
        throw: BaseException | None = None
        while True:
            try:
                if throw is None:
                    future = self.work.send(None)
                else:
                    error, throw = throw, None
                    future = self.work.throw(error)
            except StopIteration as stop:
                return stop.value
            self.suspensions += 1
            if self.suspensions == self.at:
                throw = self.error
                if not self.late:
                    if future is not None:
                        future._asyncio_future_blocking = False
                        future.cancel()
                    continue
            yield future


async def cold(pool: ConnectionPool) -> None:
    """Queued for a dial."""
    pool.give_back(await pool.acquire())


async def in_line(pool: ConnectionPool) -> None:
    """Queued behind a borrower, and handed his connection."""
    holder = await pool.acquire()
    asyncio.get_running_loop().call_later(0.005, pool.give_back, holder)
    pool.give_back(await pool.acquire())


async def validating(pool: ConnectionPool) -> None:
    """Waiting for the check of an old connection."""
    pool.give_back(await pool.acquire())
    pool._clock = lambda: time.monotonic() + 1  # a second has passed
    pool.give_back(await pool.acquire())


async def in_mid_command(pool: ConnectionPool) -> None:
    """Waiting for an answer inside the context manager."""
    manager = PooledConnectorManager(AsyncConnector, {})
    manager.pool = pool
    async with manager.connection() as connector:
        await connector.ask(b"first")
        await connector.ask(b"second")


async def releasing_by_hand(pool: ConnectionPool) -> None:
    """The same with try and finally."""
    manager = PooledConnectorManager(AsyncConnector, {})
    manager.pool = pool
    connector = await manager.get_connection()
    try:
        await connector.ask(b"third")
    finally:
        manager.release_connection(connector)


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "as-it-is-answered"])
@pytest.mark.parametrize("error", [asyncio.CancelledError, RuntimeError])
@pytest.mark.parametrize("scene", [cold, in_line, validating, in_mid_command, releasing_by_hand])
async def test_cancelled_at_any_await_no_slot_is_lost_and_nobody_reads_anothers_answer(
    make_pool: MakePool,
    scene: Callable[[ConnectionPool], Coroutine[Any, Any, None]],
    error: type[BaseException],
    late: bool,
) -> None:
    for at in range(1, 50):
        pool = make_pool(max_connections=1)
        work = Interrupted(scene(pool), at, error(), late)
        interrupted = False
        try:
            await work
        except error:
            interrupted = True
        await until(partial(at_rest, pool))
        for number in range(3):
            connector = await asyncio.wait_for(pool.acquire(), 10)
            assert await connector.ask(b"%d" % number) == b"%d" % number
            pool.give_back(connector)
        assert gauges(pool)[0] == 0
        if work.suspensions < at:
            assert not interrupted
            assert at > 1, "the scene never waited"
            return
    raise AssertionError("the scene never came to its end")


async def test_a_task_cancelled_just_as_it_is_handed_a_connection_gives_it_to_the_next(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    first = asyncio.create_task(pool.acquire())
    second = asyncio.create_task(pool.acquire())
    await until(lambda: pool.stats()["pending"] == 2)
    pool.give_back(connector)
    first.cancel()
    first.cancel()
    assert await second is connector
    with pytest.raises(asyncio.CancelledError):
        await first
    pool.give_back(connector)


async def test_when_every_task_of_the_loop_is_cancelled_no_slot_is_lost(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=2)
    for _ in range(3):  # before the dial's first step, and in its midst
        borrower = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises((asyncio.CancelledError, BackendUnavailable)):
            await borrower
        await settled(pool)
        assert at_rest(pool) and gauges(pool)[2] == 0
        await asyncio.sleep(SHORTEST)
    pool.give_back(await pool.acquire())


# The end ----------------------------------------------------------------------------------------


async def test_shutdown_waits_for_borrowed_ones_and_returns_when_the_last_is_closed(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool()
    connector = await pool.acquire()
    waiter = asyncio.create_task(pool.shutdown(60))
    await until(lambda: pool._core.closing)
    with pytest.raises(PoolClosed):
        await pool.acquire()
    assert not waiter.done()
    assert await connector.ask(b"still working") == b"still working"
    pool.give_back(connector)
    await waiter
    await until(lambda: tiny_server.open_connections == 0)
    assert pool.counters.closed["drain"] == 1


async def test_shutdown_closes_by_force_at_its_deadline(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=1)
    connector = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await until(lambda: pool.stats()["pending"] == 1)
    await pool.shutdown(0.02)
    with pytest.raises(PoolClosed):
        await waiter
    await until(lambda: tiny_server.open_connections == 0)
    pool.give_back(connector)
    await pool.shutdown()


async def test_shutdown_does_not_wait_for_a_dial_or_a_close_that_hangs(
    make_pool: MakePool, tiny_server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(AsyncConnector):
        async def disconnect(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("pannier.aio.pool_driver.CLOSE_GRACE", 0.02)
    pool = make_pool(Hanging)
    pool.give_back(await pool.acquire())
    tiny_server.mute.add(HELLO)
    held = pool.take_now()
    dialing = asyncio.create_task(pool.acquire())
    await until(lambda: tiny_server.count(HELLO) == 2)
    pool.give_back(held)
    assert await dialing is held
    pool.give_back(held)
    await pool.shutdown(0.02)
    assert gauges(pool) == (0, 0, 0, 0)
    await until(lambda: tiny_server.open_connections <= 1)
    tiny_server.speak()
    await until(lambda: tiny_server.open_connections == 0)


async def test_a_cancelled_shutdown_goes_on_without_its_caller(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool()
    await pool.acquire()
    closing = asyncio.create_task(pool.shutdown(0.05))
    await until(lambda: pool._core.closing)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: tiny_server.open_connections == 0)
    assert gauges(pool) == (0, 0, 0, 0)


async def test_a_pool_that_was_never_used_shuts_down(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.shutdown()
    with pytest.raises(PoolClosed):
        await pool.acquire()


async def test_a_pool_dropped_without_shutdown_closes_its_sockets(tiny_server: TinyServer) -> None:
    config = {"port": tiny_server.port}
    pool = ConnectionPool(AsyncConnector, config, PoolSettings(min_idle=2))
    pool.give_back(await pool.acquire())
    await settled(pool)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None, "a timer or a task keeps the pool alive"
    await until(lambda: tiny_server.open_connections == 0)


# Loops ------------------------------------------------------------------------------------------


def test_a_pool_starts_afresh_in_a_second_loop_when_the_first_is_closed(
    tiny_server: TinyServer,
) -> None:
    pool = ConnectionPool(AsyncConnector, {"port": tiny_server.port}, PoolSettings())

    async def use() -> Any:
        connector = await pool.acquire()
        await connector.ask(b"hello from this loop")
        pool.give_back(connector)
        return connector

    first = asyncio.run(use())
    second = asyncio.run(use())
    assert first is not second
    assert first.socket.fileno() < 0, "what belonged to the first loop was let go"
    asyncio.run(pool.shutdown())
    assert gauges(pool) == (0, 0, 0, 0)
    assert pool.stats()["closed"] == 2


def test_a_connector_borrowed_in_a_closed_loop_may_be_given_back_in_the_next(
    tiny_server: TinyServer,
) -> None:
    pool = ConnectionPool(AsyncConnector, {"port": tiny_server.port}, PoolSettings())
    held = asyncio.run(pool.acquire())

    async def use() -> None:
        fresh = await pool.acquire()
        assert fresh is not held
        pool.give_back(held)
        pool.give_back(fresh)
        await pool.shutdown()

    asyncio.run(use())


def test_a_connector_given_back_after_its_loop_closed_is_let_go(tiny_server: TinyServer) -> None:
    pool = ConnectionPool(AsyncConnector, {"port": tiny_server.port}, PoolSettings())
    held = asyncio.run(pool.acquire())
    pool.give_back(held, broken=True)
    assert held.socket.fileno() < 0
    assert gauges(pool) == (0, 0, 0, 0)


async def test_a_pool_used_from_a_second_loop_while_the_first_runs_raises(
    make_pool: MakePool,
) -> None:
    pool = make_pool()
    connector = await pool.acquire()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        async def borrow() -> None:
            await pool.acquire()

        async def give_back() -> None:
            pool.give_back(connector)

        for work in (borrow, give_back):
            try:
                asyncio.run(work())
            except RuntimeError as error:
                errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(errors) == 2
    assert all("another event loop" in str(error) for error in errors)
    assert gauges(pool) == (1, 0, 0, 0)
    pool.give_back(connector)


# Time -------------------------------------------------------------------------------------------


async def test_a_step_of_the_wall_clock_changes_nothing(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(connection_timeout=60, idle_timeout=60, max_lifetime=600)
    connector = await pool.acquire()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    pool.give_back(connector)
    assert await pool.acquire() is connector
    monkeypatch.setattr(time, "time", lambda: 0.0)
    pool.give_back(connector)
    assert await pool.acquire() is connector
    pool.give_back(connector)
    assert pool.stats()["closed"] == 0
