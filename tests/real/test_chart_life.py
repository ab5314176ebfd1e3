"""A release's life by helm at a real API server, with an operator process beside it.

There is no node: `Kubelet` says of pods what a node would, and runs the chart's test where it is.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real.kubernetes import CHART
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane
from tests.real.operator import Operator, operator
from tests.real.processes import wait_until

OWN = "pannier-system"
WHERE = ("--namespace", OWN)
WEBHOOK = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
    f"pannier-operator-{OWN}"
)  # fmt: skip
WAIT = ("--wait", "--timeout", "100s")
SECONDS = 90.0
STARTED = "2026-01-01T00:00:00Z"


class Kubelet:
    """Runs no container: says that the operator's pods are ready, and runs the test's command."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ready_at = ""
        """What answers for http://pannier-operator.pannier-system.svc:3901; "": nothing."""
        self.tested: list[str] = []
        """What the test's pods printed."""

    def __enter__(self) -> Kubelet:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            for pod in self._plane.api.call("GET", f"/api/v1/namespaces/{OWN}/pods")["items"]:
                if pod["status"]["phase"] != "Pending":
                    continue
                component = pod["metadata"]["labels"].get("app.kubernetes.io/component")
                try:
                    if component == "operator":
                        self._say(pod, ready_status(pod))
                    elif component == "test":
                        self._say(pod, {"phase": self._test(pod)})
                except ApiError as error:
                    if error.status != 404:  # not deleted meanwhile
                        raise

    def _say(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        self._plane.set_pod_status(OWN, pod["metadata"]["name"], status)

    def _test(self, pod: dict[str, Any]) -> str:
        [container] = pod["spec"]["containers"]
        url = {each["name"]: each["value"] for each in container["env"]}["URL"]
        here = url.replace(f"http://pannier-operator.{OWN}.svc:3901", self.ready_at)
        assert here != url
        program, *arguments = container["command"]
        assert program == "python3"
        done = subprocess.run(
            [sys.executable, *arguments], env={"URL": here}, capture_output=True, text=True,
            check=False, timeout=110,
        )  # fmt: skip
        self.tested.append(done.stdout + done.stderr)
        return "Succeeded" if done.returncode == 0 else "Failed"


def ready_status(pod: dict[str, Any]) -> dict[str, Any]:
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    conditions = [{"type": each, "status": "True", "lastTransitionTime": STARTED} for each in kinds]
    statuses = [
        {"name": each["name"], "image": each["image"], "imageID": "i", "ready": True,
         "restartCount": 0, "started": True, "state": {"running": {"startedAt": STARTED}}}
        for each in pod["spec"]["containers"]
    ]  # fmt: skip
    return {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}


@pytest.fixture
def plane(own_control_plane: Callable[..., ControlPlane]) -> ControlPlane:
    started = own_control_plane()
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    started.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": OWN, "labels": labels}})
    return started


@pytest.fixture
def kubelet(plane: ControlPlane) -> Iterator[Kubelet]:
    with Kubelet(plane) as running:
        yield running


def pods(plane: ControlPlane) -> list[str]:
    """The names of the operator's pods that are there to stay."""
    found = plane.get("pods", *WHERE, "--selector", "app.kubernetes.io/component=operator")
    return sorted(
        each["metadata"]["name"]
        for each in found["items"]
        if "deletionTimestamp" not in each["metadata"]
    )


@contextmanager
def as_deployed(plane: ControlPlane, directory: Path) -> Iterator[Operator]:
    """An operator with the Deployment's arguments and rights, for its first pod."""
    deployed = plane.get("deployment", "pannier-operator", *WHERE)
    [container] = deployed["spec"]["template"]["spec"]["containers"]
    arguments = [*container["args"][1:], "--webhook-listen", "127.0.0.1:0"]
    rights = plane.kubeconfig_for(OWN, deployed["spec"]["template"]["spec"]["serviceAccountName"])
    with operator(
        plane, directory, *arguments, "--pod-name", pods(plane)[0], namespace=OWN, kubeconfig=rights
    ) as running:
        yield running


def bundle(plane: ControlPlane) -> str:
    [webhook] = plane.api.call("GET", WEBHOOK)["webhooks"]
    return base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode()


def test_a_release_is_installed_tested_upgraded_rolled_back_and_uninstalled(
    plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
) -> None:
    notes = plane.helm("install", "pannier", str(CHART), *WHERE, *WAIT)
    assert "curl -i -X PUT localhost:3900/v1/carts/Cart/42" in notes
    assert "a new pod of a labelled namespace is refused" in notes
    assert len(pods(plane)) == 2, "two pods, admitted under the restricted level"
    assert bundle(plane) == ""
    with as_deployed(plane, tmp_path) as running:
        # As soon as it is ready the API server knows its CA.
        known = bundle(plane)
        assert known.startswith("-----BEGIN CERTIFICATE-----")
        wait_until(running.leads, SECONDS, "it leads")
        wait_until(lambda: led(plane) == [pods(plane)[0]], SECONDS, "the stream leads to its pod")
        # The test asks it.
        kubelet.ready_at = f"http://127.0.0.1:{running.admin_port}"
        assert "Succeeded" in plane.helm("test", "pannier", *WHERE)
        assert '"ready"' in kubelet.tested[-1]
        # No upgrade and no rollback takes away what the operator wrote.
        plane.helm("upgrade", "pannier", str(CHART), *WHERE, *WAIT, "--set", "log.level=debug")
        assert bundle(plane) == known
        plane.helm("upgrade", "pannier", str(CHART), *WHERE, *WAIT,
                   "--set", "injection.failurePolicy=Ignore")  # fmt: skip
        assert policy(plane) == "Ignore" and bundle(plane) == known
        plane.helm("rollback", "pannier", "1", *WHERE, *WAIT)
        assert policy(plane) == "Fail" and bundle(plane) == known
    # Without an operator the test fails, and says why.
    kubelet.ready_at = "http://127.0.0.1:9"
    with pytest.raises(CommandFailed, match="pannier-test"):
        plane.helm("test", "pannier", *WHERE, seconds=150)
    assert "refused" in kubelet.tested[-1]
    plane.helm("uninstall", "pannier", *WHERE)
    with pytest.raises(ApiError, match="not found"):
        plane.api.call("GET", WEBHOOK)
    assert plane.get("crd", "storebackends.pannier.dev")["metadata"]["name"]
    wait_until(lambda: pods(plane) == [], SECONDS, "no pod stays", interval=0.2)


def led(plane: ControlPlane) -> list[str]:
    """The pods that the Service of the stream leads to."""
    selector = plane.get("service", "pannier-stream", *WHERE)["spec"]["selector"]
    chosen = ",".join(f"{name}={value}" for name, value in selector.items())
    found = plane.get("pods", *WHERE, "--selector", chosen)
    return [each["metadata"]["name"] for each in found["items"]]


def policy(plane: ControlPlane) -> str:
    return str(plane.api.call("GET", WEBHOOK)["webhooks"][0]["failurePolicy"])


def test_the_chart_before_this_one_is_upgraded(
    plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
) -> None:
    before = chart_before(tmp_path / "before")
    plane.helm("install", "pannier", str(before), *WHERE, *WAIT)
    shop = {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
            "metadata": {"name": "shop"}, "spec": {"type": "memory", "memory": {}}}  # fmt: skip
    plane.apply(shop, namespace="default")
    plane.helm("upgrade", "pannier", str(CHART), *WHERE, *WAIT)
    with as_deployed(plane, tmp_path) as running:
        plane.kubectl("wait", "--for=condition=Ready", "sb/shop", "-n", "default", "--timeout=50s")
        assert bundle(plane)
        assert "forbidden" not in running.text
    plane.helm("rollback", "pannier", "1", *WHERE, *WAIT)
    assert plane.get("sb", "shop", "--namespace", "default")["metadata"]["name"] == "shop"


def chart_before(directory: Path) -> Path:
    """The chart as the commit had it that last changed it, or this one under a lower version where
    there is no history."""
    root = CHART.parents[1]
    log = git(root, "log", "--format=%H", "--max-count=2", "--", "helm/pannier").split()
    directory.mkdir()
    if len(log) == 2:
        archive = directory / "chart.tar"
        git(root, "archive", f"--output={archive}", log[1], "helm/pannier")
        subprocess.run(["tar", "-xf", archive, "-C", directory], check=True)
        return directory / "helm" / "pannier"
    subprocess.run(["cp", "-R", str(CHART), directory / "pannier"], check=True)
    chart = directory / "pannier" / "Chart.yaml"
    meta = yaml.safe_load(chart.read_text())
    chart.write_text(yaml.safe_dump({**meta, "version": "0.0.1"}))
    return directory / "pannier"


def git(root: Path, *arguments: str) -> str:
    """What git prints; nothing where there is no git, or no history."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
