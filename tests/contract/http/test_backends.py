"""What a client sees of its store's backend: busy, slow, gone, refusing, changed by others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.real.programs import free_port
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar

CART = "/v1/shop/Cart"
Own = Callable[..., Sidecar]
OwnRedis = Callable[..., RedisServer]


@pytest.fixture
def shop(own: Own, tmp_path: Path) -> Callable[..., Sidecar]:
    """Starts a sidecar whose store `shop` is the Redis on `port`, with more of its spec."""

    def start(port: int, spec: str = "", *flags: str, ready: bool = True) -> Sidecar:
        config = tmp_path / "stores.yaml"
        config.write_text(
            "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\nmetadata: {name: shop}\n"
            f"spec:\n  type: redis\n  redis: {{host: 127.0.0.1, port: {port}}}\n{spec}"
        )
        running = own("--config", str(config), *flags, wait=ready)
        if not ready:
            until(lambda: answers(running), "the sidecar listens", 20)
        return running

    return start


def answers(running: Sidecar) -> bool:
    try:
        with Wire(running.port) as wire:
            wire.send(request("GET", "/v1"))
            return wire.read().status == 200
    except OSError:
        return False


def together(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """What `ask(0)`, `ask(1)`, ... give, all asked at once."""
    found: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def one(number: int) -> None:
        gate.wait()
        found[number] = ask(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def fresh(port: int, *arguments: Any, **headers: str) -> Any:
    """One request on a connection of its own."""
    client = Client(port)
    try:
        return client(*arguments, **headers)
    finally:
        client.close()


def test_a_dead_backend_is_said_at_once(shop: Callable[..., Sidecar]) -> None:
    running = shop(free_port(), ready=False)
    ask = Client(running.port)
    for method, target, body in (
        ("GET", f"{CART}/1", None), ("PUT", f"{CART}/1", b"1"), ("PATCH", f"{CART}/1", b"{}"),
        ("GET", CART, None), ("GET", f"{CART}:count", None), ("GET", "/v1/shop:schemas", None),
        ("POST", CART, {"record": 1}), ("POST", f"{CART}:batchGet", {"keys": ["1"]}),
        ("POST", f"{CART}:batchWrite", {"operations": [{"op": "delete", "key": "1"}]}),
    ):  # fmt: skip
        began = time.monotonic()
        reply = ask(method, target, body)
        assert (reply.status, reply.code) == (503, "backend-unavailable"), (method, target)
        assert int(reply.headers["retry-after"]) >= 1
        assert time.monotonic() - began < 2
    assert ask("GET", CART, accept="application/x-ndjson").code == "backend-unavailable"
    assert ask("GET", "/v1").json["stores"][0]["state"] in ("connecting", "unavailable")
    assert ask("GET", "/v1/shop").json["pool"]["in_use"] == 0
    admin = Client(running.admin_port)
    reply = admin("GET", "/readyz")
    assert (reply.status, reply.code) == (503, "not-ready")
    assert "shop" in reply.json["reasons"][0]
    assert admin("GET", "/readyz?startup").status == 200
    assert admin("GET", "/healthz").status == 200
    admin.close()
    ask.close()


def test_a_busy_pool_is_said_after_connection_timeout(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    spec = "  pool: {maxConnections: 1, connectionTimeout: 300ms, maxWaiting: 4}\n"
    running = shop(server.port, spec)
    assert fresh(running.port, "PUT", f"{CART}/1", b"1").status == 201
    server.pause()
    try:
        first = threading.Thread(target=fresh, args=(running.port, "GET", f"{CART}/1"))
        first.start()
        until(lambda: in_use(running) == 1, "the connection is in use")
        began = time.monotonic()
        replies = together(10, lambda n: fresh(running.port, "PUT", f"{CART}/{n}", b"1"))
        assert time.monotonic() - began < 3
        for reply in replies:
            assert (reply.status, reply.code) == (503, "pool-exhausted")
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.json["pool"]["max"] == 1
            assert set(reply.json["pool"]) == {"max", "in_use", "idle", "opening", "pending"}
        assert any("maxWaiting" in reply.json["detail"] for reply in replies)
        assert any("connectionTimeout" in reply.json["detail"] for reply in replies)
    finally:
        server.resume()
        first.join(20)
    assert fresh(running.port, "GET", f"{CART}:count").json == {"count": 1}


def test_what_was_sent_and_not_answered_is_unknown(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    running = shop(server.port, "  requestTimeout: 500ms\n  pool: {maxConnections: 8}\n")
    kinds: list[Callable[[int], tuple[Any, ...]]] = [
        lambda n: ("PUT", f"{CART}/{n}", b"1"),
        lambda n: ("POST", CART, {"record": n}),
        lambda n: ("PATCH", f"{CART}/patched", {"n": n}),
        lambda n: ("POST", f"{CART}:batchWrite", {"operations": [
            {"op": "put", "key": str(n), "record": 1}]}),
        lambda n: ("GET", f"{CART}/1"),
    ]  # fmt: skip
    assert fresh(running.port, "PUT", f"{CART}/patched", b"{}").status == 201
    counts = [0] * len(kinds)

    def until_refused(kind: int) -> Any:
        client = Client(running.port)
        for n in range(100_000):
            reply = client(*kinds[kind](n))
            results = reply.json.get("results", []) if kind == 3 and reply.status == 200 else []
            if reply.status >= 500 or (results and results[0]["status"] >= 500):
                client.close()
                return reply
            counts[kind] = n
        return None

    pause = threading.Thread(
        target=lambda: (until(lambda: min(counts) > 20, "load"), server.pause())
    )
    pause.start()
    try:
        replies = together(len(kinds), until_refused)
    finally:
        pause.join()
        server.resume()
    unanswered = {"outcome-unknown", "backend-unavailable"}
    for reply in replies[:3]:
        assert reply.code in unanswered | ({"timeout"} if reply is replies[2] else set())
        assert reply.json["key"]
    batch = replies[3]
    assert (batch.code or batch.json["results"][0]["code"]) in unanswered
    assert replies[4].code in ("timeout", "backend-unavailable")
    codes = [reply.code or reply.json["results"][0]["code"] for reply in replies]
    assert {"outcome-unknown", "timeout"} & set(codes), codes
    until(lambda: fresh(running.port, "GET", f"{CART}/1").status == 200, "it serves again")


def test_a_key_of_another_kind_is_a_clear_refusal(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    server.call("SET", "pannier:Cart", "not a hash")
    running = shop(server.port)
    for method, target, body in (
        ("GET", f"{CART}/1", None), ("PUT", f"{CART}/1", b"1"), ("DELETE", f"{CART}/1", None),
        ("GET", CART, None), ("GET", f"{CART}:count", None),
    ):  # fmt: skip
        reply = fresh(running.port, method, target, body)
        assert (reply.status, reply.code) == (502, "backend-refused")
        assert "Cart" in reply.json["detail"]


# Streams ----------------------------------------------------------------------------------------


def in_use(running: Sidecar) -> int:
    return int(fresh(running.port, "GET", "/v1/shop").json["pool"]["in_use"])


def filled(server: RedisServer, records: int) -> None:
    value = b'{"text":"' + b"x" * 500 + b'"}'
    for start in range(0, records, 5000):
        fields: list[Any] = []
        for n in range(start, start + 5000):
            fields += [f"key-{n}", value]
        server.call("HSET", "pannier:Cart", *fields)


def test_a_slow_reader_of_a_stream_holds_no_connection(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    filled(server, 30_000)
    running = shop(server.port, "  pool: {maxConnections: 1, connectionTimeout: 500ms}\n")
    with Wire(running.port) as slow:
        slow.send(request("GET", CART, accept="application/x-ndjson"))
        until(lambda: all(in_use(running) == 0 for _ in range(30)), "its buffers are full")
        for n in range(20):
            assert fresh(running.port, "PUT", f"{CART}/new-{n}", b"1").status == 201
        assert slow.read().body.count(b"\n") >= 30_000


def test_a_stream_that_fails_is_cut_without_its_last_chunk(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    filled(server, 30_000)
    running = shop(server.port)
    with Wire(running.port) as slow, Wire(running.port) as old:
        slow.send(request("GET", CART, accept="application/x-ndjson"))
        old.send(f"GET {CART} HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n".encode())
        until(lambda: all(in_use(running) == 0 for _ in range(30)), "their buffers are full")
        server.kill()
        with pytest.raises((EOFError, ConnectionResetError)):
            slow.read()
        assert old.rest().endswith(b"<reset>")
    assert "Traceback" not in running.log.read_text()


def test_pages_of_a_real_scan_show_every_record_once(
    shop: Callable[..., Sidecar], own_redis: OwnRedis
) -> None:
    server = own_redis()
    filled(server, 5000)
    ask = Client(shop(server.port).port)
    seen: list[str] = []
    cursor = ""
    while True:
        page = ask("GET", f"{CART}?limit=333{cursor}").json
        seen += [item["key"] for item in page["records"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(seen) == sorted(f"key-{n}" for n in range(5000))
    assert ask("GET", f"{CART}:count").json == {"count": 5000}
    ask.close()


# Races ------------------------------------------------------------------------------------------


def test_one_of_many_inserts_wins(shop: Callable[..., Sidecar], own_redis: OwnRedis) -> None:
    running = shop(own_redis().port)
    for race in range(20):
        target = f"{CART}/race-{race}"

        def insert(n: int, target: str = target) -> Any:
            return fresh(running.port, "PUT", target, b"%d" % n, if_none_match="*")

        replies = together(6, insert)
        winners = [n for n, reply in enumerate(replies) if reply.status == 201]
        assert len(winners) == 1
        assert {reply.code for reply in replies} == {None, "record-exists"}
        assert fresh(running.port, "GET", target).body == b"%d" % winners[0]


def test_no_patch_is_lost_among_many(shop: Callable[..., Sidecar], own_redis: OwnRedis) -> None:
    running = shop(own_redis().port)
    fresh(running.port, "PUT", f"{CART}/1", b"{}")

    def patch(n: int) -> list[str]:
        client, done = Client(running.port), []
        for count in range(20):
            reply = client("PATCH", f"{CART}/1", {f"m{n}-{count}": count})
            assert (reply.status, reply.code) in ((200, None), (503, "contended"))
            if reply.status == 200:
                done.append(f"m{n}-{count}")
        client.close()
        return done

    done = [name for names in together(6, patch) for name in names]
    assert len(done) > 20
    assert sorted(fresh(running.port, "GET", f"{CART}/1").json) == sorted(done)
