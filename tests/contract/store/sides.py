"""Both sides of the library behind one awaitable face, so that no case is written twice."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 64
"""As many calls of a sync store can run at once."""

AT_ONCE = frozenset(("stats", "pools", "capabilities", "connector_klass"))
"""What no side awaits."""

_END = object()


class Side:
    """A store (or anything else of one side) whose methods are all awaited.

    On the sync side each call runs in a thread of its own, so calls at once are threads at once.
    """

    def __init__(self, subject: Any, threads: ThreadPoolExecutor | None) -> None:
        self.subject = subject
        self._threads = threads

    @property
    def is_sync(self) -> bool:
        """Whether the store behind is the sync one."""
        return self._threads is not None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.subject, name)
        if name in AT_ONCE or not callable(found):
            return found
        return lambda *arguments, **keywords: self.call(found, *arguments, **keywords)

    async def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """What `function` gives: in a thread on the sync side, awaited on the async one."""
        if self._threads is None:
            result = function(*arguments, **keywords)
            return await result if inspect.isawaitable(result) else result
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*arguments, **keywords))

    async def iter_records(self, *arguments: Any, **keywords: Any) -> AsyncIterator[Any]:
        """The store's own iterator, whichever it is."""
        found = self.subject.iter_records(*arguments, **keywords)
        try:
            if not self.is_sync:
                async for record in found:
                    yield record
                return
            while (record := await self.call(next, found, _END)) is not _END:
                yield record
        finally:
            await self.call(found.aclose if not self.is_sync else found.close)
