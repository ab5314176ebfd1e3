"""Measures what many small files cost HDFS and its client: CPU, heap and log by record.

CPU and bytes, because they are the same on a busy machine; wall clock is only told beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.operations import Write
from tests.bench.hdfs import CONNECTIONS
from tests.bench.processes import cpu_seconds, program
from tests.bench.records import RECORD, SCHEMA, key
from tests.bench.rows import Row
from tests.real.hdfs import HDFS, USER, start_single
from tests.real.hdfs_parts.rest import Rest

FILES = 10_000
QUICK_FILES = 1_000
BATCH = 500
READS = 2_000


def run(options: argparse.Namespace) -> list[Row]:
    """Create, list, count, scan, read and delete records, and see what each took."""
    files = QUICK_FILES if options.quick else FILES
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name:
        hdfs = start_single(Path(name))
        try:
            return asyncio.run(measure(hdfs, files))
        finally:
            hdfs.stop()


class Meter:
    """What the three processes and the clock show before and after each step."""

    def __init__(self, hdfs: HDFS) -> None:
        self._hdfs = hdfs
        self.rows: list[Row] = []

    async def row(self, operation: str, records: int, step: Callable[[], Awaitable[Any]]) -> None:
        """Carry out a step of `records` records and keep its row."""
        pids = (self._hdfs.namenode.pid, self._hdfs.datanode.pid)
        before = (time.process_time(), *map(cpu_seconds, pids))
        began = time.perf_counter()
        await step()
        seconds = time.perf_counter() - began
        after = (time.process_time(), *map(cpu_seconds, pids))
        client, namenode, datanode = (
            1000 * (late - early) / records for early, late in zip(before, after, strict=True)
        )
        self.rows.append(
            Row(
                subject=f"{records:,} records",
                operation=operation,
                concurrency=CONNECTIONS,
                measured=f"{records / seconds:,.0f} a second; CPU ms a record: client "
                f"{client:.2f}, NameNode {namenode:.2f}, DataNode {datanode:.2f}",
            )
        )

    def heap(self) -> int:
        """Bytes of the NameNode's heap that are in use after a collection."""
        subprocess.run(
            [program("jcmd"), str(self._hdfs.namenode.pid), "GC.run"],
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        bean = Rest(self._hdfs.ports[0], USER).jmx("java.lang:type=Memory")
        assert bean is not None
        return int(bean["HeapMemoryUsage"]["used"])


async def measure(hdfs: HDFS, files: int) -> list[Row]:
    """The rows of all steps, in order."""
    meter = Meter(hdfs)
    async with HDFSStoreBackend(
        hdfs.new_base_path(),
        namenodes=hdfs.addresses,
        username=USER,
        max_connections=CONNECTIONS,
        request_timeout=30,
    ) as store:
        await create(store, 0, BATCH)  # warm up
        heap = meter.heap()
        await meter.row("create", files, lambda: create(store, BATCH, files))
        grown = (meter.heap() - heap) / files
        meter.rows.append(
            Row(
                subject=f"{files:,} records",
                operation="create",
                measured=f"NameNode heap {grown:,.0f} bytes a record",
            )
        )
        await meter.row("count", files, lambda: store.count(SCHEMA))
        await meter.row("scan", files, lambda: scan(store))
        reads = [key(number) for number in range(min(READS, files))]
        await meter.row("read", len(reads), lambda: store.read_many(SCHEMA, reads))
        deletes = [Write(name, None) for name in reads]
        await meter.row("delete", len(deletes), lambda: store.write_many(SCHEMA, deletes))
    return meter.rows


async def create(store: HDFSStoreBackend, first: int, count: int) -> None:
    """Put `count` records of 250 bytes."""
    value = RECORD.encode()
    for start in range(first, first + count, BATCH):
        stop = min(start + BATCH, first + count)
        writes = [Write(key(number), value) for number in range(start, stop)]
        for result in await store.write_many(SCHEMA, writes):
            if isinstance(result, Exception):
                raise result


async def scan(store: HDFSStoreBackend) -> None:
    """Read every record, page by page."""
    cursor: str | None = None
    while True:
        page = await store.scan(SCHEMA, cursor, 1000)
        cursor = page.next
        if cursor is None:
            return
