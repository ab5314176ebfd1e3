"""What the demo starts: a control plane, a Redis, the operator, and sidecars as in three pods.

Everything is real but the nodes: this process does what a kubelet would (`tests.real.pods`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pannier_operator.injection.container import NAME as SIDECAR
from tests.real.kubernetes import CHART
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator
from tests.real.pods import READY_SECONDS, SidecarPod
from tests.real.processes import wait_until
from tests.real.programs import free_port
from tests.real.redis import RedisServer

README: Final = Path(__file__).parents[2] / "README.md"
NAMESPACE: Final = "shop"
STORE: Final = "shop"
USER: Final = "shop"
SECRET: Final = "shop-redis"
REPLICAS: Final = 3
OWN: Final = "pannier-system"
PUBLISHED: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps/pannier-ca"
RIGHTS_SECONDS: Final = 7 * 24 * 3600
"""How long the operator's rights hold: nobody renews them, as a kubelet would."""
WEBHOOK: Final = (
    f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pannier-operator-{OWN}"
)
CHECKOUT: Final = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: checkout}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: checkout}}}}
  template:
    metadata: {{labels: {{app: checkout}}}}
    spec:
      serviceAccountName: checkout
      containers: [{{name: app, image: registry.invalid/checkout}}]
"""


class Stage:
    """The demo's cluster, and what a platform engineer does in it."""

    def __init__(
        self,
        plane: ControlPlane,
        redis: RedisServer,
        operator: Operator,
        pods: list[SidecarPod],
        password: str,
    ) -> None:
        self.plane = plane
        self.redis = redis
        self.operator = operator
        self.pods = pods
        self.password = password

    def refresh_tokens(self) -> None:
        """Project fresh tokens, as a kubelet does long before the old ones end."""
        for pod in self.pods:
            pod.project()

    def change_pool(self, most: int) -> None:
        """Edit the resource."""
        patch = f'{{"spec":{{"pool":{{"maxConnections":{most}}}}}}}'
        self.plane.kubectl(
            "patch", "storebackend", STORE, "-n", NAMESPACE, "--type=merge", "-p", patch
        )

    def allow_another_password(self) -> str:
        """Give the Redis user a second password, the next one; the old one still works."""
        fresh = secrets.token_urlsafe(24)
        self.redis.call("ACL", "SETUSER", USER, f">{fresh}")
        return fresh

    def rotate_secret(self, fresh: str) -> None:
        """Write the next password into the Secret."""
        self.plane.apply(secret(fresh), namespace=NAMESPACE)

    def forget_old_password(self, fresh: str) -> None:
        """Take the old password away, and cut every connection that was made with it."""
        self.redis.call("ACL", "SETUSER", USER, "resetpass", f">{fresh}")
        self.redis.call("CLIENT", "KILL", "USER", USER)
        self.password = fresh


@contextlib.contextmanager
def raised(home: Path, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start everything but the StoreBackend; end it all when the block ends."""
    with contextlib.ExitStack() as stack:
        say("starting etcd, the API server and the controller manager")
        plane = ControlPlane(home)
        stack.callback(plane.stop)
        plane.start()

        say("starting a Redis, with an ACL user of its own for the store")
        (home / "redis").mkdir()
        redis = RedisServer(home / "redis")
        stack.callback(redis.kill)
        redis.start()
        password = secrets.token_urlsafe(24)
        redis.call("ACL", "SETUSER", USER, "on", f">{password}", "~pannier:*", "+@all", "-@admin")

        say("helm install: the resource, the operator's rights, its Deployment, the webhook")
        plane.helm("install", "pannier", str(CHART), "--namespace", OWN, "--create-namespace")
        say("starting the operator, as its Deployment says")
        operator = as_deployed(plane, home)
        stack.callback(operator.kill)
        operator.start()

        plane.kubectl("create", "namespace", NAMESPACE)
        plane.kubectl("create", "serviceaccount", "checkout", "-n", NAMESPACE)
        plane.kubectl("label", "namespace", NAMESPACE, "pannier.dev/inject=enabled")
        wait_until(lambda: plane.is_there(PUBLISHED), READY_SECONDS, "the CA is in the namespace")
        say(f"kubectl apply: a Deployment of {REPLICAS} pods; the webhook puts the sidecar in each")
        plane.apply(CHECKOUT, namespace=NAMESPACE)
        pods = []
        for made in injected(plane):
            pod = SidecarPod(
                plane, home, NAMESPACE, made["metadata"]["name"],
                service_account="checkout", made=made,
            )  # fmt: skip
            pods.append(pod)
            stack.callback(pod.stop)
            pod.project()
            pod.start(operator.url, wait=False)
        yield Stage(plane, redis, operator, pods, password)


def as_deployed(plane: ControlPlane, home: Path) -> Operator:
    """The operator with the arguments and rights of its Deployment, for the first of its pods.

    No node routes to a Service here: the webhook is called by the address of this machine.
    """
    deployment = plane.get("deployment", "pannier-operator", "-n", OWN)
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    def names() -> list[str]:
        found = plane.get("pods", "-n", OWN, "-l", "app.kubernetes.io/component=operator")
        return [each["metadata"]["name"] for each in found["items"]]

    wait_until(lambda: bool(names()), READY_SECONDS, "the operator's pods are there")
    port = free_port()
    patch = [
        {"op": "remove", "path": "/webhooks/0/clientConfig/service"},
        {"op": "add", "path": "/webhooks/0/clientConfig/url",
         "value": f"https://127.0.0.1:{port}/inject"},
    ]  # fmt: skip
    plane.api.call("PATCH", WEBHOOK, patch, content_type="application/json-patch+json")
    return Operator(
        plane, home, *container["args"][1:],
        "--webhook-listen", f"127.0.0.1:{port}", "--pod-name", names()[0],
        namespace=OWN,
        kubeconfig=plane.kubeconfig_for(OWN, "pannier-operator", seconds=RIGHTS_SECONDS),
    )  # fmt: skip


def injected(plane: ControlPlane) -> list[dict[str, Any]]:
    """The Deployment's pods, once each has the sidecar as its first init container."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = plane.get("pods", "-n", NAMESPACE, "-l", "app=checkout")["items"]
        return len(found) == REPLICAS

    wait_until(are_there, READY_SECONDS, "the Deployment's pods are there")
    for pod in found:
        first, *_ = pod["spec"].get("initContainers", [{"name": "none"}])
        assert first["name"] == SIDECAR, f"{pod['metadata']['name']} has no sidecar"
    return found


def secret(password: str) -> str:
    """The Secret, by the label that lets the operator read it."""
    return (
        "apiVersion: v1\nkind: Secret\n"
        f"metadata: {{name: {SECRET}, labels: {{pannier.dev/credentials: 'true'}}}}\n"
        f"stringData: {{password: '{password}'}}\n"
    )


def resource(port: int) -> str:
    """The README's StoreBackend, with the Redis of this machine for the one of the example."""
    for block in re.findall(r"^```yaml\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE):
        for document in block.split("---\n"):
            if "host: redis.shop.svc" in document:
                here = f"host: 127.0.0.1\n    port: {port}"
                return str(document).replace("host: redis.shop.svc", here)
    raise AssertionError("the README shows no StoreBackend with the host redis.shop.svc")
