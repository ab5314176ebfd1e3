"""Measures the sidecar on HDFS beside the bare `hdfs` library: wall clock, 16 at a time.

They are measured in turn, and both share the machine with the NameNode and the DataNode, so only
their ratio matters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.operations import Write
from tests.bench.load import Load, Shape, wrk
from tests.bench.processes import CORES, CannotMeasure, running
from tests.bench.records import RECORD, SCHEMA, key
from tests.bench.rows import Row
from tests.real.hdfs import HDFS, USER, start_single
from tests.real.programs import free_port

CONNECTIONS = 16
KEYS = 300
TARGET = 0.9
SIDECAR = "sidecar"
LIBRARY = "hdfs library, 16 threads"
OPERATIONS = {"GET": "GET", "PUT": "PUT (library: write, not atomic)"}

DOCUMENT = """
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: bench}}
spec:
  type: hdfs
  hdfs: {{namenodes: ["{namenode}"], username: {user}, basePath: {base_path}}}
  pool: {{maxConnections: {connections}}}
  requestTimeout: 10s
"""


def run(options: argparse.Namespace) -> list[Row]:
    """One row for each subject and operation; the sidecar's GETs have a target."""
    seconds = 2 if options.quick else 6
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name:
        directory = Path(name)
        hdfs = start_single(directory / "hdfs")
        try:
            base_path = hdfs.new_base_path()
            asyncio.run(store_records(hdfs, base_path))
            with sidecar(directory, hdfs, base_path) as (pid, port):
                loads = measure(options, hdfs, base_path, pid, port, seconds)
        finally:
            hdfs.stop()
    return [row_of(subject, operation, loads, seconds) for subject, operation in loads]


async def store_records(hdfs: HDFS, base_path: str) -> None:
    """Put the records in place that both read."""
    async with HDFSStoreBackend(base_path, namenodes=hdfs.addresses, username=USER) as store:
        writes = [Write(key(number), RECORD.encode()) for number in range(KEYS)]
        for result in await store.write_many(SCHEMA, writes):
            if isinstance(result, Exception):
                raise result


@contextmanager
def sidecar(directory: Path, hdfs: HDFS, base_path: str) -> Iterator[tuple[int, int]]:
    """A sidecar that serves the store `bench` on HDFS; its pid and port."""
    config, port = directory / "stores.yaml", free_port()
    config.write_text(
        DOCUMENT.format(
            namenode=hdfs.addresses[0], user=USER, base_path=base_path, connections=CONNECTIONS
        )
    )
    command = [
        str(Path(sys.executable).with_name("pannier")), "sidecar", "--config", str(config),
        "--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{free_port()}",
    ]  # fmt: skip
    with running(
        ",".join(map(str, CORES)), command, directory / "sidecar.log", port=port
    ) as process:
        yield process.pid, port


def measure(
    options: argparse.Namespace, hdfs: HDFS, base_path: str, pid: int, port: int, seconds: int
) -> dict[tuple[str, str], list[Load]]:
    """Each subject and operation in turn, in every round; the first round only warms up."""
    loads: dict[tuple[str, str], list[Load]] = {}
    for number in range(options.rounds + 1):
        print(f"bench: round {number} of {options.rounds}", file=sys.stderr, flush=True)
        for operation, name in OPERATIONS.items():
            path = f"/v1/bench/{SCHEMA}/"
            body = RECORD if operation == "PUT" else ""
            shape = Shape(operation, path, keys=KEYS, body=body)
            ours = wrk(pid, port, shape, CONNECTIONS, seconds)
            theirs = library(hdfs.addresses[0], base_path, operation, seconds)
            if number:
                loads.setdefault((LIBRARY, name), []).append(theirs)
                loads.setdefault((SIDECAR, name), []).append(ours)
    return loads


def library(namenode: str, base_path: str, operation: str, seconds: int) -> Load:
    """The bare library in a process of its own (see `tests.bench.hdfs_library`)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.hdfs_library", operation, namenode, base_path,
         str(CONNECTIONS), str(KEYS), str(seconds)],
        capture_output=True, text=True, timeout=seconds + 120,
    )  # fmt: skip
    if done.returncode:
        raise CannotMeasure(f"the hdfs library failed:\n{done.stderr}")
    return Load(**json.loads(done.stdout))


def row_of(
    subject: str, operation: str, loads: dict[tuple[str, str], list[Load]], seconds: int
) -> Row:
    """The medians of one subject, with the target where it has one."""
    found = loads[subject, operation]
    rate = median(load.requests for load in found) / seconds
    row = Row(
        subject=subject,
        operation=operation,
        concurrency=CONNECTIONS,
        requests_per_cpu_second=median(load.per_cpu_second for load in found),
        p50_ms=median(load.p50_ms for load in found),
        p99_ms=median(load.p99_ms for load in found),
        measured=f"{rate:,.0f} a second",
    )
    if subject == SIDECAR and operation == OPERATIONS["GET"]:
        # Round by round, because the machine is not the same in each.
        ratios = [
            ours.requests / theirs.requests
            for ours, theirs in zip(found, loads[LIBRARY, operation], strict=True)
        ]
        row.target = f">= {TARGET}x the library, wall clock"
        row.ratio = median(ratios) / TARGET
    return row
