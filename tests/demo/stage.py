"""What the demo starts: a control plane, a Redis, the operator, and sidecars as in three pods.

Everything is real but the nodes: this process does what a kubelet would (`tests.real.pods`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator
from tests.real.pods import READY_SECONDS, SidecarPod
from tests.real.processes import wait_until
from tests.real.redis import RedisServer

README: Final = Path(__file__).parents[2] / "README.md"
NAMESPACE: Final = "shop"
STORE: Final = "shop"
USER: Final = "shop"
SECRET: Final = "shop-redis"
PODS: Final = ("checkout-1", "checkout-2", "checkout-3")
PUBLISHED: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps/pannier-ca"


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

        say("installing the resource definition and the operator's rights from the chart")
        plane.kubectl("create", "namespace", "pannier-system")
        operator_rights = install_operator_rbac(plane, "pannier-system")
        say("starting the operator")
        operator = Operator(plane, home, namespace="pannier-system", kubeconfig=operator_rights)
        stack.callback(operator.kill)
        operator.start()

        plane.kubectl("create", "namespace", NAMESPACE)
        plane.kubectl("create", "serviceaccount", "checkout", "-n", NAMESPACE)
        plane.kubectl("label", "namespace", NAMESPACE, "pannier.dev/inject=enabled")
        wait_until(
            lambda: has_authority(plane), READY_SECONDS, "the operator's CA is in the namespace"
        )
        say(f"starting {len(PODS)} sidecars, each as in a pod of the namespace {NAMESPACE}")
        pods = []
        for name in PODS:
            pod = SidecarPod(plane, home, NAMESPACE, name, service_account="checkout")
            pods.append(pod)
            stack.callback(pod.stop)
            pod.project()
            pod.start(operator.url, wait=False)
        yield Stage(plane, redis, operator, pods, password)


def has_authority(plane: ControlPlane) -> bool:
    """Whether the operator has published its CA for the namespace's sidecars."""
    return plane._is_there(PUBLISHED)


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
