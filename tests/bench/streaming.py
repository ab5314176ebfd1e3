"""The NDJSON export beside a redis-py loop of HSCAN, and how its memory grows."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench import records
from tests.bench.load import Load, redis_py
from tests.bench.processes import CannotMeasure, cpu_seconds, memory, one_server, sidecar
from tests.bench.rows import Row

SMALL, LARGE = 100_000, 1_000_000
MOST_GROWTH = 1.2
LEAST_SPEED = 0.5


def rows(directory: Path, redis_port: int, options: argparse.Namespace) -> list[Row]:
    """Records by CPU second, and peak memory of ten times as many records."""
    for count in sizes(options):
        records.store(redis_port, schema_of(count), count)

    def loop(schema: str) -> Load:
        return redis_py(redis_port, f"scan:{records.PREFIX}{schema}", 1, 0)

    return compared(directory, one_server(redis_port), loop, options)


def sizes(options: argparse.Namespace) -> tuple[int, int]:
    """How many records the two exported schemas hold (`schema_of` names them)."""
    return (SMALL // 10, LARGE // 10) if options.quick else (SMALL, LARGE)


def compared(
    directory: Path, where: str, loop: Callable[[str], Load], options: argparse.Namespace
) -> list[Row]:
    """The export of a store beside a redis-py `loop` of HSCAN over the schema it is given."""
    small, large = sizes(options)
    ours: list[Load] = []
    theirs: list[Load] = []
    peaks: dict[int, list[float]] = {small: [], large: []}
    for _ in range(min(options.rounds, 3)):
        for count in (small, large):
            load, peak = export(directory, where, count)
            peaks[count].append(peak)
        ours.append(load)
        theirs.append(loop(schema_of(large)))
    speed = median(load.per_cpu_second for load in ours)
    other = median(load.per_cpu_second for load in theirs)
    growth = median(peaks[large]) / median(peaks[small])
    return [
        Row(subject="redis-py, HSCAN loop", operation="export", concurrency=1,
            requests_per_cpu_second=other),
        Row(
            subject="sidecar",
            operation="export",
            concurrency=1,
            requests_per_cpu_second=speed,
            target=f">= {LEAST_SPEED:g}x the HSCAN loop",
            ratio=speed / (LEAST_SPEED * other),
        ),
        Row(
            subject="sidecar",
            operation="export, peak memory",
            measured=f"{median(peaks[small]):.1f} MB of {small:,} records, "
            f"{median(peaks[large]):.1f} MB of {large:,}",
            target=f"<= {MOST_GROWTH:g}x",
            ratio=MOST_GROWTH / growth,
        ),
    ]  # fmt: skip


def schema_of(count: int) -> str:
    """The schema that holds `count` records."""
    return f"Export{count}"


def export(directory: Path, where: str, count: int) -> tuple[Load, float]:
    """Stream a schema from a fresh sidecar: the load, and the sidecar's peak memory in MB."""
    with sidecar(directory, where) as (pid, port):
        before = cpu_seconds(pid)
        began = time.monotonic()
        lines = drain(port, f"/v1/bench/{schema_of(count)}")
        took = (time.monotonic() - began) * 1000
        if lines < count:
            raise CannotMeasure(f"the export gave {lines} of {count} records")
        return Load(count, cpu_seconds(pid) - before, took, took), memory(pid, "VmHWM")


def drain(port: int, path: str) -> int:
    """Read a whole NDJSON answer and return how many lines it had."""
    lines = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        while part := client.recv(1 << 20):
            # Chunk headers end in CR LF, lines of records in LF alone.
            lines += part.count(b"}\n")
    return lines
