"""What it takes to turn one store's configuration into another."""

from __future__ import annotations

from typing import Any

import pytest

from pannier.config.changes import Step, change
from pannier.config.configuration import ResolvedStore
from pannier.config.convert import convert
from pannier.config.documents import SecretRef
from pannier.config.placed import placed


def store(password: str | None = None, **spec: Any) -> ResolvedStore:
    made = convert(
        placed(
            {
                "apiVersion": "pannier.dev/v1alpha1",
                "kind": "StoreBackend",
                "metadata": {"name": "shop"},
                "spec": spec,
            }
        )
    )
    assert made.document is not None, made.problems
    ref = SecretRef(name="s", key="p")
    return ResolvedStore(made.document, {ref: password} if password is not None else {})


def redis(password: str | None = None, pool: Any = None, timeout: str = "5s", **fields: Any) -> Any:
    return store(
        password,
        type="redis",
        redis={"host": "r", **fields},
        pool=pool or {},
        requestTimeout=timeout,
    )


MEMORY = store(type="memory", memory={})
SECRET = {"passwordSecretRef": {"name": "s", "key": "p"}}

CASES = {
    "nothing": (redis(), redis(), Step.NOTHING),
    "nothing, written out": (redis(), redis(port=6379, keyPrefix="pannier:"), Step.NOTHING),
    "pool": (redis(), redis(pool={"maxConnections": 9}), Step.IN_PLACE),
    "timeout": (redis(), redis(timeout="4s"), Step.IN_PLACE),
    "host": (redis(), redis(host="other"), Step.REBUILD),
    "db": (redis(), redis(db=1), Step.REBUILD),
    "user": (redis(), redis(username="u"), Step.REBUILD),
    "tls": (redis(), redis(tls={}), Step.REBUILD),
    "host and pool": (redis(), redis(host="other", pool={"maxConnections": 9}), Step.REBUILD),
    "password": (redis("a", **SECRET), redis("b", **SECRET), Step.REBUILD),
    "same password": (redis("a", **SECRET), redis("a", **SECRET), Step.NOTHING),
    "prefix": (redis(), redis(keyPrefix="other:"), Step.REFUSED),
    "buckets": (redis(), redis(hashBuckets=2), Step.REFUSED),
    "replicas to wait for": (redis(), redis(waitReplicas={"count": 1}), Step.REBUILD),
    "prefix and host": (redis(), redis(keyPrefix="other:", host="o"), Step.REFUSED),
    "type": (MEMORY, redis(), Step.REFUSED),
    "type back": (redis(), MEMORY, Step.REFUSED),
    "memory size": (MEMORY, store(type="memory", memory={"maxBytes": "1Mi"}), Step.IN_PLACE),
    "memory pool": (MEMORY, store(type="memory", memory={}, pool={"minIdle": 0}), Step.IN_PLACE),
    "base path": (
        store(type="hdfs", hdfs={"namenodes": ["http://a"]}),
        store(type="hdfs", hdfs={"namenodes": ["http://a"], "basePath": "/x"}),
        Step.REBUILD,
    ),
    "accounts": (
        MEMORY, store(type="memory", memory={}, serviceAccounts=["a"]), Step.NOTHING,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_step_is_taken(name: str) -> None:
    old, new, step = CASES[name]
    assert change(old, new).step is step


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (redis(keyPrefix="other:"), "spec.redis.keyPrefix"),
        (redis(hashBuckets=2), "spec.redis.hashBuckets"),
        (MEMORY, "spec.type"),
    ],
)
def test_a_refused_change_names_the_field_and_a_way_out(new: ResolvedStore, field: str) -> None:
    reason = change(redis(), new).reason
    assert field in reason
    assert "pannier export" in reason


def of_uid(store: ResolvedStore, uid: str) -> ResolvedStore:
    return ResolvedStore(store.document, store.credentials, uid)


@pytest.mark.parametrize("new", [MEMORY, redis(keyPrefix="other:"), redis(hashBuckets=2)])
def test_a_resource_that_was_deleted_and_made_again_is_another_store(new: ResolvedStore) -> None:
    assert change(of_uid(redis(), "1"), of_uid(new, "2")).step is Step.ANEW
    assert change(of_uid(redis(), "1"), of_uid(new, "1")).step is Step.REFUSED
    # A source that does not tell resources apart: the data is protected.
    assert change(redis(), of_uid(new, "2")).step is Step.REFUSED


def test_a_resource_made_again_as_it_was_is_no_change() -> None:
    assert change(of_uid(redis(), "1"), of_uid(redis(), "2")).step is Step.NOTHING
