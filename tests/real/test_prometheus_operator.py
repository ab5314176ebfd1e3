"""Every panel of `Pannier / Operator`, by a real Prometheus that watches a real operator at work.

The operator has the chart's rights and resources to reconcile; no sidecar is connected to it, so
that its pushes are counted as none, and their quantiles are of nothing.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.programs import free_port
from tests.real.prometheus import Prometheus, prometheus
from tests.real.prometheus_parts import boards
from tests.real.prometheus_parts.boards import Expression
from tests.real.redis import until
from tests.real.sidecar import PANNIER

EXPRESSIONS = boards.expressions("pannier-operator")
SPECS: dict[str, dict[str, Any]] = {
    "notes": {"type": "memory", "memory": {}},
    "carts": {
        "type": "redis",
        "redis": {"host": "redis", "passwordSecretRef": {"name": "missing", "key": "password"}},
    },
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A Prometheus, and when the operator had reconciled for a while."""

    prometheus: Prometheus
    at: float


@pytest.fixture(scope="module")
def watched(
    shared_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    plane, directory = shared_control_plane, tmp_path_factory.mktemp("operator")
    namespace = plane.namespace()
    kubeconfig = install_operator_rbac(plane, namespace, watch=[namespace])
    port = free_port()
    with (
        operator(directory, namespace, kubeconfig, port),
        prometheus(
            directory, {f"127.0.0.1:{port}": {"namespace": "shop", "pod": "operator-1"}}
        ) as watching,
    ):
        for name, spec in SPECS.items():
            metadata = {"name": name, "namespace": namespace}
            kind = {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend"}
            plane.apply({**kind, "metadata": metadata, "spec": spec})
        sizes = itertools.count(1)

        def reconciles() -> bool:
            size = {"spec": {"memory": {"maxBytes": f"{next(sizes)}Mi"}}}
            path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends/notes"
            plane.api.call("PATCH", path, size, content_type="application/merge-patch+json")
            time.sleep(0.2)  # as a person edits, and not as fast as it goes
            rates = watching.values("rate(pannier_operator_reconciles_total{result='ok'}[4s]) > 1")
            return bool(rates)

        until(reconciles, "the operator reconciles", 60)
        yield Watched(watching, time.time())


@contextmanager
def operator(directory: Path, namespace: str, kubeconfig: Path, port: int) -> Iterator[None]:
    """A real operator that serves one namespace and is ended as Kubernetes ends it."""
    log = directory / "operator.log"
    command = [
        PANNIER, "operator", "--kubeconfig", kubeconfig, "--namespace", namespace,
        "--watch-namespace", namespace, "--admin-listen", f"127.0.0.1:{port}",
        "--listen", f"127.0.0.1:{free_port()}", "--drain-delay", "0", "--drain-spread", "0",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_every_panel_has_data(watched: Watched, expression: Expression) -> None:
    values = watched.prometheus.values(expression.promql, watched.at)
    assert values
    of_nothing = expression.panel.startswith("Push time") and expression.legend in ("p50", "p99")
    for value in values:
        assert math.isnan(value) if of_nothing else 0 <= value < math.inf


@pytest.mark.parametrize("name", boards.variables("pannier-operator"))
def test_every_variable_has_choices(watched: Watched, name: str) -> None:
    selector, label = boards.variables("pannier-operator")[name]
    wanted = {"namespace": ["shop"], "pod": ["operator-1"]}
    assert watched.prometheus.label_values(label, selector) == wanted[name]


def test_the_panels_count_what_is_there(watched: Watched) -> None:
    def shown(panel: str) -> float:
        (expression,) = (each for each in EXPRESSIONS if each.panel == panel)
        return watched.prometheus.value(expression.promql, watched.at)

    assert shown("Store backends") == len(SPECS)
    assert 1 <= shown("Not ready") <= len(SPECS), "one lacks its Secret"


def test_an_operator_is_no_sidecar(watched: Watched) -> None:
    counted = [
        each.promql for each in boards.expressions("pannier-sidecars")
        if each.panel in ("Sidecars", "Builds", "CPU", "Memory", "Open files")
    ]  # fmt: skip
    assert len(counted) == 5
    for promql in counted:
        assert watched.prometheus.values(promql, watched.at) == []
