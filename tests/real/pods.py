"""What a node would do for Pannier's pods: run the operator's container, and the sidecars'.

A control plane without nodes runs no pod. So a test makes the Pod object, projects what the kubelet
would project into it (a token bound to that pod, the CA of the operator's ConfigMap), and starts
the container's process itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tests.real.hdfs_parts.nodes import die_with_parent, wait_until
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.programs import free_port
from tests.real.sidecar import PANNIER, Sidecar, sidecar

AUDIENCE: Final = "pannier"
READY_SECONDS: Final = 60.0
"""What a start or a change may take on a busy machine."""


class OperatorPod:
    """The operator as its container runs it: outside the cluster's network, with its own rights."""

    def __init__(
        self,
        plane: ControlPlane,
        home: Path,
        kubeconfig: Path,
        *arguments: str,
        namespace: str,
        pod_name: str = "",
    ) -> None:
        self.plane = plane
        self.kubeconfig = kubeconfig
        self.arguments = arguments
        self.namespace = namespace
        self.pod_name = pod_name
        self.port = free_port()
        self.admin_port = free_port()
        self.log = home / f"operator-{self.port}.log"
        """Everything it prints."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What sidecars dial."""
        return f"wss://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The pid of the running process; 0 where it does not run."""
        return self.process.pid if self.process and self.process.poll() is None else 0

    def start(self, *, wait: bool = True) -> None:
        """Start it, on the same ports each time; by default it is ready when this returns."""
        command = [
            str(PANNIER), "operator", "--namespace", self.namespace, "--pod-name", self.pod_name,
            "--kubeconfig", str(self.kubeconfig),
            "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--stream-name", "127.0.0.1", *self.arguments,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.plane.environment(self.kubeconfig), preexec_fn=die_with_parent,
                process_group=0,  # Ctrl-C is for the tests alone
            )  # fmt: skip
        if wait:
            wait_until(self._is_ready, READY_SECONDS, "the operator is ready", interval=0.05)

    def _is_ready(self) -> bool:
        assert self.pid, f"the operator has ended:\n{self.log.read_text()[-3000:]}"
        with contextlib.suppress(OSError):
            return self.admin("/readyz")[0] == 200
        return False

    def admin(self, path: str) -> tuple[int, str]:
        """Status and text of a GET on its admin port."""
        return get(self.admin_port, path)

    def metric(self, name: str) -> float:
        """A sample of its metrics by its whole name, labels included; 0 where there is none."""
        return sample(self.admin("/metrics")[1], name)

    def stop(self, sign: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """End it; its exit code."""
        assert self.process is not None
        if self.pid:
            self.process.send_signal(sign)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, as a crash. A dead one may be killed again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class SidecarPod:
    """A pod with Pannier's sidecar in it, and what its node projects into the container."""

    def __init__(
        self,
        plane: ControlPlane,
        home: Path,
        namespace: str,
        name: str,
        *,
        service_account: str = "default",
    ) -> None:
        self.plane = plane
        self.namespace = namespace
        self.name = name
        self.service_account = service_account
        self.directory = home / f"{namespace}-{name}"
        self.directory.mkdir()
        self.token_file = self.directory / "token"
        self.ca_file = self.directory / "ca.crt"
        self.last_good_file = self.directory / "last-good"
        self.object = plane.pod(namespace, name, service_account=service_account)
        self.running: Sidecar | None = None
        self._stack = contextlib.ExitStack()

    def project(self, *, audience: str | None = AUDIENCE, seconds: int = 3600) -> None:
        """Write a fresh token, and the CA as the ConfigMap has it now."""
        self.token_file.write_text(
            self.plane.service_account_token(
                self.namespace, self.service_account,
                audience=audience, pod=self.object, seconds=seconds,
            )
        )  # fmt: skip
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/pannier-ca"
        with contextlib.suppress(ApiError):  # Not published yet: the volume is empty then.
            self.ca_file.write_text(self.plane.api.call("GET", path)["data"]["ca.crt"])

    def start(self, operator_url: str, *arguments: str, wait: bool = True) -> Sidecar:
        """Start its container; it listens when this returns, and by default all is ready."""
        self.running = self._stack.enter_context(
            sidecar(
                self.directory,
                "--operator", operator_url,
                "--operator-token-file", str(self.token_file),
                "--operator-ca-file", str(self.ca_file),
                "--last-good-file", str(self.last_good_file),
                *arguments,
                wait=wait,
            )
        )  # fmt: skip
        wait_until(self._listens, READY_SECONDS, f"the sidecar of {self.name} listens")
        return self.running

    def _listens(self) -> bool:
        assert self.running is not None
        with contextlib.suppress(OSError):
            return get(self.running.admin_port, "/healthz")[0] == 200
        return False

    def kill(self) -> None:
        """SIGKILL the container's process, as a crash; `start` starts it in the same pod."""
        assert self.running is not None
        os.kill(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait()

    def stop(self) -> None:
        """End the container kindly."""
        self._stack.close()

    def delete(self) -> None:
        """Delete the pod from the API server."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.plane.api.call("DELETE", path)

    # What an application in the pod does ----------------------------------------------------------

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of a request to the sidecar's record port."""
        assert self.running is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Its /v1/status."""
        assert self.running is not None
        return dict(json.loads(get(self.running.admin_port, "/v1/status")[1]))

    def store(self, name: str) -> dict[str, Any] | None:
        """One store of its status; None where it serves none of this name."""
        return next((each for each in self.status()["stores"] if each["name"] == name), None)

    def metric(self, name: str) -> float:
        """A sample of its metrics by its whole name, labels included; 0 where there is none."""
        assert self.running is not None
        return sample(get(self.running.admin_port, "/metrics")[1], name)


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a GET on 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def sample(text: str, name: str) -> float:
    """The value of a sample in Prometheus' text format; 0 where it is not there."""
    for line in text.splitlines():
        found, _, value = line.rpartition(" ")
        if found == name:
            return float(value)
    return 0.0


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a resource's status; empty where it is not there."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def wait_for_condition(
    plane: ControlPlane, namespace: str, name: str, kind: str, status: str, reason: str = ""
) -> dict[str, Any]:
    """The StoreBackend once its condition is so for its newest generation."""
    path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends/{name}"
    deadline = time.monotonic() + READY_SECONDS
    while True:
        resource = dict(plane.api.call("GET", path))
        found = condition(resource, kind)
        if (
            found.get("status") == status
            and found.get("observedGeneration") == resource["metadata"]["generation"]
            and (not reason or found.get("reason") == reason)
        ):
            return resource
        assert time.monotonic() < deadline, (
            f"{namespace}/{name} is not {kind}={status} {reason}: {resource.get('status')}"
        )
        time.sleep(0.05)
