# Generated from sidecar/pannier/aio/managers/__init__.py by tools/async_to_sync.py; do not edit.
"""Managers: they lend a store the connectors it works with."""

from pannier.pool.modes import ConnectionMode
from pannier.sync.managers.base import ConnectorManagerBase
from pannier.sync.managers.factory import ConnectorManagerFactory
from pannier.sync.managers.pooled import PooledConnectorManager
from pannier.sync.managers.single import SingleConnectorManager

__all__ = [
    "ConnectionMode",
    "ConnectorManagerBase",
    "ConnectorManagerFactory",
    "PooledConnectorManager",
    "SingleConnectorManager",
]
