"""The threading driver, with real sockets: what no pure test can show."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pannier.errors import BackendUnavailable, NotBorrowed, PoolClosed, PoolFull, PoolTimeout
from pannier.pool.settings import PoolSettings
from pannier.pool.slots import Slot
from pannier.pool.tickets import Ticket
from pannier.sync.pool_driver import ConnectionPool
from pannier.sync.pool_threads import Waiter
from tests.unit.tiny_server import HELLO, PING, SyncConnector, TinyServer, tiny_server

__all__ = ["tiny_server"]

MakePool = Callable[..., ConnectionPool]


@pytest.fixture
def make_pool(tiny_server: TinyServer) -> Iterator[MakePool]:
    """Makes pools of connections to the tiny server, and shuts them down."""
    pools = []

    def make(connector_class: type[Any] = SyncConnector, **settings: Any) -> ConnectionPool:
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
    tiny_server.speak()
    for pool in pools:
        pool.shutdown(0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.001)


def gauges(pool: ConnectionPool) -> tuple[int, int, int, int]:
    stats = pool.stats()
    return stats["in_use"], stats["idle"], stats["opening"], stats["pending"]


class Background:
    """A call in a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.result = work()
        except BaseException as error:
            self.error = error

    def join(self) -> Any:
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def test_a_connection_is_lent_connected_and_used_again(make_pool: MakePool) -> None:
    pool = make_pool()
    connector = pool.acquire()
    assert connector.ask(b"one") == b"one"
    pool.give_back(connector)
    assert pool.acquire() is connector
    pool.give_back(connector)
    assert gauges(pool) == (0, 1, 0, 0)


def test_only_an_older_connection_is_asked_before_it_is_lent(tiny_server: TinyServer) -> None:
    now = [100.0]
    config = {"port": tiny_server.port}
    pool = ConnectionPool(SyncConnector, config, PoolSettings(), clock=lambda: now[0])
    for _ in range(10):
        pool.give_back(pool.acquire())
    assert tiny_server.lines == [HELLO]
    now[0] += 0.6
    pool.give_back(pool.acquire())
    assert tiny_server.lines == [HELLO, PING]
    pool.shutdown(0)


def test_a_connection_the_server_closed_is_never_lent(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=2)
    first, second = pool.acquire(), pool.acquire()
    pool.give_back(first)
    tiny_server.cut()
    until(lambda: not first.looks_alive() and not second.looks_alive())
    pool.give_back(second)
    connector = pool.acquire()
    assert connector.ask(b"alive") == b"alive"
    pool.give_back(connector)
    assert pool.counters.closed["broken"] == 2


def test_an_idle_connection_the_server_closed_is_not_counted(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool()
    connector = pool.acquire()
    pool.give_back(connector)
    tiny_server.cut()
    until(lambda: not connector.looks_alive())
    assert gauges(pool) == (0, 0, 0, 0)
    assert pool.counters.closed["broken"] == 1


def test_a_slow_dial_holds_up_neither_a_release_nor_an_idle_borrow(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=3)
    first, second = pool.acquire(), pool.acquire()
    tiny_server.mute.add(HELLO)
    third = Background(pool.acquire)
    until(lambda: tiny_server.count(HELLO) == 3)
    pool.give_back(second)
    assert third.join() is second
    pool.give_back(first)
    assert pool.acquire() is first
    assert gauges(pool) == (2, 0, 1, 0)
    tiny_server.speak()
    until(lambda: gauges(pool) == (2, 1, 0, 0))


def test_a_dial_slower_than_connection_timeout_goes_on_and_becomes_idle(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    tiny_server.mute.add(HELLO)
    pool = make_pool(connection_timeout=0.05)
    with pytest.raises(PoolTimeout, match="Pool shop"):
        pool.acquire()
    assert gauges(pool) == (0, 0, 1, 0)
    tiny_server.speak()
    until(lambda: gauges(pool) == (0, 1, 0, 0))


def test_a_check_slower_than_connection_timeout_refuses_the_borrower_in_time(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool(max_connections=1)
    pool.give_back(pool.acquire())
    pool.reconfigure(connection_timeout=0.05)
    pool._clock = lambda: time.monotonic() + 1  # a second has passed
    tiny_server.mute.add(PING)
    with pytest.raises(PoolTimeout, match="being checked"):
        pool.acquire()
    tiny_server.speak()
    until(lambda: gauges(pool) == (0, 1, 0, 0))


def test_a_backend_that_is_not_there_is_told_at_once_and_dialed_seldom(
    tiny_server: TinyServer,
) -> None:
    tiny_server.stop()
    config = {"port": tiny_server.port}
    pool = ConnectionPool(SyncConnector, config, PoolSettings(), random=lambda: 1.0)
    with pytest.raises(BackendUnavailable) as first:
        pool.acquire()
    assert isinstance(first.value.__cause__, ConnectionRefusedError)
    with pytest.raises(BackendUnavailable, match="next dial is due"):
        pool.acquire()
    assert gauges(pool) == (0, 0, 0, 0)
    pool.shutdown()


def test_the_operation_after_max_waiting_is_refused_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_connections=1, max_waiting=1)
    connector = pool.acquire()
    waiter = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    with pytest.raises(PoolFull):
        pool.acquire()
    pool.give_back(connector)
    assert waiter.join() is connector


def test_64_threads_on_16_connections_are_served_strictly_in_the_order_of_asking(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_connections=16)
    grant = pool._core._grant
    served: list[int] = []

    def noting(ticket: Ticket, slot: Slot, now: float) -> None:
        served.append(ticket.number)
        grant(ticket, slot, now)

    pool._core._grant = noting  # type: ignore[method-assign]
    together = threading.Barrier(64)

    def work() -> None:
        together.wait()
        for _ in range(30):
            connector = pool.acquire()
            time.sleep(0.0005)  # the work: it lets the others run, and waits for nothing
            pool.give_back(connector)

    workers = [Background(work) for _ in range(64)]
    for worker in workers:
        worker.join()
    assert len(served) > 1000, "most of them had to wait"
    assert served == sorted(served)
    assert gauges(pool) == (0, 16, 0, 0)


def test_min_idle_is_opened_when_the_pool_is_made(make_pool: MakePool) -> None:
    pool = make_pool(min_idle=3)
    until(lambda: gauges(pool) == (0, 3, 0, 0))


def test_the_keeper_closes_idle_connections(make_pool: MakePool, tiny_server: TinyServer) -> None:
    pool = make_pool(idle_timeout=0.05, min_idle=1)
    for connector in [pool.acquire() for _ in range(3)]:
        pool.give_back(connector)
    until(lambda: gauges(pool) == (0, 1, 0, 0))
    until(lambda: tiny_server.open_connections == 1)
    assert pool.counters.closed["idle"] == tiny_server.accepted - 1
    assert sum(pool.timings.reaper.counts) == pool.counters.reaper_runs >= 1


def test_a_leak_is_logged_with_where_the_connector_was_taken(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    def forgetful() -> Any:
        return pool.acquire()

    pool = make_pool(leak_threshold=0.01)
    with caplog.at_level(logging.WARNING, "pannier.pool"):
        connector = forgetful()
        until(lambda: "in forgetful" in caplog.text)
    pool.give_back(connector)
    assert pool.stats()["leaks"] == 1


def test_settings_changed_by_one_thread_hold_for_another_that_waits(make_pool: MakePool) -> None:
    pool = make_pool(max_connections=1, connection_timeout=60)
    held = pool.acquire()
    waiter = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    pool.reconfigure(max_connections=2)
    other = waiter.join()
    hasty = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    pool.reconfigure(connection_timeout=0.01)
    with pytest.raises(PoolTimeout):
        hasty.join()
    pool.give_back(held)
    pool.reconfigure(max_connections=1)
    assert gauges(pool) == (1, 0, 0, 0)
    assert held.socket.fileno() < 0, "an idle one is closed when the pool shrinks"
    pool.give_back(other)


# Giving back ------------------------------------------------------------------------------------


def test_releasing_twice_raises_also_when_it_is_being_handed_to_another(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_connections=1)
    connector = pool.acquire()
    may_wake = threading.Event()
    wait = Waiter.wait

    def sleep_on(waiter: Waiter, timeout: float) -> bool:
        woken = wait(waiter, timeout)
        may_wake.wait(30)
        return woken

    monkeypatch.setattr(Waiter, "wait", sleep_on)
    other = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    pool.give_back(connector)
    with pytest.raises(NotBorrowed, match="already"):
        pool.give_back(connector)
    assert gauges(pool) == (1, 0, 0, 0)
    may_wake.set()
    assert other.join() is connector
    pool.give_back(connector)
    with pytest.raises(ValueError, match="not borrowed"):
        pool.give_back(connector)
    with pytest.raises(ValueError, match="not borrowed"):
        pool.give_back(object())
    assert gauges(pool) == (0, 1, 0, 0)


def test_a_thread_may_leave_its_connection_to_the_one_that_started_it(make_pool: MakePool) -> None:
    pool = make_pool(max_connections=1)
    connector = pool.acquire()
    waiter = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    pool.give_back(connector)
    assert waiter.join() is connector
    pool.give_back(connector)
    assert gauges(pool) == (0, 1, 0, 0)


def test_a_waiting_thread_that_is_interrupted_leaves_the_line_or_gives_back_its_grant(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_connections=1)
    connector = pool.acquire()
    interrupt = KeyboardInterrupt()

    def interrupted(waiter: Any, timeout: float) -> bool:
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr("pannier.sync.pool_threads.Waiter.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.acquire()
    assert gauges(pool) == (1, 0, 0, 0)

    def interrupted_as_it_is_granted(waiter: Any, timeout: float) -> bool:
        pool.give_back(connector)
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr("pannier.sync.pool_threads.Waiter.wait", interrupted_as_it_is_granted)
        with pytest.raises(KeyboardInterrupt):
            pool.acquire()
    assert gauges(pool) == (0, 1, 0, 0)


# Garbage collection inside the lock -------------------------------------------------------------


class Forgotten:
    """Gives its connector back when it is collected, in a cycle, so that the collector finds it."""

    def __init__(self, pool: ConnectionPool, connector: Any) -> None:
        self.pool, self.connector, self.cycle = pool, connector, self

    def __del__(self) -> None:
        self.pool.give_back(self.connector)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", ["entering", "deciding", "decided", "leaving"])
def test_a_finalizer_that_gives_back_inside_the_lock_does_not_deadlock(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    pool = make_pool(max_connections=3)
    held, other = pool.acquire(), pool.acquire()
    Forgotten(pool, held)
    decision = pool._decision

    def collecting(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            if before:
                gc.collect()
            result = function(*arguments, **keywords)
            if not before:
                gc.collect()
            return result

        return wrapped

    gc.disable()
    try:
        if place == "deciding":
            pool._core.release = collecting(pool._core.release, before=True)  # type: ignore[method-assign]
        elif place == "decided":
            pool._decided = collecting(pool._decided, before=False)  # type: ignore[method-assign]
        else:
            enter, leave = type(decision).__enter__, type(decision).__exit__
            if place == "entering":
                monkeypatch.setattr(type(decision), "__enter__", collecting(enter, before=False))
            else:
                monkeypatch.setattr(type(decision), "__exit__", collecting(leave, before=True))
        pool.give_back(other)
    finally:
        gc.enable()
        monkeypatch.undo()
    until(lambda: gauges(pool) == (0, 2, 0, 0))
    third = pool.acquire()
    assert third in (held, other)
    pool.give_back(third)


@pytest.mark.timeout(60)
def test_finalizers_that_run_anywhere_in_many_threads_lose_no_connection(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_connections=4)
    before = gc.get_threshold()

    def borrow_and_forget() -> None:
        for number in range(150):
            connector = pool.acquire()
            if number % 3:
                Forgotten(pool, connector)
            else:
                pool.give_back(connector)
            del connector

    gc.collect()
    gc.freeze()  # so that a collection is about our objects, and quick
    gc.set_threshold(11, 2, 2)  # the collector runs everywhere, all the time
    try:
        with ThreadPoolExecutor(6) as threads:
            workers = [threads.submit(borrow_and_forget) for _ in range(6)]
            while not all(worker.done() for worker in workers):
                gc.collect()  # also while all of them wait for what is forgotten
        for worker in workers:
            worker.result()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    gc.collect()
    until(lambda: gauges(pool)[0] == 0)
    assert pool.stats()["closed"] == 0


def test_a_finalizer_inside_the_lock_may_not_borrow(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool._decision, pytest.raises(RuntimeError, match="finalizer"):
        pool.acquire()
    pool.give_back(pool.acquire())


def test_a_finalizer_inside_the_lock_that_gives_back_twice_is_logged(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    connector = pool.acquire()
    pool.give_back(connector)
    with pool._decision:
        pool.give_back(connector)
    until(lambda: "is not borrowed" in caplog.text)
    assert gauges(pool) == (0, 1, 0, 0)


# The end ----------------------------------------------------------------------------------------


def test_shutdown_waits_for_borrowed_ones_and_returns_when_the_last_is_closed(
    make_pool: MakePool, tiny_server: TinyServer
) -> None:
    pool = make_pool()
    idle, connector = pool.acquire(), pool.acquire()
    pool.give_back(idle)
    closing = Background(lambda: pool.shutdown(60))
    until(lambda: pool._core.closing)
    with pytest.raises(PoolClosed):
        pool.acquire()
    assert connector.ask(b"still working") == b"still working"
    pool.give_back(connector)
    closing.join()
    assert idle.socket.fileno() < 0 and connector.socket.fileno() < 0
    assert pool.counters.closed["drain"] == 2


def test_shutdown_wakes_waiters_and_closes_by_force_at_its_deadline(make_pool: MakePool) -> None:
    pool = make_pool(max_connections=1)
    connector = pool.acquire()
    waiter = Background(pool.acquire)
    until(lambda: pool.stats()["pending"] == 1)
    pool.shutdown(0.02)
    with pytest.raises(PoolClosed):
        waiter.join()
    assert connector.socket.fileno() < 0
    pool.give_back(connector)
    pool.shutdown()


def test_shutdown_does_not_wait_for_a_dial_or_a_close_that_hangs(
    make_pool: MakePool, tiny_server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_close = threading.Event()

    class Hanging(SyncConnector):
        def disconnect(self) -> None:
            may_close.wait(30)
            super().disconnect()

    monkeypatch.setattr("pannier.sync.pool_driver.CLOSE_GRACE", 0.02)
    pool = make_pool(Hanging)
    held = pool.acquire()
    tiny_server.mute.add(HELLO)
    pool.reconfigure(connection_timeout=0.02)
    with pytest.raises(PoolTimeout):
        pool.acquire()
    pool.give_back(held)
    pool.shutdown(0.02)
    assert gauges(pool) == (0, 0, 0, 0)
    tiny_server.speak()
    may_close.set()
    until(lambda: tiny_server.open_connections == 0)


def pool_threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if f"pannier pool {name}" in thread.name]


def test_the_keeper_ends_with_a_shutdown(tiny_server: TinyServer) -> None:
    config = {"port": tiny_server.port}
    pool = ConnectionPool(SyncConnector, config, PoolSettings(), name="kept")
    assert not pool_threads("kept"), "no thread before the first use"
    pool.give_back(pool.acquire())
    assert pool_threads("kept")
    pool.shutdown()
    until(lambda: not pool_threads("kept"))


def test_a_pool_dropped_without_shutdown_closes_its_sockets_and_its_keeper_ends(
    tiny_server: TinyServer,
) -> None:
    config = {"port": tiny_server.port}
    pool = ConnectionPool(SyncConnector, config, PoolSettings(min_idle=2), name="dropped")
    pool.give_back(pool.acquire())
    until(lambda: len(pool_threads("dropped")) == 1)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    until(lambda: gone() is None)
    until(lambda: tiny_server.open_connections == 0)
    until(lambda: not pool_threads("dropped"))


def test_a_process_that_never_shuts_its_pool_down_ends_at_once_and_silently(
    tiny_server: TinyServer,
) -> None:
    script = f"""
from pannier.pool.settings import PoolSettings
from pannier.sync.pool_driver import ConnectionPool
from tests.unit.tiny_server import SyncConnector
pool = ConnectionPool(SyncConnector, {{"port": {tiny_server.port}}}, PoolSettings(min_idle=2))
held = pool.acquire()
pool.give_back(pool.acquire())
"""
    done = run_python(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    until(lambda: tiny_server.open_connections == 0)


# Fork -------------------------------------------------------------------------------------------


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "sidecar")])
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_forked_child_starts_empty_and_never_touches_its_parents_sockets(
    tiny_server: TinyServer,
) -> None:
    script = f"""
import os, threading
from pannier.pool.settings import PoolSettings
from pannier.sync.pool_driver import ConnectionPool
from tests.unit.tiny_server import SyncConnector

settings = PoolSettings(max_connections=3)
pool = ConnectionPool(SyncConnector, {{"port": {tiny_server.port}}}, settings)
held, idle = pool.acquire(), pool.acquire()
pool.give_back(idle)
locked, go = threading.Event(), threading.Event()

def hold_the_lock():
    with pool._decision:
        locked.set()
        go.wait()

threading.Thread(target=hold_the_lock, daemon=True).start()
locked.wait()
child = os.fork()  # while another thread holds the pool's lock
if child == 0:
    assert pool.stats()["in_use"] == pool.stats()["idle"] == 0, pool
    fresh = pool.acquire()
    assert fresh not in (held, idle)
    assert fresh.ask(b"child") == b"child"
    pool.give_back(held)  # a block that spans the fork ends in the child too
    pool.give_back(fresh)
    pool.shutdown()
    os._exit(0)
go.set()
assert os.waitpid(child, 0)[1] == 0
assert held.ask(b"parent") == b"parent"
pool.give_back(held)
again = pool.acquire()
assert again in (held, idle)
assert again.ask(b"parent again") == b"parent again"
pool.give_back(again)
assert pool.stats()["closed"] == 0
pool.shutdown()
"""
    done = run_python(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert tiny_server.accepted == 3


def test_an_asyncio_pool_starts_empty_in_a_forked_child(tiny_server: TinyServer) -> None:
    script = f"""
import asyncio, os
from pannier.pool.settings import PoolSettings
from pannier.aio.pool_driver import ConnectionPool
from tests.unit.tiny_server import AsyncConnector

pool = ConnectionPool(AsyncConnector, {{"port": {tiny_server.port}}}, PoolSettings())

async def use(word):
    connector = await pool.acquire()
    assert await connector.ask(word) == word
    pool.give_back(connector)
    return connector

async def parent():
    first = await use(b"parent")
    child = os.fork()
    if child == 0:
        asyncio._set_running_loop(None)
        assert asyncio.run(use(b"child")) is not first
        os._exit(0)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status == 0
    assert await use(b"parent again") is first
    await pool.shutdown()

asyncio.run(parent())
"""
    done = run_python(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert tiny_server.accepted == 2


# Threads that cannot be had ---------------------------------------------------------------------


def test_where_no_thread_can_be_started_the_work_is_done_by_who_asked(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    pool.give_back(pool.acquire())  # the keeper runs
    pool._clock = lambda: time.monotonic() + 1

    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "pannier" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)  # the server's

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first, second = pool.acquire(), pool.acquire()  # a check and a dial
    assert second.ask(b"dialed") == b"dialed"
    pool.give_back(first)
    pool.give_back(second)


def test_a_slot_tells_its_connector(make_pool: MakePool) -> None:
    slot = Slot(1.0, 1.0)
    assert repr(slot) == "<Slot None since=1>"
