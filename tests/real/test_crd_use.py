"""StoreBackends as a person meets them: kubectl get, explain, wait, and who may do what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from pannier.config.reading import read_text
from pannier_operator.conditions import Unresolved, status_of
from pannier_operator.tally import Rejection, Tally
from pannier_operator.wanted import WantedStore
from tests.real.kubernetes import CRD
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane
from tests.real.processes import wait_until

SHOP = {
    "apiVersion": "pannier.dev/v1alpha1",
    "kind": "StoreBackend",
    "metadata": {"name": "shop"},
    "spec": {"type": "redis", "redis": {"host": "redis.shop.svc"}},
}
CARTS = {
    "apiVersion": "pannier.dev/v1alpha1",
    "kind": "StoreBackend",
    "metadata": {"name": "carts"},
    "spec": {"type": "memory", "memory": {}},
}
MERGE = "application/merge-patch+json"


def path_of(namespace: str, name: str = "") -> str:
    path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends"
    return f"{path}/{name}" if name else path


def write_status(plane: ControlPlane, namespace: str, status: dict[str, Any]) -> dict[str, Any]:
    """Write it as the operator does; what the API server has of it then."""
    answer = plane.api.call(
        "PATCH", f"{path_of(namespace, 'shop')}/status?fieldValidation=Strict",
        {"status": status}, content_type=MERGE,
    )  # fmt: skip
    return dict(answer["status"])


@pytest.fixture
def shop(crd: ControlPlane, namespace: str) -> dict[str, Any]:
    """A StoreBackend of the test's namespace."""
    return dict(crd.api.call("POST", path_of(namespace), SHOP))


def wanted(resource: dict[str, Any]) -> WantedStore:
    metadata = resource["metadata"]
    return WantedStore("shop", metadata["uid"], metadata["generation"], "f", entry=None)  # type: ignore[arg-type]


def test_explain_reads_well(crd: ControlPlane) -> None:
    # What it prints is published a moment after the definition is established.
    wait_until(
        lambda: "pool" in explained(crd, "storebackend.spec"), 60, "kubectl explains", interval=0.5
    )
    pool = explained(crd, "storebackend.spec.pool")
    assert "How many connections a store keeps, and how long an operation waits for one." in pool
    assert "maxConnections\t<integer>" in pool
    assert "Open connections, at most (for each Redis node on a cluster)." in pool
    assert "idleTimeout\t<string>" in pool
    assert "of the same namespace" in explained(crd, "sb.spec.redis.passwordSecretRef")


def explained(plane: ControlPlane, what: str) -> str:
    try:
        return plane.kubectl("explain", what)
    except CommandFailed:
        return ""


def test_every_field_is_described_and_bounded() -> None:
    definition = yaml.safe_load(CRD.read_text())
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    seen = 0

    def check(path: str, part: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        kind = part.get("type") or "text"
        if kind == "object" and path != ".metadata":
            assert part["properties"], path
        if kind == "array":
            assert part["maxItems"] > 0, path
            check(f"{path}[]", {"description": ".", **part["items"]})
        if kind in ("string", "text") and path not in (".apiVersion", ".kind"):
            assert "enum" in part or part.get("format") == "date-time" or part["maxLength"], path
        if kind == "integer" and ".status" not in path:
            assert "minimum" in part and "maximum" in part, path
        for name, inner in part.get("properties", {}).items():
            assert inner.get("description") or name == "metadata", f"{path}.{name}"
            check(f"{path}.{name}", inner)

    check("", schema)
    assert seen > 60


def test_get_shows_the_columns(crd: ControlPlane, namespace: str, shop: dict[str, Any]) -> None:
    tally = Tally(connected=12, synced=12, reachable=12)
    status = status_of(shop, wanted(shop), tally, now=datetime.now(UTC))
    assert write_status(crd, namespace, status) == status
    printed = crd.kubectl("get", "sb", "--namespace", namespace).split("\n")
    assert printed[0].split() == ["NAME", "TYPE", "READY", "SYNCED", "AGE"]
    assert printed[1].split()[:4] == ["shop", "redis", "True", "12/12"]
    wide = crd.kubectl("get", "sb", "--namespace", namespace, "--output", "wide").split("\n")
    assert wide[0].split() == ["NAME", "TYPE", "READY", "SYNCED", "REASON", "AGE"]
    assert wide[1].split()[:5] == ["shop", "redis", "True", "12/12", "Ready"]
    assert "storebackend.pannier.dev/shop" in crd.kubectl("get", "all", "--namespace", namespace)
    waited = crd.kubectl(
        "wait", "--for=condition=Ready", "storebackend/shop", "--namespace", namespace,
        "--timeout=30s",
    )  # fmt: skip
    assert "condition met" in waited


def test_the_fullest_status_is_kept_as_it_was_written(
    crd: ControlPlane, namespace: str, shop: dict[str, Any]
) -> None:
    rejections = tuple(
        Rejection(pod="p" * 300, code="c" * 100, message="ü" * 5000) for _ in range(9)
    )
    tally = Tally(
        connected=5000, synced=1, pending=2, rejected=9, reachable=3, unreachable=4, lost=5,
        rejections=rejections, pendings=rejections,
    )  # fmt: skip
    for resolved in (wanted(shop), Unresolved("SecretNotFound", "m" * 5000)):
        status = status_of(shop, resolved, tally, now=datetime.now(UTC))
        assert write_status(crd, namespace, status) == status


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        ({"conditions": [{"type": "Ready", "status": "Maybe"}]}, "Unsupported value"),
        ({"conditions": [{"type": "Ready"}]}, "reason: Required value"),
        ({"rejections": [{"pod": "a", "code": "b", "message": "c"}] * 6}, "at most 5 items"),
        ({"sidecars": {"connected": -1}}, "greater than or equal to 0"),
        ({"sidecars": {"conected": 1}}, "unknown field"),
    ],
)
def test_a_malformed_status_is_refused(
    crd: ControlPlane, namespace: str, shop: dict[str, Any], status: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ApiError, match=complaint):
        write_status(crd, namespace, status)


def test_a_status_is_a_subresource(crd: ControlPlane, namespace: str, shop: dict[str, Any]) -> None:
    said = crd.api.call(
        "PATCH", path_of(namespace, "shop"), {"status": {"synced": "1/1"}}, content_type=MERGE
    )
    assert "status" not in said
    written = write_status(crd, namespace, {"synced": "1/1"})
    assert written == {"synced": "1/1"}
    kept = crd.api.call("GET", path_of(namespace, "shop"))
    assert kept["metadata"]["generation"] == 1


def test_resources_are_selected_by_their_type(crd: ControlPlane, namespace: str) -> None:
    crd.apply(SHOP, CARTS, namespace=namespace)
    selected = crd.kubectl(
        "get", "sb", "--namespace", namespace, "--field-selector", "spec.type=redis",
        "--output", "name",
    )  # fmt: skip
    assert selected.split() == ["storebackend.pannier.dev/shop"]


def test_what_kubectl_prints_is_a_valid_file(crd: ControlPlane, namespace: str) -> None:
    crd.apply(SHOP, CARTS, namespace=namespace)
    for name in ("shop", "carts"):
        printed = crd.kubectl("get", "sb", name, "--namespace", namespace, "--output", "yaml")
        reading = read_text(printed.encode())
        assert [str(problem) for problem in reading.problems] == []
        assert list(reading.documents) == [name]
