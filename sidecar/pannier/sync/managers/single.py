# Generated from sidecar/pannier/aio/managers/single.py by tools/async_to_sync.py; do not edit.
"""The manager of one connection that all share."""

from __future__ import annotations

from math import inf
from typing import Any

from pannier.pool.settings import PoolSettings
from pannier.sync.managers.base import ConnectorManagerBase
from pannier.sync.pool_driver import ConnectionPool


class SingleConnectorManager(ConnectorManagerBase):
    """Lends one connector to any number of borrowers at once; the connector must bear that.

    A broken one is lent no more and dialed anew at once; the old one is closed by the last of its
    borrowers who gives it back. Its `stats` have the pool's keys, with `max` 1.
    """

    def __init__(
        self,
        connector_class: type[Any],
        connector_config: dict[str, Any],
        connection_timeout: float = 30,
        *,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        """`connection_timeout`: seconds a borrower waits at most for the connection to be there."""
        settings = PoolSettings(
            max_connections=1,
            connection_timeout=connection_timeout,
            idle_timeout=inf,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
        )
        pool = ConnectionPool(connector_class, connector_config, settings, name=name, shared=True)
        super().__init__(pool)

    def reconfigure(self, **settings: Any) -> None:
        """Change `connection_timeout`, `max_waiting` or `leak_threshold` while it runs.

        Settings that only many connections have are checked, and change nothing.
        """
        super().reconfigure(**single_settings(settings))


def single_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of a pool's settings that one shared connection has.

    Raises TypeError for a name that is no setting, and ValueError for a value out of its bounds.
    """
    PoolSettings(**settings)
    kept = ("connection_timeout", "max_waiting", "leak_threshold")
    return {name: value for name, value in settings.items() if name in kept}
