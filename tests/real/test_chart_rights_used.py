"""No right that the chart gives is unused, and none is missing: a whole life in the audit log."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import secrets
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pannier.config.stream.messages import PATH, SUBPROTOCOL
from pannier_operator.certificates.issuing import CA_DAYS, new_issuer
from pannier_operator.certificates.planning import Authorities
from pannier_operator.certificates.secret import data_of
from pannier_operator.leader_label import LABEL
from tests.real.kubernetes import install_operator_rbac, render_chart
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.auditing import rights_in, unused
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator, operator
from tests.real.processes import wait_until

ACCOUNT = "pannier-operator"
WEBHOOKS = "MutatingWebhookConfiguration"
MERGE = "application/merge-patch+json"
SHOP = {
    "apiVersion": "pannier.dev/v1alpha1",
    "kind": "StoreBackend",
    "metadata": {"name": "shop"},
    "spec": {
        "type": "redis",
        "redis": {
            "host": "redis.shop.svc",
            "passwordSecretRef": {"name": "shop-redis", "key": "password"},
        },
    },
}


@pytest.mark.parametrize("clusterwide", [True, False])
def test_every_right_is_used_and_none_is_missing(
    own_control_plane: Callable[..., ControlPlane], tmp_path: Path, clusterwide: bool
) -> None:
    plane = own_control_plane(audit=True)
    system, served = plane.namespace(), plane.namespace()
    watch = [] if clusterwide else [served]
    kubeconfig = install_operator_rbac(plane, system, watch=watch)
    settings = [f"watchNamespaces={{{served}}}"] if watch else []
    rights = rights_in(render_chart(plane, system, *settings), ACCOUNT)
    plane.pod(system, "operator")
    plane.pod(system, "led-before", labels={LABEL: "true"})
    rendered = yaml.safe_load_all(render_chart(plane, system, *settings))
    plane.apply(*(each for each in rendered if each and each["kind"] == WEBHOOKS))
    arguments = [part for name in watch for part in ("--watch-namespace", name)]
    arguments += ["--sidecar-image", "registry.invalid/sidecar", "--webhook-listen", "127.0.0.1:0",
                  "--webhook-configuration", f"pannier-operator-{system}"]  # fmt: skip
    with operator(
        plane, tmp_path, *arguments, "--pod-name", "operator", namespace=system,
        kubeconfig=kubeconfig,
    ) as running:  # fmt: skip
        a_life(plane, running, system, served)
        trouble = Trouble(plane, served)

        def left() -> list[str]:
            trouble.go_on()
            return sorted(map(str, unused(rights, plane.requests_of(system, ACCOUNT))))

        # What is left then says more than that something is.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: left() == [], 150, "every right is used")
        assert left() == []
    forbidden = [each for each in plane.requests_of(system, ACCOUNT) if each.forbidden]
    assert forbidden == []


def a_life(plane: ControlPlane, running: Operator, system: str, served: str) -> None:
    """What happens to an operator sooner or later."""
    plane.apply(SHOP, namespace=served)
    # A sidecar dials.
    pod = plane.pod(served, "shop-1")
    token = plane.service_account_token(served, audience="pannier", pod=pod)
    wait_until(lambda: dial(running.port, token) == 101, 60, "the stream opens", interval=0.5)
    # Years later, the CA's end is near: another is written beside it.
    long_ago = datetime.now(UTC) - timedelta(days=CA_DAYS - 30)
    old = data_of(Authorities(new_issuer(long_ago), long_ago))
    secret = f"/api/v1/namespaces/{system}/secrets/pannier-ca"
    plane.api.call("PATCH", secret, {"data": old}, content_type=MERGE)
    # Somebody changes the ConfigMap.
    known = f"/api/v1/namespaces/{served}/configmaps/pannier-ca"
    wait_until(lambda: is_there(plane, known), 60, "the CA is published")
    plane.api.call("PATCH", known, {"data": {"ca.crt": "spoiled"}}, content_type=MERGE)


class Trouble:
    """A Secret that comes without its label, gains and loses it, while the resource is edited."""

    def __init__(self, plane: ControlPlane, served: str) -> None:
        self._plane = plane
        self._secret = f"/api/v1/namespaces/{served}/secrets/shop-redis"
        self._shop = f"/apis/pannier.dev/v1alpha1/namespaces/{served}/storebackends/shop"
        self._numbers = itertools.count()
        body = {"metadata": {"name": "shop-redis"}, "stringData": {"password": "p"}}
        plane.api.call("POST", self._secret.rpartition("/")[0], body)

    def go_on(self) -> None:
        number = next(self._numbers)
        if number % 40 == 0:
            label = "true" if number % 80 else None
            body = {"metadata": {"labels": {"pannier.dev/credentials": label}}}
            self._plane.api.call("PATCH", self._secret, body, content_type=MERGE)
        # So that a status is written to a resource that was edited a moment before.
        edited = {"metadata": {"annotations": {"number": str(number)}}}
        self._plane.api.call("PATCH", self._shop, edited, content_type=MERGE)


def dial(port: int, token: str) -> int:
    """The status a sidecar's handshake is answered with; the stream is cut then."""
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    headers: dict[str, Any] = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "Sec-WebSocket-Protocol": SUBPROTOCOL, "Authorization": f"Bearer {token}",
    }  # fmt: skip
    try:
        connection.request("GET", PATH, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0  # not listening yet
    finally:
        connection.close()


def is_there(plane: ControlPlane, path: str) -> bool:
    try:
        plane.api.call("GET", path)
    except ApiError:
        return False
    return True
