"""The processes of a benchmark, each pinned to its core, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.programs import free_port

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = str(CORES[0])
"""Where the server under measurement runs, alone."""
LOAD_CORE = str(CORES[-1])
"""Where Redis and the load run; with one core only, the same one."""

TICK = 1 / os.sysconf("SC_CLK_TCK")
START_SECONDS = 20.0


class CannotMeasure(Exception):
    """A program is missing or did not start."""


def program(name: str) -> str:
    """The path of an installed program."""
    path = shutil.which(name)
    if path is None:
        raise CannotMeasure(f"{name} is not installed: apt-get install {name}")
    return path


@contextmanager
def running(
    core: str, command: list[str], log: Path, *, port: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process pinned to `core`, listening on `port` if one is given, until the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        if port is not None:
            wait_for_port(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the process listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotMeasure(f"it did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.01)


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """A redis-server on the load's core; its port."""
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", "--dir", str(directory)]  # fmt: skip
    with running(LOAD_CORE, command, directory / "redis.log", port=port):
        yield port


@contextmanager
def webdis(directory: Path, redis_port: int) -> Iterator[tuple[int, int]]:
    """A Webdis with one worker thread on the server's core; its pid and port."""
    port = free_port()
    config = directory / "webdis.json"
    settings = {
        "redis_host": "127.0.0.1",
        "redis_port": redis_port,
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": 1,
        "pool_size": 20,
        "daemonize": False,
        "websockets": False,
        "database": 0,
        "verbosity": 1,
        "logfile": str(directory / "webdis.log"),
        "acl": [{"disabled": []}],
    }
    config.write_text(json.dumps(settings))
    command = [program("webdis"), str(config)]
    with running(SERVER_CORE, command, directory / "webdis.out", port=port) as process:
        yield process.pid, port


def one_server(redis_port: int) -> str:
    """A Redis server, in the words of a document."""
    return f"host: 127.0.0.1, port: {redis_port}"


def sidecar_command(directory: Path, where: str, port: int, *arguments: str) -> list[str]:
    """The command of a sidecar that serves one store named `bench`, else by its defaults.

    `where` is what its document says under `redis`.
    """
    config = directory / f"stores-{port}.yaml"
    config.write_text(
        "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\nmetadata: {name: bench}\n"
        f"spec: {{type: redis, redis: {{{where}}}}}\n"
    )
    return [
        str(Path(sys.executable).with_name("pannier")), "sidecar", "--config", str(config),
        "--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{free_port()}", *arguments,
    ]  # fmt: skip


@contextmanager
def sidecar(directory: Path, where: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """A sidecar on the server's core; its pid and port."""
    port = free_port()
    command = sidecar_command(directory, where, port, *arguments)
    with running(SERVER_CORE, command, directory / f"sidecar-{port}.log", port=port) as process:
        yield process.pid, port


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far, to 0.01 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def memory(pid: int, field: str) -> float:
    """A field of /proc/PID/status in MB: VmRSS (resident now), VmHWM (its peak)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise CannotMeasure(f"/proc/{pid}/status has no {field}")
