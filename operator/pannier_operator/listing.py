"""Complete lists of everything watched: before serving, in intervals, and after a watch's gap.

kopf's watch lists anew when its place is lost (410) and never tells of what was deleted meanwhile.
So completeness is made here: what a whole list lacks is dropped. A list that fails on any page
changes nothing and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cache import Cache, Found, Key
from pannier_operator.cluster import API_ERRORS, call, said
from pannier_operator.served import SELECTORS, Scope

log = logging.getLogger("pannier.operator")

PAGE: Final = 500
"""Objects of one page."""
PAGE_TIMEOUT: Final = 30.0
"""Seconds for one page."""
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 30.0
"""Seconds until a failed list is tried again, doubling."""
HEARD_WITHIN: Final = 30.0
"""Seconds within which a watch must have told what a list found; else it is deaf."""
HEARD_EACH: Final = 0.01
"""Seconds more for each object: kopf tells of one in about a millisecond."""

Deaf = Callable[[Scope, Sequence[Key]], None]
"""Told of what a watch has not told, though a list found it long ago."""


class Lister:
    """Lists each scope when asked to, and every so often."""

    def __init__(
        self,
        api: ApiClient,
        cache: Cache,
        scopes: Iterable[Scope],
        *,
        every: float,
        deaf: Deaf = lambda scope, keys: None,
        heard_within: float = HEARD_WITHIN,
    ) -> None:
        self._api = api
        self._cache = cache
        self._scopes = tuple(scopes)
        self._every = every
        self._deaf = deaf
        self._heard_within = heard_within
        self._asked: dict[Scope, asyncio.Event] = {scope: asyncio.Event() for scope in self._scopes}
        self._listed: dict[Scope, int] = dict.fromkeys(self._scopes, 0)
        self._troubles: dict[Scope, str] = {}
        self._complete = asyncio.Event()
        self.resynced: Callable[[], None] = lambda: None
        """Told after each of the lists that are made in intervals."""

    @property
    def is_complete(self) -> bool:
        """Whether every scope has been listed as a whole."""
        return self._complete.is_set()

    async def completed(self) -> None:
        """Return when every scope has been listed as a whole."""
        await self._complete.wait()

    def ask(self, scope: Scope) -> None:
        """Have `scope` listed now: a watch of it began, or began anew."""
        self._asked[scope].set()

    def reasons(self) -> Iterator[str]:
        """What has not been listed yet, and why."""
        for scope in self._scopes:
            if not self._listed[scope]:
                trouble = self._troubles.get(scope)
                yield f"{scope} not listed yet" + (f" ({trouble})" if trouble else "")

    async def run(self) -> None:
        """List until cancelled; each scope waits for its first `ask`."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"list {scope}")

    async def probe(self) -> None:
        """Return when every scope can be listed: its kind is defined, and we may."""
        for scope in self._scopes:
            wait = FIRST_RETRY
            while True:
                try:
                    await call(self._api, "GET", scope.path, query=query_of(scope, limit=1))
                    break
                except API_ERRORS as error:
                    self._failed(scope, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY)
            self._troubles.pop(scope, None)

    async def _follow(self, scope: Scope) -> None:
        asked = self._asked[scope]
        await asked.wait()
        wait = FIRST_RETRY
        while True:
            asked.clear()
            try:
                found = await self.list_once(scope)
            except API_ERRORS as error:
                self._failed(scope, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY)
                continue
            wait = FIRST_RETRY
            self._succeeded(scope, found)
            try:
                async with asyncio.timeout(self._every):
                    await asked.wait()
            except TimeoutError:
                pass

    async def list_once(self, scope: Scope) -> Found:
        """List `scope` as a whole and tell the cache. Raises one of API_ERRORS."""
        listing = self._cache.begin_list(scope.kind, scope.namespace)
        things: list[Any] = []
        more, version = "", ""
        while True:
            page = await call(
                self._api,
                "GET",
                scope.path,
                query=query_of(scope, limit=PAGE, more=more),
                timeout=PAGE_TIMEOUT,
            )
            things += page["items"]
            metadata = page["metadata"]
            version = version or metadata["resourceVersion"]
            more = metadata.get("continue") or ""
            if not more:
                break
        return self._cache.finish_list(listing, things, version)

    def _succeeded(self, scope: Scope, found: Found) -> None:
        self._troubles.pop(scope, None)
        first = not self._listed[scope]
        self._listed[scope] += 1
        if all(self._listed.values()):
            self._complete.set()
        if first:
            log.info("%d %s listed", self._cache.count(scope.kind), scope)
        elif found.changed or found.gone:
            log.info(
                "a list of %s found %d changed and %d gone of which the watch had not told yet",
                scope, len(found.changed), len(found.gone),
            )  # fmt: skip
        if found.changed:
            loop = asyncio.get_running_loop()
            wait = self._heard_within + HEARD_EACH * len(found.changed)
            loop.call_later(wait, self._was_it_heard, scope, found.changed)
        if scope.kind == "storebackends":
            self.resynced()

    def _was_it_heard(self, scope: Scope, keys: Sequence[Key]) -> None:
        unheard = self._cache.unwatched(scope.kind, keys)
        if unheard:
            self._deaf(scope, unheard)

    def _failed(self, scope: Scope, error: BaseException) -> None:
        trouble = said(error)
        if isinstance(error, ApiException) and error.status == 404:
            trouble += ": is the CustomResourceDefinition installed?"
        self._troubles[scope] = trouble
        log.warning("%s cannot be listed: %s", scope, trouble)


def query_of(scope: Scope, *, limit: int, more: str = "") -> dict[str, str | int]:
    """The query of one page."""
    query: dict[str, str | int] = {"limit": limit}
    if scope.kind in SELECTORS:
        query["labelSelector"] = SELECTORS[scope.kind]
    if more:
        query["continue"] = more
    return query
