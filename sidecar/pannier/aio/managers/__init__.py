"""Managers: they lend a store the connectors it works with."""

from pannier.aio.managers.base import ConnectorManagerBase
from pannier.aio.managers.factory import ConnectorManagerFactory
from pannier.aio.managers.pooled import PooledConnectorManager
from pannier.aio.managers.single import SingleConnectorManager
from pannier.pool.modes import ConnectionMode

__all__ = [
    "ConnectionMode",
    "ConnectorManagerBase",
    "ConnectorManagerFactory",
    "PooledConnectorManager",
    "SingleConnectorManager",
]
