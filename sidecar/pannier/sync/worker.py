"""Blocking calls made from threads: the same names as `pannier.aio.worker`. Hand-written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


class Worker:
    """Carries out one connection's calls in the calling thread, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises."""
        with self._lock:
            return function(*arguments)

    def stop(self) -> None:
        """Nothing to end here."""


def see_through(result: T) -> T:
    """The result itself: a thread is not cancelled, so its work is always seen through."""
    return result


def beside(work: Callable[[], None]) -> None:
    """Start `work()` in a thread of its own and go on without it; it must not fail."""
    threading.Thread(target=work, name="pannier-beside", daemon=True).start()


def each(function: Callable[[Item], T], items: Sequence[Item], parallel: int) -> list[T]:
    """`function` of every item, in the items' order, by at most `parallel` threads.

    The first failure is raised, and no further item is begun.
    """
    results: list[Any] = [None] * len(items)
    failures: list[BaseException] = []
    ahead = iter(range(len(items)))
    taking = threading.Lock()

    def work() -> None:
        while not failures:
            with taking:
                place = next(ahead, None)
            if place is None:
                return
            try:
                results[place] = function(items[place])
            except BaseException as failure:
                failures.append(failure)

    threads = [
        threading.Thread(target=work, name="pannier-each", daemon=True)
        for _ in range(min(parallel, len(items)) - 1)
    ]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results
