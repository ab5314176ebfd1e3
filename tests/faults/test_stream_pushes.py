"""Configurations pushed to a real sidecar on a real Redis: what is applied, refused and reported.

The operator's end is scripted (`tests.real.stream_peer`); the real one is in its own tests.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pannier.config.stream.messages import StoreReport
from tests.faults.test_config_reload import Client, Load, answers, clients, logins, status, store
from tests.real.certificates import Certificates
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar
from tests.real.stream_peer import WITHIN, Bearings, Peer, Stream, keep, peer, redis_entry

UP = StoreReport(state="applied", reachable=True)


@pytest.fixture
def operator(certificates: Certificates) -> Iterator[Peer]:
    with peer(certificates) as running:
        yield running


@pytest.fixture
def bearings(tmp_path: Path, certificates: Certificates, operator: Peer) -> Bearings:
    return Bearings(tmp_path, certificates, operator.url)


@pytest.fixture
def running(tmp_path: Path, bearings: Bearings) -> Iterator[Sidecar]:
    """A sidecar that has no configuration yet."""
    with sidecar(tmp_path, *bearings.options, wait=False) as started:
        yield started


@pytest.fixture
def stream(running: Sidecar, operator: Peer) -> Stream:
    """Its stream, which has said hello."""
    return operator.stream()


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    with Client(port) as client:
        code, body = client.call("GET", path)
    return code, json.loads(body)


def put(running: Sidecar, path: str = "/v1/shop/Cart/1") -> int:
    with Client(running.port) as client:
        return client.call("PUT", path, "1")[0]


def said(stream: Stream, name: str = "shop") -> StoreReport | None:
    """What the sidecar said last of a store in a `state`."""
    reports = [state.stores[name] for state in stream.states if name in state.stores]
    return reports[-1] if reports else None


def test_before_a_configuration_nothing_is_ready_and_the_first_one_serves(
    running: Sidecar, stream: Stream, redis_server: RedisServer, redis_prefix: str
) -> None:
    assert stream.hello.version is None
    assert stream.token == "Bearer a-first-token"
    for path in ("/v1", "/v1/shop", "/v1/shop/Cart/1", "/v1/shop/Cart"):
        code, problem = get(running.port, path)
        assert (code, problem["code"]) == (503, "not-ready"), path
    for path in ("/readyz", "/readyz?startup"):
        code, problem = get(running.admin_port, path)
        assert (code, problem["reasons"]) == (503, ["no configuration has come yet"])
    answer = stream.push(redis_entry(redis_server.port, fields={"keyPrefix": redis_prefix}))
    assert (answer.version, answer.stores, answer.warnings) == ("v1", {"shop": UP}, [])
    assert put(running) == 201
    for path in ("/readyz", "/readyz?startup"):
        assert get(running.admin_port, path)[0] == 200
    config = status(running)["config"]
    assert (config["version"], config["source"], config["error"]) == ("v1", "stream", None)
    assert config["appliedAt"]
    with Client(running.admin_port) as client:
        metrics = client.call("GET", "/metrics")[1].decode()
    assert 'pannier_config_version_info{source="stream",version="v1"} 1.0' in metrics
    assert "pannier_config_stream_connected 1.0" in metrics


def test_startup_does_not_wait_for_ever(tmp_path: Path, bearings: Bearings) -> None:
    options = (*bearings.options, "--startup-wait", "100ms")
    with sidecar(tmp_path, *options, wait=False) as running:
        until(lambda: answers(running), "it listens", 20)
        until(lambda: get(running.admin_port, "/readyz?startup")[0] == 200, "startup passes")
        assert get(running.admin_port, "/readyz")[0] == 503


def test_a_configuration_of_no_store_is_one(running: Sidecar, stream: Stream) -> None:
    assert stream.push().stores == {}
    assert get(running.port, "/v1") == (200, {"stores": []})
    assert get(running.port, "/v1/shop")[1]["code"] == "store-not-found"
    assert get(running.admin_port, "/readyz")[0] == 200


def test_a_pool_is_changed_in_place_under_load(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    stream.push(redis_entry(server.port))
    with Load(running.port).running() as load:
        for number in range(1, 30):
            pool = {"maxConnections": 2 + number % 7, "minIdle": number % 3}
            answer = stream.push(redis_entry(server.port, pool=pool), version=f"v{number + 1}")
            assert answer.stores == {"shop": UP}
            assert not load.wrong
        assert store(running)["pool"]["max"] == pool["maxConnections"]
        until(lambda: load.requests > 300 or load.wrong, "the load goes on", WITHIN)
    assert not load.wrong


def test_a_rotated_credential_drops_no_request(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    """The server takes both passwords for a while, then the new one alone, as one rotates."""
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", ">first-password", "~*", "&*", "+@all")
    stream.push(redis_entry(server.port, secret=("shop", "first-password")))
    with Load(running.port).running() as load:
        old = {client["id"] for client in clients(server)}
        server.call("ACL", "SETUSER", "shop", ">second-password")
        answer = stream.push(
            redis_entry(server.port, secret=("shop", "second-password")), version="v2"
        )
        assert answer.stores == {"shop": UP}
        until(lambda: not old & {each["id"] for each in clients(server)}, "old ones are closed")
        server.call("ACL", "SETUSER", "shop", "<first-password")
        more = load.requests + 200
        until(lambda: load.requests > more or load.wrong, "the load goes on", WITHIN)
        assert logins(server) == {"shop"}
    assert not load.wrong
    assert "-password" not in running.log.read_text()


def test_a_kept_store_runs_on_and_one_that_never_ran_says_why(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", ">password", "~*", "&*", "+@all")
    stream.push(redis_entry(server.port, secret=("shop", "password")))
    with Load(running.port).running() as load:
        before = {client["id"] for client in clients(server)}
        answer = stream.push(keep(), keep("new", "SecretMalformed: it is no text"), version="v2")
        assert answer.stores == {}
        assert (store(running)["state"], store(running)["error"]) == ("ready", None)
        more = load.requests + 100
        until(lambda: load.requests > more or load.wrong, "the load goes on", WITHIN)
        assert before & {client["id"] for client in clients(server)}
    assert not load.wrong
    until(lambda: said(stream), "how it fares is told all the same", WITHIN)
    report = said(stream)
    assert report is not None and report.reachable
    assert "SecretNotFound" in status(running)["config"]["error"]
    assert (store(running, "new")["state"], store(running, "new")["error"]) == (
        "rejected",
        "SecretMalformed: it is no text",
    )
    code, problem = get(running.port, "/v1/new/Cart/1")
    assert (code, problem["code"]) == (503, "not-ready")
    answer = stream.push(keep(), redis_entry(server.port, "new"), version="v3")
    assert answer.stores == {"new": UP}
    assert put(running, "/v1/new/Cart/1") == 201


def test_a_store_that_is_not_named_is_drained_and_gone(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    """A request that the store has taken is finished first."""
    server = own_redis()
    stream.push(redis_entry(server.port), redis_entry(server.port, "other"))
    server.call("CLIENT", "PAUSE", "1500", "WRITE")
    with Client(running.port) as client:
        client.send("PUT", "/v1/shop/Cart/taken", "1")
        until(lambda: store(running)["pool"]["in_use"], "the request is taken")
        stream.push(redis_entry(server.port, "other"), version="v2")
        assert client.answer()[0] == 201
    until(lambda: store(running) is None, "it is drained")
    code, problem = get(running.port, "/v1/shop/Cart/taken")
    assert (code, problem["code"]) == (404, "store-not-found")
    assert put(running, "/v1/other/Cart/1") in (201, 204)


def test_a_bad_document_is_rejected_and_the_last_good_one_serves_on(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    good, other = redis_entry(server.port), redis_entry(server.port, "other")
    stream.push(good, other)
    bad = {
        "of tomorrow": redis_entry(server.port, type="tape"),
        "out of bounds": redis_entry(server.port, pool={"maxConnections": 5_000}),
        "other prefix": redis_entry(server.port, fields={"keyPrefix": "x:"}),
        "no credential": redis_entry(
            server.port, fields={"passwordSecretRef": {"name": "n", "key": "k"}}
        ),
    }
    with Load(running.port).running() as load:
        for number, (name, entry) in enumerate(bad.items()):
            answer = stream.push(entry, other, version=f"bad-{number}")
            report = answer.stores["shop"]
            assert (report.state, report.code) == ("rejected", "invalid-config"), name
            assert report.message and report.reachable, name
            assert answer.stores["other"] == UP
            assert store(running)["state"] == "ready"
            assert report.message[:40] in store(running)["error"]
            answer = stream.push(good, other, version=f"good-{number}")
            assert answer.stores == {"shop": UP, "other": UP}, name
    assert not load.wrong


def test_unknown_fields_are_ignored_and_named(
    running: Sidecar, stream: Stream, redis_server: RedisServer, redis_prefix: str
) -> None:
    entry = redis_entry(
        redis_server.port, fields={"keyPrefix": redis_prefix, "flavour": "new"}, tomorrow={"a": 1}
    )
    answer = stream.push(entry)
    assert answer.stores == {"shop": UP}
    assert sorted(answer.warnings) == [
        "shop: spec.redis.flavour: unknown field; it is ignored",
        "shop: spec.tomorrow: unknown field; it is ignored",
    ]
    assert put(running) == 201


def test_what_is_not_decided_in_time_is_pending_and_settled_later(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    """A paused server takes connections and answers nothing, so its ping stays undecided."""
    first, second = own_redis(), own_redis()
    second.pause()
    began = time.monotonic()
    answer = stream.push(redis_entry(first.port), redis_entry(second.port, "slow"))
    assert time.monotonic() - began < 3  # 0.5 s on a machine at rest
    assert answer.stores["shop"] == UP
    assert answer.stores["slow"].state == "pending"
    assert answer.stores["slow"].reachable is None
    second.resume()
    until(lambda: said(stream, "slow") == UP, "it is settled", WITHIN)
    assert said(stream, "shop") is None, "only changes are told"


def test_an_unreachable_change_is_pending_while_the_old_one_serves(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    first, second = own_redis(), own_redis()
    stream.push(redis_entry(first.port))
    second.kill()
    with Load(running.port).running() as load:
        answer = stream.push(redis_entry(second.port), version="v2")
        report = answer.stores["shop"]
        assert (report.state, report.code) == ("pending", "backend-unavailable")
        assert report.reachable
        more = load.requests + 50
        until(lambda: load.requests > more or load.wrong, "the load goes on", WITHIN)
    assert not load.wrong
    second.start()
    until(lambda: said(stream) == UP, "it is applied", WITHIN)
    assert stream.states[-1].version == "v2"
    assert put(running) == 201
    assert second.call("HGET", "pannier:Cart", "1") == b"1"


def test_the_health_of_backends_is_told(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    stream.push(redis_entry(server.port))
    server.kill()
    down = StoreReport(state="applied", reachable=False)
    until(lambda: said(stream) == down, "its loss is told", WITHIN)
    server.start()
    until(lambda: said(stream) == UP, "its return is told", WITHIN)
    assert len(stream.states) < 8, "told once for each change"


def test_a_new_stream_begins_with_what_runs_so_that_no_push_is_needed(
    running: Sidecar, stream: Stream, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    bad = redis_entry(server.port, "bad", type="tape")
    stream.push(redis_entry(server.port), bad)
    stream.cut()
    again = operator.stream(1)
    assert again.hello.version == "v1"
    until(lambda: again.states, "the state is told", WITHIN)
    first = again.states[0]
    assert first.version == "v1"
    assert first.stores["shop"] == UP
    assert first.stores["bad"].state == "rejected"


def test_a_burst_of_pushes_ends_in_the_last_one(
    running: Sidecar, stream: Stream, own_redis: Callable[..., RedisServer]
) -> None:
    """An operator has one push under way; one that does not keep to it breaks nothing."""
    server = own_redis()
    nonces = [
        stream.send(
            redis_entry(server.port, pool={"maxConnections": number + 1}), version=f"v{number}"
        )
        for number in range(40)
    ]
    until(lambda: stream.answer(nonces[-1]), "the last one is answered", WITHIN)
    assert store(running)["pool"]["max"] == 40
    assert all(stream.answer(nonce) for nonce in nonces)


def test_no_credential_and_no_token_is_shown_anywhere(
    tmp_path: Path, bearings: Bearings, operator: Peer, own_redis: Callable[..., RedisServer]
) -> None:
    """Not even at level debug, where libraries log what passes."""
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", ">veiled-password", "~*", "&*", "+@all")
    with sidecar(tmp_path, *bearings.options, "--log-level", "debug", wait=False) as running:
        stream = operator.stream()
        stream.push(redis_entry(server.port, secret=("shop", "veiled-password")))
        stream.push(redis_entry(server.port, secret=("shop", "veiled-wrong")), version="v2")
        shown = []
        for port, path in (
            (running.port, "/v1"),
            (running.admin_port, "/v1/status"),
            (running.admin_port, "/"),
            (running.admin_port, "/metrics"),
        ):
            with Client(port) as client:
                shown.append(client.call("GET", path)[1].decode())
        stream.say('{"type": "snapshot", "veiled-garbage')
        operator.stream(1)
    shown += [running.log.read_text(), repr(stream.reports)]
    for text in shown:
        assert "veiled" not in text
        assert "a-first-token" not in text


def test_sighup_dials_anew_with_the_token_as_it_is_now(
    running: Sidecar, stream: Stream, operator: Peer, bearings: Bearings
) -> None:
    bearings.token.write_text("a-second-token\n")
    running.process.send_signal(signal.SIGHUP)
    assert operator.stream(1).token == "Bearer a-second-token"
    assert stream.ended()[0] == 1000
