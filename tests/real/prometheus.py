"""A real Prometheus that scrapes real sidecars twice a second, and answers PromQL over HTTP."""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.real.programs import free_port, program
from tests.real.redis import until

SCRAPE_SECONDS = 0.5
START_SECONDS = 30.0

Labels = Mapping[str, str]
Series = tuple[Labels, list[tuple[float, float]]]
"""A series' labels, and its samples: seconds since the epoch, value."""


class Prometheus:
    """A running Prometheus on a free port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expression: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """The value of each series now, or as it was at `at`."""
        parameters = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
        found = self.get("/api/v1/query", parameters)
        assert found["resultType"] == "vector", f"no vector: {expression}"
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def values(self, expression: str, at: float | None = None) -> list[float]:
        """The values alone."""
        return [value for _, value in self.query(expression, at)]

    def value(self, expression: str, at: float | None = None) -> float:
        """The value of the one series; NaN where there is none."""
        found = self.values(expression, at)
        assert len(found) <= 1, f"{len(found)} series: {expression}"
        return found[0] if found else math.nan

    def range(self, expression: str, start: float, end: float, step: float = 1) -> list[Series]:
        """Each series from `start` to `end`, a sample each `step` seconds."""
        parameters = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}",
                      "step": f"{step:g}"}  # fmt: skip
        return [
            (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in self.get("/api/v1/query_range", parameters)["result"]
        ]

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label, as Grafana asks for a variable's."""
        found: list[str] = self.get(f"/api/v1/label/{label}/values", {"match[]": selector})
        return found

    def get(self, path: str, parameters: Mapping[str, str]) -> Any:
        """The data of an API call; fails with Prometheus' own words where it refuses."""
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{refusal.read().decode()}: {parameters}") from None

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(directory: Path, targets: Mapping[str, Labels]) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `targets`: HOST:PORT -> the labels Kubernetes would give it."""
    config = directory / "prometheus.json"
    scrape = {
        "job_name": "pannier",
        "static_configs": [
            {"targets": [target], "labels": dict(labels)} for target, labels in targets.items()
        ],
    }
    every = {"scrape_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms", "scrape_timeout": "500ms"}
    config.write_text(json.dumps({"global": every, "scrape_configs": [scrape]}))
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        running = Prometheus(port)
        begun = time.monotonic()
        until(lambda: process.poll() is not None or running.is_ready(), "ready", START_SECONDS)
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - begun < START_SECONDS
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
