"""Measures the sidecar beside Webdis and redis-py, interleaved, so that only ratios matter."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import records, resting, streaming
from tests.bench.load import Load, Shape, middle, redis_py, wrk
from tests.bench.processes import one_server, redis_server, sidecar, webdis
from tests.bench.rows import Row

LANE = "sidecar"
NO_LANE = "sidecar --no-fast-lane"
WEBDIS = "Webdis, 1 thread"
BARE = "redis-py, asyncio"
PIPELINE = "redis-py, pipeline"

CONCURRENCIES = (1, 32, 256)
BATCH_CONCURRENCY = 8

Cell = tuple[str, str, int]
"""Subject, operation, concurrency."""


def run(options: argparse.Namespace) -> list[Row]:
    """All rows, in the order of the table."""
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name:
        directory = Path(name)
        rows: list[Row] = []
        with redis_server(directory) as redis_port:
            records.store(redis_port, records.SCHEMA, records.KEYS)
            if wanted(options, "records"):
                loads = measured(cells_of(directory, redis_port, options), options)
                rows += [row_of(cell, loads) for cell in loads]
            if wanted(options, "resting"):
                rows += resting.rows(directory, one_server(redis_port), options)
            if wanted(options, "export"):
                rows += streaming.rows(directory, redis_port, options)
        return rows


def wanted(options: argparse.Namespace, name: str) -> bool:
    """Whether `--only` lets this measurement through."""
    return options.only is None or options.only in name


class Cells(ExitStack):
    """The started servers, and how each cell is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.measure: dict[Cell, Callable[[], Load]] = {}


def cells_of(directory: Path, redis_port: int, options: argparse.Namespace) -> Cells:
    """Start every server and say how each cell is measured, neighbours to be compared."""
    cells = Cells()
    seconds = 1 if options.quick else 3
    lane = cells.enter_context(sidecar(directory, one_server(redis_port)))
    no_lane = cells.enter_context(sidecar(directory, one_server(redis_port), "--no-fast-lane"))
    other = cells.enter_context(webdis(directory, redis_port))
    path = f"/v1/bench/{records.SCHEMA}/"
    shapes = {
        "GET": (Shape("GET", path), Shape("GET", f"/HGET/{records.HASH}/", ".raw")),
        "PUT": (
            Shape("PUT", path, body=records.RECORD),
            Shape("PUT", f"/HSET/{records.HASH}/", body=records.RECORD),
        ),
    }
    for operation, (ours, theirs) in shapes.items():
        for c in CONCURRENCIES:
            for subject, server, shape in (
                (WEBDIS, other, theirs), (LANE, lane, ours), (NO_LANE, no_lane, ours),
            ):  # fmt: skip
                cells.measure[subject, operation, c] = http(server, shape, c, seconds)
            cells.measure[BARE, operation, c] = program(redis_port, operation.lower(), c, seconds)
    for operation, shape in batches().items():
        theirs = "pipeline-get" if operation == "batchGet" else "pipeline-put"
        cells.measure[PIPELINE, operation, 1] = program(redis_port, theirs, 1, seconds)
        for subject, server in ((LANE, lane), (NO_LANE, no_lane)):
            cells.measure[subject, operation, BATCH_CONCURRENCY] = http(
                server, shape, BATCH_CONCURRENCY, seconds, records.SIZE_OF_A_BATCH
            )
    return cells


def batches() -> dict[str, Shape]:
    """A batch of 100 of each kind."""
    keys = [records.key(number) for number in range(records.SIZE_OF_A_BATCH)]
    writes = ",".join(f'{{"op":"put","key":"{key}","record":{records.RECORD}}}' for key in keys)
    path = f"/v1/bench/{records.SCHEMA}"
    return {
        "batchGet": Shape("POST", path + ":batchGet", keys=0, body=json.dumps({"keys": keys})),
        "batchWrite": Shape(
            "POST", path + ":batchWrite", keys=0, body=f'{{"operations":[{writes}]}}'
        ),
    }


def http(
    server: tuple[int, int], shape: Shape, concurrency: int, seconds: float, records_each: int = 1
) -> Callable[[], Load]:
    """Measure an HTTP server with wrk; requests are counted as records where they hold several."""

    def measure() -> Load:
        load = wrk(*server, shape, concurrency, seconds)
        return Load(load.requests * records_each, load.cpu_seconds, load.p50_ms, load.p99_ms)

    return measure


def program(port: int, what: str, concurrency: int, seconds: float) -> Callable[[], Load]:
    """Measure a redis-py program."""
    return lambda: redis_py(port, what, concurrency, seconds)


def measured(cells: Cells, options: argparse.Namespace) -> dict[Cell, list[Load]]:
    """Measure every cell once in each round."""
    loads: dict[Cell, list[Load]] = {cell: [] for cell in cells.measure}
    with cells:
        for number in range(options.rounds):
            print(f"bench: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for cell, measure in cells.measure.items():
                loads[cell].append(measure())
    return loads


def row_of(cell: Cell, loads: dict[Cell, list[Load]]) -> Row:
    """A cell's row, with its target where it has one."""
    subject, operation, concurrency = cell
    load = middle(loads[cell])
    row = Row(
        subject=subject,
        operation=operation,
        concurrency=concurrency,
        requests_per_cpu_second=load.per_cpu_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
    )
    if subject != LANE:
        return row
    if operation in ("batchGet", "batchWrite"):
        row.target = ">= 0.8x the pipeline"
        row.ratio = times_faster(loads[cell], loads[PIPELINE, operation, 1]) / 0.8
        return row
    others = loads[WEBDIS, operation, concurrency]
    if concurrency == 1:
        other = middle(others)
        row.target = "p50, p99 <= Webdis"
        row.ratio = min(other.p50_ms / load.p50_ms, other.p99_ms / load.p99_ms)
    else:
        factor = 1.5 if operation == "GET" else 1.3
        row.target = f">= {factor}x Webdis"
        row.ratio = times_faster(loads[cell], others) / factor
    return row


def times_faster(ours: list[Load], theirs: list[Load]) -> float:
    """How many times the requests by CPU second: the median over the rounds.

    Each round is compared with itself: what else the machine does in a round slows both.
    """
    return median(
        our.per_cpu_second / their.per_cpu_second for our, their in zip(ours, theirs, strict=True)
    )
