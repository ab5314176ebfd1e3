"""`pannier operator` as a process at a real API server, with the rights the chart gives it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.real.kubernetes import CHART, install_crd
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import operator
from tests.real.processes import wait_until
from tests.real.programs import free_port
from tests.real.sidecar import PANNIER
from tests.real.storebackends import conditions

PASSWORD = "hunter2-is-nowhere"
SECONDS = 60.0


@pytest.fixture
def plane(control_plane: ControlPlane) -> ControlPlane:
    install_crd(control_plane)
    return control_plane


@pytest.fixture
def own(plane: ControlPlane) -> str:
    """The namespace the operator lives in."""
    return plane.namespace()


@pytest.fixture
def rights(plane: ControlPlane, own: str, namespace: str) -> Path:
    """A kubeconfig of the operator's ServiceAccount, with what the chart grants it for one
    namespace and no more."""
    plane.helm(
        "install", f"rights-{own}", str(CHART), "--namespace", own,
        "--set", "crds.enabled=false", "--set", f"watchNamespaces={{{namespace}}}",
        "--set", "injection.enabled=false", "--set", "replicas=0",
    )  # fmt: skip
    return plane.kubeconfig_for(own, "pannier-operator")


def redis(name: str = "shop", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend", "metadata": {"name": name},
        "spec": {
            "type": "redis",
            "redis": {
                "host": "redis.shop.svc",
                "passwordSecretRef": {"name": "shop-redis", "key": "password"},
                **more,
            },
        },
    }  # fmt: skip


def secret(*, labelled: bool = True) -> dict[str, Any]:
    labels = {"pannier.dev/credentials": "true"} if labelled else {}
    metadata = {"name": "shop-redis", "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "stringData": {"password": PASSWORD}}  # fmt: skip


def is_said(plane: ControlPlane, namespace: str, said: str, name: str = "shop") -> Any:
    """Waits until the condition Accepted of a StoreBackend says `status reason`."""

    def holds() -> bool:
        found = plane.get("storebackend", name, "--namespace", namespace)
        return conditions(found).get("Accepted") == said

    wait_until(holds, SECONDS, f"Accepted is {said}", interval=0.2)
    return plane.get("storebackend", name, "--namespace", namespace)


class TestStatuses:
    def test_a_secret_that_comes_goes_and_loses_its_label_is_followed(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = ("--watch-namespace", namespace, "--log-level", "debug")
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as running:
            plane.apply(redis(), namespace=namespace)
            said = is_said(plane, namespace, "False SecretNotFound")
            assert conditions(said)["Ready"].startswith("False")
            plane.apply(secret(labelled=False), namespace=namespace)
            # Nothing tells the operator of an unlabelled Secret: an edit or the next list does.
            plane.apply(redis(port=6380), namespace=namespace)
            said = is_said(plane, namespace, "False SecretNotLabelled")
            assert "kubectl label secret" in str(said["status"])
            plane.apply(secret(), namespace=namespace)
            said = is_said(plane, namespace, "True Accepted")
            assert conditions(said)["Ready"] == "True NoSidecars"
            assert said["status"]["observedGeneration"] == said["metadata"]["generation"] == 2
            plane.kubectl(
                "label", "secret", "shop-redis", "pannier.dev/credentials-", "-n", namespace
            )
            is_said(plane, namespace, "False SecretNotLabelled")
            plane.kubectl("delete", "secret", "shop-redis", "--namespace", namespace)
            plane.apply(redis(port=6381), namespace=namespace)
            is_said(plane, namespace, "False SecretNotFound")
            assert running.metric('pannier_operator_storebackends{ready="false",type="redis"}') == 1
            assert running.metric('pannier_operator_reconciles_total{result="error"}') == 0
            assert running.metric('pannier_operator_injections_total{result="injected"}') == 0
            assert running.stop() == 0
            assert PASSWORD not in running.text
            assert "forbidden" not in running.text, "a right is missing that it needs"
        assert PASSWORD not in str(said)
        assert "finalizers" not in said["metadata"]

    def test_two_that_share_their_place_warn_each_other(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = ("--watch-namespace", namespace)
        plane.apply(secret(), redis("one"), redis("two"), redis("other", db=1), namespace=namespace)
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights):
            for name in ("one", "two"):
                is_said(plane, namespace, "True SharedPrefix", name)
            is_said(plane, namespace, "True Accepted", "other")
            plane.kubectl("delete", "storebackend", "two", "--namespace", namespace)
            is_said(plane, namespace, "True Accepted", "one")


class TestItsEnd:
    def test_sigterm_releases_the_lease_and_the_next_leads_at_once(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = ("--watch-namespace", namespace, "--lease-duration", "60s")
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as first:
            wait_until(first.leads, SECONDS, "the first leads")
            with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as second:
                assert not second.leads()
                assert second.ready() == (True, []), "a replica that does not lead is ready too"
                assert first.stop() == 0
                wait_until(second.leads, 30, "the second leads long before the Lease ends")
                plane.apply(redis(), namespace=namespace)
                is_said(plane, namespace, "False SecretNotFound")

    def test_while_it_stops_it_is_unready_and_says_so(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = ("--watch-namespace", namespace, "--drain-delay", "60s")
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as running:
            wait_until(running.leads, SECONDS, "it leads")
            running.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not running.ready()[0], SECONDS, "it is unready")
            assert running.ready()[1] == ["it is stopping"]
            assert running.leads(), "it serves on while endpoints take notice"
            began = time.monotonic()
            assert running.stop() == 128 + signal.SIGTERM, "a second signal ends it at once"
            assert time.monotonic() - began < 30

    def test_killed_it_is_followed_when_its_lease_ends(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = (
            "--watch-namespace", namespace, "--lease-duration", "3s", "--lease-renew", "1s",
        )  # fmt: skip
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as first:
            wait_until(first.leads, SECONDS, "the first leads")
            with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as second:
                first.stop(signal.SIGKILL)
                wait_until(second.leads, SECONDS, "the second leads")


class TestItsBeginning:
    def test_a_busy_admin_port_is_a_refusal(self, plane: ControlPlane, tmp_path: Path) -> None:
        with operator(plane, tmp_path, namespace="default", wait=False) as running:
            wait_until(lambda: not running.ready()[1] or "refused" not in running.ready()[1][0],
                       SECONDS, "it listens")  # fmt: skip
            ended = subprocess.run(
                [str(PANNIER), "operator", "--kubeconfig", str(plane.kubeconfig), "--admin-listen",
                 f"127.0.0.1:{running.admin_port}"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert ended.returncode == 1
        assert f"--admin-listen 127.0.0.1:{running.admin_port}" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_without_an_api_server_it_waits_and_says_why(
        self, plane: ControlPlane, tmp_path: Path
    ) -> None:
        nowhere = tmp_path / "kubeconfig"
        text = plane.kubeconfig.read_text()
        nowhere.write_text(text.replace(f":{plane.port}", f":{free_port()}"))
        with operator(
            plane, tmp_path, namespace="default", kubeconfig=nowhere, wait=False
        ) as running:
            wait_until(
                lambda: any("storebackends not listed" in each for each in running.ready()[1]),
                SECONDS, "it says that nothing is listed",
            )  # fmt: skip
            assert running.process.poll() is None
            assert running.stop() == 0
            assert "Traceback" not in running.text


class TestFaults:
    def test_an_api_server_that_stands_still_makes_it_unready_and_it_recovers(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        arguments = (
            "--watch-namespace", namespace, "--lease-duration", "4s", "--lease-renew", "1s",
        )  # fmt: skip
        plane.apply(redis(), secret(), namespace=namespace)
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as running:
            is_said(plane, namespace, "True Accepted")
            plane.pause()
            try:
                wait_until(
                    lambda: any("Lease" in each for each in running.ready()[1]),
                    SECONDS, "it says that nobody answers",
                )  # fmt: skip
                assert not running.leads()
            finally:
                plane.resume()
            running.wait_until_ready()
            wait_until(running.leads, SECONDS, "it leads again")
            plane.apply(redis(port=6380), namespace=namespace)
            wait_until(
                lambda: plane.get("storebackend", "shop", "--namespace", namespace)["status"]
                ["observedGeneration"] == 2,
                SECONDS, "it follows edits again", interval=0.2,
            )  # fmt: skip

    def test_a_resource_edited_many_times_a_second_ends_in_its_last_state_soon(
        self, plane: ControlPlane, own: str, namespace: str, rights: Path, tmp_path: Path
    ) -> None:
        plane.apply(redis(), secret(), namespace=namespace)
        path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends/shop"

        def edit(number: int) -> None:
            plane.api.call(
                "PATCH", path, {"spec": {"redis": {"port": 7000 + number}}},
                content_type="application/merge-patch+json",
            )  # fmt: skip

        def is_settled() -> bool:
            found = plane.api.call("GET", path)
            observed = found.get("status", {}).get("observedGeneration")
            return bool(observed == found["metadata"]["generation"])

        arguments = ("--watch-namespace", namespace)
        with operator(plane, tmp_path, *arguments, namespace=own, kubeconfig=rights) as running:
            is_said(plane, namespace, "True Accepted")
            began = time.monotonic()
            number = 0
            while time.monotonic() - began < 4:
                number += 1
                edit(number)
            began = time.monotonic()
            wait_until(is_settled, SECONDS, "its status speaks of the last generation")
            # A second between two writes, and one more for the last conflict; thrice, on a busy
            # machine. With a growing wait after each conflict it was 23 s.
            assert time.monotonic() - began < 6
            assert running.metric('pannier_operator_reconciles_total{result="error"}') == 0
