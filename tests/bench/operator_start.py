"""Measures the operator's start: seconds and memory with 250, 500 and 1,000 StoreBackends.

Each has a Secret of its own, at a real API server. Both must grow no faster than the number does:
the cost of one more is asked for in the second half as in the first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.processes import CannotMeasure, cpu_seconds, memory
from tests.bench.rows import Row
from tests.real.kubernetes import install_crd
from tests.real.kubernetes_parts.building import NotHere
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator, operator

COUNTS = (250, 500, 1000)
NAMESPACES = 10
"""The stores are spread over so many."""
STEADY = 1.5
"""Times that one more may cost at the end what it cost at the start: linear, within noise."""


def run(options: argparse.Namespace) -> list[Row]:
    """All rows, in the order of the table."""
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as name:
        directory = Path(name)
        try:
            plane = ControlPlane(directory)
        except NotHere as reason:
            raise CannotMeasure(str(reason)) from None
        plane.start()
        try:
            return measured(plane, directory, options.rounds)
        finally:
            plane.stop()


def measured(plane: ControlPlane, directory: Path, rounds: int) -> list[Row]:
    """Start it at each number of resources, from few to many."""
    install_crd(plane)
    own = plane.namespace()
    spaces = [plane.namespace() for _ in range(NAMESPACES)]
    empty = one(plane, directory, own, 0)
    starts: list[Start] = []
    made = 0
    for count in COUNTS:
        make(plane, spaces, made, count)
        made = count
        starts.append(min((one(plane, directory, own, count) for _ in range(rounds)),
                          key=lambda each: each.cpu))  # fmt: skip
    return [row(start, empty, starts[0]) for start in (empty, *starts)]


class Start:
    """One start, from the process's begin until each StoreBackend was reconciled once."""

    def __init__(self, count: int, ready: float, cpu: float, megabytes: float) -> None:
        self.count = count
        self.ready = ready
        """Seconds it took."""
        self.cpu = cpu
        self.megabytes = megabytes

    @classmethod
    def of(cls, running: Operator, count: int, began: float) -> Start:
        """Wait until everything is reconciled."""
        deadline = time.monotonic() + 300
        while running.metric('pannier_operator_reconciles_total{result="ok"}') < count:
            if time.monotonic() > deadline:
                raise CannotMeasure(f"not reconciled within 300 s:\n{running.text[-2000:]}")
            time.sleep(0.05)
        ready = time.monotonic() - began
        return cls(
            count, ready, cpu_seconds(running.process.pid), memory(running.process.pid, "VmRSS")
        )


def one(plane: ControlPlane, directory: Path, own: str, count: int) -> Start:
    """Start it once, and stop it."""
    began = time.monotonic()
    with operator(plane, directory, namespace=own) as running:
        return Start.of(running, count, began)


def row(start: Start, empty: Start, first: Start) -> Row:
    """What a start cost, and whether one more costs the same as at the beginning."""
    text = f"{start.ready:.1f} s, {start.cpu:.1f} CPU s, {start.megabytes:.0f} MB"
    if start is empty or start is first:
        return Row(subject="operator", operation=f"start with {start.count}", measured=text)
    seconds = (start.cpu - empty.cpu) / start.count
    before = (first.cpu - empty.cpu) / first.count
    return Row(
        subject="operator",
        operation=f"start with {start.count}",
        measured=f"{text}; {seconds * 1000:.1f} CPU ms each",
        target=f"<= {STEADY} times {before * 1000:.1f} CPU ms each",
        ratio=STEADY * before / seconds,
    )


def make(plane: ControlPlane, spaces: list[str], since: int, until: int) -> None:
    """StoreBackends and Secrets from number `since` to number `until`."""

    def one_pair(number: int) -> None:
        namespace, name = spaces[number % len(spaces)], f"shop-{number:04}"
        labels = {"pannier.dev/credentials": "true"}
        plane.api.call(
            "POST", f"/api/v1/namespaces/{namespace}/secrets",
            {"metadata": {"name": name, "labels": labels}, "stringData": {"password": name * 4}},
        )  # fmt: skip
        plane.api.call(
            "POST", f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends",
            backend(name),
        )  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_pair, range(since, until)))


def backend(name: str) -> dict[str, Any]:
    redis = {
        "host": f"{name}.redis.svc",
        "passwordSecretRef": {"name": name, "key": "password"},
        "keyPrefix": f"{name}:",
    }
    return {
        "apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
        "metadata": {"name": name}, "spec": {"type": "redis", "redis": redis},
    }  # fmt: skip
