"""Pannier's names, async: what does input or output is a coroutine here.

The source that `pannier.sync` is generated from. What needs a backend is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    Contended,
    ETagMismatch,
    InvalidCursor,
    InvalidFilter,
    InvalidKey,
    InvalidRecord,
    InvalidSchema,
    NotAnObject,
    NotBorrowed,
    ObjectDoesNotExist,
    ObjectExistError,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    StoreFull,
    StoreNotFound,
    StoreNotReady,
    TooLarge,
    Unsupported,
)
from pannier.lazy_names import lazy_names

if TYPE_CHECKING:
    from pannier.aio.connectors.base import BackendConnectorBase
    from pannier.aio.connectors.hdfs import HDFSConnector
    from pannier.aio.connectors.memory import InMemoryConnector
    from pannier.aio.connectors.redis import RedisConnector
    from pannier.aio.connectors.sidecar import SidecarConnector
    from pannier.aio.managers.base import ConnectorManagerBase
    from pannier.aio.managers.factory import ConnectorManagerFactory
    from pannier.aio.managers.pooled import PooledConnectorManager
    from pannier.aio.managers.single import SingleConnectorManager
    from pannier.aio.stores.base import KeyValueStoreBackendBase
    from pannier.aio.stores.hdfs import HDFSStoreBackend
    from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
    from pannier.aio.stores.redis import RedisStoreBackend
    from pannier.aio.stores.redis_cluster import RedisClusterStoreBackend
    from pannier.aio.stores.sidecar import SidecarStoreBackend
    from pannier.pool.modes import ConnectionMode
    from pannier.records import BackendIntegrationMixin
    from pannier.redis.address import RedisTls
    from pannier.webhdfs.login import KerberosLogin

__all__ = [
    "BackendConnectorBase",
    "BackendIntegrationMixin",
    "BackendRefused",
    "BackendUnavailable",
    "ConnectionMode",
    "ConnectorManagerBase",
    "ConnectorManagerFactory",
    "Contended",
    "ETagMismatch",
    "HDFSConnector",
    "HDFSStoreBackend",
    "InMemoryConnector",
    "InMemoryKeyValueStoreBackend",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidKey",
    "InvalidRecord",
    "InvalidSchema",
    "KerberosLogin",
    "KeyValueStoreBackendBase",
    "NotAnObject",
    "NotBorrowed",
    "ObjectDoesNotExist",
    "ObjectExistError",
    "OperationTimeout",
    "OutcomeUnknown",
    "PannierError",
    "PoolClosed",
    "PoolFull",
    "PoolTimeout",
    "PooledConnectorManager",
    "RedisClusterStoreBackend",
    "RedisConnector",
    "RedisStoreBackend",
    "RedisTls",
    "SidecarConnector",
    "SidecarStoreBackend",
    "SingleConnectorManager",
    "StoreFull",
    "StoreNotFound",
    "StoreNotReady",
    "TooLarge",
    "Unsupported",
]

_HOMES = {
    "BackendConnectorBase": "pannier.aio.connectors.base",
    "BackendIntegrationMixin": "pannier.records",
    "ConnectionMode": "pannier.pool.modes",
    "ConnectorManagerBase": "pannier.aio.managers.base",
    "ConnectorManagerFactory": "pannier.aio.managers.factory",
    "HDFSConnector": "pannier.aio.connectors.hdfs",
    "HDFSStoreBackend": "pannier.aio.stores.hdfs",
    "InMemoryConnector": "pannier.aio.connectors.memory",
    "InMemoryKeyValueStoreBackend": "pannier.aio.stores.memory",
    "KerberosLogin": "pannier.webhdfs.login",
    "KeyValueStoreBackendBase": "pannier.aio.stores.base",
    "PooledConnectorManager": "pannier.aio.managers.pooled",
    "RedisConnector": "pannier.aio.connectors.redis",
    "RedisClusterStoreBackend": "pannier.aio.stores.redis_cluster",
    "RedisStoreBackend": "pannier.aio.stores.redis",
    "RedisTls": "pannier.redis.address",
    "SidecarConnector": "pannier.aio.connectors.sidecar",
    "SidecarStoreBackend": "pannier.aio.stores.sidecar",
    "SingleConnectorManager": "pannier.aio.managers.single",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
