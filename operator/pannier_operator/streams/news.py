"""Word that a store's tally may have changed, gathered: thousands of answers are one word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

log = logging.getLogger("pannier_operator.streams")

EVERY: Final = 0.05
"""Seconds in which what sidecars say of one store is gathered."""


class News:
    """What is to be told."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        """`tell(namespace, store)` is called for each store that there is news of."""
        self._tell = tell
        self._stores: dict[tuple[str, str], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, namespace: str, store: str) -> None:
        """There is news of this store."""
        self._stores[namespace, store] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._pass_on)

    def add_all(self, namespace: str, stores: Iterable[str]) -> None:
        """There is news of all of these."""
        for store in stores:
            self.add(namespace, store)

    def stop(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_on(self) -> None:
        self._timer = None
        stores, self._stores = self._stores, {}
        for namespace, store in stores:
            try:
                self._tell(namespace, store)
            except Exception:
                log.exception("word of %s/%s could not be passed on", namespace, store)
