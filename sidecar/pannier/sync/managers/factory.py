# Generated from sidecar/pannier/aio/managers/factory.py by tools/async_to_sync.py; do not edit.
"""The choice between one shared connection and a pool."""

from __future__ import annotations

from typing import Any

from pannier.pool.hooks import mode_of
from pannier.pool.modes import ConnectionMode
from pannier.sync.managers.base import ConnectorManagerBase
from pannier.sync.managers.pooled import PooledConnectorManager
from pannier.sync.managers.single import SingleConnectorManager, single_settings


class ConnectorManagerFactory:
    """Makes the manager a connector class asks for."""

    @classmethod
    def create_manager(
        cls,
        connector_class: type[Any],
        connector_config: dict[str, Any],
        connection_mode: ConnectionMode | None = None,
        **kwargs: Any,
    ) -> ConnectorManagerBase:
        """A manager of `connector_class(**connector_config)`.

        Without a mode it asks the class's `preferred_mode`, and makes a pool where that is silent.
        The keywords are those of PooledConnectorManager; in SINGLE mode those that only a pool has
        are checked, and mean nothing. Raises TypeError for one that does not exist.
        """
        mode = mode_of(connector_class) if connection_mode is None else connection_mode
        if ConnectionMode(mode) is ConnectionMode.POOLED:
            return PooledConnectorManager(connector_class, connector_config, **kwargs)
        name = kwargs.pop("name", None)
        settings = single_settings(kwargs)
        return SingleConnectorManager(connector_class, connector_config, name=name, **settings)
