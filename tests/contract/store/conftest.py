"""Every store there is, on both sides. A new store adds one entry to KINDS, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pannier
import pannier.aio
from pannier.operations import Write
from tests.contract.store.sides import THREADS, Side
from tests.real.redis import RedisServer
from tests.real.redis_cluster import Cluster
from tests.real.redis_sentinel import MASTER, Watched
from tests.real.redis_sides import GroupedCluster, GroupedRedis
from tests.real.sidecar import Sidecar, sidecar

Opener = Callable[..., Any]
"""Opens one more store over the same records; takes the store's own keywords."""

_numbers = itertools.count()

REDIS_DOCUMENT = """
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: real}
spec:
  type: redis
  redis: {host: 127.0.0.1, port: %d, keyPrefix: "%s"}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: default}
spec:
  type: memory
  memory: {}
"""


def memory(request: pytest.FixtureRequest, names: Any) -> Opener:
    """Two memory stores share nothing, so one more over the same records is the same one."""
    store = names.InMemoryKeyValueStoreBackend()
    return lambda **keywords: store


def redis(request: pytest.FixtureRequest, names: Any, **options: Any) -> Opener:
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix: str = request.getfixturevalue("redis_prefix")
    options |= {"port": server.port, "key_prefix": prefix}
    return lambda **keywords: names.RedisStoreBackend(**(options | keywords))


def redis_in_buckets(request: pytest.FixtureRequest, names: Any) -> Opener:
    return redis(request, names, hash_buckets=7)


def redis_cluster(request: pytest.FixtureRequest, names: Any) -> Opener:
    cluster: Cluster = request.getfixturevalue("redis_cluster")
    prefix: str = request.getfixturevalue("redis_prefix")
    options = {"nodes": cluster.addresses, "key_prefix": prefix}
    return lambda **keywords: names.RedisClusterStoreBackend(**(options | keywords))


def redis_by_sentinel(request: pytest.FixtureRequest, names: Any) -> Opener:
    watched: Watched = request.getfixturevalue("redis_watched")
    prefix: str = request.getfixturevalue("redis_prefix")
    options = {
        "sentinels": watched.addresses, "sentinel_master": MASTER, "key_prefix": prefix,
    }  # fmt: skip
    return lambda **keywords: names.RedisStoreBackend(**(options | keywords))


def grouped_redis(request: pytest.FixtureRequest, names: Any) -> Opener:
    """The sidecar's own Redis store."""
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix: str = request.getfixturevalue("redis_prefix")
    options = {"port": server.port, "key_prefix": prefix}
    return lambda **keywords: GroupedRedis(**(options | keywords))


def grouped_cluster(request: pytest.FixtureRequest, names: Any) -> Opener:
    """The sidecar's own store on a cluster."""
    cluster: Cluster = request.getfixturevalue("redis_cluster")
    prefix: str = request.getfixturevalue("redis_prefix")
    options = {"nodes": cluster.addresses, "key_prefix": prefix}
    return lambda **keywords: GroupedCluster(**(options | keywords))


def sidecar_memory(request: pytest.FixtureRequest, names: Any) -> Opener:
    running: Sidecar = request.getfixturevalue("serving_both")
    return lambda **keywords: names.SidecarStoreBackend(**({"port": running.port} | keywords))


def sidecar_redis(request: pytest.FixtureRequest, names: Any) -> Opener:
    running: Sidecar = request.getfixturevalue("serving_both")
    options = {"port": running.port, "store": "real"}
    return lambda **keywords: names.SidecarStoreBackend(**(options | keywords))


def hdfs(request: pytest.FixtureRequest, names: Any, cluster_name: str = "hdfs") -> Opener:
    cluster = request.getfixturevalue(cluster_name)
    options = {
        "base_path": cluster.new_base_path(),
        "namenodes": cluster.addresses,
        "username": cluster.user,
    }
    return lambda **keywords: names.HDFSStoreBackend(**(options | keywords))


def hdfs_ha(request: pytest.FixtureRequest, names: Any) -> Opener:
    return hdfs(request, names, "hdfs_pair")


KINDS: dict[str, Callable[[pytest.FixtureRequest, Any], Opener]] = {
    "memory": memory,
    "redis": redis,
    "redis-in-buckets": redis_in_buckets,
    "redis-cluster": redis_cluster,
    "redis-by-sentinel": redis_by_sentinel,
    "sidecar-memory": sidecar_memory,
    "sidecar-redis": sidecar_redis,
    "hdfs": hdfs,
    "hdfs-ha": hdfs_ha,
}
ASYNC_ONLY = {"grouped-redis": grouped_redis, "grouped-cluster": grouped_cluster}

SIDES = {
    **{f"{kind}-sync": (opener, pannier) for kind, opener in KINDS.items()},
    **{f"{kind}-aio": (opener, pannier.aio) for kind, opener in (KINDS | ASYNC_ONLY).items()},
}


@pytest.fixture(scope="session")
def serving_both(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sidecar]:
    """A sidecar that serves a memory store (`default`) and a Redis store (`real`)."""
    directory = tmp_path_factory.mktemp("sidecar")
    document = directory / "stores.yaml"
    document.write_text(REDIS_DOCUMENT % (redis_server.port, f"contract{next(_numbers)}:"))
    with sidecar(directory, "--config", str(document)) as running:
        yield running


@pytest.fixture(params=SIDES)
def opener(request: pytest.FixtureRequest) -> Iterator[Callable[..., Side]]:
    """Opens stores of one kind on one side, all over the same records."""
    make, names = SIDES[request.param]
    open_one = make(request, names)
    with ThreadPoolExecutor(THREADS) as pool:
        threads = pool if names is pannier else None
        yield lambda **keywords: Side(open_one(**keywords), threads)


@pytest.fixture
async def open_store(
    opener: Callable[..., Side],
) -> AsyncIterator[Callable[..., Side]]:
    """Opens one more store over this test's records; all are emptied and closed at its end."""
    opened: list[Side] = []

    def open_one(**keywords: Any) -> Side:
        opened.append(opener(**keywords))
        return opened[-1]

    yield open_one
    await emptied(open_one())
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Callable[..., Side]) -> Side:
    """A store with nothing in it."""
    return open_store()


async def emptied(store: Side) -> None:
    """Delete whatever a test left, where stores share records with the tests that follow."""
    if not isinstance(store.subject, pannier.SidecarStoreBackend | pannier.aio.SidecarStoreBackend):
        return
    names, cursor = [], None
    while True:
        page = await store.schemas(cursor, 1000)
        names += [name for name, _ in page.schemas]
        cursor = page.next
        if cursor is None:
            break
    for name in names:
        cursor = None
        while True:
            records = await store.scan(name, cursor, 1000)
            await store.write_many(name, [Write(key, None) for key in records.keys])
            cursor = records.next
            if cursor is None:
                break


@pytest.fixture
def schema() -> str:
    """A schema's name that no other test has."""
    return f"Schema{next(_numbers)}"
