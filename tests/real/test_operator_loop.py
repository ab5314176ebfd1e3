"""The whole loop as a user sees it: kubectl, the operator under the chart's rights, sidecars."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator
from tests.real.pods import READY_SECONDS, SidecarPod
from tests.real.processes import wait_until
from tests.real.programs import free_port
from tests.real.redis import RedisServer
from tests.real.storebackends import condition, wait_for_condition

_numbers = itertools.count()


class Team:
    """A namespace with a StoreBackend `shop` on a Redis user of its own, and its pods."""

    def __init__(
        self, plane: ControlPlane, operator: Operator, redis: RedisServer, home: Path
    ) -> None:
        self.plane = plane
        self.operator = operator
        self.redis = redis
        self.home = home
        self.namespace = plane.namespace(labels={"pannier.dev/inject": "enabled"})
        self.user = f"team-{next(_numbers)}"
        self.password = secrets.token_urlsafe(16)
        self.prefix = f"loop-{self.namespace}:"  # namespaces are named like `redis_prefix`
        redis.call(
            "ACL", "SETUSER", self.user, "on", f">{self.password}", f"~{self.prefix}*", "+@all"
        )
        self.pods: list[SidecarPod] = []

    def write_secret(
        self, password: str, *, labels: str = "{pannier.dev/credentials: 'true'}"
    ) -> None:
        self.plane.apply(
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: shop-redis, labels: {labels}}}\n"
            f"stringData: {{password: '{password}'}}\n",
            namespace=self.namespace,
        )

    def apply(self, **redis: Any) -> None:
        """Apply the StoreBackend, with other words for its Redis where they are given."""
        member = {
            "host": "127.0.0.1",
            "port": self.redis.port,
            "username": self.user,
            "passwordSecretRef": {"name": "shop-redis", "key": "password"},
            "keyPrefix": self.prefix,
        } | redis
        self.plane.apply(
            {
                "apiVersion": "pannier.dev/v1alpha1",
                "kind": "StoreBackend",
                "metadata": {"name": "shop"},
                "spec": {"type": "redis", "redis": member, "pool": {"maxConnections": 4}},
            },
            namespace=self.namespace,
        )

    def patch(self, spec: str) -> None:
        self.plane.kubectl(
            "patch", "sb", "shop", "-n", self.namespace, "--type=merge", "-p", f'{{"spec":{spec}}}'
        )

    def pod(self, *, service_account: str = "default") -> SidecarPod:
        """One more pod, its volumes projected, its sidecar not started yet."""
        published = f"/api/v1/namespaces/{self.namespace}/configmaps/pannier-ca"
        wait_until(lambda: self.plane.is_there(published), READY_SECONDS, "the CA is published")
        name = f"checkout-{len(self.pods)}"
        pod = SidecarPod(
            self.plane, self.home, self.namespace, name, service_account=service_account
        )
        self.pods.append(pod)
        pod.project()
        return pod

    def running_pod(self) -> SidecarPod:
        """One more pod whose sidecar serves the store."""
        pod = self.pod()
        pod.start(self.operator.url)
        return pod

    def until(self, kind: str, status: str, reason: str = "") -> dict[str, Any]:
        return wait_for_condition(self.plane, self.namespace, "shop", kind, status, reason)

    def synced(self, count: int) -> dict[str, Any]:
        """The resource, once `count` sidecars run its newest generation and it is Ready."""
        found: dict[str, Any] = {}

        def holds() -> bool:
            found.update(self.until("Ready", "True"))
            return bool(found["status"].get("synced") == f"{count}/{count}")

        wait_until(holds, READY_SECONDS, f"{count} sidecars are in sync")
        return found

    def end(self) -> None:
        for pod in self.pods:
            pod.stop()


@pytest.fixture(scope="module")
def operator(
    shared_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The operator of the whole cluster, under the chart's rights; who ends it restarts it."""
    plane = shared_control_plane
    own = plane.namespace()
    pod = Operator(
        plane, tmp_path_factory.mktemp("operator"), "--drain-spread", "1s",
        namespace=own, kubeconfig=install_operator_rbac(plane, own),
    )  # fmt: skip
    pod.start()
    yield pod
    if pod.pid:
        pod.stop()


@pytest.fixture
def team(
    control_plane: ControlPlane,
    operator: Operator,
    redis_server: RedisServer,
    tmp_path: Path,
) -> Iterator[Team]:
    """A namespace with its Secret; the StoreBackend is not applied yet."""
    made = Team(control_plane, operator, redis_server, tmp_path)
    made.write_secret(made.password)
    yield made
    made.end()


@contextlib.contextmanager
def no_request_fails(pod: SidecarPod) -> Iterator[Callable[[], int]]:
    """Put records one after the other until the block ends; gives how many were put."""
    ended, failed, done = threading.Event(), [], itertools.count()
    put = [0]

    def ask() -> None:
        while not ended.is_set():
            status, body = pod.call("PUT", f"/v1/shop/Cart/{next(done) % 100}", b'{"n":1}')
            if status not in (201, 204):
                failed.append((status, body))
            put[0] += 1

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        yield lambda: put[0]
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert not failed, f"{len(failed)} of {put[0]} failed, the first: {failed[0]}"
    assert put[0] > 0


def test_what_is_applied_is_served(team: Team) -> None:
    pod = team.pod()
    pod.start(team.operator.url, wait=False)
    team.apply()
    wait_until(
        lambda: pod.call("PUT", "/v1/shop/Cart/42", b'{"total":3}')[0] == 201,
        READY_SECONDS, "the first PUT answers 201",
    )  # fmt: skip
    found = team.synced(1)
    assert found["status"]["sidecars"]["connected"] == 1
    assert pod.status()["config"]["source"] == "stream"
    printed = team.plane.kubectl("get", "sb", "shop", "-n", team.namespace)
    assert printed.splitlines()[1].split()[:4] == ["shop", "redis", "True", "1/1"]
    assert "finalizers" not in found["metadata"]
    assert not [
        name for name in found["metadata"].get("annotations", {}) if "last-applied" not in name
    ]


def test_kubectl_waits_until_every_sidecar_serves_the_new_generation(team: Team) -> None:
    team.apply()
    pods = [team.running_pod() for _ in range(2)]
    team.synced(2)
    team.patch('{"pool":{"maxConnections":9}}')
    team.plane.kubectl(
        "wait", "--for=condition=Ready", "storebackend/shop", "-n", team.namespace,
        f"--timeout={READY_SECONDS:g}s",
    )  # fmt: skip
    assert [pod.store("shop")["pool"]["max"] for pod in pods] == [9, 9]  # type: ignore[index]


def test_an_edited_pool_is_in_force_without_a_dropped_request(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    with no_request_fails(pod):
        for most in (12, 1, 30, 2):
            team.patch(f'{{"pool":{{"maxConnections":{most}}}}}')
            wait_until(
                lambda most=most: pod.store("shop")["pool"]["max"] == most,  # type: ignore[misc,index]
                READY_SECONDS, f"the pool has {most} at most",
            )  # fmt: skip
    team.synced(1)


def test_a_secret_rotated_with_its_user_fails_no_request(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    before = team.synced(1)
    fresh = secrets.token_urlsafe(16)
    with no_request_fails(pod):
        version = pod.status()["config"]["version"]
        team.redis.call("ACL", "SETUSER", team.user, f">{fresh}")
        team.write_secret(fresh)
        wait_until(
            lambda: pod.status()["config"]["version"] != version,
            READY_SECONDS, "the sidecar has the rotated secret",
        )  # fmt: skip
        team.synced(1)
        team.redis.call("ACL", "SETUSER", team.user, "resetpass", f">{fresh}")
    after = team.until("Ready", "True")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    team.redis.call("CLIENT", "KILL", "USER", team.user)
    wait_until(
        lambda: pod.call("PUT", "/v1/shop/Cart/new", b"{}")[0] in (201, 204),
        READY_SECONDS, "the new password opens new connections",
    )  # fmt: skip


def test_a_broken_edit_leaves_the_old_store_serving_and_names_the_pod(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    with no_request_fails(pod):
        team.apply(port=free_port())

        def names_the_pod() -> bool:
            # At first it only has not answered yet.
            synced = condition(team.until("Ready", "False"), "Synced")
            return synced["status"] == "False" and pod.name in synced["message"]

        wait_until(names_the_pod, READY_SECONDS, "the status names the pod")
    found = team.until("Ready", "False")
    assert found["status"]["synced"] == "0/1"
    assert pod.store("shop")["state"] == "ready"  # type: ignore[index]
    team.apply()
    team.synced(1)


def test_what_a_sidecar_refuses_is_said_with_the_pod_and_its_code(
    team: Team, own_redis: Callable[..., RedisServer]
) -> None:
    other = own_redis()
    # Whoever wrote there before had three buckets: with one, its records would be hidden.
    other.client().hset(f"{team.prefix}:layout", mapping={"layout": 1, "buckets": 3})
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    other.call("ACL", "SETUSER", team.user, "on", f">{team.password}", "~*", "+@all")
    team.apply(port=other.port)
    found = team.until("Ready", "False")
    wait_until(
        lambda: bool(team.until("Ready", "False")["status"].get("rejections")),
        READY_SECONDS, "the rejection is listed",
    )  # fmt: skip
    [rejection] = team.until("Ready", "False")["status"]["rejections"]
    assert rejection["pod"] == pod.name
    assert rejection["code"]
    assert found["metadata"]["generation"] > 1
    assert pod.call("PUT", "/v1/shop/Cart/1", b"{}")[0] in (201, 204)


@pytest.mark.parametrize("fault", ["deleted", "unlabelled", "key missing"])
def test_a_secret_that_is_gone_leaves_the_old_store_serving(team: Team, fault: str) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    at = ("-n", team.namespace)
    with no_request_fails(pod):
        if fault == "deleted":
            team.plane.kubectl("delete", "secret", "shop-redis", *at)
            reason = "SecretNotFound"
        elif fault == "unlabelled":
            team.plane.kubectl("label", "secret", "shop-redis", "pannier.dev/credentials-", *at)
            reason = "SecretNotLabelled"
        else:
            patch = '{"data":{"password":null,"other":"eA=="}}'
            team.plane.kubectl("patch", "secret", "shop-redis", *at, "--type=merge", "-p", patch)
            reason = "SecretKeyMissing"
        found = team.until("Accepted", "False", reason)
        assert condition(found, "Ready")["status"] == "False"
    # A pod that comes now has nothing to serve: it says so, and serves nobody else's.
    late = team.pod()
    late.start(team.operator.url, wait=False)
    wait_until(
        lambda: late.call("GET", "/v1/shop/Cart/1")[0] in (404, 503),
        READY_SECONDS, "the late pod answers",
    )  # fmt: skip
    team.write_secret(team.password)
    team.synced(2)


def test_a_deleted_resource_is_drained_and_gone(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    assert pod.call("PUT", "/v1/shop/Cart/1", b"{}")[0] == 201
    team.plane.kubectl("delete", "sb", "shop", "-n", team.namespace, "--timeout=30s")
    wait_until(
        lambda: pod.call("GET", "/v1/shop/Cart/1")[0] == 404,
        READY_SECONDS, "the store is gone from the sidecar",
    )  # fmt: skip
    assert b"store-not-found" in pod.call("GET", "/v1/shop/Cart/1")[1]
    # What it kept is gone too: a restart without the operator does not bring the store back.
    team.apply()
    wait_until(lambda: pod.call("GET", "/v1/shop/Cart/1")[0] == 200, READY_SECONDS, "applied again")


def test_a_resource_made_again_with_another_type_is_served(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    # As fast as an API takes it, so that no push may lie between the two.
    path = f"/apis/pannier.dev/v1alpha1/namespaces/{team.namespace}/storebackends"
    again = {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"name": "shop"},
        "spec": {"type": "memory", "memory": {}},
    }
    team.plane.api.call("DELETE", f"{path}/shop")
    team.plane.api.call("POST", path, again)
    wait_until(
        lambda: (pod.store("shop") or {}).get("type") == "memory",
        READY_SECONDS, "the sidecar serves the new one",
    )  # fmt: skip
    team.synced(1)


def test_a_namespace_with_its_resource_can_be_deleted(team: Team) -> None:
    team.apply()
    team.until("Ready", "True")
    team.plane.kubectl("delete", "namespace", team.namespace, "--timeout=60s")


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_an_operator_that_ends_is_missed_by_nobody_and_comes_back_without_a_push(
    team: Team, end: str
) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    with no_request_fails(pod):
        if end == "SIGKILL":
            team.operator.kill()
        else:
            assert team.operator.stop() == 0
        wait_until(
            lambda: pod.metric("pannier_config_stream_connected") == 0,
            READY_SECONDS, "the sidecar notices",
        )  # fmt: skip
        version = pod.status()["config"]["version"]
        applied = pod.status()["config"]["appliedAt"]
        team.operator.start()
        wait_until(
            lambda: pod.metric("pannier_config_stream_connected") == 1,
            READY_SECONDS, "the sidecar has dialed again",
        )  # fmt: skip
        team.synced(1)
    assert pod.status()["config"]["version"] == version
    assert pod.status()["config"]["appliedAt"] == applied
    results = ("applied", "pending", "rejected", "timeout", "failed")
    pushes = [
        team.operator.metric(f'pannier_operator_pushes_total{{result="{result}"}}')
        for result in results
    ]
    assert pushes == [0] * len(results)


def test_a_container_restarted_while_the_operator_is_away_serves_its_last_good(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    assert pod.call("PUT", "/v1/shop/Cart/kept", b'{"n":7}')[0] == 201
    assert pod.last_good_file.stat().st_mode & 0o777 == 0o600
    team.operator.kill()
    try:
        pod.kill()
        pod.start(team.operator.url)
        assert pod.call("GET", "/v1/shop/Cart/kept") == (200, b'{"n":7}')
    finally:
        team.operator.start()
    team.synced(1)


def test_a_minute_without_the_api_server_changes_nothing(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    team.synced(1)
    with no_request_fails(pod):
        version = pod.status()["config"]["version"]
        team.plane.kill()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert pod.store("shop")["state"] == "ready"  # type: ignore[index]
            assert pod.status()["config"]["version"] == version
            assert team.operator.pid
            time.sleep(1)
        team.plane.start()
        team.patch('{"pool":{"maxConnections":6}}')
        wait_until(
            lambda: pod.store("shop")["pool"]["max"] == 6,  # type: ignore[index]
            READY_SECONDS, "edits reach the sidecar again",
        )  # fmt: skip
    team.synced(1)


def test_only_the_named_service_accounts_get_a_store(team: Team) -> None:
    team.plane.service_account(team.namespace, "checkout")
    team.apply()
    team.patch('{"serviceAccounts":["checkout"]}')
    stranger, named = team.pod(), team.pod(service_account="checkout")
    for pod in (stranger, named):
        pod.start(team.operator.url, wait=False)
    wait_until(
        lambda: named.call("PUT", "/v1/shop/Cart/1", b"{}")[0] == 201,
        READY_SECONDS, "the named account's pod serves it",
    )  # fmt: skip
    wait_until(
        lambda: stranger.call("PUT", "/v1/shop/Cart/1", b"{}")[0] == 404,
        READY_SECONDS, "the stranger has no such store",
    )  # fmt: skip
    assert team.synced(1)["status"]["sidecars"]["connected"] == 1


@pytest.mark.parametrize("fault", ["another audience", "garbage", "no token"])
def test_who_cannot_say_who_it_is_gets_nothing(team: Team, fault: str) -> None:
    team.apply()
    pod = team.pod()
    if fault == "another audience":
        pod.project(audience="somebody-else")
    elif fault == "garbage":
        pod.token_file.write_text("no.token.at-all")
    else:
        pod.token_file.unlink()
    token = pod.token_file.read_text() if pod.token_file.exists() else ""
    pod.start(team.operator.url, wait=False)
    assert pod.running is not None
    log = pod.running.log
    said = "token file" if fault == "no token" else "HTTP 401"
    wait_until(lambda: said in log.read_text(), READY_SECONDS, "the sidecar says why")
    assert pod.call("GET", "/v1/shop/Cart/1")[0] in (404, 503)
    assert not token or token not in log.read_text() + team.operator.log.read_text()
    pod.project()
    wait_until(
        lambda: pod.call("PUT", "/v1/shop/Cart/1", b"{}")[0] == 201,
        READY_SECONDS, "with a good token it is served",
    )  # fmt: skip


def test_no_credential_is_in_any_log_status_or_metric(team: Team) -> None:
    team.apply()
    pod = team.running_pod()
    found = team.synced(1)
    assert pod.running is not None
    seen = [
        pod.running.log.read_text(),
        team.operator.log.read_text(),
        str(pod.status()),
        str(found),
        team.operator.admin("/metrics")[1],
        team.plane.kubectl("get", "events", "-n", team.namespace, "-o", "yaml"),
    ]
    for text in seen:
        assert team.password not in text


def test_a_sidecar_that_stops_is_not_counted_as_lost(team: Team) -> None:
    team.apply()
    stopped, killed = team.running_pod(), team.running_pod()
    team.synced(2)
    assert stopped.running is not None
    assert stopped.running.stop(signal.SIGTERM) == 0
    killed.kill()
    wait_until(
        lambda: team.until("Ready", "True")["status"]["sidecars"].get("connected") == 0,
        READY_SECONDS, "both are gone",
    )  # fmt: skip
    found = team.until("Synced", "True", "NoSidecars")
    assert found["status"]["sidecars"]["lost"] == 1
