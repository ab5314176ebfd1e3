"""Blocking calls made from the event loop: one thread a connection, and nothing torn up midway.

Hand-written; `pannier.sync.worker` has the same names for the sync side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")

_seen_through: set[asyncio.Task[Any]] = set()
"""Keeps tasks that nobody awaits any more from being collected before they end."""


class Worker:
    """One thread, started at first use, that carries out one connection's calls in turn."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pannier-hdfs")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises, carried out in the thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, function, *arguments
        )

    def stop(self) -> None:
        """End the thread after the call it is in, without waiting for it."""
        self._executor.shutdown(wait=False)


async def see_through(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; if the caller is cancelled meanwhile, `work` goes on to its end all the same.

    A blocking call cannot be stopped, so its connection is lent out until it has returned, and a
    write of several steps leaves none of them undone.
    """
    return await asyncio.shield(_started(work))


def beside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start `work()` and go on without it; it must not fail."""
    _started(work())


def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    _seen_through.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _seen_through.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that an abandoned failure is not reported as forgotten


async def each(
    function: Callable[[Item], Awaitable[T]], items: Sequence[Item], parallel: int
) -> list[T]:
    """`function` of every item, in the items' order, at most `parallel` at a time.

    The first failure is raised, and no further item is begun.
    """
    results: list[Any] = [None] * len(items)
    ahead = iter(range(len(items)))

    async def work() -> None:
        for place in ahead:
            results[place] = await function(items[place])

    tasks = [asyncio.ensure_future(work()) for _ in range(min(parallel, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return results
