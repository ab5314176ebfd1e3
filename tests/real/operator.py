"""A real operator process, started by the `pannier` command, at a real API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.hdfs_parts.nodes import die_with_parent, wait_until
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.programs import free_port
from tests.real.sidecar import PANNIER

START_SECONDS = 60.0
STOP_SECONDS = 60.0
CHART = Path(__file__).parents[2] / "helm" / "pannier"
CRD = CHART / "crd" / "storebackends.yaml"


@dataclass
class Operator:
    """A running operator and where it listens on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    port: int
    """Of the stream."""
    admin_port: int
    log: Path
    """Everything it prints."""

    @property
    def url(self) -> str:
        """What a sidecar's --operator is."""
        return f"wss://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def text(self) -> str:
        """Its log."""
        return self.log.read_text()

    def ready(self) -> tuple[bool, list[str]]:
        """Whether it is ready, and the reasons why not."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=5) as answer:
                return answer.status == 200, []
        except urllib.error.HTTPError as refused:
            with refused:
                return False, list(json.load(refused)["reasons"])
        except OSError as error:
            return False, [str(error)]

    def metric(self, name: str) -> float:
        """The value of one series, written as Prometheus writes it; 0 where there is none."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def wait_until_ready(self) -> None:
        wait_until(
            lambda: self.process.poll() is None and self.ready()[0],
            START_SECONDS, f"the operator is ready; its log: {self.log}", interval=0.1,
        )  # fmt: skip

    def leads(self) -> bool:
        return self.metric("pannier_operator_leader") == 1

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send `sign` if it still runs, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def operator(
    plane: ControlPlane,
    directory: Path,
    *arguments: str,
    namespace: str,
    kubeconfig: Path | None = None,
    wait: bool = True,
) -> Iterator[Operator]:
    """Start `pannier operator ARGUMENTS`, which lives in `namespace`; stop it at the end.

    Returns once it is ready (`wait=False`: once it was started). It drains in no time.
    """
    port, admin_port = free_port(), free_port()
    log = directory / f"operator-{port}.log"
    line = [
        str(PANNIER), "operator", "--kubeconfig", str(kubeconfig or plane.kubeconfig),
        "--namespace", namespace, "--listen", f"127.0.0.1:{port}", "--stream-name", "127.0.0.1",
        "--admin-listen", f"127.0.0.1:{admin_port}", "--drain-delay", "0", "--drain-spread", "0",
        *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if "PANNIER" not in name}
    with log.open("wb") as output:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            preexec_fn=die_with_parent, process_group=0,  # Ctrl-C is for the tests alone
        )  # fmt: skip
    running = Operator(process, port, admin_port, log)
    try:
        if wait:
            running.wait_until_ready()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
        try:
            running.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def define_storebackends(plane: ControlPlane) -> None:
    """The resource as the chart brings it."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(CRD))
    plane.kubectl("wait", "--for=condition=Established", "crd/storebackends.pannier.dev")


def conditions(resource: dict[str, Any]) -> dict[str, str]:
    """Type -> `status reason` of each condition."""
    found = resource.get("status", {}).get("conditions", [])
    return {each["type"]: f"{each['status']} {each['reason']}" for each in found}
