"""Loads: wrk on an HTTP server, redis-py programs on Redis. Each gives one `Load`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.processes import (
    LOAD_CORE,
    SERVER_CORE,
    CannotMeasure,
    cpu_seconds,
    program,
)

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """What one load came to."""

    requests: int
    cpu_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_cpu_second(self) -> float:
        """Requests by the server's CPU time."""
        return self.requests / self.cpu_seconds


@dataclass(frozen=True)
class Shape:
    """The requests of a load: METHOD prefix, key, suffix."""

    method: str
    prefix: str
    suffix: str = ""
    keys: int = 1000
    body: str = ""


def wrk(pid: int, port: int, shape: Shape, concurrency: int, seconds: float) -> Load:
    """Load the server `pid` on `port`; every answer must be a success."""
    before = cpu_seconds(pid)
    command = [
        "taskset", "-c", LOAD_CORE, program("wrk"), "-t1", f"-c{concurrency}",
        f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(SCRIPT),
        f"http://127.0.0.1:{port}", "--", shape.method, shape.prefix, shape.suffix,
        str(shape.keys), shape.body,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    spent = cpu_seconds(pid) - before
    figures = [line for line in done.stdout.splitlines() if line.startswith("figures ")]
    if not figures:
        raise CannotMeasure(f"wrk failed:\n{done.stdout}{done.stderr}")
    requests, failed, p50, p99 = figures[0].split()[1:]
    if int(failed):
        raise CannotMeasure(f"{failed} of {requests} requests failed: {shape}")
    return Load(int(requests), spent, float(p50), float(p99))


def redis_py(
    port: int, what: str, concurrency: int, seconds: float, module: str = "tests.bench.redis_py"
) -> Load:
    """A redis-py program (see `tests.bench.redis_py`) on the server's core, by its own CPU time."""
    done = subprocess.run(
        ["taskset", "-c", SERVER_CORE, sys.executable, "-m", module,
         what, str(port), str(concurrency), str(seconds)],
        capture_output=True, text=True, timeout=seconds + 120,
    )  # fmt: skip
    if done.returncode:
        raise CannotMeasure(f"redis-py {what} failed:\n{done.stderr}")
    return Load(**json.loads(done.stdout))


def middle(loads: list[Load]) -> Load:
    """The medians of several rounds, each figure by itself."""
    rate = median(load.per_cpu_second for load in loads)
    requests = sum(load.requests for load in loads)
    return Load(
        requests,
        requests / rate,
        median(load.p50_ms for load in loads),
        median(load.p99_ms for load in loads),
    )
