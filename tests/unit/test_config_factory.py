"""Documents into stores: every field reaches the store's own word for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pannier.aio.stores import grouped_cluster, grouped_redis, hdfs
from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.config.configuration import ResolvedStore
from pannier.config.documents import SecretRef
from pannier.config.factory import adjust, build, examine
from pannier.redis.address import RedisTls
from pannier.webhdfs.login import KerberosLogin
from tests.unit.test_config_changes import redis, store

POOL = {
    "max_connections": 3,
    "min_idle": 2,
    "connection_timeout": 0.5,
    "idle_timeout": 60.0,
    "max_lifetime": 3600.0,
    "max_waiting": 7,
}
WRITTEN_POOL = {
    "maxConnections": 3,
    "minIdle": 2,
    "connectionTimeout": "500ms",
    "idleTimeout": "1m",
    "maxLifetime": "1h",
    "maxWaiting": 7,
}


class Recorder:
    """In the place of a store's class: what it is made from."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.arguments = arguments
        self.keywords = keywords


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_redis, "GroupedRedisStore", Recorder)
    monkeypatch.setattr(hdfs, "HDFSStoreBackend", Recorder)


def keywords(wanted: ResolvedStore) -> dict[str, Any]:
    made: Any = build(wanted)
    return dict(made.keywords)


async def test_a_memory_store_has_its_bound_and_takes_another() -> None:
    made = build(store(type="memory", memory={"maxBytes": "1Ki"}))
    assert isinstance(made, InMemoryKeyValueStoreBackend)
    assert made.max_bytes == 1024
    await adjust(made, store(type="memory", memory={"maxBytes": "2Ki"}).document)
    assert made.max_bytes == 2048


@pytest.mark.usefixtures("recorded")
def test_a_redis_store_gets_every_field() -> None:
    wanted = redis(
        "hunter2", WRITTEN_POOL, "4s", port=6380, db=2, username="u", keyPrefix="p:",
        hashBuckets=4, passwordSecretRef={"name": "s", "key": "p"},
        waitReplicas={"count": 2, "timeout": "300ms"},
    )  # fmt: skip
    assert keywords(wanted) == {
        "host": "r", "port": 6380, "db": 2, "username": "u", "password": "hunter2", "tls": None,
        "key_prefix": "p:", "hash_buckets": 4, "request_timeout": 4.0, "name": "of store shop",
        "wait_replicas": 2, "wait_timeout": 0.3,
        **POOL, "leak_threshold": None,
    }  # fmt: skip


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"unixSocket": "/a"}, {"unix_socket": "/a"}),
        (
            {"sentinel": {"master": "m", "nodes": ["a", "b:1", "::1", "[::1]:2"]}},
            {"sentinels": ["a", "b:1", "[::1]", "[::1]:2"], "sentinel_master": "m"},
        ),
    ],
)
def test_a_redis_is_reached_in_its_way_alone(where: dict[str, Any], words: dict[str, Any]) -> None:
    made = keywords(store(type="redis", redis=where))
    ways = ("host", "port", "unix_socket", "sentinels", "sentinel_master")
    assert {name: made[name] for name in ways if name in made} == words


@pytest.mark.usefixtures("recorded")
def test_tls_material_reaches_the_store_as_text() -> None:
    refs = {name: {"name": "tls", "key": name} for name in ("ca", "cert", "key")}
    tls = {f"{name}SecretRef": ref for name, ref in refs.items()}
    document = redis(tls={**tls, "serverName": "redis.example"}).document
    held = {SecretRef(name="tls", key=name): name.upper() for name in refs}
    assert keywords(ResolvedStore(document, held))["tls"] == RedisTls(
        ca_data="CA", cert_data="CERT", key_data="KEY", server_name="redis.example"
    )


@pytest.mark.usefixtures("recorded")
def test_an_hdfs_store_gets_every_field() -> None:
    wanted = store(
        type="hdfs",
        hdfs={"namenodes": ["http://a:9870/", "https://b"], "basePath": "/x/",
              "kerberos": {"principal": "p", "mutualAuthentication": "optional"}},
        pool=WRITTEN_POOL,
    )  # fmt: skip
    made: Any = build(wanted)
    assert made.arguments == ("/x",)
    assert made.keywords == {
        "namenodes": ["http://a:9870", "https://b"], "username": None, "delegation_token": None,
        "kerberos": KerberosLogin("p", "optional"), "request_timeout": 5.0,
        "name": "of store shop", **POOL, "leak_threshold": None,
    }  # fmt: skip


async def test_a_live_redis_store_takes_its_new_settings_in_place() -> None:
    made: Any = build(redis(pool={"minIdle": 0}), leak_threshold=2.5)
    try:
        await adjust(made, redis(pool=WRITTEN_POOL, timeout="4s").document)
        assert made.stats()["max"] == 3
        assert made.request_timeout == 4
        settings = made.pools()[0].settings
        assert {name: getattr(settings, name) for name in POOL} == POOL
        assert settings.leak_threshold == 2.5
        await asyncio.sleep(0)
    finally:
        await made.close()


def test_a_cluster_is_reached_from_all_of_its_nodes_that_the_document_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grouped_cluster, "GroupedClusterStore", Recorder)
    document = store(type="redis", redis={"cluster": {"nodes": ["a", "b:7000", "[::1]:7001"]}})
    made: Any = build(document)
    assert made.arguments == (["a", "b:7000", "[::1]:7001"],)
    assert made.keywords["key_prefix"] == "pannier:"
    assert "db" not in made.keywords


def test_an_unusable_certificate_is_said_without_its_content() -> None:
    ref = SecretRef(name="s", key="p")
    document = redis(tls={"caSecretRef": {"name": "s", "key": "p"}}).document
    with pytest.raises(ValueError, match="TLS CA") as raised:
        examine(ResolvedStore(document, {ref: "hunter2"}))
    assert "hunter2" not in str(raised.value)
