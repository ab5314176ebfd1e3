"""The operator's queue: each key once, one worker a key, failures wait longer and longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pannier_operator.work_queue import FIRST_WAIT, LONGEST_WAIT, QueueCore, WorkQueue


def core() -> QueueCore[str]:
    return QueueCore(chance=lambda: 0.0)


class TestTheCore:
    def test_a_key_added_twice_is_worked_on_once(self) -> None:
        queue = core()
        queue.add("a")
        queue.add("a")
        assert queue.depth == 1
        assert queue.take(0) == "a"
        assert queue.take(0) is None

    def test_keys_come_in_the_order_they_were_added(self) -> None:
        queue = core()
        for key in "abc":
            queue.add(key)
        assert [queue.take(0) for _ in range(3)] == ["a", "b", "c"]

    def test_a_key_that_is_worked_on_is_not_given_to_another_worker(self) -> None:
        queue = core()
        queue.add("a")
        queue.take(0)
        queue.add("a")
        assert queue.take(0) is None and queue.depth == 1
        queue.done("a")
        assert queue.take(0) == "a"

    def test_a_failure_waits_twice_as_long_each_time_up_to_a_bound(self) -> None:
        queue = core()
        queue.add("a")
        now, waits = 0.0, []
        for _ in range(12):
            assert queue.take(now) == "a"
            waits.append(queue.failed("a", now))
            assert queue.take(now + waits[-1] - 0.001) is None
            now += waits[-1]
        assert waits[:3] == pytest.approx([FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT])
        assert waits[-1] == LONGEST_WAIT

    def test_a_success_forgets_the_failures(self) -> None:
        queue = core()
        queue.add("a")
        for now in (0, 10):
            assert queue.take(now) == "a"
            queue.failed("a", now)
        assert queue.take(100) == "a"
        queue.done("a")
        queue.add("a")
        queue.take(101)
        assert queue.failed("a", 101) == FIRST_WAIT

    def test_news_of_a_failed_key_ends_its_wait(self) -> None:
        queue = core()
        queue.add("a")
        queue.take(0)
        queue.failed("a", 0)
        queue.add("a")
        assert queue.take(0) == "a"
        queue.done("a")
        assert queue.take(1000) is None, "the old wait is void"

    def test_news_that_came_during_a_failure_are_worked_on_at_once(self) -> None:
        queue = core()
        queue.add("a")
        queue.take(0)
        queue.add("a")
        assert queue.failed("a", 0) == 0.0
        assert queue.take(0) == "a"

    def test_a_key_is_looked_at_again_when_it_is_due(self) -> None:
        queue = core()
        queue.add_after("a", 10, now=0)
        queue.add_after("a", 20, now=0)
        assert queue.next_due() == 10
        assert queue.take(9.9) is None
        assert queue.take(10) == "a"

    def test_due_while_it_is_worked_on_it_comes_again(self) -> None:
        queue = core()
        queue.add("a")
        queue.take(0)
        queue.add_after("a", 5, now=0)
        assert queue.take(6) is None
        queue.done("a")
        assert queue.take(6) == "a"

    def test_chance_spreads_the_tries(self) -> None:
        queue: QueueCore[str] = QueueCore(chance=lambda: 1.0)
        queue.add("a")
        queue.take(0)
        assert queue.failed("a", 0) == pytest.approx(1.5 * FIRST_WAIT)


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens, no news is lost and no key is worked on twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = core()
        self.now = 0.0
        self.running: set[str] = set()
        self.unseen: set[str] = set()
        """Keys with news that no worker has begun to look at since."""
        self.failed: set[str] = set()

    @rule(key=st.sampled_from("abcd"))
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.unseen.add(key)

    @rule(key=st.sampled_from("abcd"), seconds=st.floats(0, 100))
    def add_after(self, key: str, seconds: float) -> None:
        self.queue.add_after(key, seconds, self.now)

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        key = self.queue.take(self.now)
        if key is None:
            assert not self.unseen - self.running, "news wait, and nobody gets them"
            return
        assert key not in self.running
        self.running.add(key)
        self.unseen.discard(key)
        self.failed.discard(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), well=st.booleans())
    def finish(self, data: st.DataObject, well: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(key)
        if well:
            self.queue.done(key)
        else:
            self.queue.failed(key, self.now)
            self.failed.add(key)

    @invariant()
    def what_failed_will_come_again(self) -> None:
        waiting = self.failed - self.unseen - self.running
        assert not waiting or self.queue.next_due() is not None or self.queue.depth

    def teardown(self) -> None:
        """In the end everything that was told is looked at."""
        for key in sorted(self.running):
            self.queue.done(key)
        wanted = self.unseen | self.failed
        seen = set()
        for _ in range(100):
            self.now += 100
            while (key := self.queue.take(self.now)) is not None:
                seen.add(key)
                self.queue.done(key)
        assert wanted <= seen
        assert self.queue.is_idle() and self.queue.next_due() is None


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class TestTheWorkers:
    async def test_no_more_work_at_once_than_workers_and_none_of_one_key(self) -> None:
        at_work: set[int] = set()
        most, done = 0, 0
        release = asyncio.Event()

        async def work(key: int) -> None:
            nonlocal most, done
            assert key not in at_work
            at_work.add(key)
            most = max(most, len(at_work))
            await release.wait()
            at_work.discard(key)
            done += 1

        queue: WorkQueue[int] = WorkQueue(work, workers=3, complain=lambda *told: None)
        for key in range(10):
            queue.add(key)
        running = asyncio.create_task(queue.run())
        await until(lambda: len(at_work) == 3)
        assert queue.depth == 7
        release.set()
        await until(queue.is_idle)
        assert (most, done) == (3, 10)
        await end(running)

    async def test_a_failure_is_told_and_tried_again(self) -> None:
        tries: list[str] = []
        told: list[tuple[str, str]] = []

        async def work(key: str) -> None:
            tries.append(key)
            if len(tries) == 1:
                raise RuntimeError("no")

        queue: WorkQueue[str] = WorkQueue(
            work, workers=1, complain=lambda key, error, wait: told.append((key, str(error)))
        )
        running = asyncio.create_task(queue.run())
        queue.add("a")
        await until(lambda: len(tries) == 2)
        assert told == [("a", "no")]
        await end(running)

    async def test_a_key_that_is_due_wakes_the_queue(self) -> None:
        seen = asyncio.Event()

        async def work(key: str) -> None:
            seen.set()

        queue: WorkQueue[str] = WorkQueue(work, workers=1, complain=lambda *told: None)
        running = asyncio.create_task(queue.run())
        await asyncio.sleep(0)
        queue.add_after("a", 0.01)
        await asyncio.wait_for(seen.wait(), 10)
        await end(running)

    async def test_its_end_ends_the_work(self) -> None:
        ended = False

        async def work(key: str) -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                ended = True

        queue: WorkQueue[str] = WorkQueue(work, workers=1, complain=lambda *told: None)
        queue.add("a")
        running = asyncio.create_task(queue.run())
        await asyncio.sleep(0.01)
        await end(running)
        assert ended


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
