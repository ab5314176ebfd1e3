"""`./dev bench`: measures one part against its targets, prints a table, fails on a miss.

`./dev bench` alone measures the sidecar; `./dev bench NAME` measures what `tests.bench.NAME` does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

from tests.bench.processes import CORES, CannotMeasure
from tests.bench.rows import Row, missed, table

PARTS = {
    "sidecar": "tests.bench.sidecar",
    "cluster": "tests.bench.cluster",
    "hdfs": "tests.bench.hdfs",
    "push": "tests.bench.push",
    "hdfs-files": "tests.bench.hdfs_files",
    "operator-start": "tests.bench.operator_start",
    "moving": "tests.bench.moving",
}
"""What can be measured: a module with `run(options) -> list[Row]`."""


def main() -> int:
    """Measure, print, and return 1 if a target was missed by more than 10 %, 2 if it cannot."""
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Measures against the targets, everything in one run and interleaved. "
        "Ends with 1 if a target is missed by more than 10 %.",
    )
    parser.add_argument("part", nargs="?", choices=sorted(PARTS), default="sidecar")
    parser.add_argument("--quick", action="store_true", help="short and rough: minutes become one")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 5, quick 2)")
    parser.add_argument("--only", help="only the measurements whose name holds this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5

    print(machine(), file=sys.stderr)
    try:
        rows: list[Row] = importlib.import_module(PARTS[options.part]).run(options)
    except CannotMeasure as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([row.document() for row in rows], indent=1) + "\n")
    misses = missed(rows)
    for row in misses:
        print(f"missed: {row.operation}, c={row.concurrency}: {row.target}", file=sys.stderr)
    return 1 if misses else 0


def machine() -> str:
    """What the figures depend on beside the code."""
    busy = os.getloadavg()[0]
    text = f"bench: Python {platform.python_version()}, {len(CORES)} cores"
    if busy > 1:
        text += f"; the load average is {busy:.1f}: who else computes here distorts the figures"
    return text


if __name__ == "__main__":
    sys.exit(main())
