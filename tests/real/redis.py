"""Real redis-servers: one shared by the whole run, and own ones for tests that harm theirs.

Each listens on a free port of 127.0.0.1 and on a unix socket (with TLS on a further port where it
is asked for), lives in a directory of its own, and is stopped by the pid that was started.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.real.certificates import Certificates, make_certificates
from tests.real.processes import wait_until
from tests.real.programs import free_port, program

START_SECONDS = 20.0
ALWAYS_SYNCED = ("--appendonly", "yes", "--appendfsync", "always")
"""With these every acknowledged write survives a SIGKILL."""

_prefixes = itertools.count()


class RedisServer:
    """A redis-server that can be killed, paused and started again on the same port and files."""

    def __init__(
        self, directory: Path, *options: str, certificates: Certificates | None = None
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.tls_port = free_port() if certificates is not None else None
        self.unix_socket = str(directory / "redis.sock")
        self.options = options
        self.password: str | None = None
        """What the server asks for; set it beside the option that says so."""
        self.process: subprocess.Popen[bytes] | None = None
        self._certificates = certificates

    def start(self, *more: str, wait: bool = True) -> None:
        """Start it, with `more` options this time; wait until it answers a PING."""
        command = [
            program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.directory), "--unixsocket", self.unix_socket,
            "--save", "", "--enable-debug-command", "local",
        ]  # fmt: skip
        if self._certificates is not None:
            held = self._certificates
            command += [
                "--tls-port", str(self.tls_port), "--tls-auth-clients", "optional",
                "--tls-cert-file", str(held.server_cert), "--tls-key-file", str(held.server_key),
                "--tls-ca-cert-file", str(held.ca),
            ]  # fmt: skip
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options, *more], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, process_group=0,  # Ctrl-C is for the tests alone
            )  # fmt: skip
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return once it answers a PING with PONG."""
        client = self.client()
        until(lambda: not self.pid or answers(client), "redis-server answers", START_SECONDS)
        log = (self.directory / "redis.log").read_text(errors="replace")
        assert self.pid, f"redis-server did not start:\n{log[-2000:]}"

    @property
    def pid(self) -> int:
        """The pid of the running server; 0 where it does not run."""
        return self.process.pid if self.process and self.process.poll() is None else 0

    def call(self, *command: Any, **options: Any) -> Any:
        """Ask the server itself, on a connection of its own, with redis-py and no retry."""
        return self.client(**options).execute_command(*command)

    def client(self, **options: Any) -> redis.Redis:
        """A redis-py client: the tests' independent view of what is stored."""
        options = {"password": self.password, "socket_timeout": 10, "protocol": 2, **options}
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), **options)

    def kill(self) -> None:
        """SIGKILL, as a crash. One that is dead, or never was started, may be killed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


def answers(client: redis.Redis) -> bool:
    """Whether the server answers this client's PING."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """`wait_until` in the other order, for what is fast where it is not broken."""
    wait_until(condition, seconds, what, interval=0.01)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA, a server's certificate for localhost and 127.0.0.1, and a client's, made by openssl."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[RedisServer]:
    """The server all tests share, with a TLS port: leave it as you found it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), certificates=certificates)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix that no other test has."""
    return f"t{next(_prefixes)}-{os.getpid()}:"


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """`own_redis(*options)` starts a server of the test's own; all are killed at its end."""
    started: list[RedisServer] = []

    def start(*options: str, **settings: Any) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), *options, **settings)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()
