"""Measures the sidecar on a Redis Cluster beside one Redis and redis-py's RedisCluster.

Webdis cannot speak to a cluster. So its factors are asked of the sidecar against redis-py's
asynchronous cluster client, and a cluster may cost a sidecar a fifth more than one Redis does: its
groups are smaller, as they go to three masters.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import records, resting, streaming
from tests.bench.load import Load, Shape, middle, redis_py
from tests.bench.processes import LOAD_CORE, cpu_seconds, one_server, redis_server, sidecar
from tests.bench.rows import Row
from tests.bench.sidecar import (
    BATCH_CONCURRENCY,
    CONCURRENCIES,
    Cell,
    Cells,
    batches,
    http,
    measured,
    times_faster,
    wanted,
)
from tests.real.redis_cluster import Cluster, redis_cluster_of

LANE = "sidecar"
ONE = "sidecar, one Redis"
DRIVER = "RedisCluster, asyncio"
PIPELINE = "RedisCluster, pipeline"

PROGRAM = "tests.bench.redis_py_cluster"
LEAST_OF_ONE = 0.8
LEAST = {"GET": 1.5, "PUT": 1.3, "batchGet": 0.8, "batchWrite": 0.8}
"""How many times the requests by CPU second of redis-py's cluster client."""


def run(options: argparse.Namespace) -> list[Row]:
    """All rows, in the order of the table."""
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name, ExitStack() as opened:
        directory = Path(name)
        cluster = opened.enter_context(
            redis_cluster_of(directory, "--appendonly", "no", replicas=False)
        )
        for node in cluster.nodes:
            pin(node.pid)
        redis_port = opened.enter_context(redis_server(directory))
        records.store(redis_port, records.SCHEMA, records.KEYS)
        records.store_in_buckets(cluster.client(), records.SCHEMA, records.KEYS)
        rows: list[Row] = []
        if wanted(options, "records"):
            nodes = Nodes(cluster)
            cells = cells_of(directory, redis_port, nodes, options)
            loads = measured(cells, options)
            rows += [row_of(cell, loads) for cell in loads] + nodes.rows()
        if wanted(options, "resting"):
            rows += resting.rows(directory, of_cluster(cluster), options)
        if wanted(options, "export"):
            rows += export(directory, cluster, options)
        return rows


def pin(pid: int) -> None:
    """Keep a server that runs already, with all its threads, on the load's core."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {int(LOAD_CORE)})


def of_cluster(cluster: Cluster) -> str:
    """The cluster, in the words of a document."""
    nodes = ", ".join(f'"{address}"' for address in cluster.addresses)
    return f"cluster: {{nodes: [{nodes}]}}, hashBuckets: {records.BUCKETS}"


def export(directory: Path, cluster: Cluster, options: argparse.Namespace) -> list[Row]:
    """The export of all buckets beside a loop of HSCAN over them."""
    for count in streaming.sizes(options):
        records.store_in_buckets(cluster.client(), streaming.schema_of(count), count)
    port = cluster.nodes[0].port

    def loop(schema: str) -> Load:
        return redis_py(port, f"scan:{schema}", 1, 0, PROGRAM)

    return streaming.compared(directory, of_cluster(cluster), loop, options)


class Nodes:
    """What the nodes themselves spend while the sidecar on the cluster is measured."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._pids = [node.pid for node in cluster.nodes]
        self._spent: dict[tuple[str, int], list[float]] = {}
        self._requests: dict[tuple[str, int], int] = {}

    def watched(self, operation: str, c: int, measure: Callable[[], Load]) -> Callable[[], Load]:
        """The same measurement, with the nodes' CPU time noted."""

        def watch() -> Load:
            before = [cpu_seconds(pid) for pid in self._pids]
            load = measure()
            spent = self._spent.setdefault((operation, c), [0.0] * len(self._pids))
            for place, pid in enumerate(self._pids):
                spent[place] += cpu_seconds(pid) - before[place]
            self._requests[operation, c] = self._requests.get((operation, c), 0) + load.requests
            return load

        return watch

    def rows(self) -> list[Row]:
        """CPU time of each node for one of its sidecar's requests, whichever node that went to."""
        rows = []
        for (operation, c), spent in self._spent.items():
            each = [1e6 * seconds / self._requests[operation, c] for seconds in spent]
            parts = " + ".join(f"{micros:.1f}" for micros in each)
            measured = f"{sum(each):.1f} µs of Redis a request ({parts})"
            rows.append(Row(subject="its nodes", operation=operation, concurrency=c,
                            measured=measured))  # fmt: skip
        return rows


def cells_of(directory: Path, redis_port: int, nodes: Nodes, options: argparse.Namespace) -> Cells:
    """Start the sidecars and say how each cell is measured, neighbours to be compared."""
    cells = Cells()
    seconds = 1 if options.quick else 3
    lane = cells.enter_context(sidecar(directory, of_cluster(nodes.cluster)))
    one = cells.enter_context(sidecar(directory, one_server(redis_port)))
    port = nodes.cluster.nodes[0].port
    path = f"/v1/bench/{records.SCHEMA}/"
    shapes = {"GET": Shape("GET", path), "PUT": Shape("PUT", path, body=records.RECORD)}
    for operation, shape in shapes.items():
        for c in CONCURRENCIES:
            cells.measure[LANE, operation, c] = nodes.watched(
                operation, c, http(lane, shape, c, seconds)
            )
            cells.measure[ONE, operation, c] = http(one, shape, c, seconds)
            cells.measure[DRIVER, operation, c] = driver(port, operation.lower(), c, seconds)
    for operation, shape in batches().items():
        theirs = "pipeline-get" if operation == "batchGet" else "pipeline-put"
        cells.measure[PIPELINE, operation, 1] = driver(port, theirs, 1, seconds)
        for subject, server in ((LANE, lane), (ONE, one)):
            cells.measure[subject, operation, BATCH_CONCURRENCY] = http(
                server, shape, BATCH_CONCURRENCY, seconds, records.SIZE_OF_A_BATCH
            )
    return cells


def driver(port: int, what: str, concurrency: int, seconds: float) -> Callable[[], Load]:
    """Measure a program of redis-py's cluster client."""
    return lambda: redis_py(port, what, concurrency, seconds, PROGRAM)


def row_of(cell: Cell, loads: dict[Cell, list[Load]]) -> Row:
    """A cell's row, with its target where it has one."""
    subject, operation, c = cell
    load = middle(loads[cell])
    row = Row(
        subject=subject,
        operation=operation,
        concurrency=c,
        requests_per_cpu_second=load.per_cpu_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
    )
    if subject != LANE:
        return row
    one = times_faster(loads[cell], loads[ONE, operation, c])
    row.measured = f"{one:.2f}x one Redis"
    if c == 1:
        other = middle(loads[ONE, operation, c])
        row.target = f"p50, p99 <= {1 / LEAST_OF_ONE:g}x one Redis"
        row.ratio = min(other.p50_ms / load.p50_ms, other.p99_ms / load.p99_ms) / LEAST_OF_ONE
        return row
    rival = (DRIVER, operation, c) if c != BATCH_CONCURRENCY else (PIPELINE, operation, 1)
    factor = LEAST[operation]
    row.target = f">= {factor:g}x {rival[0]}"
    row.ratio = times_faster(loads[cell], loads[rival]) / factor
    if rival[0] is DRIVER:
        row.target += f", {LEAST_OF_ONE:g}x one Redis"
        row.ratio = min(row.ratio, one / LEAST_OF_ONE)
    return row
