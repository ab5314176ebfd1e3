# Generated from sidecar/pannier/aio/stores/pooled.py by tools/async_to_sync.py; do not edit.
"""What the stores on one pool of connections share: its figures, its settings and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pannier.sync.managers import ConnectorManagerBase
from pannier.sync.stores.base import KeyValueStoreBackendBase


class PooledStoreBase(KeyValueStoreBackendBase):
    """A store whose connections are lent by one manager."""

    request_timeout: float
    """The longest wait, in seconds, for one answer once it was asked for."""
    _manager: ConnectorManagerBase

    def stats(self) -> dict[str, int]:
        return self._manager.stats()

    def pools(self) -> Sequence[Any]:
        return (self._manager.pool,)

    def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        """Change the timeout and the pool's settings (see PoolSettings) of the live store.

        Raises ValueError or TypeError, and changes nothing.
        """
        self._manager.reconfigure(**pool)
        if request_timeout is not None:
            self.request_timeout = request_timeout

    def close(self) -> None:
        self._manager.shutdown()
