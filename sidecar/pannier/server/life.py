"""A sidecar's life on one event loop: listen, serve, and on SIGTERM finish what was taken.

SIGTERM: serve on for `drain_delay`, stop listening, answer new requests `draining`, finish the
others within `drain_timeout`, close the stores. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from pannier.config.served import StoreTable
from pannier.server import listening
from pannier.server.admin import Admin
from pannier.server.admission import Admission, TokenFile
from pannier.server.budget import Budget
from pannier.server.connection import ConnectionServer
from pannier.server.lane import Lane
from pannier.server.listening import CannotListen
from pannier.server.serving import Serving
from pannier.server.settings import SidecarSettings
from pannier.server.turning_away import TurningAway

log = logging.getLogger("pannier.server")

SETTLE_TIME = 0.05
"""Seconds in which requests that are on their way at the end are still heard, and answered."""

FLUSH_TIME = 2.0
"""Seconds that clients have at the end to take the last bytes of their answers."""


class Configuration(Protocol):
    """Where the stores come from (`pannier.config.live`)."""

    async def start(self) -> None:
        """Put the first stores into the table, and follow changes."""

    def reload(self) -> None:
        """Look for changes now (SIGHUP)."""

    async def close(self) -> None:
        """Close every store."""


Announce = Callable[[list[str], str], None]
"""Told once everything listens: the record port's addresses, and the admin port's."""


class Sidecar:
    """One sidecar from its sockets to its end."""

    def __init__(
        self, settings: SidecarSettings, table: StoreTable, configuration: Configuration
    ) -> None:
        self.settings = settings
        self.configuration = configuration
        self.serving = Serving(
            settings=settings,
            table=table,
            admission=Admission(
                allow_hosts=settings.allow_host,
                allow_origins=settings.allow_origin,
                token_file=token_file(settings),
            ),
            budget=Budget(settings.max_inflight_bytes),
        )
        self._stop = asyncio.Event()
        self._clients: ConnectionServer | None = None
        self._admins: ConnectionServer | None = None
        self._listeners: list[asyncio.Server] = []
        self._admin_listeners: list[asyncio.Server] = []

    async def run(self, announce: Announce) -> None:
        """Serve until a signal, and end cleanly. Raises CannotListen, or what a configuration
        raises that cannot be read at all."""
        self._heed_signals()
        try:
            addresses = await self._listen()
            await self.configuration.start()
            spare_the_collector()
            announce(*addresses)
            await self._stop.wait()
            await self._leave()
        finally:
            await self._close()

    # Listening ----------------------------------------------------------------------------------

    async def _listen(self) -> tuple[list[str], str]:
        settings, serving = self.settings, self.serving
        bound = listening.bind(settings.listen, "--listen")
        addresses = [listening.url(each.getsockname()) for each in bound]
        try:
            if settings.unix_socket is not None:
                bound.append(listening.bind_unix(settings.unix_socket))
                addresses.append(f"unix:{settings.unix_socket}")
            admin_bound = listening.bind(settings.admin_listen, "--admin-listen")
        except BaseException:
            close_all(bound)
            raise
        lane = Lane(serving)
        self._clients = ConnectionServer(
            lane.handle, refuse=lane.refuse, client_timeout=settings.client_timeout
        )
        admin = Admin(serving, self._admin_admission())
        self._admins = ConnectionServer(
            admin.handle, refuse=admin.refuse, client_timeout=settings.client_timeout
        )
        loop = asyncio.get_running_loop()
        factory = self._client_factory(self._clients)
        for each in bound:
            if each.family == socket.AF_UNIX:
                self._listeners.append(
                    await loop.create_unix_server(factory, sock=each, backlog=listening.BACKLOG)
                )
            else:
                self._listeners.append(
                    await loop.create_server(factory, sock=each, backlog=listening.BACKLOG)
                )
        for each in admin_bound:
            self._admin_listeners.append(await loop.create_server(self._admins, sock=each))
        return addresses, listening.url(admin_bound[0].getsockname())

    def _client_factory(self, server: ConnectionServer) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each new client."""
        loop = asyncio.get_running_loop()
        make: Callable[[], asyncio.Protocol] = server
        if self.settings.fast_lane:
            from pannier.server.fast_lane import with_fast_lane

            make = with_fast_lane(self.serving, server, loop)
        most = listening.most_clients(self.settings.max_clients)
        if most < self.settings.max_clients:
            log.warning("only %d clients at once: the limit of open files allows no more", most)

        def protocol() -> asyncio.Protocol:
            return make() if server.open_connections < most else TurningAway(loop)

        return protocol

    def _admin_admission(self) -> Admission | None:
        host, _ = listening.parse(self.settings.admin_listen)
        if not listening.is_loopback(host):
            return None
        settings = self.settings
        return Admission(allow_hosts=settings.allow_host, allow_origins=settings.allow_origin)

    # Signals ------------------------------------------------------------------------------------

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)

    def _on_stop(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("%s again: ending now", number.name)
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: finishing what was taken", number.name)
        self._stop.set()

    def _on_reload(self) -> None:
        log.info("SIGHUP: reading the configuration again")
        self.configuration.reload()

    # The end ------------------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Drain: nothing new is taken, and what was taken is finished."""
        serving = self.serving
        serving.leaving = True
        if self.settings.drain_delay > 0:
            await asyncio.sleep(self.settings.drain_delay)
        for listener in self._listeners:
            listener.close()
        serving.draining = True
        if self._clients is not None:
            self._clients.closing = True
        await asyncio.sleep(SETTLE_TIME)
        try:
            async with asyncio.timeout(self.settings.drain_timeout):
                # Both lanes count in plain integers, which is cheaper than an event a request.
                while self._taken():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            log.warning(
                "%d requests were not finished within --drain-timeout; they are cut off",
                self._taken(),
            )

    def _taken(self) -> int:
        """How many requests were taken and are not answered."""
        table = self.serving.table
        generations = [*(each.generation for each in table.stores.values()), *table.leaving]
        active = sum(each.active for each in generations if each is not None)
        queued = self._clients.queued if self._clients is not None else 0
        return self.serving.active + active + queued

    async def _close(self) -> None:
        for listener in (*self._listeners, *self._admin_listeners):
            listener.close()
        for server in (self._clients, self._admins):
            if server is not None:
                await server.end(FLUSH_TIME)
        await self.configuration.close()
        if self.settings.unix_socket is not None and len(self._listeners) > 0:
            self.settings.unix_socket.unlink(missing_ok=True)


def spare_the_collector() -> None:
    """Have garbage collection pass over what was made at the start, and come less often.

    Requests leave no cycles behind, but with 256 of them under way the usual threshold of 700
    objects is passed in every turn of the loop, and each pass looks at all of them: 0.7 µs a GET.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def token_file(settings: SidecarSettings) -> TokenFile | None:
    """The token file that is asked for. Raises CannotListen if it cannot be read or is empty."""
    if settings.api_token_file is None:
        return None
    try:
        return TokenFile(settings.api_token_file)
    except OSError as error:
        raise CannotListen(
            f"The token file {settings.api_token_file} cannot be read: {error.strerror}. Without "
            "it anybody could ask, so the sidecar does not start."
        ) from error
    except ValueError as error:
        raise CannotListen(f"{error}: write a token into it.") from error


def close_all(sockets: list[socket.socket]) -> None:
    """Close sockets that are not served yet."""
    for each in sockets:
        each.close()
