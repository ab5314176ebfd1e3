"""kopf's watches of StoreBackends, Secrets and namespaces, into the cache. It writes nothing.

kopf runs embedded: with credentials and a client session of ours, no peering, no scanning, and
only `on.event` handlers, so that no annotation and no finalizer is ever put on a resource. How its
watches fare is seen from their requests (`watch_requests`), not from kopf's insides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import kopf
from kubernetes.aio.client import ApiClient

from pannier_operator.cache import Cache, Kind
from pannier_operator.served import GROUP, SELECTORS, VERSION, Scope
from pannier_operator.settings import OperatorSettings
from pannier_operator.watch_requests import WatchRequests

log = logging.getLogger("pannier.operator")

RESTART_WAIT: Final = 2.0
"""Seconds before kopf is started again after it ended."""
GRACE: Final = 20.0
"""Seconds that a watch may be down (a reconnect takes less) before we are not ready."""
HOPELESS: Final = 60.0
"""Seconds after which a watch that is down is not left to kopf any more: a resource that was
undefined and defined again, kopf does not look for."""


class WithoutObjects(logging.Filter):
    """Takes from kopf's log the one line that would quote a whole object, a Secret perhaps."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "unsupported event type" in str(record.msg):
            record.msg, record.args = "an event of an unknown type was passed over", ()
        return True


WITHOUT_OBJECTS: Final = WithoutObjects()


class Backoffs:
    """kopf's waits between tries of one request: for ever, since a watch must not give up."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2)
        while True:
            yield 3


class Watching:
    """kopf, kept running."""

    def __init__(
        self,
        api: ApiClient,
        settings: OperatorSettings,
        scopes: Iterable[Scope],
        cache: Cache,
        *,
        probe: Callable[[], Awaitable[None]],
        began: Callable[[Scope], None],
        heed_signals: Callable[[], None] = lambda: None,
        hopeless: float = HOPELESS,
    ) -> None:
        """`probe` returns once every scope can be listed: kopf looks for resources at its start
        alone. `began` is told when a watch runs whose beginning lost sight of what was deleted
        before: then a complete list is due. kopf takes SIGTERM for itself: `heed_signals` takes it
        back.
        """
        self._api = api
        self._settings = settings
        self._cache = cache
        self._probe = probe
        self._heed_signals = heed_signals
        self._hopeless = hopeless
        self._requests = WatchRequests(scopes, began)
        logging.getLogger("kopf._cogs.clients.watching").addFilter(WITHOUT_OBJECTS)
        self._restart = asyncio.Event()

    def reasons(self) -> Iterator[str]:
        """Which watches are not alive."""
        now = asyncio.get_running_loop().time()
        for scope, since in self._requests.down():
            if since is None:
                yield f"{scope} not watched yet"
            elif now - since > GRACE:
                yield f"the watch of {scope} has been down for {now - since:.0f} s"

    def restart(self, why: str) -> None:
        """Start kopf anew."""
        log.warning("the watches are started anew: %s", why)
        self._restart.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._probe()
            self._restart.clear()
            try:
                await self._once()
            except Exception as error:
                # Its text may quote what was sent; the type says enough beside kopf's own log.
                log.error("the watches ended: %s", type(error).__name__)
            await asyncio.sleep(RESTART_WAIT)

    async def _once(self) -> None:
        """One kopf, until one of its parts ends or it is to be restarted.

        Not `kopf.run_tasks`: at its end that cancels every task of the loop, ours included.
        """
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=self._settings.clusterwide,
            namespaces=self._settings.watch_namespace,
        )
        self._heed_signals()
        restart = asyncio.create_task(self._restart.wait())
        guard = asyncio.create_task(self._guard())
        try:
            done, _ = await asyncio.wait(
                (*tasks, restart, guard), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (*tasks, restart, guard):
                task.cancel()
            await asyncio.gather(*tasks, restart, guard, return_exceptions=True)
        for task in done:
            if (error := task.exception()) is not None:
                raise error

    async def _guard(self) -> None:
        """Have kopf started anew where it leaves a watch down for long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await asyncio.sleep(self._hopeless / 6)
            now = loop.time()
            for scope, since in self._requests.down():
                if now - max(since or began, began) > self._hopeless:
                    self.restart(f"the watch of {scope} stays down")
                    return

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry, id="session")
        async def login(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(
                server=self._api.configuration.host,
                aiohttp_session=self._requests.session(self._api),
            )

        @kopf.on.event(GROUP, VERSION, "storebackends", registry=registry, id="storebackends")
        async def storebackend(event: Any, **_: Any) -> None:
            self._tell("storebackends", event)

        @kopf.on.event("", "v1", "secrets", registry=registry, id="secrets")
        async def secret(event: Any, **_: Any) -> None:
            self._tell("secrets", event)

        if self._settings.clusterwide:

            @kopf.on.event("", "v1", "namespaces", registry=registry, id="namespaces")
            async def namespace(event: Any, **_: Any) -> None:
                self._tell("namespaces", event)

        return registry

    def _tell(self, kind: Kind, event: Any) -> None:
        if event["type"] == "DELETED":
            self._cache.drop(kind, event["object"])
        else:
            self._cache.put(kind, event["object"])

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        # kopf would kill our process ten minutes after its own end, which for us is a restart.
        settings.process.ultimate_exiting_timeout = None
        settings.posting.enabled = False
        # What is watched is known, so no rights on CustomResourceDefinitions are needed.
        settings.scanning.disabled = True
        settings.watching.label_selectors[("", "v1", "secrets")] = SELECTORS["secrets"]
        settings.watching.chunk_size = 500
        settings.watching.connect_timeout = 10
        settings.watching.server_timeout = 600
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 10
        settings.networking.error_backoffs = Backoffs()
        settings.queueing.idle_timeout = 1.0
        return settings
