"""The signals that end an operator: heard once it stops in order, heard twice it ends at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

log = logging.getLogger("pannier.operator")


class Stop:
    """SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.heed()

    def heed(self) -> None:
        """Take the signals. To be called again after kopf, which takes them for itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    @property
    def is_asked(self) -> bool:
        """Whether the operator is to end."""
        return self._asked.is_set()

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
