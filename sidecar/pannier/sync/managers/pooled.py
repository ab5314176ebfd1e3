# Generated from sidecar/pannier/aio/managers/pooled.py by tools/async_to_sync.py; do not edit.
"""The manager of many connections."""

from __future__ import annotations

from typing import Any

from pannier.pool.settings import PoolSettings
from pannier.sync.managers.base import ConnectorManagerBase
from pannier.sync.pool_driver import ConnectionPool


class PooledConnectorManager(ConnectorManagerBase):
    """Lends up to `max_connections` connectors, each to one borrower at a time, in order of
    asking.
    """

    def __init__(
        self,
        connector_class: type[Any],
        connector_config: dict[str, Any],
        max_connections: int = 10,
        connection_timeout: float = 30,
        idle_timeout: float = 300,
        *,
        min_idle: int = 0,
        max_lifetime: float | None = None,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        """Durations are seconds; `pannier.pool.settings` tells what each setting does.

        It opens `min_idle` connections ahead, and every other one when it is needed. `name`
        stands in errors and logs; by default the connector's class and address.
        """
        settings = PoolSettings(
            max_connections=max_connections,
            min_idle=min_idle,
            connection_timeout=connection_timeout,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
        )
        super().__init__(ConnectionPool(connector_class, connector_config, settings, name=name))
