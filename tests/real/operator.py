"""A real operator process, started by the `pannier` command, at a real API server.

It runs as its container does: outside the cluster's network, with the rights of a kubeconfig.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.real.admin import get, sample
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.processes import die_with_parent, wait_until
from tests.real.programs import free_port
from tests.real.sidecar import PANNIER

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0


class Operator:
    """`pannier operator ARGUMENTS`, which lives in `namespace`: on the same ports each time."""

    def __init__(
        self,
        plane: ControlPlane,
        home: Path,
        *arguments: str,
        namespace: str,
        kubeconfig: Path | None = None,
        pod_name: str = "",
    ) -> None:
        """Without a kubeconfig it acts as the cluster's administrator.

        It drains in no time where the arguments do not say otherwise.
        """
        self.port = free_port()
        """Of the stream."""
        self.admin_port = free_port()
        self.log = home / f"operator-{self.port}.log"
        """Everything it prints."""
        rights = kubeconfig or plane.kubeconfig
        self._environment = plane.environment(rights)
        self._command = [
            str(PANNIER), "operator", "--kubeconfig", str(rights),
            "--namespace", namespace, "--pod-name", pod_name,
            "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--stream-name", "127.0.0.1", "--drain-delay", "0", "--drain-spread", "0", *arguments,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last, whether it still runs or not."""
        assert self._process is not None, "the operator was never started"
        return self._process

    @property
    def pid(self) -> int:
        """The pid of the running process; 0 where it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    # Its life -------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> None:
        """Start it, also again; by default it is ready when this returns."""
        assert not self.pid, "the operator runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment, preexec_fn=die_with_parent,
                process_group=0,  # Ctrl-C is for the tests alone
            )  # fmt: skip
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, START_SECONDS, f"the operator is ready; its log: {self.log}")

    def _is_ready(self) -> bool:
        assert self.pid, f"the operator has ended:\n{self.text[-3000:]}"
        return self.ready()[0]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send `sign` if it still runs, and return its exit code."""
        if self.pid:
            self.process.send_signal(sign)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a crash. A dead one may be killed again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # What it says ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """What a sidecar's --operator is."""
        return f"wss://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """Its log."""
        return self.log.read_text()

    def admin(self, path: str) -> tuple[int, str]:
        """Status and text of a GET on its admin port."""
        return get(self.admin_port, path)

    def ready(self) -> tuple[bool, list[str]]:
        """Whether it is ready, and the reasons why not."""
        try:
            status, text = self.admin("/readyz")
        except OSError as error:
            return False, [str(error)]
        return (True, []) if status == 200 else (False, list(json.loads(text)["reasons"]))

    def metric(self, name: str) -> float:
        """A sample of its metrics by its whole name, labels included; 0 where there is none."""
        return sample(self.admin("/metrics")[1], name)

    def leads(self) -> bool:
        return self.metric("pannier_operator_leader") == 1


@contextmanager
def operator(
    plane: ControlPlane,
    directory: Path,
    *arguments: str,
    namespace: str,
    kubeconfig: Path | None = None,
    wait: bool = True,
) -> Iterator[Operator]:
    """A running operator; it is ready (`wait=False`: started), and stopped kindly at the end."""
    running = Operator(plane, directory, *arguments, namespace=namespace, kubeconfig=kubeconfig)
    try:
        running.start(wait=wait)
        yield running
    finally:
        if running.pid:
            running.process.send_signal(signal.SIGCONT)  # a test may have paused it
        try:
            running.stop()
        except subprocess.TimeoutExpired:
            running.kill()
            raise
