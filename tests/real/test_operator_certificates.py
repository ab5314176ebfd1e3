"""The operator's CA at a real API server: one for all replicas, known wherever it is needed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from pannier_operator.certificates.issuing import CA_DAYS, read_certificates
from pannier_operator.certificates.keeping import Certificates
from pannier_operator.certificates.planning import FOLLOW_BEFORE, KNOWN_BEFORE
from pannier_operator.certificates.secret import NAME as SECRET
from pannier_operator.certificates.secret import authorities_of
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator_api import api_client, until

NAMES = ("pannier-stream.pannier-system.svc", "127.0.0.1")


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with api_client(control_plane) as made:
        yield made


class Operator:
    """One replica's certificates, and a clock that a test moves."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        served: Iterable[str],
        leads: bool,
        ahead: timedelta,
        watched: Sequence[str] = (),
    ) -> None:
        self.leads = leads
        self.served = set(served)
        self.ahead = ahead
        self.certificates = Certificates(
            client,
            namespace=namespace,
            names=NAMES,
            may_write=lambda: self.leads,
            served=lambda: self.served,
            watched=watched,
            look_every=0.3,
            wall=lambda: datetime.now(UTC) + self.ahead,
        )
        self.task = asyncio.create_task(self.certificates.run())

    async def close(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def served_serial(self) -> int:
        """The serial number in a handshake with a client that trusts the bundle, as sidecars do."""
        server = await asyncio.start_server(
            lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=self.certificates.context
        )
        trusting = ssl.create_default_context(cadata=self.certificates.bundle)
        port = server.sockets[0].getsockname()[1]
        async with server:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            shown = writer.get_extra_info("peercert")
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
        return int(shown["serialNumber"], 16)


Start = Callable[..., Operator]


@pytest.fixture
async def start(client: ApiClient, namespace: str) -> AsyncIterator[Start]:
    started: list[Operator] = []

    def make(*served: str, leads: bool = True, ahead: timedelta = timedelta()) -> Operator:
        started.append(Operator(client, namespace, served, leads, ahead))
        return started[-1]

    yield make
    for each in started:
        await each.close()


class Cluster:
    """What an administrator sees, and does to it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"

    def secret(self) -> dict[str, Any] | None:
        return self._read(f"{self.secrets}/{SECRET}")

    def authorities(self) -> Any:
        found = self.secret()
        return authorities_of(found["data"]) if found else None

    def set_secret(self, data: dict[str, str]) -> None:
        """Merge these entries (as text) into the Secret."""
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        self._patch(f"{self.secrets}/{SECRET}", {"data": encoded})

    def delete_secret(self) -> None:
        self.plane.api.call("DELETE", f"{self.secrets}/{SECRET}")

    def known(self, namespace: str) -> str | None:
        """The CAs that the sidecars of a namespace are told to trust."""
        found = self._read(self._config_map(namespace))
        return str(found["data"]["ca.crt"]) if found and found.get("data") else None

    def version(self, namespace: str) -> str:
        return str(
            self.plane.api.call("GET", self._config_map(namespace))["metadata"]["resourceVersion"]
        )

    def spoil(self, namespace: str) -> None:
        self._patch(self._config_map(namespace), {"data": {"ca.crt": "spoiled"}})

    def delete_known(self, namespace: str) -> None:
        self.plane.api.call("DELETE", self._config_map(namespace))

    def _config_map(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/configmaps/pannier-ca"

    def _patch(self, path: str, body: Any) -> None:
        self.plane.api.call("PATCH", path, body, content_type="application/merge-patch+json")

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            return dict(self.plane.api.call("GET", path))
        except ApiError as error:
            if error.status != 404:
                raise
            return None


@pytest.fixture
def cluster(control_plane: ControlPlane, namespace: str) -> Cluster:
    return Cluster(control_plane, namespace)


async def test_replicas_that_start_at_once_make_one_ca(start: Start, cluster: Cluster) -> None:
    replicas = [start(leads=False) for _ in range(5)]
    await asyncio.gather(*(each.certificates.ready.wait() for each in replicas))
    held = cluster.authorities()
    assert {each.certificates.bundle for each in replicas} == {held.bundle()}
    assert len({await each.served_serial() for each in replicas}) == 5, "a leaf of its own each"
    assert list(replicas[0].certificates.reasons()) == []


async def test_it_is_not_taken_for_a_credential(start: Start, cluster: Cluster) -> None:
    await start().certificates.ready.wait()
    secret = cluster.secret()
    assert secret is not None
    assert secret["type"] == "Opaque"
    assert "pannier.dev/credentials" not in secret["metadata"]["labels"]


async def test_served_namespaces_know_the_ca_and_others_are_left_alone(
    start: Start, cluster: Cluster, control_plane: ControlPlane
) -> None:
    served, later, other = (control_plane.namespace() for _ in range(3))
    operator = start(served)
    await until(lambda: cluster.known(served) is not None)
    assert cluster.known(served) == operator.certificates.bundle
    operator.served.add(later)
    operator.certificates.changed()
    await until(lambda: cluster.known(later) == operator.certificates.bundle)
    operator.served.remove(served)
    cluster.spoil(served)
    cluster.spoil(later)
    await until(lambda: cluster.known(later) == operator.certificates.bundle)
    assert cluster.known(served) == "spoiled", "it is served no more"
    assert cluster.known(other) is None


async def test_what_is_edited_or_deleted_is_put_right_and_what_is_right_is_not_touched(
    start: Start, cluster: Cluster, control_plane: ControlPlane
) -> None:
    quiet, edited, deleted = (control_plane.namespace() for _ in range(3))
    operator = start(quiet, edited, deleted)
    await until(lambda: all(cluster.known(each) for each in (quiet, edited, deleted)))
    version = cluster.version(quiet)
    cluster.spoil(edited)
    cluster.delete_known(deleted)
    for namespace in (edited, deleted):
        await until(lambda name=namespace: cluster.known(name) == operator.certificates.bundle)
    assert cluster.version(quiet) == version


async def test_only_the_leader_publishes(
    start: Start, cluster: Cluster, control_plane: ControlPlane
) -> None:
    served = control_plane.namespace()
    follower = start(served, leads=False)
    await follower.certificates.ready.wait()
    leader = start(served)
    await until(lambda: cluster.known(served) == leader.certificates.bundle)
    leader.leads = False
    cluster.spoil(served)
    for each in (follower, leader):
        await turn(each)
    assert cluster.known(served) == "spoiled"
    follower.leads = True
    await until(lambda: cluster.known(served) == leader.certificates.bundle)


async def turn(operator: Operator) -> None:
    """One whole look of that operator at everything, from its beginning."""
    await operator.close()
    await operator.certificates._turn()
    operator.task = asyncio.create_task(operator.certificates.run())


async def test_a_namespace_that_goes_is_no_error(
    start: Start,
    cluster: Cluster,
    control_plane: ControlPlane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone, stays = control_plane.namespace(), control_plane.namespace()
    # A finalizer holds it in its going.
    hold = {"metadata": {"finalizers": ["pannier.test/hold"]}}
    held = {"apiVersion": "v1", "kind": "ConfigMap", **hold}
    held["metadata"]["name"] = "holds"
    maps = f"/api/v1/namespaces/{gone}/configmaps"
    control_plane.api.call("POST", maps, held)
    control_plane.api.call("DELETE", f"/api/v1/namespaces/{gone}")
    operator = start(gone, "never-was", stays)
    await until(lambda: cluster.known(stays) == operator.certificates.bundle)
    await turn(operator)
    assert cluster.known(gone) is None
    assert "could not be" not in caplog.text
    control_plane.api.call(
        "PATCH",
        f"{maps}/holds",
        {"metadata": {"finalizers": []}},
        content_type="application/merge-patch+json",
    )


async def test_a_deleted_secret_is_written_again_with_the_same_ca(
    start: Start, cluster: Cluster
) -> None:
    operator = start()
    await operator.certificates.ready.wait()
    bundle = operator.certificates.bundle
    cluster.delete_secret()
    await until(lambda: cluster.secret() is not None)
    assert cluster.authorities().bundle() == bundle


async def test_a_secret_that_cannot_be_read_is_not_overwritten_and_the_old_ca_serves_on(
    start: Start, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    await first.certificates.ready.wait()
    serial = await first.served_serial()
    key = first.certificates._authorities.current.key_pem()  # type: ignore[union-attr]
    cluster.set_secret({"ca.crt": "spoiled"})
    await until(lambda: "holds no CA that can be used" in caplog.text)
    assert await first.served_serial() == serial
    assert list(first.certificates.reasons()) == []
    second = start()
    await until(lambda: any("ca.crt" in each for each in second.certificates.reasons()))
    (reason,) = second.certificates.reasons()
    assert f"/{SECRET} holds no CA" in reason and "backup" in reason
    assert not second.certificates.ready.is_set()
    secret = cluster.secret()
    assert secret is not None
    assert base64.b64decode(secret["data"]["ca.crt"]) == b"spoiled"
    cluster.delete_secret()  # As it says.
    await second.certificates.ready.wait()
    for line in key.splitlines()[1:-1]:
        assert line not in caplog.text


async def test_a_ca_is_followed_by_another_and_no_client_ever_fails(
    start: Start, cluster: Cluster, control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    served = control_plane.namespace()
    # It begins so long ago that it ends about now, when the last client looks.
    began = timedelta(days=-CA_DAYS - 96) + FOLLOW_BEFORE
    leader, follower = start(served, ahead=began), start(served, leads=False, ahead=began)
    await until(lambda: cluster.known(served) is not None)
    await follower.certificates.ready.wait()
    first = cluster.authorities()
    first_bundle = leader.certificates.bundle

    def move(to: datetime) -> None:
        leader.ahead = follower.ahead = to - datetime.now(UTC) + timedelta(minutes=1)

    # A leaf is renewed by each on its own.
    leaves = [each.certificates._leaf for each in (leader, follower)]
    move(datetime.now(UTC) + began + timedelta(days=61))
    for each in (leader, follower):
        await turn(each)
        assert each.certificates._leaf not in leaves
    assert cluster.authorities() == first

    # The one that follows is published, and signs nothing yet.
    move(first.current.ends_at - FOLLOW_BEFORE)
    await until(lambda: cluster.authorities().published is not None)
    both = cluster.authorities()
    assert both.current == first.current
    assert cluster.known(served) == both.bundle()
    assert first_bundle in both.bundle()
    for each in (leader, follower):
        await turn(each)
    assert cluster.authorities().current == first.current

    # A day later it signs, for both replicas; the old one is known still.
    move(both.published + KNOWN_BEFORE)
    await until(lambda: cluster.authorities().current == both.following)
    for each in (leader, follower):
        await turn(each)
        assert each.certificates._leaf is not None
        assert each.certificates._leaf.issuer == both.following.certificate
    assert cluster.known(served) == both.bundle()

    # And when all that it signed has ended, it is forgotten.
    move(both.published + KNOWN_BEFORE + timedelta(days=95))
    await until(lambda: len(read_certificates((cluster.known(served) or "").encode())) == 1)
    for each in (leader, follower):
        await turn(each)
        assert await each.served_serial()
    assert "PRIVATE" not in caplog.text


async def test_the_api_server_may_be_away_while_it_serves(
    start: Start, cluster: Cluster, control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    operator = start()
    await operator.certificates.ready.wait()
    control_plane.kill()
    try:
        await until(lambda: "could not be read or written" in caplog.text)
        assert await operator.served_serial()
    finally:
        control_plane.start()
    cluster.delete_secret()
    await until(lambda: cluster.secret() is not None, what="it goes on when it is back")


@pytest.mark.parametrize("clusterwide", [True, False])
async def test_the_chart_gives_the_rights_for_it(
    control_plane: ControlPlane, namespace: str, clusterwide: bool
) -> None:
    served = control_plane.namespace()
    watched = () if clusterwide else (served,)
    kubeconfig = install_operator_rbac(control_plane, namespace, watch=watched)
    cluster = Cluster(control_plane, namespace)
    async with api_client(control_plane, kubeconfig) as client:
        operator = Operator(client, namespace, [served], True, timedelta(), watched=watched)
        try:
            await until(lambda: cluster.known(served) is not None)
            assert cluster.known(served) == operator.certificates.bundle
            cluster.spoil(served)
            await until(lambda: cluster.known(served) == operator.certificates.bundle)
            operator.ahead = timedelta(days=CA_DAYS) - FOLLOW_BEFORE
            await until(lambda: cluster.authorities().published is not None)
            operator.ahead += KNOWN_BEFORE + timedelta(minutes=1)
            await until(lambda: cluster.authorities().previous != ())
            assert cluster.authorities().following is None
        finally:
            await operator.close()
