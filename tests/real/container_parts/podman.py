"""podman and runc: containers without a daemon, with a store of images apart from the user's own.

They have no network but their pod's loopback, and are signalled, stopped and removed by the id that
they were started with.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.real.programs import program
from tests.real.redis import until

Completed = subprocess.CompletedProcess[str]

STOP_SECONDS: Final = 60

CONFIGURATION: Final = """\
[containers]
# podman's own are above what a container itself may be in; with them none starts.
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""

LOCKED_DOWN: Final = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all",
                      "--security-opt", "no-new-privileges")  # fmt: skip
"""What the chart and the webhook ask of Kubernetes: no /tmp and no /run can be written to either,
while podman alone would put a tmpfs there."""


class Podman:
    """podman with a store of images of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._command = [
            program("podman"), "--root", str(home / "storage"), "--runroot", str(home / "run"),
        ]  # fmt: skip
        configuration = home / "containers.conf"
        configuration.write_text(CONFIGURATION)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}

    def run(self, *arguments: str, seconds: float = STOP_SECONDS, **options: Any) -> Completed:
        """Run `podman ARGUMENTS`, whatever it comes to."""
        options = {"stdin": subprocess.DEVNULL, **options}
        return subprocess.run(
            [*self._command, *arguments], env=self._environment, timeout=seconds, check=False,
            capture_output=True, text=True, **options,
        )  # fmt: skip

    def __call__(self, *arguments: str, **options: Any) -> str:
        """What `podman ARGUMENTS` prints; it must succeed."""
        ended = self.run(*arguments, **options)
        assert ended.returncode == 0, f"podman {' '.join(arguments)}: {ended.stderr[-3000:]}"
        return ended.stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """All that podman knows of a container, an image or a pod."""
        told = json.loads(self(kind, "inspect", name))
        found: dict[str, Any] = told[0] if isinstance(told, list) else told
        return found


class Pod:
    """Containers that share a network, in which there is nothing but its own loopback."""

    def __init__(self, podman: Podman) -> None:
        self.podman = podman
        self.id = podman("pod", "create", "--network", "none")

    def start(self, image: str, *arguments: str, options: Sequence[str] = ()) -> Container:
        """Start a container of the image in the pod."""
        identity = self.podman("run", "--detach", "--pod", self.id, *options, image, *arguments)
        return Container(self.podman, identity)

    def run(self, image: str, *arguments: str, options: Sequence[str] = ()) -> Completed:
        """Run a container of the image in the pod to its end."""
        return self.podman.run("run", "--rm", "--pod", self.id, *options, image, *arguments)

    def remove(self) -> None:
        """Kill and remove all of it, and wait until podman's monitors have gone too."""
        members = json.loads(self.podman("ps", "--all", "--format", "json",
                                         "--filter", f"pod={self.id}"))  # fmt: skip
        monitors = [
            self.podman.inspect("container", member["Id"])["State"].get("ConmonPid", 0)
            for member in members
        ]
        self.podman("pod", "rm", "--force", "--time", "0", self.id)
        until(lambda: not any(runs(pid) for pid in monitors), "conmon ends", STOP_SECONDS)


class Container:
    """A container that was started, by its id."""

    def __init__(self, podman: Podman, identity: str) -> None:
        self.podman = podman
        self.id = identity

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.podman.inspect("container", self.id)["State"]
        return state

    def log(self) -> str:
        """Everything it has printed."""
        told = self.podman.run("logs", self.id)
        return told.stdout + told.stderr

    def signal(self, name: str) -> None:
        self.podman("kill", "--signal", name, self.id)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return int(self.podman("wait", self.id))

    def printed(self, text: str) -> None:
        """Return once it has printed `text`; fail with its log if it never does."""
        deadline = time.monotonic() + STOP_SECONDS
        while text not in self.log():
            alive = self.state["Running"]
            assert alive and time.monotonic() < deadline, f"{text!r} is not in:\n{self.log()}"
            time.sleep(0.1)


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return pid > 0 and bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def as_podman(container: Mapping[str, Any]) -> list[str]:
    """A Kubernetes container's environment, user and limits as options of `podman run`."""
    context, resources = container["securityContext"], container["resources"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    options = [*LOCKED_DOWN, "--user", f"{context['runAsUser']}:{context['runAsGroup']}",
               "--memory", resources["limits"]["memory"].replace("Mi", "m")]  # fmt: skip
    for variable in container["env"]:
        options += ["--env", f"{variable['name']}={variable['value']}"]
    return options
