"""How much a sidecar takes at rest, and how much CPU until its first answer."""

from __future__ import annotations

import argparse
import http.client
import time
from pathlib import Path
from statistics import median

from tests.bench import records
from tests.bench.processes import (
    SERVER_CORE,
    START_SECONDS,
    CannotMeasure,
    cpu_seconds,
    memory,
    running,
    sidecar,
    sidecar_command,
)
from tests.bench.rows import Row
from tests.real.programs import free_port

REST_SECONDS = 5.0
MOST_MEMORY = 45.0
MOST_CPU = 0.4


def rows(directory: Path, where: str, options: argparse.Namespace) -> list[Row]:
    """Idle memory and cold start."""
    resident = median(idle_memory(directory, where) for _ in range(1 if options.quick else 3))
    start = median(cold_start(directory, where) for _ in range(options.rounds))
    return [
        Row(
            subject="sidecar",
            operation="memory at rest",
            measured=f"{resident:.1f} MB after 100 requests and {REST_SECONDS:g} s",
            target=f"<= {MOST_MEMORY:g} MB",
            ratio=MOST_MEMORY / resident,
        ),
        Row(
            subject="sidecar",
            operation="cold start",
            measured=f"{start:.2f} CPU s to the first 200",
            target=f"<= {MOST_CPU:g} CPU s",
            ratio=MOST_CPU / start,
        ),
    ]


def idle_memory(directory: Path, where: str) -> float:
    """Resident MB of a sidecar with one store, after 100 requests and a rest."""
    with sidecar(directory, where) as (pid, port):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for number in range(100):
            path = f"/v1/bench/{records.SCHEMA}/{records.key(number)}"
            client.request(*(("GET", path) if number % 2 else ("PUT", path, records.RECORD)))
            answer = client.getresponse()
            answer.read()
            if answer.status not in (200, 201, 204):
                raise CannotMeasure(f"{path} was answered {answer.status}")
        time.sleep(REST_SECONDS)
        resident = memory(pid, "VmRSS")
        client.close()
        return resident


def cold_start(directory: Path, where: str) -> float:
    """CPU seconds that a new sidecar has spent when it gives its first 200 from Redis."""
    port = free_port()
    command = sidecar_command(directory, where, port)
    with running(SERVER_CORE, command, directory / "cold.log") as process:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotMeasure("the sidecar did not start")
            time.sleep(0.01)
        return cpu_seconds(process.pid)


def answers(port: int) -> bool:
    """Whether a record is answered with 200 now."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request("GET", f"/v1/bench/{records.SCHEMA}/{records.key(0)}")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()
