"""A resolved document into a store, and a live store into its new settings. No I/O: a store
connects at first use. Backends are imported only where a document asks for one.
"""

from __future__ import annotations

from typing import Any

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.config.configuration import ResolvedStore
from pannier.config.documents import Hdfs, Memory, Redis, StoreBackend, Tls
from pannier.config.formats import parse_node
from pannier.counting import SizeCounts


def build(store: ResolvedStore, *, leak_threshold: float | None = None) -> KeyValueStoreBackendBase:
    """A new store as the document says, not connected yet.

    `leak_threshold`: seconds after which a connection that is held is logged; None: never.
    Raises ValueError, which says what cannot be used (a certificate, say), never its content.
    """
    backend = store.document.backend()
    if isinstance(backend, Memory):
        return InMemoryKeyValueStoreBackend(max_bytes=backend.max_bytes)
    pool = {**pool_settings(store.document), "leak_threshold": leak_threshold}
    if isinstance(backend, Redis):
        return _redis(store, backend, pool)
    return _hdfs(store, backend, pool)


def examine(store: ResolvedStore) -> None:
    """Raise ValueError for what `build` would refuse, without making a store."""
    backend = store.document.backend()
    if isinstance(backend, Redis) and backend.tls is not None:
        _tls(store, backend.tls).context()
    if isinstance(backend, Hdfs):
        from pannier.webhdfs.namenodes import check_address
        from pannier.webhdfs.names import check_base_path

        check_base_path(backend.base_path)
        for namenode in backend.namenodes:
            check_address(namenode)


async def adjust(backend: KeyValueStoreBackendBase, document: StoreBackend) -> None:
    """Give a live store the document's pool, timeouts and size, without a new connection."""
    wanted = document.backend()
    if isinstance(wanted, Memory):
        assert isinstance(backend, InMemoryKeyValueStoreBackend)
        backend.max_bytes = wanted.max_bytes
        return
    live: Any = backend
    live.request_timeout = document.spec.request_timeout
    await live.reconfigure(**pool_settings(document))


def count_groups(backend: KeyValueStoreBackendBase, sizes: SizeCounts) -> None:
    """Have a store that sends operations in groups count how large they are."""
    if hasattr(backend, "sizes"):
        live: Any = backend
        live.sizes = sizes


def pool_settings(document: StoreBackend) -> dict[str, Any]:
    """The keywords of `pannier.pool.settings.PoolSettings` that the document asks for."""
    pool = document.spec.pool
    return {
        "max_connections": pool.max_connections,
        "min_idle": pool.min_idle,
        "connection_timeout": pool.connection_timeout,
        "idle_timeout": pool.idle_timeout,
        "max_lifetime": pool.max_lifetime,
        "max_waiting": pool.max_waiting,
    }


def _redis(store: ResolvedStore, redis: Redis, pool: dict[str, Any]) -> KeyValueStoreBackendBase:
    shared: dict[str, Any] = {
        "username": redis.username,
        "password": store.credential(redis.password_secret_ref),
        "tls": _tls(store, redis.tls) if redis.tls is not None else None,
        "key_prefix": redis.key_prefix,
        "hash_buckets": redis.hash_buckets,
        "request_timeout": store.document.spec.request_timeout,
        "name": f"of store {store.document.name}",
        **pool,
    }
    if redis.wait_replicas is not None:
        shared["wait_replicas"] = redis.wait_replicas.count
        shared["wait_timeout"] = redis.wait_replicas.timeout
    if redis.cluster is not None:
        from pannier.aio.stores.grouped_cluster import GroupedClusterStore

        return GroupedClusterStore([_bracketed(n) for n in redis.cluster.nodes], **shared)
    from pannier.aio.stores.grouped_redis import GroupedRedisStore

    where: dict[str, Any]
    if redis.sentinel is not None:
        where = {
            "sentinels": [_bracketed(node) for node in redis.sentinel.nodes],
            "sentinel_master": redis.sentinel.master,
        }
    elif redis.unix_socket is not None:
        where = {"unix_socket": redis.unix_socket}
    else:
        where = {"host": redis.host, "port": redis.port}
    return GroupedRedisStore(**where, db=redis.db, **shared)


def _tls(store: ResolvedStore, tls: Tls) -> Any:
    from pannier.redis.address import RedisTls

    return RedisTls(
        ca_data=store.credential(tls.ca_secret_ref),
        cert_data=store.credential(tls.cert_secret_ref),
        key_data=store.credential(tls.key_secret_ref),
        server_name=tls.server_name,
    )


def _bracketed(node: str) -> str:
    """A node with its IPv6 address in brackets, whether or not the document had them."""
    host, port = parse_node(node)
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _hdfs(store: ResolvedStore, hdfs: Hdfs, pool: dict[str, Any]) -> KeyValueStoreBackendBase:
    from pannier.aio.stores.hdfs import HDFSStoreBackend
    from pannier.webhdfs.login import KerberosLogin

    login = None
    if hdfs.kerberos is not None:
        login = KerberosLogin(hdfs.kerberos.principal, hdfs.kerberos.mutual_authentication)
    return HDFSStoreBackend(
        hdfs.base_path,
        namenodes=list(hdfs.namenodes),
        username=hdfs.username,
        kerberos=login,
        delegation_token=store.credential(hdfs.delegation_token_secret_ref),
        request_timeout=store.document.spec.request_timeout,
        name=f"of store {store.document.name}",
        **pool,
    )
