"""Records moved between the real stores: what arrives is what left, in constant memory.

`./dev bench moving` does the same with 1,000,000 records, and with 20,000 on HDFS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real import moving
from tests.real.hdfs import HDFS
from tests.real.moving import Step, serving
from tests.real.redis import RedisServer
from tests.real.redis_cluster import Cluster
from tests.real.sidecar import Sidecar

FEW, MANY = 4_000, 40_000
MOST_GROWTH = 1.2

Serve = Callable[[str], Sidecar]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(spec)` starts a sidecar of that store, which runs until the end of the test."""
    with ExitStack() as running:
        yield lambda spec: running.enter_context(serving(tmp_path, spec))


def circle(
    tmp_path: Path, server: RedisServer, cluster: Cluster, prefix: str, count: int
) -> list[Step]:
    """Redis to cluster to file to memory, with what arrived compared with what left."""
    left = moving.fill(server, prefix, count)
    spec = moving.cluster_spec(cluster.addresses, prefix)
    file, returned = tmp_path / "moved.ndjson", tmp_path / "returned.ndjson"
    with (
        serving(tmp_path, moving.redis_spec(server.port, prefix)) as source,
        serving(tmp_path, spec) as target,
    ):
        steps = [moving.copy(tmp_path, "Redis to cluster", source, target)]
    with serving(tmp_path, spec) as source:
        steps.append(moving.export_to(tmp_path, "cluster to file", source, file))
    with serving(tmp_path, moving.memory_spec(count)) as target:
        steps.append(moving.import_from(tmp_path, "file to memory", file, target))
        moving.export_to(tmp_path, "memory to file", target, returned)
    assert moving.fingerprint_of(file) == (count, left)
    assert moving.fingerprint_of(returned) == (count, left)
    for step in steps:
        assert (step.records, step.different) == (count, 0), step
        assert step.compared in (None, count), step
    return steps


def test_from_redis_to_a_cluster_to_a_file_to_memory_in_constant_memory(
    tmp_path: Path, own_redis: Callable[..., RedisServer], redis_cluster: Cluster, redis_prefix: str
) -> None:
    """Ten times the records take at most 1.2 times the memory, in every process of every step."""
    server = own_redis()
    try:
        few = circle(tmp_path, server, redis_cluster, f"few-{redis_prefix}", FEW)
        many = circle(tmp_path, server, redis_cluster, f"many-{redis_prefix}", MANY)
    finally:
        for node in redis_cluster.running:
            drop(node)
    for small, large in zip(few, many, strict=True):
        for name, figures in large.processes.items():
            if large.name == "file to memory" and name == "target's sidecar":
                continue  # what it holds is its purpose
            before = small.processes[name].peak
            assert figures.peak <= MOST_GROWTH * before, f"{large.name}, {name}: {small}, {large}"


def drop(node: RedisServer) -> None:
    """Leave the shared cluster without what was moved."""
    client: Any
    with node.client() as client:
        if client.info("replication")["role"] == "master":
            moved = [*client.scan_iter("few-*", 1000), *client.scan_iter("many-*", 1000)]
            for name in moved:
                client.unlink(name)


def test_from_redis_to_hdfs_and_back(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str, hdfs: HDFS, serve: Serve
) -> None:
    count = 300
    left = moving.fill(redis_server, redis_prefix, count)
    there = serve(moving.redis_spec(redis_server.port, redis_prefix))
    files = serve(moving.hdfs_spec(hdfs.addresses[0], hdfs.user, hdfs.new_base_path()))
    back = serve(moving.redis_spec(redis_server.port, f"back-{redis_prefix}"))
    for step in (
        moving.copy(tmp_path, "Redis to HDFS", there, files),
        moving.copy(tmp_path, "HDFS to Redis", files, back),
    ):
        assert (step.records, step.compared, step.different) == (count, count, 0)
    file = tmp_path / "returned.ndjson"
    moving.export_to(tmp_path, "Redis to file", back, file)
    assert moving.fingerprint_of(file) == (count, left)
