"""The webhook asked by a real API server: which pods get a sidecar, what becomes of the rest."""

from __future__ import annotations

import base64
import json
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pannier_operator.certificates.issuing import new_issuer, read_certificate
from pannier_operator.injection.container import NAME, SidecarTemplate, container, volumes
from tests.real.certificates import make_certificates
from tests.real.kubernetes import install_operator_rbac, render_chart, start_control_plane
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.building import program
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator, operator
from tests.real.processes import wait_until
from tests.real.programs import free_port

OWN = "pannier-system"
CONFIGURATION = f"pannier-operator-{OWN}"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
IMAGE = "registry.invalid/pannier-sidecar:1"
TEMPLATE = SidecarTemplate(image=IMAGE, operator_url=f"wss://pannier-stream.{OWN}.svc:8443")
SECONDS = 90.0
ENABLED = {"pannier.dev/inject": "enabled"}
RESTRICTED = {
    "allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


@dataclass
class Stage:
    """A control plane with the chart's webhook, which leads to a port of this machine."""

    plane: ControlPlane
    rights: Path
    directory: Path
    port: int

    def flags(self, port: int | None = None) -> list[str]:
        return [
            "--webhook-listen", f"127.0.0.1:{port or self.port}", "--sidecar-image", IMAGE,
            "--webhook-configuration", CONFIGURATION, "--lease-duration", "3s",
            "--lease-renew", "1s", "--log-level", "debug",
        ]  # fmt: skip

    def start(self, *arguments: str, port: int | None = None, wait: bool = True) -> Any:
        return operator(
            self.plane, self.directory, *self.flags(port), *arguments, namespace=OWN,
            kubeconfig=self.rights, wait=wait,
        )  # fmt: skip

    def configure(self, **more: Any) -> None:
        """Change the one webhook of the configuration."""
        patch = [{"op": "add", "path": f"/webhooks/0/{name}", "value": value}
                 for name, value in more.items()]  # fmt: skip
        path = f"{WEBHOOKS}/{CONFIGURATION}"
        self.plane.api.call("PATCH", path, patch, content_type="application/json-patch+json")

    def url_is(self, port: int) -> None:
        path = f"{WEBHOOKS}/{CONFIGURATION}"
        patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/url",
                  "value": f"https://127.0.0.1:{port}/inject"}]  # fmt: skip
        self.plane.api.call("PATCH", path, patch, content_type="application/json-patch+json")

    def bundle(self) -> str:
        found = self.plane.api.call("GET", f"{WEBHOOKS}/{CONFIGURATION}")
        text = found["webhooks"][0]["clientConfig"].get("caBundle", "")
        return base64.b64decode(text).decode()

    def create(self, namespace: str, pod: dict[str, Any], *, dry_run: bool = False) -> Any:
        path = f"/api/v1/namespaces/{namespace}/pods" + ("?dryRun=All" if dry_run else "")
        return self.plane.api.call("POST", path, pod)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    plane = start_control_plane(tmp_path_factory)
    try:
        plane.kubectl("create", "namespace", OWN)
        rights = install_operator_rbac(plane, OWN)
        made = Stage(plane, rights, tmp_path_factory.mktemp("operator"), free_port())
        rendered = yaml.safe_load_all(render_chart(plane, OWN))
        [webhook] = [e for e in rendered if e and e["kind"] == "MutatingWebhookConfiguration"]
        # No Service leads anywhere here: nothing routes to one.
        webhook["webhooks"][0]["clientConfig"] = {"url": f"https://127.0.0.1:{made.port}/inject"}
        plane.apply(webhook)
        yield made
    finally:
        plane.stop()


@pytest.fixture(scope="module")
def webhook(stage: Stage) -> Iterator[Operator]:
    """An operator that serves it, for all tests of this file."""
    with stage.start() as running:
        wait_for_sidecars(stage)
        yield running


@pytest.fixture
def shop(stage: Stage) -> str:
    """A namespace whose pods get sidecars."""
    return stage.plane.namespace(labels=ENABLED)


def pod(name: str = "checkout", *, labels: Any = None, **spec: Any) -> dict[str, Any]:
    app = {"name": "app", "image": "registry.invalid/app"}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [app], **spec},
    }  # fmt: skip


def inits(made: dict[str, Any]) -> list[str]:
    return [each["name"] for each in made["spec"].get("initContainers", [])]


def wait_for_sidecars(stage: Stage) -> None:
    """Return once the API server has heard of the configuration: it looks at it by a watch."""
    namespace = stage.plane.namespace(labels=ENABLED)

    def is_injected() -> bool:
        try:
            return inits(stage.create(namespace, pod(), dry_run=True)) == [NAME]
        except ApiError:
            return False

    wait_until(is_injected, SECONDS, "pods get sidecars", interval=0.1)


def kubectl_with_warnings(plane: ControlPlane, *arguments: str, text: str = "") -> str:
    """What kubectl says on stderr."""
    done = subprocess.run(
        [program("kubectl"), *arguments], input=text, capture_output=True, text=True, check=True,
        timeout=60, env=plane.environment(),
    )  # fmt: skip
    return done.stderr


class TestPods:
    def test_a_pod_gets_the_sidecar_before_its_own_init_containers(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        migrate = {"name": "migrate", "image": "registry.invalid/migrate"}
        data = {"name": "data", "emptyDir": {}}
        made = stage.create(shop, pod(initContainers=[migrate], volumes=[data]))
        assert inits(made) == [NAME, "migrate"]
        kept = stage.plane.get("pod", "checkout", "-n", shop)["spec"]
        sidecar = kept["initContainers"][0]
        assert holds(sidecar, container(TEMPLATE)), "as it was patched in, the API server kept it"
        by_name = {each["name"]: each for each in kept["volumes"]}
        assert "data" in by_name
        assert all(holds(by_name[each["name"]], each) for each in volumes())
        tokens = [each for each in kept["initContainers"][1:] + kept["containers"]
                  if any("pannier" in mount["name"] for mount in each["volumeMounts"])]  # fmt: skip
        assert tokens == [], "no other container sees the sidecar's token"
        assert f"pod {shop}/checkout: sidecar injected" in webhook.text

    def test_the_result_is_admitted_under_the_restricted_level(
        self, stage: Stage, webhook: Operator
    ) -> None:
        levels = {f"pod-security.kubernetes.io/{mode}": "restricted"
                  for mode in ("enforce", "warn")}  # fmt: skip
        namespace = stage.plane.namespace(labels={**ENABLED, **levels})
        bare = pod()
        with pytest.raises(ApiError, match="violates PodSecurity"):
            stage.create(namespace, bare)
        bare["spec"]["containers"][0]["securityContext"] = RESTRICTED
        text = json.dumps(bare)
        said = kubectl_with_warnings(stage.plane, "apply", "-n", namespace, "-f", "-", text=text)
        assert said == ""
        assert inits(stage.plane.get("pod", "checkout", "-n", namespace)) == [NAME]

    def test_a_deployments_pods_get_it_and_are_named_by_their_beginning(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        labels = {"app": "checkout"}
        template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
        made = {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "checkout"},
            "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
        }  # fmt: skip
        stage.plane.apply(made, namespace=shop)

        def pods() -> list[Any]:
            return list(stage.plane.get("pods", "-n", shop)["items"])

        wait_until(lambda: len(pods()) == 3, SECONDS, "three pods are there", interval=0.2)
        assert [inits(each) for each in pods()] == [[NAME]] * 3
        named = [line for line in webhook.text.splitlines() if f"pod {shop}/checkout-" in line]
        assert sum(line.endswith("-*: sidecar injected") for line in named) == 3
        assert (
            "initContainers"
            not in stage.plane.get("deployment", "checkout", "-n", shop)["spec"]["template"]["spec"]
        )

    def test_a_job_with_a_sidecar_ends(self, stage: Stage, webhook: Operator, shop: str) -> None:
        spec = {**pod()["spec"], "restartPolicy": "Never"}
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import"},
                "spec": {"backoffLimit": 0, "template": {"spec": spec}}}  # fmt: skip
        stage.plane.apply(made, namespace=shop)

        def pods() -> list[Any]:
            return list(stage.plane.get("pods", "-n", shop)["items"])

        wait_until(lambda: len(pods()) == 1, SECONDS, "its pod is there", interval=0.2)
        [created] = pods()
        assert inits(created) == [NAME]
        # A kubelet ends a pod when all but restartable init containers have ended, and says so.
        ended = {"terminated": {"exitCode": 0, "reason": "Completed",
                                "startedAt": "2026-01-01T00:00:00Z",
                                "finishedAt": "2026-01-01T00:00:01Z"}}  # fmt: skip
        status = {
            "phase": "Succeeded",
            "containerStatuses": [status_of("app", ended)],
            "initContainerStatuses": [status_of(NAME, ended)],
        }
        stage.plane.set_pod_status(shop, created["metadata"]["name"], status)
        stage.plane.kubectl(
            "wait", "--for=condition=Complete", "job/import", "-n", shop, "--timeout=50s"
        )

    @pytest.mark.parametrize("port", [3900, 3901])
    def test_a_pod_that_has_the_port_itself_is_left_alone_and_whoever_makes_it_is_told(
        self, stage: Stage, webhook: Operator, shop: str, port: int
    ) -> None:
        said = kubectl_with_warnings(
            stage.plane, "run", "own", "-n", shop, "--image=registry.invalid/app", f"--port={port}"
        )
        assert said.startswith("Warning: Pannier's sidecar is not injected: ")
        assert f"declares port {port}" in said
        assert inits(stage.plane.get("pod", "own", "-n", shop)) == []

    def test_a_pod_on_the_nodes_network_is_left_alone(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        text = json.dumps(pod(hostNetwork=True))
        said = kubectl_with_warnings(stage.plane, "apply", "-n", shop, "-f", "-", text=text)
        assert "Remove hostNetwork" in said
        assert inits(stage.plane.get("pod", "checkout", "-n", shop)) == []

    def test_who_is_not_asked_for_is_not_asked_about(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        before = sum(results(webhook).values())
        opted_out = stage.create(shop, pod(labels={"pannier.dev/inject": "false"}))
        unlabelled = stage.create(stage.plane.namespace(), pod())
        system = []
        for name in ("kube-system", OWN):
            wait_until(lambda name=name: has_account(stage.plane, name), SECONDS, "it is whole")  # type: ignore[misc]
            stage.plane.kubectl(
                "label", "--overwrite", "namespace", name, "pannier.dev/inject=enabled"
            )
            system.append(stage.create(name, pod(f"system-{time.monotonic_ns()}")))
        assert [inits(each) for each in (opted_out, unlabelled, *system)] == [[]] * 4
        assert sum(results(webhook).values()) == before

    def test_a_dry_run_shows_the_sidecar_and_leaves_nothing(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        text = stage.plane.kubectl(
            "create", "-n", shop, "--dry-run=server", "-o", "json", "-f", "-",
            input=json.dumps(pod("rehearsal")),
        )  # fmt: skip
        assert inits(json.loads(text)) == [NAME]
        assert stage.plane.get("pods", "-n", shop)["items"] == []
        assert f"pod {shop}/rehearsal (dry run): sidecar injected" in webhook.text

    def test_results_are_counted(self, stage: Stage, webhook: Operator, shop: str) -> None:
        before = results(webhook)
        stage.create(shop, pod())
        stage.create(shop, pod("node", hostNetwork=True))
        after = results(webhook)
        came = {name: after[name] - before[name] for name in after}
        # The API server's own plugins change a pod after us: it asks again, and finds the sidecar.
        assert came == {"injected": 1, "present": 1, "skipped": 1, "failed": 0}


class TestOthers:
    @pytest.mark.parametrize("order", ["aa-mesh", "zz-mesh"])
    def test_whichever_webhook_comes_first_the_sidecar_is_the_first_init_container(
        self, stage: Stage, webhook: Operator, shop: str, tmp_path: Path, order: str
    ) -> None:
        with mesh(stage.plane, tmp_path, order, shop) as asked:
            wait_until(lambda: asked_for(stage, shop, asked), SECONDS, "the mesh is asked")
            made = stage.create(shop, pod())
        assert inits(made) == [NAME, "mesh"]

    def test_a_sidecar_written_by_hand_stays_as_it_is(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        by_hand = {**container(TEMPLATE), "image": "registry.invalid/mine"}
        made = stage.create(shop, pod(initContainers=[by_hand], volumes=volumes()))
        assert [each["image"] for each in made["spec"]["initContainers"]] == [by_hand["image"]]


class TestTrust:
    def test_a_ca_bundle_that_somebody_edits_is_put_right(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        good = stage.bundle()
        assert good.startswith("-----BEGIN CERTIFICATE-----")
        other = new_issuer(datetime.now(UTC)).certificate_pem()
        path = f"{WEBHOOKS}/{CONFIGURATION}"
        for bundle in (base64.b64encode(other.encode()).decode(), None):
            edit = {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}
            stage.plane.api.call("PATCH", path, [edit], content_type="application/json-patch+json")
            wait_until(lambda: stage.bundle() == good, SECONDS, "it is put right", interval=0.2)
        wait_for_sidecars(stage)

    def test_while_a_ca_follows_another_no_pod_is_refused(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        old = stage.bundle()
        with Meanwhile(stage, shop) as going_on:
            following = new_issuer(datetime.now(UTC))
            secret(
                stage, {"next.crt": following.certificate_pem(), "next.key": following.key_pem()}
            )
            wait_until(lambda: following.certificate_pem() in stage.bundle(), SECONDS,
                       "the API server knows both", interval=0.2)  # fmt: skip
            assert old in stage.bundle()
            wait_until(lambda: "next.published" in secret(stage), SECONDS, "all know it")
            long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
            secret(stage, {"next.published": long_ago})
            wait_until(
                lambda: issuer_of(stage.port) == following.certificate.subject, SECONDS,
                "the new CA has signed what is served", interval=0.2,
            )  # fmt: skip
            going_on.for_a_while()
        assert going_on.refused == []
        assert going_on.made > 10
        assert old in stage.bundle(), "what the old one signed is still trusted"

    def test_a_replica_that_does_not_lead_serves_it_too(
        self, stage: Stage, webhook: Operator, shop: str
    ) -> None:
        port = free_port()
        with stage.start(port=port) as second:
            assert not second.leads()
            asked = {
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "request": {"uid": "1", "kind": {"kind": "Pod"}, "operation": "CREATE",
                            "namespace": shop, "object": pod()},
            }  # fmt: skip
            context = ssl.create_default_context(cadata=stage.bundle())
            request = urllib.request.Request(
                f"https://127.0.0.1:{port}/inject", json.dumps(asked).encode()
            )
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                assert json.load(answer)["response"]["patchType"] == "JSONPatch"
            assert results(second)["injected"] == 1


class TestAway:
    """Without an operator: by the failure policy, and in no namespace but the labelled ones."""

    @pytest.fixture
    def own_webhook(self, stage: Stage) -> Iterator[tuple[int, Operator]]:
        """An operator of the test's own that the API server asks."""
        port = free_port()
        with stage.start(port=port) as running:
            stage.url_is(port)
            wait_until(lambda: asked_of(stage, running), SECONDS, "it is asked")
            yield port, running
        stage.url_is(stage.port)
        stage.configure(failurePolicy="Fail")

    def test_killed_it_refuses_or_lets_in_as_the_chart_says_and_comes_back(
        self, stage: Stage, own_webhook: tuple[int, Operator], shop: str
    ) -> None:
        port, running = own_webhook
        running.stop(signal.SIGKILL)
        with pytest.raises(ApiError, match="failed calling webhook") as refused:
            stage.create(shop, pod())
        assert refused.value.status == 500
        # Nobody else is harmed.
        stage.create(stage.plane.namespace(), pod())
        stage.create(shop, pod("out", labels={"pannier.dev/inject": "false"}))
        for name in (OWN, "kube-system"):
            stage.create(name, pod(f"unharmed-{time.monotonic_ns()}"))
        stage.configure(failurePolicy="Ignore")

        def is_let_in() -> bool:
            try:
                return inits(stage.create(shop, pod(), dry_run=True)) == []
            except ApiError:
                return False

        wait_until(is_let_in, SECONDS, "pods are let in without it", interval=0.2)
        stage.configure(failurePolicy="Fail")
        with stage.start(port=port):
            wait_for_sidecars(stage)

    def test_silent_it_is_given_up_after_five_seconds(
        self, stage: Stage, own_webhook: tuple[int, Operator], shop: str
    ) -> None:
        _, running = own_webhook
        running.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(ApiError, match="failed calling webhook"):
                stage.create(shop, pod())
            assert 4 < time.monotonic() - began < 25
        finally:
            running.process.send_signal(signal.SIGCONT)
        wait_for_sidecars(stage)


# What the tests say in short ----------------------------------------------------------------------


def holds(found: Any, wanted: Any) -> bool:
    """Whether `found` says all that `wanted` says: the API server adds defaults."""
    if isinstance(wanted, dict):
        return all(name in found and holds(found[name], each) for name, each in wanted.items())
    if isinstance(wanted, list):
        return len(found) >= len(wanted) and all(map(holds, found, wanted))
    return bool(found == wanted)


def status_of(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": False, "restartCount": 0,
            "image": "i", "imageID": "i"}  # fmt: skip


def has_account(plane: ControlPlane, namespace: str) -> bool:
    return plane.is_there(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")


def results(running: Operator) -> dict[str, float]:
    return {
        name: running.metric(f'pannier_operator_injections_total{{result="{name}"}}')
        for name in ("injected", "present", "skipped", "failed")
    }


def asked_of(stage: Stage, running: Operator) -> bool:
    """Whether it is this operator that the API server asks."""
    before = results(running)["injected"]
    wait_for_sidecars(stage)
    return results(running)["injected"] > before


def secret(stage: Stage, changes: dict[str, str] | None = None) -> dict[str, str]:
    """The entries of the CA's Secret, after these changes."""
    path = f"/api/v1/namespaces/{OWN}/secrets/pannier-ca"
    if changes:
        data = {name: base64.b64encode(each.encode()).decode() for name, each in changes.items()}
        stage.plane.api.call(
            "PATCH", path, {"data": data}, content_type="application/merge-patch+json"
        )
    return dict(stage.plane.api.call("GET", path)["data"])


def issuer_of(port: int) -> Any:
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
    return read_certificate(pem.encode()).issuer


class Meanwhile:
    """Pods are created (as dry runs) all the time, beside what the block does."""

    def __init__(self, stage: Stage, namespace: str) -> None:
        self._stage = stage
        self._namespace = namespace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._create)
        self.made = 0
        self.refused: list[str] = []

    def __enter__(self) -> Meanwhile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def for_a_while(self) -> None:
        """Return after twenty more."""
        target = self.made + 20
        wait_until(lambda: self.made >= target, SECONDS, "twenty more pods")

    def _create(self) -> None:
        while not self._ended.is_set():
            try:
                made = self._stage.create(self._namespace, pod(), dry_run=True)
                if inits(made) != [NAME]:
                    self.refused.append(f"no sidecar: {inits(made)}")
            except (ApiError, OSError) as error:
                self.refused.append(str(error))
            self.made += 1
            self._ended.wait(0.05)


def asked_for(stage: Stage, namespace: str, asked: list[str]) -> bool:
    stage.create(namespace, pod(), dry_run=True)
    return bool(asked)


@contextmanager
def mesh(plane: ControlPlane, directory: Path, name: str, namespace: str) -> Iterator[list[str]]:
    """Another webhook, which puts an init container of its own first, once. What it was asked."""
    certificates = make_certificates(directory)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            asked.append(request["uid"])
            there = inits(request["object"])
            own = {"name": "mesh", "image": "registry.invalid/mesh"}
            patch = [{"op": "add", "path": "/spec/initContainers/0", "value": own}]
            if not there:
                patch = [{"op": "add", "path": "/spec/initContainers", "value": [own]}]
            response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
            if "mesh" not in there:
                response["patchType"] = "JSONPatch"
                response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                               "response": response}).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    bundle = base64.b64encode(certificates.ca.read_bytes()).decode()
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "mesh.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": f"https://127.0.0.1:{server.server_address[1]}/",
                             "caBundle": bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                       "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }],
    }  # fmt: skip
    plane.apply(configuration)
    try:
        yield asked
    finally:
        plane.api.call("DELETE", f"{WEBHOOKS}/{name}")
        server.shutdown()
        server.server_close()
        thread.join()
