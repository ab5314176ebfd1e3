"""What a node would do for a pod with Pannier's sidecar in it.

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
from pathlib import Path
from typing import Any, Final

from tests.real.admin import get, sample
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.processes import wait_until
from tests.real.sidecar import Sidecar, sidecar

AUDIENCE: Final = "pannier"
READY_SECONDS: Final = 60.0
"""What a start or a change may take on a busy machine."""


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
        made: dict[str, Any] | None = None,
    ) -> None:
        """`made` is the Pod object where somebody else made it; else it is made here."""
        self.plane = plane
        self.namespace = namespace
        self.name = name
        self.service_account = service_account
        self.directory = home / f"{namespace}-{name}"
        self.directory.mkdir()
        self.token_file = self.directory / "token"
        self.ca_file = self.directory / "ca.crt"
        self.last_good_file = self.directory / "last-good"
        self.object = made or plane.pod(namespace, name, service_account=service_account)
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
            with connection.getresponse() as answer:
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
