"""A real Redis master with two replicas, watched by three Sentinels."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.real.programs import free_port, program
from tests.real.redis import ALWAYS_SYNCED, RedisServer, until

MASTER = "shop-master"

SENTINEL = """
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {master} 127.0.0.1 {watched} 2
sentinel down-after-milliseconds {master} 500
sentinel failover-timeout {master} 3000
"""


class Watched:
    """The servers and the Sentinels; who is master changes."""

    def __init__(self, directory: Path) -> None:
        self.servers: list[RedisServer] = []
        self.sentinels: list[tuple[int, subprocess.Popen[bytes]]] = []
        self._directory = directory

    def start(self) -> None:
        """Start all, and return once every Sentinel knows both replicas and the other two."""
        for number in range(3):
            place = self._directory / f"server-{number}"
            place.mkdir()
            server = RedisServer(
                place, *ALWAYS_SYNCED, "--min-replicas-to-write", "1", "--min-replicas-max-lag",
                "10", "--repl-diskless-sync-delay", "0",
            )  # fmt: skip
            self.servers.append(server)
            first = self.servers[0].port
            server.start(*(("--replicaof", f"127.0.0.1 {first}") if number else ()))
        for number in range(3):
            self._start_sentinel(number)
        for port, _ in self.sentinels:
            until(lambda port=port: self._knows_all(port), "a Sentinel knows all", 30)

    def _start_sentinel(self, number: int) -> None:
        port, place = free_port(), self._directory / f"sentinel-{number}"
        place.mkdir()
        (place / "sentinel.conf").write_text(SENTINEL.format(
            port=port, directory=place, master=MASTER, watched=self.servers[0].port
        ))  # fmt: skip
        self.sentinels.append((port, self._run_sentinel(number)))

    def restart_sentinel(self, number: int) -> None:
        """Start one that was killed again, on its port, with what it had written down."""
        port = self.sentinels[number][0]
        self.sentinels[number] = (port, self._run_sentinel(number))

    def _run_sentinel(self, number: int) -> subprocess.Popen[bytes]:
        place = self._directory / f"sentinel-{number}"
        with (place / "sentinel.log").open("ab") as log:
            return subprocess.Popen(
                [program("redis-server"), str(place / "sentinel.conf"), "--sentinel"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
            )  # fmt: skip

    def _knows_all(self, port: int) -> bool:
        try:
            state = redis.Redis(port=port, protocol=2).sentinel_master(MASTER)
        except redis.RedisError:
            return False
        return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2)

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port, _ in self.sentinels]

    @property
    def master(self) -> RedisServer:
        """The server that every running Sentinel calls the master."""
        ports: set[int] = set()
        for port, process in self.sentinels:
            if process.poll() is None:
                client = redis.Redis(port=port, protocol=2)
                ports.add(int(client.sentinel_get_master_addr_by_name(MASTER)[1]))
        return next(server for server in self.servers if ports == {server.port})

    def has_other_master(self, old: RedisServer) -> bool:
        """Whether the Sentinels agree on a master other than `old`, and it says that it is one."""
        try:
            master = self.master
        except StopIteration:
            return False
        return master is not old and master.client().info("replication")["role"] == "master"

    def stop_sentinel(self, number: int) -> None:
        """SIGKILL one Sentinel."""
        process = self.sentinels[number][1]
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def pause_sentinel(self, number: int) -> None:
        """SIGSTOP one Sentinel: it takes connections and answers nothing."""
        os.kill(self.sentinels[number][1].pid, signal.SIGSTOP)

    def stop(self) -> None:
        """Stop all."""
        for number in range(len(self.sentinels)):
            self.stop_sentinel(number)
        for server in self.servers:
            server.kill()


@contextmanager
def watched_redis(directory: Path) -> Iterator[Watched]:
    """A master, two replicas and three Sentinels, ready."""
    watched = Watched(directory)
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()


@pytest.fixture(scope="session")
def redis_watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The master with its Sentinels that all tests share: leave them as you found them."""
    with watched_redis(tmp_path_factory.mktemp("sentinel")) as running:
        yield running
