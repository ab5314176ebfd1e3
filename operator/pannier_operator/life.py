"""An operator's life on one event loop: everything put together, started in order, ended in order.

Start: the admin port, complete lists, then leading, then streams: a sidecar is never told of a
state of the world that is not whole. SIGTERM: unready, `drain_delay`, streams closed over
`drain_spread`, the Lease released last. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

from pannier.errors import PannierError
from pannier_operator import metrics
from pannier_operator.cluster import connect
from pannier_operator.health import Health
from pannier_operator.settings import OperatorSettings

log = logging.getLogger("pannier.operator")


class CannotListen(PannierError):
    """An address is taken or cannot be bound; the operator does not start."""

    title = "Cannot listen"


async def live(settings: OperatorSettings) -> None:
    """Run one operator until a signal ends it. Raises CannotListen and CannotReach."""
    stop = Stop()
    counts = metrics.Counts()
    health = Health(metrics.page_of(counts))
    health.demand(stop.reasons)
    async with connect(settings):
        try:
            port = await listen(health, settings.admin_listen)
            log.info("health and metrics are on port %d", port)
            await stop.wait()
            await asyncio.sleep(settings.drain_delay)
        finally:
            await health.close()


async def listen(health: Health, address: str) -> int:
    """Open the admin port. Raises CannotListen."""
    host, _, port = address.rpartition(":")
    try:
        return await health.start(host.strip("[]"), int(port))
    except OSError as error:
        raise CannotListen(f"--admin-listen {address}: {error.strerror or error}.") from None


class Stop:
    """SIGTERM or SIGINT, heard once; heard twice the process ends at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.heed()

    def heed(self) -> None:
        """Take the signals. To be called again after kopf, which takes them for itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    async def wait(self) -> None:
        """Return when the operator is to end."""
        await self._asked.wait()

    def reasons(self) -> Iterator[str]:
        """Why the operator is not ready, once it is to end."""
        if self._asked.is_set():
            yield "it is stopping"

    def _on_signal(self, number: signal.Signals) -> None:
        if self._asked.is_set():
            log.warning("%s again: ending now", number.name)
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: stopping", number.name)
        self._asked.set()
