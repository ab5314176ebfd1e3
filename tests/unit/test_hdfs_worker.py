"""How blocking calls are made from both sides: in order, bounded, seen through, and lazily."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from pannier.aio import worker as of_loop
from pannier.sync import worker as of_threads


async def test_each_gives_results_in_the_items_order_and_no_more_at_once_than_asked() -> None:
    under_way = most = 0

    async def double(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(number % 3 + 1):
            await asyncio.sleep(0)
        under_way -= 1
        return 2 * number

    assert await of_loop.each(double, range(20), 4) == [2 * number for number in range(20)]
    assert most == 4
    assert await of_loop.each(double, [], 4) == []


def test_each_of_threads_gives_results_in_order_and_no_more_at_once_than_asked() -> None:
    meeting = threading.Barrier(4)
    lock = threading.Lock()
    under_way = most = 0

    def double(number: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        meeting.wait(10)  # four are needed to go on, so four there are
        with lock:
            under_way -= 1
        return 2 * number

    assert of_threads.each(double, range(20), 4) == [2 * number for number in range(20)]
    assert most == 4
    assert of_threads.each(double, [], 4) == []


async def test_the_first_failure_ends_each_and_nothing_more_is_begun() -> None:
    begun: list[int] = []

    async def fail(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0)
        if number == 2:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="2"):
        await of_loop.each(fail, range(1000), 2)
    assert len(begun) < 10

    def fail_at_once(number: int) -> int:
        begun.append(number)
        raise ValueError(number)

    begun.clear()
    with pytest.raises(ValueError, match=r"\d"):
        of_threads.each(fail_at_once, range(1000), 2)
    assert len(begun) <= 2


async def test_what_is_seen_through_ends_though_its_caller_is_cancelled() -> None:
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        ended.set()

    caller = asyncio.ensure_future(of_loop.see_through(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_failure_after_its_caller_went_is_not_reported_as_forgotten() -> None:
    go_on = asyncio.Event()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, said: reported.append(said))

    async def work() -> None:
        await go_on.wait()
        raise ValueError

    caller = asyncio.ensure_future(of_loop.see_through(work()))
    await asyncio.sleep(0)
    caller.cancel()
    go_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert caller.cancelled()
    assert reported == []


async def test_a_worker_carries_out_calls_in_turn_in_one_thread() -> None:
    worker = of_loop.Worker()
    names = await asyncio.gather(
        *(worker.run(lambda: threading.current_thread().name) for _ in range(5))
    )
    assert len(set(names)) == 1
    assert names[0] != threading.current_thread().name
    worker.stop()


def test_neither_hdfs_nor_requests_is_imported_before_a_connection() -> None:
    program = (
        "import sys, pannier, pannier.aio\n"
        "pannier.HDFSStoreBackend('/x'), pannier.aio.HDFSStoreBackend('/x')\n"
        "assert not {'hdfs', 'requests', 'urllib3'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
