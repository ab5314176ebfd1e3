"""The requests by which kopf watches, seen as they pass: which watch runs, and which began anew.

kopf gets a client session of ours. A middleware (aiohttp) puts the present token on each request,
so a rotated one is used at once, and notes lists and watches. A list by kopf means that its watch
lost its place, or had none: what was deleted before it, kopf never tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import aiohttp
from kubernetes.aio.client import ApiClient

from pannier_operator.served import Scope


@dataclass(slots=True)
class _Watch:
    """One scope's watch, as its requests show it."""

    response: aiohttp.ClientResponse | None = None
    """The stream that runs, or ran last."""
    begins_anew: bool = True
    """Whether the next stream follows a list and not the stream before it."""
    down_since: float | None = None


class WatchRequests:
    """What is known of every watch."""

    def __init__(self, scopes: Iterable[Scope], began: Callable[[Scope], None]) -> None:
        self._began = began
        self._scopes = {scope.path: scope for scope in scopes}
        self._watches = {scope: _Watch() for scope in self._scopes.values()}

    def session(self, api: ApiClient) -> aiohttp.ClientSession:
        """A client session for kopf, with the credentials of `api`. Whoever gets it closes it."""
        configuration = api.configuration

        async def pass_on(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            token = await configuration.get_api_key_with_prefix("BearerToken")
            if token:
                request.headers["Authorization"] = token
            return await self._observe(request, handler)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=api.rest_client.ssl_context),
            middlewares=(pass_on,),
            proxy=configuration.proxy,
            trust_env=True,
            read_bufsize=2**21,
        )

    def down(self) -> Iterator[tuple[Scope, float | None]]:
        """The watches that do not run, and since when; None: they never did."""
        now = asyncio.get_running_loop().time()
        for scope, watch in self._watches.items():
            if watch.response is None:
                yield scope, None
            elif watch.response.closed:
                if watch.down_since is None:
                    watch.down_since = now
                yield scope, watch.down_since
            else:
                watch.down_since = None

    async def _observe(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        scope = self._scopes.get(request.url.path)
        if scope is None:
            return await handler(request)
        watch = self._watches[scope]
        if request.url.query.get("watch") != "true":
            watch.begins_anew = True
            return await handler(request)
        response = await handler(request)
        if response.status == 200:
            watch.response, watch.down_since = response, None
            if watch.begins_anew:
                watch.begins_anew = False
                self._began(scope)
        return response
