"""A real Redis Cluster with TLS, whose CA and certificates are rotated under a sidecar's load."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_config_reload import Client, Load, document, store, write
from tests.real.certificates import Certificates, make_certificates
from tests.real.redis import RedisServer, until
from tests.real.redis_cluster import Cluster, redis_cluster_of
from tests.real.sidecar import Sidecar, sidecar

REFS = {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the cluster and the sidecar start with."""
    return make_certificates(tmp_path_factory.mktemp("first"), "first-ca")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What everything is rotated to: another CA, other certificates."""
    return make_certificates(tmp_path_factory.mktemp("second"), "second-ca")


@pytest.fixture
def cluster(tmp_path: Path, first: Certificates) -> Iterator[Cluster]:
    """Three masters that want a client's certificate, and speak TLS among themselves too."""
    place = tmp_path / "cluster"
    place.mkdir()
    with redis_cluster_of(
        place, "--appendonly", "no", "--tls-auth-clients", "yes",
        replicas=False, certificates=first,
    ) as running:  # fmt: skip
        yield running


class Secrets:
    """A directory of secrets whose every change is one swap of a link, as Kubernetes makes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._states = 0
        directory.mkdir()
        (directory / "redis-tls").symlink_to("..data/redis-tls")

    def put(self, ca: str, held: Certificates) -> None:
        """From now on `ca` is trusted and the client's certificate is that of `held`."""
        self._states += 1
        state = self.directory / f"..state-{self._states}"
        (state / "redis-tls").mkdir(parents=True)
        for key, text in (
            ("ca.crt", ca),
            ("tls.crt", held.client_cert.read_text()),
            ("tls.key", held.client_key.read_text()),
        ):
            (state / "redis-tls" / key).write_text(text)
        fresh = self.directory / "..fresh"
        fresh.symlink_to(state.name)
        fresh.rename(self.directory / "..data")


def on_cluster(cluster: Cluster, name: str = "redis.test") -> str:
    """The document of a store on the cluster, whose servers must have the certificate's `name`."""
    refs = [f"{name}SecretRef: {{name: redis-tls, key: {key}}}" for name, key in REFS.items()]
    nodes = ", ".join(f'"{address}"' for address in cluster.addresses)
    where = f"cluster: {{nodes: [{nodes}]}}, hashBuckets: 16"
    return document(f"{where}, tls: {{{', '.join(refs)}, serverName: {name}}}")


def ours(cluster: Cluster) -> set[tuple[int, str]]:
    """The sidecar's connections, as the nodes see them: port and id."""
    return {
        (node.port, client["id"])
        for node in cluster.nodes
        for client in node.client().client_list()
        if client["name"] == "pannier"
    }


def taken(running: Sidecar, cluster: Cluster, before: set[tuple[int, str]], what: str) -> None:
    """Return once the changed secrets serve: nothing is refused, no connection is of before."""
    until(lambda: not (before & ours(cluster)), f"{what}: old connections are closed", 30)
    found = store(running)
    assert (found["state"], found["error"]) == ("ready", None)


def serve(cluster: Cluster, ca: Path, held: Certificates) -> None:
    """Have the nodes present the certificate of `held` from now on, and trust `ca`."""
    for node in cluster.nodes:
        node.call(
            "CONFIG", "SET", "tls-cert-file", str(held.server_cert),
            "tls-key-file", str(held.server_key), "tls-ca-cert-file", str(ca),
        )  # fmt: skip


def presented(node: RedisServer, client: Certificates, ca: str) -> bytes:
    """The certificate a node shows to a new connection that has the client's of `client`."""
    context = ssl.create_default_context(cadata=ca)
    context.load_cert_chain(client.client_cert, client.client_key)
    with (
        socket.create_connection(("127.0.0.1", node.tls_port), 10) as bare,
        context.wrap_socket(bare, server_hostname="redis.test") as dialed,
    ):
        dialed.sendall(b"PING\r\n")
        if dialed.recv(64) != b"+PONG\r\n":
            raise ConnectionError("the node does not serve this client")
        return dialed.getpeercert(binary_form=True) or b""


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


@pytest.mark.timeout(300)
def test_a_rotation_of_every_certificate_under_load_fails_no_request(
    tmp_path: Path, cluster: Cluster, first: Certificates, second: Certificates
) -> None:
    """As one rotates: trust both CAs, then change servers and clients, then trust the new alone."""
    old, new = first.ca.read_text(), second.ca.read_text()
    both = tmp_path / "both.crt"
    both.write_text(old + new)
    secrets = Secrets(tmp_path / "secrets")
    secrets.put(old, first)
    file = tmp_path / "stores.yaml"
    write(file, on_cluster(cluster))
    options = ("--config", str(file), "--secrets-dir", str(secrets.directory))
    with sidecar(tmp_path, *options) as running:
        with Load(running.port).running() as load:
            until(lambda: load.requests > 200 or load.wrong, "the load runs", 30)
            assert len({port for port, _ in ours(cluster)}) == 3, "every master is used"

            serve(cluster, both, first)
            before = ours(cluster)
            secrets.put(old + new, first)
            taken(running, cluster, before, "both CAs are trusted")

            serve(cluster, both, second)
            for node in cluster.nodes:
                assert presented(node, first, new) == der(second.server_cert)

            before = ours(cluster)
            secrets.put(old + new, second)
            taken(running, cluster, before, "the client's certificate is the new one")

            serve(cluster, second.ca, second)
            for node in cluster.nodes:
                with pytest.raises(OSError):
                    presented(node, first, new)  # the old client is nobody any more
            before = ours(cluster)
            secrets.put(new, second)
            taken(running, cluster, before, "the new CA alone is trusted")
            served = load.requests
            until(lambda: load.requests > served + 200 or load.wrong, "the load goes on", 30)
        assert not load.wrong
        # What dials now has nothing but the new certificates, on either side.
        before = ours(cluster)
        for node in cluster.nodes:
            node.client().client_kill_filter(_type="normal", skipme=True)
        until(lambda: not (before & ours(cluster)), "they are killed")
        with Client(running.port) as client:
            for number in range(50):
                code, _ = client.call("PUT", f"/v1/shop/Load/after-{number}", "1")
                assert code == 201
        assert cluster.is_well()
        assert "PRIVATE" not in running.log.read_text()


@pytest.mark.timeout(300)
def test_what_cannot_be_trusted_is_pending_while_the_old_serves(
    tmp_path: Path, cluster: Cluster, first: Certificates, second: Certificates
) -> None:
    old = first.ca.read_text()
    secrets = Secrets(tmp_path / "secrets")
    secrets.put(old, first)
    file = tmp_path / "stores.yaml"
    write(file, on_cluster(cluster))
    options = ("--config", str(file), "--secrets-dir", str(secrets.directory))
    with sidecar(tmp_path, *options) as running, Load(running.port).running() as load:

        def is_said(word: str, what: str) -> None:
            until(lambda: word in (store(running)["error"] or ""), f"{what} is told", 30)
            assert store(running)["state"] == "ready"

        def is_mended() -> None:
            secrets.put(old, first)
            until(lambda: store(running)["error"] is None, "the right ones are taken", 30)

        secrets.put(first.other_ca.read_text(), first)
        is_said("verify failed", "a foreign CA")
        is_said("pending", "a foreign CA")
        is_mended()
        secrets.put(first.expired_ca.read_text(), first)
        is_said("expired", "an expired CA")
        is_said("pending", "an expired CA")
        is_mended()
        secrets.put(old, second)
        is_said("pending", "a client's certificate that the nodes do not know")
        is_mended()
        secrets.put("no certificate", first)
        is_said("TLS CA", "no CA at all")
        is_mended()
        write(file, on_cluster(cluster, "other.test"))
        is_said("pending", "a name that no node has")
        write(file, on_cluster(cluster))
        until(lambda: store(running)["error"] is None, "the right name is taken", 30)
        served = load.requests
        until(lambda: load.requests > served + 100 or load.wrong, "the load goes on", 30)
    assert not load.wrong
    assert "PRIVATE" not in running.log.read_text()
