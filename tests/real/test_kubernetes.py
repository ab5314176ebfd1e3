"""The test control plane keeps its promises: what the operator's tests build on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.building import HOW_TO_GET, NotHere, build, program
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane
from tests.real.kubernetes_parts.daemon import Daemon
from tests.real.processes import wait_until

POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"


def review(plane: ControlPlane, token: str, audience: str = "pannier") -> dict[str, object]:
    """What TokenReview says of a token."""
    body = {"spec": {"token": token, "audiences": [audience]}}
    answer = plane.api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
    return dict(answer["status"])


class TestAControlPlane:
    def test_a_pods_token_is_known_with_its_pod_and_audience(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        pod = control_plane.pod(namespace, "shop-1")
        token = control_plane.service_account_token(namespace, audience="pannier", pod=pod)
        said = review(control_plane, token)
        assert said["authenticated"] is True
        assert said["audiences"] == ["pannier"]
        user = said["user"]
        assert isinstance(user, dict)
        assert user["username"] == f"system:serviceaccount:{namespace}:default"
        assert user["extra"][POD_NAME] == ["shop-1"]
        assert user["extra"][POD_UID] == [pod["metadata"]["uid"]]

    def test_a_token_for_another_audience_is_not_accepted(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = control_plane.service_account_token(namespace)
        assert not review(control_plane, token).get("authenticated")
        assert "audience" in str(review(control_plane, token)["error"])

    def test_a_deleted_pods_token_is_refused_in_the_end(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        pod = control_plane.pod(namespace, "gone")
        token = control_plane.service_account_token(namespace, audience="pannier", pod=pod)
        control_plane.api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/gone")
        wait_until(
            lambda: not review(control_plane, token).get("authenticated"),
            60, "the token of a deleted pod is refused", interval=0.5,
        )  # fmt: skip

    def test_rbac_refuses_a_service_account_that_was_granted_nothing(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        own = control_plane.kubeconfig_for(namespace)
        with pytest.raises(CommandFailed, match=f"{namespace}:default.* cannot list .*secrets"):
            control_plane.kubectl("get", "secrets", kubeconfig=own)
        control_plane.kubectl(
            "create", "rolebinding", "reads", "--clusterrole=admin",
            f"--serviceaccount={namespace}:default", "--namespace", namespace,
        )  # fmt: skip
        assert control_plane.kubectl("get", "secrets", kubeconfig=own) == ""
        with pytest.raises(CommandFailed, match="cannot list"):
            control_plane.kubectl("get", "secrets", "--all-namespaces", kubeconfig=own)

    def test_nobody_is_let_in_without_a_token_or_with_a_false_one(
        self, control_plane: ControlPlane
    ) -> None:
        for token, status in ((None, 403), ("false", 401)):
            with pytest.raises(ApiError) as refused:
                control_plane.api_as(token).call("GET", "/api/v1/namespaces")
            assert refused.value.status == status

    def test_a_pod_is_what_the_test_says_it_is(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        assert control_plane.pod(namespace, "one")["status"]["phase"] == "Pending"
        ready = {"type": "Ready", "status": "True"}
        control_plane.set_pod_status(namespace, "one", {"phase": "Running", "conditions": [ready]})
        told = control_plane.kubectl("get", "pod", "one", "--namespace", namespace)
        assert "Running" in told
        control_plane.kubectl(
            "wait", "--for=condition=Ready", "pod/one", "--namespace", namespace, "--timeout=30s"
        )

    def test_kubectl_says_why_it_failed(self, control_plane: ControlPlane) -> None:
        with pytest.raises(CommandFailed, match="unknown flag: --nonsense"):
            control_plane.kubectl("get", "pods", "--nonsense")
        with pytest.raises(ApiError, match='namespaces "no-such" not found'):
            control_plane.api.call("GET", "/api/v1/namespaces/no-such")

    def test_charts_see_the_version_it_claims(self, control_plane: ControlPlane) -> None:
        version = control_plane.api.call("GET", "/version")
        assert (version["major"], version["minor"]) == ("1", "37")
        assert control_plane.helm("list", "--output", "json").strip() == "[]"
        assert control_plane.helm("version", "--short").startswith("v4.")

    def test_nothing_of_the_users_own_settings_reaches_it(
        self, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
        monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
        assert control_plane.get("namespace", "default")["metadata"]["name"] == "default"
        assert "HELM_NAMESPACE" not in control_plane.environment()


class TestFaults:
    def test_a_killed_api_server_comes_back_on_its_port_with_its_data(
        self, own_control_plane: Callable[..., ControlPlane]
    ) -> None:
        plane = own_control_plane()
        namespace = plane.namespace()
        token = plane.service_account_token(namespace, audience="pannier")
        plane.kill()
        with pytest.raises(OSError, match="refused"):
            plane.api.call("GET", "/api/v1/namespaces")
        port = plane.port
        plane.start()
        assert plane.port == port
        assert plane.api.call("GET", f"/api/v1/namespaces/{namespace}")
        assert review(plane, token)["authenticated"] is True
        # The controller manager goes on as well: it serves a namespace of after the crash.
        assert plane.namespace()

    def test_a_paused_api_server_answers_nothing_until_it_is_resumed(
        self, own_control_plane: Callable[..., ControlPlane]
    ) -> None:
        plane = own_control_plane(controller_manager=False)
        plane.pause()
        with pytest.raises(TimeoutError):
            plane.api.call("GET", "/api/v1/namespaces", seconds=1)
        plane.resume()
        assert plane.api.call("GET", "/api/v1/namespaces")["items"]

    def test_what_a_test_breaks_is_healed(
        self, own_control_plane: Callable[..., ControlPlane]
    ) -> None:
        plane = own_control_plane(controller_manager=False)
        plane.etcd.pause()
        plane.kill()
        plane.heal()
        assert plane.api.call("GET", "/api/v1/namespaces")["items"]

    def test_a_daemon_that_cannot_start_shows_its_log(self, tmp_path: Path) -> None:
        daemon = Daemon("fails", ["sh", "-c", "echo no luck today; exit 1"], tmp_path)
        daemon.start()
        wait_until(lambda: not daemon.pid, 30, "it has ended")
        assert "no luck today" in daemon.last_words()


HELLO = """\
package main

func main() { println("hello") }
"""

BUILD = """\
import sys
from pathlib import Path
from tests.real.kubernetes_parts.building import build
print(build(Path(sys.argv[1]), Path(sys.argv[2]), lambda text: print(text, file=sys.stderr)))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the compiler keeps, for all tests of this file: the standard library takes it 3 s."""
    return tmp_path_factory.mktemp("compiled")


class TestBuilding:
    @pytest.fixture
    def module(self, tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A Go module with one small program of its own."""
        if shutil.which("go") is None:
            pytest.skip(HOW_TO_GET)
        monkeypatch.setenv("GOCACHE", str(compiled))
        (tmp_path / "module" / "hello").mkdir(parents=True)
        (tmp_path / "module" / "go.mod").write_text(
            "module example.test/hello\n\ngo 1.26.0\n\ntool example.test/hello/hello\n"
        )
        (tmp_path / "module" / "hello" / "main.go").write_text(HELLO)
        return tmp_path / "module"

    def test_two_builds_at_once_build_once(
        self, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As it is for a user: the compiler's cache is the build's own, and goes with it.
        monkeypatch.delenv("GOCACHE")
        cache = tmp_path / "cache"
        command = [sys.executable, "-c", BUILD, str(module), str(cache)]
        racing = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        printed = [process.communicate(timeout=240) for process in racing]
        folders = {out.strip() for out, _ in printed}
        assert len(folders) == 1, printed
        assert sum("building" in said for _, said in printed) == 1
        folder = Path(folders.pop())
        assert subprocess.run([folder / "hello"], check=True, timeout=60).returncode == 0
        left = sorted(path.name for path in cache.iterdir())
        assert left == sorted(["kubernetes.lock", folder.name])

    def test_a_build_that_was_killed_leaves_nothing_half(
        self, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "cache"
        go = tmp_path / "bin" / "go"
        go.parent.mkdir()
        real = shutil.which("go")
        # A go that hangs in the middle of a build, its first program written.
        go.write_text(
            f'#!/bin/sh\n[ "$1" != build ] && exec {real} "$@"\n'
            'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo half >"$2/hello"; shift; done\n'
            "exec sleep 600\n"
        )
        go.chmod(0o755)
        environment = {**os.environ, "PATH": f"{go.parent}:{os.environ['PATH']}"}
        killed = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(module), str(cache)],
            env=environment, stderr=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        wait_until(lambda: bool(list(cache.glob("*/hello"))), 60, "the build is in its middle")
        os.killpg(killed.pid, 9)
        killed.wait()
        said: list[str] = []
        folder = build(module, cache, said.append)
        assert len(said) == 1
        assert subprocess.run([folder / "hello"], check=True, timeout=60).returncode == 0
        assert not list(cache.glob("kubernetes-partial-*"))

    def test_a_build_that_fails_says_why_and_leaves_no_program(
        self, module: Path, tmp_path: Path
    ) -> None:
        (module / "hello" / "main.go").write_text("package main\nfunc main() { nonsense() }\n")
        with pytest.raises(RuntimeError, match="undefined: nonsense"):
            build(module, tmp_path / "cache", lambda text: None)
        assert not list((tmp_path / "cache").glob("kubernetes-*/hello"))

    def test_without_go_it_says_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        with pytest.raises(NotHere, match=r"apt-get install golang-go"):
            program("kubectl")

    def test_an_old_go_fetches_a_newer_one_as_a_module(
        self, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = shutil.which("go")
        # A Go of 1.19 as Debian 12 has it, and what it would fetch, as modules are: no file of it
        # can be run. The new Go is the machine's own in disguise.
        fetched = tmp_path / "toolchain"
        for name, text in {
            "bin/go": f'#!/bin/sh\nexec {real} "$@"\n',
            "pkg/tool/linux_amd64/asm": "a tool",
            "src/_go.mod": "module std\n",
        }.items():
            (fetched / name).parent.mkdir(parents=True)
            (fetched / name).write_text(text)
            (fetched / name).chmod(0o444)
        old = tmp_path / "bin" / "go"
        old.parent.mkdir()
        old.write_text(
            "#!/bin/sh\n"
            "[ \"$1\" = env ] && printf 'go1.19.8\\nlinux\\namd64\\n' && exit\n"
            f'[ "$1 $2" = "mod download" ] && echo \'{{"Dir": "{fetched}"}}\' && exit\n'
            "exit 1\n"
        )
        old.chmod(0o755)
        monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
        said: list[str] = []
        cache = tmp_path / "cache"
        folder = build(module, cache, said.append)
        assert subprocess.run([folder / "hello"], check=True, timeout=60).returncode == 0
        assert "fetching Go 1.26.8" in said[0] and "go1.19.8 is too old" in said[0]
        assert (cache / "go-1.26.8" / "src" / "go.mod").exists()
        assert os.access(cache / "go-1.26.8" / "pkg" / "tool" / "linux_amd64" / "asm", os.X_OK)
        # The next time both are there.
        said.clear()
        assert build(module, cache, said.append) == folder
        assert said == []

    def test_a_toolchain_that_cannot_be_fetched_says_why(
        self, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "go").write_text(
            "#!/bin/sh\n"
            "[ \"$1\" = env ] && printf 'go1.19.8\\nlinux\\namd64\\n' && exit\n"
            "echo no route to the proxy >&2; exit 1\n"
        )
        (tmp_path / "go").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(RuntimeError, match="no route to the proxy"):
            build(module, tmp_path / "cache", lambda text: None)

    def test_the_programs_of_kubebuilder_assets_come_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "etcd").touch()
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
        assert program("etcd") == str(tmp_path / "etcd")
