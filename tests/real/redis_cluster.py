"""A real Redis Cluster: three masters, each with a replica where a test has a use for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.real.certificates import Certificates
from tests.real.programs import free_port
from tests.real.redis import ALWAYS_SYNCED, RedisServer, until

SLOTS = 16384


MASTERS = 3


class Cluster:
    """The nodes: masters are the first three at the start, replicas the others.

    With `certificates` it speaks TLS to clients, on ports of their own, and among its nodes.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        replicas: bool = True,
        certificates: Certificates | None = None,
    ) -> None:
        self.nodes: list[RedisServer] = []
        if certificates is not None:
            options = ("--tls-cluster", "yes", "--tls-replication", "yes", *options)
        for number in range(2 * MASTERS if replicas else MASTERS):
            place = directory / f"node-{number}"
            place.mkdir()
            self.nodes.append(RedisServer(
                place, "--cluster-enabled", "yes",
                "--cluster-port", str(free_port()), "--cluster-node-timeout", "1000",
                "--repl-diskless-sync-delay", "0", *options, certificates=certificates,
            ))  # fmt: skip

    def start(self) -> None:
        """Start the nodes, join them, and return once all say that the cluster is well."""
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        buses = [node.options[node.options.index("--cluster-port") + 1] for node in self.nodes]
        for node, bus in zip(self.nodes[1:], buses[1:], strict=True):
            first.call("CLUSTER", "MEET", "127.0.0.1", node.tls_port or node.port, bus)
        for number in range(MASTERS):
            start, end = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1
            self.nodes[number].call("CLUSTER", "ADDSLOTSRANGE", start, end)
        for master, replica in zip(self.nodes, self.nodes[MASTERS:], strict=False):
            identity = master.call("CLUSTER", "MYID").decode()
            until(lambda r=replica, i=identity: i in nodes_of(r), "all nodes know each other", 30)
            replica.call("CLUSTER", "REPLICATE", identity)
        until(self.is_well, "the cluster is well", 30)

    def is_well(self) -> bool:
        """Whether every running node serves all slots, and each master has its replica."""
        running = [node for node in self.nodes if node.pid]
        for node in running:
            if b"cluster_state:ok" not in raw(node, "CLUSTER", "INFO"):
                return False
            if raw(node, "ROLE")[0] == b"slave" and raw(node, "ROLE")[3] != b"connected":
                return False
        masters = [raw(node, "ROLE") for node in running if raw(node, "ROLE")[0] == b"master"]
        if len(masters) != MASTERS:
            return False
        return len(running) < 2 * MASTERS or all(role[2] for role in masters)

    @property
    def addresses(self) -> list[str]:
        """Where its clients find it: with TLS where it has that."""
        return [f"127.0.0.1:{node.tls_port or node.port}" for node in self.nodes]

    def owner_of(self, key: str) -> RedisServer:
        """The running master that has the key's slot."""
        slot = int(raw(self.running[0], "CLUSTER", "KEYSLOT", key))
        for start, end, master, *_ in raw(self.running[0], "CLUSTER", "SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if node.port == master[1])
        raise AssertionError(f"nobody has slot {slot}")

    @property
    def running(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.pid]

    def client(self) -> redis.RedisCluster:
        """redis-py's own cluster client: an independent view of what is stored."""
        return redis.RedisCluster(host="127.0.0.1", port=self.running[0].port, protocol=2)

    def stop(self) -> None:
        """Stop all."""
        for node in self.nodes:
            node.kill()


def raw(node: RedisServer, *command: object) -> object:
    """A reply as it came, which redis-py would make something else of."""
    client = node.client()
    client.response_callbacks.clear()
    return client.execute_command(*command)


def nodes_of(node: RedisServer) -> str:
    """CLUSTER NODES, as text."""
    return raw(node, "CLUSTER", "NODES").decode()


@contextmanager
def redis_cluster_of(directory: Path, *options: str, **settings: Any) -> Iterator[Cluster]:
    """A cluster, ready. Every acknowledged write survives a SIGKILL, unless `options` say else."""
    cluster = Cluster(directory, *(options or ALWAYS_SYNCED), **settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster all tests share: leave it as you found it."""
    with redis_cluster_of(tmp_path_factory.mktemp("cluster")) as running:
        yield running
