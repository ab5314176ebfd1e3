"""Moves records from store to store: how long it takes, what each process holds, what arrives.

1,000,000 records from Redis to a cluster, to a file and to memory, and 20,000 to HDFS and back;
before each a tenth of them, so that memory that grows with their number shows.
`--only redis` or `--only hdfs` moves one of the two.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.rows import Row
from tests.real import moving
from tests.real.hdfs import USER, start_single
from tests.real.moving import Step, serving
from tests.real.redis import RedisServer
from tests.real.redis_cluster import redis_cluster_of

RECORDS = 1_000_000
HDFS_RECORDS = 20_000
QUICK = 10
"""`--quick` moves so many times fewer."""
SHARE = 10
MOST_GROWTH = 1.2


def run(options: argparse.Namespace) -> list[Row]:
    """All rows, in the order of the steps."""
    by = QUICK if options.quick else 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name:
        directory = Path(name)
        server = RedisServer(directory)
        server.start()
        try:
            if options.only in (None, "redis"):
                rows += through_memory(directory, server, RECORDS // by)
            if options.only in (None, "hdfs"):
                rows += through_hdfs(directory, server, HDFS_RECORDS // by)
        finally:
            server.kill()
    return rows


def through_memory(directory: Path, server: RedisServer, count: int) -> list[Row]:
    """Redis to a cluster, to a file, to memory, and what memory holds against what Redis held."""
    place = directory / "cluster"
    place.mkdir()
    with redis_cluster_of(place, "--appendonly", "no") as cluster:
        few = Circle(directory, server, cluster.addresses, count // SHARE)
        many = Circle(directory, server, cluster.addresses, count)
    return [*rows_of(few.steps, many.steps), equal(many)]


class Circle:
    """The steps from Redis to memory, and whether what arrived there is what left."""

    def __init__(self, directory: Path, server: RedisServer, nodes: list[str], count: int) -> None:
        prefix, file = f"moved{count}:", directory / "moved.ndjson"
        left = moving.fill(server, prefix, count)
        cluster = moving.cluster_spec(nodes, prefix)
        with (
            serving(directory, moving.redis_spec(server.port, prefix)) as source,
            serving(directory, cluster) as target,
        ):
            self.steps = [say(moving.copy(directory, "Redis to cluster", source, target))]
        server.call("FLUSHALL")
        with serving(directory, cluster) as source:
            self.steps.append(say(moving.export_to(directory, "cluster to file", source, file)))
        with serving(directory, moving.memory_spec(count)) as target:
            self.steps.append(say(moving.import_from(directory, "file to memory", file, target)))
            say(moving.export_to(directory, "memory to file, to compare", target, file))
        self.count = count
        self.is_equal = moving.fingerprint_of(file) == (count, left)
        file.unlink()


def through_hdfs(directory: Path, server: RedisServer, count: int) -> list[Row]:
    """Redis to HDFS and back, and what came back against what left."""
    place = directory / "hdfs"
    place.mkdir()
    hdfs = start_single(place)
    try:
        few = Return(directory, server, hdfs.addresses[0], hdfs.new_base_path(), count // SHARE)
        many = Return(directory, server, hdfs.addresses[0], hdfs.new_base_path(), count)
    finally:
        hdfs.stop()
    return [*rows_of(few.steps, many.steps), equal(many)]


class Return:
    """The steps from Redis to HDFS and back, and whether what came back is what left."""

    def __init__(
        self, directory: Path, server: RedisServer, namenode: str, base_path: str, count: int
    ) -> None:
        file = directory / "returned.ndjson"
        left = moving.fill(server, "there:", count)
        there = moving.redis_spec(server.port, "there:")
        back = moving.redis_spec(server.port, "back:")
        files = moving.hdfs_spec(namenode, USER, base_path)
        with serving(directory, there) as source, serving(directory, files) as target:
            self.steps = [say(moving.copy(directory, "Redis to HDFS", source, target))]
        with serving(directory, files) as source, serving(directory, back) as target:
            self.steps.append(say(moving.copy(directory, "HDFS to Redis", source, target)))
        with serving(directory, back) as source:
            say(moving.export_to(directory, "Redis to file, to compare", source, file))
        self.count = count
        self.is_equal = moving.fingerprint_of(file) == (count, left)
        server.call("FLUSHALL")


def say(step: Step) -> Step:
    """Tell that a step has ended: the whole takes minutes."""
    print(
        f"bench: {step.name}: {step.records:,} records in {step.seconds:.1f} s",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return step


def rows_of(few: list[Step], many: list[Step]) -> list[Row]:
    """A row for each process of each step, beside the same step with a tenth of the records."""
    rows: list[Row] = []
    for small, large in zip(few, many, strict=True):
        for name, figures in large.processes.items():
            before = small.processes[name].peak
            # What is moved into memory is to stay in it.
            holds_all = large.name.endswith("memory") and name == "target's sidecar"
            rows.append(
                Row(
                    subject=name,
                    operation=large.name,
                    requests_per_cpu_second=large.records / max(figures.cpu, 0.01),
                    measured=f"{large.records:,} records in {large.seconds:.1f} s; at most "
                    f"{figures.peak:.1f} MB, of {small.records:,}: {before:.1f} MB",
                    target=None if holds_all else f"<= {MOST_GROWTH:g}x the memory",
                    ratio=None if holds_all else MOST_GROWTH * before / figures.peak,
                )
            )
        if large.compared is not None:
            same = large.compared - large.different
            rows.append(
                Row(
                    subject="import --verify",
                    operation=large.name,
                    measured=f"{large.compared:,} compared, {large.different:,} differ",
                    target="all equal",
                    ratio=1.0 if same == large.records else 0.0,
                )
            )
    return rows


def equal(moved: Circle | Return) -> Row:
    """Whether what came out at the end is what went in, by a comparison of the benchmark's own."""
    return Row(
        subject="all of it",
        operation="what left beside what arrived",
        measured=f"{moved.count:,} records, {'equal' if moved.is_equal else 'DIFFERENT'}",
        target="all equal",
        ratio=1.0 if moved.is_equal else 0.0,
    )
