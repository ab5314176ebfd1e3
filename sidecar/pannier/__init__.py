"""Pannier: a key-value store beside every application.

`import pannier` gives the library's synchronous names, `pannier.aio` the same ones async. Errors,
records and enums are the same objects in both. What needs a backend is imported when first used.
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
    from pannier.pool.modes import ConnectionMode
    from pannier.records import BackendIntegrationMixin
    from pannier.redis.address import RedisTls
    from pannier.sync.connectors.base import BackendConnectorBase
    from pannier.sync.connectors.hdfs import HDFSConnector
    from pannier.sync.connectors.memory import InMemoryConnector
    from pannier.sync.connectors.redis import RedisConnector
    from pannier.sync.connectors.sidecar import SidecarConnector
    from pannier.sync.managers.base import ConnectorManagerBase
    from pannier.sync.managers.factory import ConnectorManagerFactory
    from pannier.sync.managers.pooled import PooledConnectorManager
    from pannier.sync.managers.single import SingleConnectorManager
    from pannier.sync.stores.base import KeyValueStoreBackendBase
    from pannier.sync.stores.hdfs import HDFSStoreBackend
    from pannier.sync.stores.memory import InMemoryKeyValueStoreBackend
    from pannier.sync.stores.redis import RedisStoreBackend
    from pannier.sync.stores.redis_cluster import RedisClusterStoreBackend
    from pannier.sync.stores.sidecar import SidecarStoreBackend
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
    "BackendConnectorBase": "pannier.sync.connectors.base",
    "BackendIntegrationMixin": "pannier.records",
    "ConnectionMode": "pannier.pool.modes",
    "ConnectorManagerBase": "pannier.sync.managers.base",
    "ConnectorManagerFactory": "pannier.sync.managers.factory",
    "HDFSConnector": "pannier.sync.connectors.hdfs",
    "HDFSStoreBackend": "pannier.sync.stores.hdfs",
    "InMemoryConnector": "pannier.sync.connectors.memory",
    "InMemoryKeyValueStoreBackend": "pannier.sync.stores.memory",
    "KerberosLogin": "pannier.webhdfs.login",
    "KeyValueStoreBackendBase": "pannier.sync.stores.base",
    "PooledConnectorManager": "pannier.sync.managers.pooled",
    "RedisConnector": "pannier.sync.connectors.redis",
    "RedisClusterStoreBackend": "pannier.sync.stores.redis_cluster",
    "RedisStoreBackend": "pannier.sync.stores.redis",
    "RedisTls": "pannier.redis.address",
    "SidecarConnector": "pannier.sync.connectors.sidecar",
    "SidecarStoreBackend": "pannier.sync.stores.sidecar",
    "SingleConnectorManager": "pannier.sync.managers.single",
    "aio": "pannier.aio",
    "sync": "pannier.sync",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
