"""A real control plane: etcd, kube-apiserver and controller manager as processes of this machine.

RBAC, the default admission plugins, TokenRequest and TokenReview are as in any cluster. What is
missing is a node: nothing runs a pod, so each stays Pending until a test says otherwise.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import secrets
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.real.kubernetes_parts.api import Api, ApiError
from tests.real.kubernetes_parts.auditing import POLICY, Request, requests_of
from tests.real.kubernetes_parts.building import program
from tests.real.kubernetes_parts.daemon import Daemon
from tests.real.processes import wait_until
from tests.real.programs import free_port
from tests.real.programs import program as installed

READY_SECONDS: Final = 90.0
"""What a start may take on a busy machine; 3 to 5 s on an idle one."""

COMMAND_SECONDS: Final = 60.0
AUDIT_LOG: Final = "audit.log"

POD: Final = {
    "containers": [{"name": "app", "image": "registry.invalid/app"}],
    "terminationGracePeriodSeconds": 0,
}
"""The smallest pod; no node is there to run it."""


class CommandFailed(Exception):
    """A kubectl or helm that ended in an error; the text is what it printed to stderr."""


class ControlPlane:
    """What a test holds on to. All it writes is in `home`, and all its ports are free ones."""

    def __init__(self, home: Path, *, controller_manager: bool = True, audit: bool = False) -> None:
        """`audit`: keep a log of every request, for `requests_of`."""
        self.home = home
        self.port = free_port()
        self.admin_token = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._certificates = home / "certs"
        self._context: ssl.SSLContext | None = None
        (home / "tokens.csv").write_text(f'{self.admin_token},admin,admin,"system:masters"\n')
        make_key_pair(home)
        self.etcd = Daemon("etcd", etcd_command(home, client := free_port()), home)
        self.apiserver = Daemon(
            "apiserver", apiserver_command(home, self.port, client, audit=audit), home
        )
        self.controller_manager = (
            Daemon("controller-manager", controller_manager_command(home), home)
            if controller_manager
            else None
        )

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        """The certificate (PEM) that the API server's own is signed by."""
        return self.home / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.home / "kubeconfig"

    @property
    def api(self) -> Api:
        """Plain requests as the administrator."""
        return self.api_as(self.admin_token)

    def api_as(self, token: str | None) -> Api:
        """Plain requests with that token; without one, as anybody."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self.ca)
        return Api(self.port, token, self._context)

    # Its life, and its faults -----------------------------------------------------------------

    def start(self) -> None:
        """Start what does not run, on the same ports and data; ready when this returns."""
        with self._last_words():
            for daemon in (self.etcd, self.apiserver):
                if not daemon.pid:
                    daemon.start()
            wait_until(self._is_ready, READY_SECONDS, "the API server is ready", interval=0.1)
            self._write_credentials()
            if self.controller_manager is not None and not self.controller_manager.pid:
                self.controller_manager.start()
            wait_until(self._has_namespaces, READY_SECONDS, "the first namespaces are there")

    def kill(self) -> None:
        """SIGKILL to the API server alone, as a crash; `start` brings it back."""
        self.apiserver.kill()

    def pause(self) -> None:
        """SIGSTOP: the API server keeps its connections and answers nothing."""
        self.apiserver.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.apiserver.resume()

    def heal(self) -> None:
        """Bring back what a test killed or paused."""
        for daemon in self.daemons():
            if daemon.pid:
                daemon.resume()
        self.start()

    def stop(self) -> None:
        """SIGKILL to every process that was started: asked kindly, they wait for each other."""
        for daemon in self.daemons():
            daemon.kill()

    def daemons(self) -> list[Daemon]:
        found = (self.controller_manager, self.apiserver, self.etcd)
        return [daemon for daemon in found if daemon is not None]

    @contextlib.contextmanager
    def _last_words(self) -> Any:
        """If the start fails, leave nothing running, and show the ends of the logs."""
        try:
            yield
        except BaseException as error:
            self.stop()
            error.add_note("\n".join(each.last_words() for each in self.daemons()))
            raise

    def _is_ready(self) -> bool:
        for daemon in (self.etcd, self.apiserver):
            assert daemon.pid, f"{daemon.name} has ended"
        # Who it is shows once its certificate is written; until then anything answers for it.
        unverified = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=5, context=unverified
        )
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _has_namespaces(self) -> bool:
        try:
            for name in ("default", "kube-system"):
                self.api.call("GET", f"/api/v1/namespaces/{name}")
        except (ApiError, OSError):
            return False
        return True

    def _write_credentials(self) -> None:
        # The second certificate of the chain is the CA; with the first, the controller manager
        # would log errors for ever.
        chain = (self._certificates / "apiserver.crt").read_text()
        start = "-----BEGIN CERTIFICATE-----"
        self.ca.write_text(start + chain.split(start)[2])
        self._write_kubeconfig(self.kubeconfig, self.admin_token, "default")

    # The cluster, as a person uses it -----------------------------------------------------------

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,
        kubeconfig: Path | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> str:
        """What kubectl prints, as the administrator or as who the kubeconfig says.

        Raises CommandFailed with what it printed to stderr.
        """
        return self._run("kubectl", arguments, input, kubeconfig, seconds)

    def helm(self, *arguments: str, kubeconfig: Path | None = None, seconds: float = 120) -> str:
        """What helm prints; its cache and its settings are this control plane's own."""
        return self._run("helm", arguments, None, kubeconfig, seconds)

    def apply(self, *objects: Any, namespace: str | None = None) -> None:
        """`kubectl apply` of texts (YAML) or of objects."""
        texts = [each if isinstance(each, str) else json.dumps(each) for each in objects]
        where = ["--namespace", namespace] if namespace else []
        self.kubectl("apply", *where, "--filename", "-", input="\n---\n".join(texts))

    def get(self, *arguments: str) -> Any:
        """`kubectl get ARGUMENTS`, read."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """What kubectl, helm and the operator are to be started with: nothing of the user's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KUBE", "HELM_", "PANNIER"))
        }
        return kept | {
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(self.home / "kubectl-cache"),
            "HELM_CACHE_HOME": str(self.home / "helm-cache"),
            "HELM_CONFIG_HOME": str(self.home / "helm-config"),
            "HELM_DATA_HOME": str(self.home / "helm-data"),
        }

    def _run(
        self,
        name: str,
        arguments: tuple[str, ...],
        text: str | None,
        kubeconfig: Path | None,
        seconds: float,
    ) -> str:
        done = subprocess.run(
            [program(name), *arguments], input=text or "", capture_output=True, text=True,
            check=False, timeout=seconds, env=self.environment(kubeconfig),
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    # What tests need in it ----------------------------------------------------------------------

    def namespace(self, *, labels: Mapping[str, str] | None = None) -> str:
        """A new namespace with its default ServiceAccount; its name."""
        name = f"t{next(self._numbers)}-{os.getpid()}"
        metadata = {"name": name, "labels": dict(labels or {})}
        self.api.call("POST", "/api/v1/namespaces", {"metadata": metadata})
        if self.controller_manager is not None:
            path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            wait_until(lambda: self.is_there(path), READY_SECONDS, f"{name} has its account")
        return name

    def service_account(self, namespace: str, name: str) -> None:
        """A new ServiceAccount."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.api.call("POST", path, {"metadata": {"name": name}})

    def service_account_token(
        self,
        namespace: str,
        name: str = "default",
        *,
        audience: str | None = None,
        pod: Mapping[str, Any] | None = None,
        seconds: int = 3600,
    ) -> str:
        """A token of the ServiceAccount, by TokenRequest: for an audience (None: the API server),
        bound to a pod (as `pod` returns it) where one is given."""
        spec: dict[str, Any] = {"expirationSeconds": seconds}
        if audience is not None:
            spec["audiences"] = [audience]
        if pod is not None:
            spec["boundObjectRef"] = {
                "apiVersion": "v1", "kind": "Pod",
                "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
            }  # fmt: skip
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.api.call("POST", path, {"spec": spec})["status"]["token"])

    def pod(
        self,
        namespace: str,
        name: str,
        *,
        service_account: str = "default",
        labels: Mapping[str, str] | None = None,
        status: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A new pod, as the API server answers it. It stays Pending unless `status` says else."""
        metadata = {"name": name, "labels": dict(labels or {})}
        spec = {**POD, "serviceAccountName": service_account}
        path = f"/api/v1/namespaces/{namespace}/pods"
        made = self.api.call("POST", path, {"metadata": metadata, "spec": spec})
        return self.set_pod_status(namespace, name, status) if status else dict(made)

    def set_pod_status(
        self, namespace: str, name: str, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Say of a pod what its node would say."""
        return dict(
            self.api.call(
                "PATCH",
                f"/api/v1/namespaces/{namespace}/pods/{name}/status",
                {"status": status},
                content_type="application/merge-patch+json",
            )
        )

    def kubeconfig_for(
        self,
        namespace: str,
        name: str = "default",
        *,
        pod: Mapping[str, Any] | None = None,
        seconds: int = 3600,
    ) -> Path:
        """A kubeconfig that acts as that ServiceAccount for so long, under its RBAC alone."""
        path = self.home / f"kubeconfig-{namespace}-{name}-{next(self._numbers)}"
        token = self.service_account_token(namespace, name, pod=pod, seconds=seconds)
        self._write_kubeconfig(path, token, namespace)
        return path

    def requests_of(self, namespace: str, name: str) -> list[Request]:
        """What a ServiceAccount asked this API server for so far, where it is one with `audit`."""
        log = self.home / AUDIT_LOG
        assert log.exists(), "this control plane keeps no audit log: audit=True"
        return requests_of(log, f"system:serviceaccount:{namespace}:{name}")

    def is_there(self, path: str) -> bool:
        """Whether the API server has an object at that path."""
        try:
            self.api.call("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _write_kubeconfig(self, path: Path, token: str, namespace: str) -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        text = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": context}],
                "current-context": "test",
            }
        )
        path.touch(mode=0o600)
        path.write_text(text)


def make_key_pair(home: Path) -> None:
    """The key that signs ServiceAccounts' tokens, and its public half."""
    for command in (
        ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "sa.key"],
        ["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"],
    ):
        subprocess.run([installed("openssl"), *command], cwd=home, check=True, capture_output=True)


def etcd_command(home: Path, client: int) -> list[str]:
    at, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{free_port()}"
    return [
        program("etcd"), f"--data-dir={home / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
        f"--listen-client-urls={at}", f"--advertise-client-urls={at}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]  # fmt: skip


def apiserver_command(home: Path, port: int, etcd: int, *, audit: bool) -> list[str]:
    audited: list[str] = []
    if audit:
        (home / "audit.yaml").write_text(POLICY)
        audited = [
            f"--audit-policy-file={home / 'audit.yaml'}",
            f"--audit-log-path={home / AUDIT_LOG}",
        ]
    return [
        program("kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={port}",
        f"--cert-dir={home / 'certs'}", "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
        f"--token-auth-file={home / 'tokens.csv'}", "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={home / 'sa.key'}",
        f"--service-account-key-file={home / 'sa.pub'}", *audited,
    ]  # fmt: skip


def controller_manager_command(home: Path) -> list[str]:
    return [
        program("kube-controller-manager"), f"--kubeconfig={home / 'kubeconfig'}",
        "--secure-port=0", "--leader-elect=false", "--use-service-account-credentials=false",
        f"--service-account-private-key-file={home / 'sa.key'}",
        f"--root-ca-file={home / 'ca.crt'}",
        # It would otherwise make one in the system.
        f"--flex-volume-plugin-dir={home / 'volume-plugins'}",
    ]  # fmt: skip
