"""Every panel of `Pannier / Operator`, by a real Prometheus that watches a real operator at work.

The operator has the chart's rights and pushes to one real sidecar, until it is ended: then the
alert for a lost stream holds.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import operator
from tests.real.prometheus import Prometheus, prometheus
from tests.real.prometheus_parts import boards
from tests.real.prometheus_parts.boards import Expression
from tests.real.redis import until
from tests.real.sidecar import sidecar

EXPRESSIONS = boards.expressions("pannier-operator")
STREAM_DOWN = boards.alerts()["PannierStreamDown"]
SPECS: dict[str, dict[str, Any]] = {
    "notes": {"type": "memory", "memory": {}},
    "carts": {
        "type": "redis",
        "redis": {"host": "redis", "passwordSecretRef": {"name": "missing", "key": "password"}},
    },
}


@dataclass(slots=True)
class Watched:
    """A Prometheus, and the moments it is asked about."""

    prometheus: Prometheus
    working: float = 0.0
    """The operator had reconciled and pushed for a while."""
    settled: float = 0.0
    """Nothing was edited any more, and every status was written."""
    ended: float = 0.0
    """The operator was gone for a while."""


@pytest.fixture(scope="module")
def watched(
    shared_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    plane, directory = shared_control_plane, tmp_path_factory.mktemp("operator")
    own, namespace = plane.namespace(), plane.namespace()
    rights = install_operator_rbac(plane, own, watch=[namespace])
    token, ca = directory / "token", directory / "ca.crt"
    pod = plane.pod(namespace, "cart-1")
    token.write_text(plane.service_account_token(namespace, audience="pannier", pod=pod))
    with operator(
        plane, directory, "--watch-namespace", namespace, namespace=own, kubeconfig=rights
    ) as running:
        until(lambda: has_published(plane, namespace, ca), "the CA is published", 60)
        dials = ("--operator", running.url, "--operator-token-file", str(token),
                 "--operator-ca-file", str(ca))  # fmt: skip
        with (
            sidecar(directory, *dials, wait=False) as beside,
            prometheus(
                directory,
                {
                    f"127.0.0.1:{running.admin_port}": labels("operator-1"),
                    f"127.0.0.1:{beside.admin_port}": labels("cart-1"),
                },
            ) as watching,
        ):
            for name, spec in SPECS.items():
                metadata = {"name": name, "namespace": namespace}
                kind = {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend"}
                plane.apply({**kind, "metadata": metadata, "spec": spec})
            edited = itertools.count(1)

            def is_pushed() -> bool:
                size = {"spec": {"memory": {"maxBytes": f"{next(edited)}Mi"}}}
                path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends/notes"
                plane.api.call("PATCH", path, size, content_type="application/merge-patch+json")
                time.sleep(0.3)  # as a person edits, and not as fast as it goes
                # Both are scraped for as long as a rate looks back.
                scraped = watching.values("sum_over_time(up[4s]) >= 7")
                rate = watching.values("rate(pannier_operator_push_seconds_count[4s]) > 0.5")
                return len(scraped) == 2 and bool(rate)

            until(is_pushed, "the operator pushes", 90)
            story = Watched(watching, working=time.time())
            not_ready = shown("Not ready")
            until(lambda: watching.value(not_ready) == 1, "one StoreBackend is not ready", 60)
            story.settled = time.time()
            running.stop()
            until(lambda: watching.query(STREAM_DOWN), "the lost stream is an alert", 60)
            story.ended = time.time()
            yield story


def has_published(plane: ControlPlane, namespace: str, ca: Path) -> bool:
    """Whether the operator's CA is in the namespace; it is written to `ca` then."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/pannier-ca"
    try:
        ca.write_text(plane.api.call("GET", path)["data"]["ca.crt"])
    except ApiError:
        return False
    return True


def labels(pod: str) -> dict[str, str]:
    return {"namespace": "shop", "pod": pod}


def shown(panel: str) -> str:
    """What the one expression of a panel asks."""
    (expression,) = (each.promql for each in EXPRESSIONS if each.panel == panel)
    return expression


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_every_panel_has_data(watched: Watched, expression: Expression) -> None:
    values = watched.prometheus.values(expression.promql, watched.working)
    assert values
    assert all(0 <= value < math.inf for value in values)


@pytest.mark.parametrize("name", boards.variables("pannier-operator"))
def test_every_variable_has_choices(watched: Watched, name: str) -> None:
    selector, label = boards.variables("pannier-operator")[name]
    wanted = {"namespace": ["shop"], "pod": ["operator-1"]}
    assert watched.prometheus.label_values(label, selector) == wanted[name]


@pytest.mark.parametrize(
    ("panel", "figure"),
    [("Leaders", 1), ("Store backends", len(SPECS)), ("Not ready", 1)],
)
def test_the_panels_count_what_is_there(watched: Watched, panel: str, figure: float) -> None:
    assert watched.prometheus.value(shown(panel), watched.settled) == figure


def test_a_push_is_within_its_buckets(watched: Watched) -> None:
    low, high = (
        watched.prometheus.value(each.promql, watched.working)
        for each in EXPRESSIONS
        if each.panel == "Push time" and each.legend in ("p50", "p99")
    )
    assert 0 < low <= high <= 10


def test_an_operator_is_no_sidecar(watched: Watched) -> None:
    found = {
        each.panel: watched.prometheus.values(each.promql, watched.working)
        for each in boards.expressions("pannier-sidecars")
        if each.panel in ("Sidecars", "Builds", "CPU", "Memory", "Open files")
    }
    assert {panel: len(values) for panel, values in found.items()} == dict.fromkeys(found, 1)
    assert found["Sidecars"] == found["Builds"] == [1]


def test_the_alert_for_a_lost_stream_holds_only_once_it_is_lost(watched: Watched) -> None:
    assert watched.prometheus.query(STREAM_DOWN, watched.working) == []
    ((found, _),) = watched.prometheus.query(STREAM_DOWN, watched.ended)
    assert found["pod"] == "cart-1"
