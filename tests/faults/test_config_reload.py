"""Reloads of a real sidecar on a real Redis: under load, with bad files, with servers away."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.real.certificates import Certificates
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar

RELOADS = 1_000


def document(fields: str, spec: str = "", name: str = "shop") -> str:
    return f"""\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: {name}}}
spec: {{type: redis, redis: {{{fields}}}{spec}}}
"""


def secret(user: str) -> str:
    return f"username: {user}, passwordSecretRef: {{name: {user}, key: password}}"


def write(path: Path, text: str) -> None:
    """Replace a file in one step."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text)
    fresh.rename(path)


class Client:
    """One client's connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        self.send(method, path, body)
        return self.answer()

    def send(self, method: str, path: str, body: str | None = None) -> None:
        self._connection.request(method, path, body)

    def answer(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()
        return response.status, response.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def status(running: Sidecar) -> Any:
    """What the admin port says."""
    with Client(running.admin_port) as client:
        return json.loads(client.call("GET", "/v1/status")[1])


def store(running: Sidecar, name: str = "shop") -> Any:
    """What the admin port says of one store; None where there is none."""
    stores = {each["name"]: each for each in status(running)["stores"]}
    return stores.get(name)


class Load:
    """Threads that write and read records of their own, and keep every answer that is wrong."""

    def __init__(self, port: int) -> None:
        self.wrong: list[Any] = []
        self.requests = 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(each,)) for each in range(3)]

    def _work(self, mine: int) -> None:
        with Client(self._port) as client:
            self._write_and_read(client, mine)

    def _write_and_read(self, client: Client, mine: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            path = f"/v1/shop/Load/{mine}-{number % 50}"
            body = json.dumps({"n": number})
            for method, sent, expected in (
                ("PUT", body, (201, 204)),
                ("GET", None, (200,)),
                ("GET", None, (200,)),
            ):
                try:
                    code, answer = client.call(method, path, sent)
                except (OSError, http.client.HTTPException) as error:
                    self.wrong.append((method, path, repr(error)))
                    return
                self.requests += 1
                if code not in expected or (method == "GET" and answer.decode() != body):
                    self.wrong.append((method, path, code, answer))
            if number % 40 == 0:
                code, answer = client.call("GET", "/v1/shop/Load:count")
                if code != 200:
                    self.wrong.append(("count", code, answer))

    @contextmanager
    def running(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


@pytest.mark.timeout(300)
def test_a_thousand_reloads_under_load_fail_no_request(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    """Every other reload rebuilds the store with another login; the others resize it in place."""
    server = own_redis()
    for user in ("one", "two"):
        server.call("ACL", "SETUSER", user, "on", f">{user}-password", "~*", "&*", "+@all")
        (tmp_path / user).mkdir()
        (tmp_path / user / "password").write_text(f"{user}-password\n")
    file = tmp_path / "stores.yaml"

    def configure(number: int) -> str:
        user = ("one", "two")[number // 2 % 2]
        pool = f"pool: {{maxConnections: {2 + number % 7}, minIdle: {number % 3}}}"
        timeout = f"requestTimeout: {5_000 + number}ms"
        where = f"host: 127.0.0.1, port: {server.port}, {secret(user)}"
        write(file, document(where, f", {pool}, {timeout}"))
        return user

    configure(0)
    options = ("--config", str(file), "--secrets-dir", str(tmp_path), "--log-level", "warning")
    with (
        sidecar(tmp_path, *options) as running,
        Load(running.port).running() as load,
        Client(running.admin_port) as admin,
    ):
        version = status(running)["config"]["version"]
        for number in range(1, RELOADS + 1):
            user = configure(number)
            running.process.send_signal(signal.SIGHUP)
            before = version
            while version == before:
                version = json.loads(admin.call("GET", "/v1/status")[1])["config"]["version"]
            if number % 50 == 0:
                # Now and then the reload is waited for to its end: the old login is gone.
                until(lambda: logins(server) == {user}, f"only {user} is logged in")  # noqa: B023
            assert not load.wrong
        assert load.requests > 300
        found = store(running)
        assert (found["state"], found["error"]) == ("ready", None)
        until(lambda: logins(server) == {user}, "old backends are closed")
        assert len(clients(server)) <= found["pool"]["max"]
    assert not load.wrong
    assert "password" not in running.log.read_text()


def clients(server: RedisServer) -> list[dict[str, str]]:
    """The server's clients that are the sidecar's."""
    found = server.call("CLIENT", "LIST")
    text = found.decode() if isinstance(found, bytes) else found
    if not isinstance(text, str):
        return [each for each in text if each["user"] != "default"]
    rows = [dict(word.split("=", 1) for word in line.split()) for line in text.splitlines()]
    return [row for row in rows if row["user"] != "default"]


def logins(server: RedisServer) -> set[str]:
    return {client["user"] for client in clients(server)}


def test_a_rotated_password_drops_no_request(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    """The server takes both passwords for a while, then the new one alone, as one rotates."""
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", ">first", "~*", "&*", "+@all")
    password = tmp_path / "shop" / "password"
    password.parent.mkdir()
    password.write_text("first")
    file = tmp_path / "stores.yaml"
    write(file, document(f"host: 127.0.0.1, port: {server.port}, {secret('shop')}"))
    options = ("--config", str(file), "--secrets-dir", str(tmp_path))
    with sidecar(tmp_path, *options) as running, Load(running.port).running() as load:
        version = status(running)["config"]["version"]
        old = {client["id"] for client in clients(server)}
        server.call("ACL", "SETUSER", "shop", ">second")
        write(password, "second")
        until(lambda: status(running)["config"]["version"] != version, "the secret is applied")
        until(lambda: not old & {each["id"] for each in clients(server)}, "old ones are closed")
        server.call("ACL", "SETUSER", "shop", "<first")
        until(lambda: load.requests > 2_000 or load.wrong, "the load goes on", 30)
        assert store(running)["state"] == "ready"
    assert not load.wrong


def test_an_unreachable_change_is_pending_and_taken_when_its_server_is_there(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    first, second = own_redis(), own_redis()
    second.kill()
    file = tmp_path / "stores.yaml"
    write(file, document(f"host: 127.0.0.1, port: {first.port}"))
    with sidecar(tmp_path, "--config", str(file)) as running:
        with Load(running.port).running() as load:
            write(file, document(f"host: 127.0.0.1, port: {second.port}"))
            until(lambda: "pending" in (store(running)["error"] or ""), "the change is pending")
            assert store(running)["state"] == "ready"
        assert not load.wrong
        second.start()
        until(lambda: store(running)["error"] is None, "the change is applied")
        with Client(running.port) as client:
            assert client.call("PUT", "/v1/shop/Cart/1", "1")[0] == 201
        assert second.call("HGET", "pannier:Cart", "1") == b"1"


def test_a_first_server_that_is_away_is_found_when_it_comes(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.kill()
    file = tmp_path / "stores.yaml"
    write(file, document(f"host: 127.0.0.1, port: {server.port}"))
    with sidecar(tmp_path, "--config", str(file), wait=False) as running:
        until(lambda: answers(running), "the sidecar listens", 20)
        until(lambda: store(running)["state"] == "unavailable", "it is told to be away")
        with Client(running.port) as client:
            code, answer = client.call("PUT", "/v1/shop/Cart/1", "1")
            assert (code, json.loads(answer)["code"]) == (503, "backend-unavailable")
            server.start()
            until(lambda: store(running)["state"] == "ready", "it is found")
            assert store(running)["error"] is None
            assert client.call("PUT", "/v1/shop/Cart/1", "1")[0] == 201


def answers(running: Sidecar) -> bool:
    try:
        status(running)
    except OSError:
        return False
    return True


def test_the_state_follows_a_server_that_is_killed_and_started(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    file = tmp_path / "stores.yaml"
    write(file, document(f"host: 127.0.0.1, port: {server.port}"))
    with sidecar(tmp_path, "--config", str(file)) as running:
        server.kill()
        until(lambda: store(running)["state"] == "unavailable", "its loss is seen without load")
        server.start()
        until(lambda: store(running)["state"] == "ready", "its return is seen")


def test_a_bad_document_under_load_disturbs_neither_its_store_nor_another(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    where = f"host: 127.0.0.1, port: {server.port}"
    file = tmp_path / "stores.yaml"
    good = document(where)
    other = document(f'{where}, keyPrefix: "other:"', name="other")
    bad = {
        "unknown field": good.replace("host:", "hots:"),
        "wrong unit": document(where, ", requestTimeout: 5seconds"),
        "two of one name": good + "---\n" + good,
        "missing secret": document(f"{where}, {secret('nobody')}"),
        "other prefix": document(f'{where}, keyPrefix: "x:"'),
        "other buckets": document(f"{where}, hashBuckets: 4"),
        "not YAML": good + "\n  - [",
    }
    write(file, good + "---\n" + other)
    options = ("--config", str(file), "--secrets-dir", str(tmp_path))
    with sidecar(tmp_path, *options) as running, Load(running.port).running() as load:
        for name, text in bad.items():
            write(file, text + "---\n" + other)
            until(
                lambda: store(running)["error"] or status(running)["config"]["error"],
                f"{name} is told",
            )
            assert store(running)["state"] == "ready"
            assert (store(running, "other")["state"], store(running, "other")["error"]) == (
                "ready",
                None,
            )
            write(file, good + "---\n" + other)
            until(
                lambda: not (store(running)["error"] or status(running)["config"]["error"]),
                f"{name} is mended",
            )
        file.unlink()
        until(lambda: status(running)["config"]["error"], "the missing file is told")
        assert store(running)["state"] == "ready"
    assert not load.wrong


def test_tls_material_comes_from_secrets_and_a_wrong_ca_is_never_trusted(
    tmp_path: Path, own_redis: Callable[..., RedisServer], certificates: Certificates
) -> None:
    """A rotation to a CA that signed nothing here stays pending; the trusted one goes on."""
    server = own_redis("--tls-auth-clients", "yes", certificates=certificates)
    held = tmp_path / "redis-tls"
    held.mkdir()
    for key, path in (
        ("ca.crt", certificates.ca),
        ("tls.crt", certificates.client_cert),
        ("tls.key", certificates.client_key),
    ):
        (held / key).write_bytes(path.read_bytes())
    refs = {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}
    tls = ", ".join(
        f"{name}SecretRef: {{name: redis-tls, key: {key}}}" for name, key in refs.items()
    )
    file = tmp_path / "stores.yaml"
    where = f"host: 127.0.0.1, port: {server.tls_port}"
    write(file, document(f"{where}, tls: {{{tls}, serverName: redis.test}}"))
    options = ("--config", str(file), "--secrets-dir", str(tmp_path))
    with sidecar(tmp_path, *options) as running, Load(running.port).running() as load:
        write(held / "ca.crt", certificates.other_ca.read_text())
        until(lambda: "pending" in (store(running)["error"] or ""), "the wrong CA is pending")
        assert store(running)["state"] == "ready"
        write(held / "ca.crt", "no certificate")
        until(lambda: "TLS CA" in (store(running)["error"] or ""), "no CA at all is told")
        write(held / "ca.crt", certificates.ca.read_text())
        until(lambda: store(running)["error"] is None, "the right CA is taken")
    assert not load.wrong
    assert "PRIVATE" not in running.log.read_text()
