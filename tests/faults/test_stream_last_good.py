"""A sidecar's container restarted in its pod: it serves from what it kept, as long as it may.

The operator's end is scripted (`tests.real.stream_peer`).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pannier.config.stream.messages import Close
from tests.faults.test_config_reload import Client, Load, answers, status, store
from tests.real.certificates import Certificates
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar
from tests.real.stream_peer import WITHIN, Bearings, Peer, keep, peer, redis_entry


@pytest.fixture
def operator(certificates: Certificates) -> Iterator[Peer]:
    with peer(certificates) as running:
        yield running


@pytest.fixture
def bearings(tmp_path: Path, certificates: Certificates, operator: Peer) -> Bearings:
    return Bearings(tmp_path, certificates, operator.url)


def kept(bearings: Bearings) -> dict[str, object]:
    """What the file holds."""
    content: dict[str, object] = json.loads(bearings.last_good.read_bytes())
    return content


def problem(running: Sidecar, path: str = "/v1/shop/Cart/1") -> tuple[int, str]:
    """How a record is refused."""
    with Client(running.port) as client:
        code, body = client.call("GET", path)
    return code, json.loads(body)["code"]


def test_a_killed_sidecar_serves_at_once_though_the_operator_is_away(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer],
    certificates: Certificates,
) -> None:  # fmt: skip
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", ">password", "~*", "&*", "+@all")
    entry = redis_entry(server.port, secret=("shop", "password"))
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        operator.stream().push(entry, epoch=4)
        with Client(running.port) as client:
            assert client.call("PUT", "/v1/shop/Cart/1", "1")[0] == 201
        running.stop(signal.SIGKILL)
    operator.stop()
    with sidecar(tmp_path, *bearings.options) as running:
        with Client(running.port) as client:
            assert client.call("GET", "/v1/shop/Cart/1") == (200, b"1")
        config = status(running)["config"]
        assert (config["version"], config["source"]) == ("v1", "stream")
        operator.start(certificates.server_cert, certificates.server_key)
        running.process.send_signal(signal.SIGHUP)
        stream = operator.stream(1)
        assert stream.hello.version == "v1"
        until(lambda: stream.states, "the whole state is told", WITHIN)
        assert stream.states[0].stores["shop"].state in ("applied", "pending")
        until(lambda: stream.states[-1].stores["shop"].reachable, "it is settled", WITHIN)
        # The term is kept too: a deposed leader is not heard after the restart either.
        stream.send(version="old", epoch=3)
        assert stream.ended()[0] == Close.MALFORMED
        assert status(running)["config"]["version"] == "v1"
        assert "password" not in running.log.read_text()


def test_what_was_refused_or_kept_or_pending_is_not_what_is_restarted_with(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    server, away = own_redis(), own_redis()
    away.kill()
    names = ("bad", "held", "moved", "gone")
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        stream = operator.stream()
        stream.push(*(redis_entry(server.port, name) for name in names))
        answer = stream.push(
            redis_entry(server.port, "bad", type="tape"),
            keep("held"),
            redis_entry(away.port, "moved"),
            version="v2",
        )
        states = {name: report.state for name, report in answer.stores.items()}
        assert states == {"bad": "rejected", "moved": "pending"}
        running.stop(signal.SIGKILL)
    operator.stop()
    with sidecar(tmp_path, *bearings.options) as running, Client(running.port) as client:
        for name in ("bad", "held", "moved"):
            assert client.call("PUT", f"/v1/{name}/Cart/1", "1")[0] in (201, 204), name
        assert problem(running, "/v1/gone/Cart/1") == (404, "store-not-found")


def test_a_mixed_configuration_asks_for_a_push(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        stream = operator.stream()
        stream.push(redis_entry(server.port))
        stream.push(redis_entry(server.port, type="tape"), version="v2")
        stream.cut()
        assert operator.stream(1).hello.version == "v2"
        running.stop(signal.SIGKILL)
    with sidecar(tmp_path, *bearings.options) as running:
        again = operator.stream(2)
        assert again.hello.version is None
        again.push(redis_entry(server.port), version="v3")
        assert kept(bearings)["version"] == "v3"


def test_a_change_that_is_applied_late_is_kept_though_the_operator_is_away(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    first, second = own_redis(), own_redis()
    second.kill()
    with sidecar(tmp_path, *bearings.options, wait=False):
        stream = operator.stream()
        stream.push(redis_entry(first.port))
        stream.push(redis_entry(second.port), version="v2")
        assert kept(bearings)["whole"] is False
        operator.stop()
        second.start()
        until(lambda: kept(bearings)["whole"], "the change is kept", WITHIN)
        assert f'"port":{second.port}' in bearings.last_good.read_text()


def test_an_operator_that_refuses_the_sidecar_ends_what_is_kept_and_not_what_was_authorized(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        stream = operator.stream()
        stream.push(redis_entry(server.port))
        before = bearings.last_good.read_bytes()
        with Load(running.port).running() as load:
            operator.refusal = (401, {}, "the token has expired")
            stream.cut()
            until(lambda: not bearings.last_good.exists(), "the file is dropped", WITHIN)
            more = load.requests + 50
            until(lambda: load.requests > more or load.wrong, "the load goes on", WITHIN)
        assert not load.wrong
        assert "the token has expired" in running.log.read_text()
        # Taken back in, it keeps its configuration again.
        operator.refusal = None
        running.process.send_signal(signal.SIGHUP)
        operator.stream(1).push(redis_entry(server.port), version="v2")
        assert kept(bearings)["version"] == "v2"
        running.stop(signal.SIGKILL)
    bearings.last_good.write_bytes(before)
    operator.refusal = (403, {}, "another namespace")
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        until(lambda: answers(running), "it listens", WITHIN)
        until(lambda: store(running) is None, "what was kept is served no more", WITHIN)
        assert problem(running) == (503, "not-ready")
        assert not bearings.last_good.exists()
        assert "another namespace: what was kept is dropped" in running.log.read_text()


def test_a_stream_closed_as_unauthorized_ends_what_is_kept(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        stream = operator.stream()
        stream.push(redis_entry(server.port))
        stream.close(Close.UNAUTHORIZED, "the pod is gone")
        until(lambda: not bearings.last_good.exists(), "the file is dropped", WITHIN)
        assert store(running)["state"] == "ready"


@pytest.mark.parametrize("refusal", [(503, "later"), (500, "a fault"), (404, "no such path")])
def test_an_operator_that_cannot_tell_ends_nothing(
    refusal: tuple[int, str], tmp_path: Path, bearings: Bearings, operator: Peer,
    own_redis: Callable[..., RedisServer],
) -> None:  # fmt: skip
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        operator.stream().push(redis_entry(server.port))
        running.stop(signal.SIGKILL)
    code, text = refusal
    operator.refusal = (code, {}, text)
    with sidecar(tmp_path, *bearings.options) as running:
        until(lambda: f"HTTP {code}: {text}" in running.log.read_text(), "it is told", WITHIN)
        assert store(running)["state"] == "ready"
        assert bearings.last_good.exists()


def test_what_is_kept_is_served_no_longer_than_it_may(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    """It ends while it is served; and it is not begun with at all where it is too old."""
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        operator.stream().push(redis_entry(server.port))
        running.stop(signal.SIGKILL)
    content = bearings.last_good.read_bytes()
    operator.stop()
    age = ("--last-good-max-age", "8s")
    with sidecar(tmp_path, *bearings.options, *age, wait=False) as running:
        until(lambda: answers(running), "it listens", WITHIN)
        assert store(running) is not None
        until(lambda: store(running) is None, "it is served no more", 60)
        assert problem(running) == (503, "not-ready")
        assert not bearings.last_good.exists()
        assert "--last-good-max-age" in running.log.read_text()
    bearings.last_good.write_bytes(content)
    bearings.last_good.chmod(0o600)
    with sidecar(tmp_path, *bearings.options, *age, wait=False) as running:
        until(lambda: answers(running), "it listens", WITHIN)
        assert store(running) is None
        assert "older than --last-good-max-age" in running.log.read_text()


def test_an_operator_that_is_heard_keeps_the_file_young(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    """A sidecar that was restarted is accepted with the version it runs, so nothing is pushed."""
    server = own_redis()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        operator.stream().push(redis_entry(server.port))
        running.stop(signal.SIGKILL)
    before = kept(bearings)["heard"]
    with sidecar(tmp_path, *bearings.options) as running:
        assert operator.stream(1).hello.version == "v1"
        until(lambda: kept(bearings)["heard"] != before, "it is noted", 40)
        assert kept(bearings)["version"] == "v1"


@pytest.mark.parametrize("content", ["", '{"kind": "last-good", "stores": "hidden-secret"}'])
def test_a_damaged_file_is_passed_over(
    content: str, tmp_path: Path, bearings: Bearings, operator: Peer,
    own_redis: Callable[..., RedisServer],
) -> None:  # fmt: skip
    bearings.last_good.write_text(content)
    bearings.last_good.chmod(0o600)
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        stream = operator.stream()
        assert stream.hello.version is None
        assert "is not used: it is damaged" in running.log.read_text()
        stream.push(redis_entry(own_redis().port))
        assert kept(bearings)["version"] == "v1"
        assert "hidden-secret" not in running.log.read_text()


def test_a_directory_that_cannot_be_written_ends_nothing(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    bearings.last_good = tmp_path / "missing" / "last-good"
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        answer = operator.stream().push(redis_entry(own_redis().port))
        assert answer.stores["shop"].state == "applied"
        assert "cannot be kept" in running.log.read_text()
