"""Broken and oversized HTTP is answered as a problem document, in its turn."""

from __future__ import annotations

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.real.sidecar import Sidecar

HOST = b"Host: localhost\r\n"

GET = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"PUT /v1/default/C/1 HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

BROKEN = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no http": b"hello\r\n\r\n",
    "bare line ends": b"GET /v1 HTTP/1.1\nHost: localhost\n\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 1.2": b"GET /v1 HTTP/1.2\r\n" + HOST + b"\r\n",
    "http 0.9": b"GET /v1\r\n\r\n",
    "two spaces": b"GET  /v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in target": b"GET /v1/a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /v1 HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1 HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "header without colon": GET + b"Broken\r\n\r\n",
    "space before colon": GET + b"A : b\r\n\r\n",
    "folded header": GET + b"A: b\r\n c\r\n\r\n",
    "control character": GET + b"A: \x01\r\n\r\n",
    "nul": GET + b"A: \0\r\n\r\n",
    "bad length": PUT + b"Content-Length: -1\r\n\r\n",
    "plus length": PUT + b"Content-Length: +1\r\n\r\n1",
    "two lengths": PUT + b"Content-Length: 1\r\n" * 2 + b"\r\n1",
    "length list": PUT + b"Content-Length: 1, 1\r\n\r\n1",
    "huge length": PUT + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n1",
    "length and chunked": PUT + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip transfer": PUT + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no transfer coding": PUT + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "chunked twice": PUT + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked first": PUT + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked http 1.0": b"PUT /v1/default/C/1 HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "bad chunk": PUT + CHUNKED + b"\r\nxyz\r\n1\r\n",
    "bad chunk end": PUT + CHUNKED + b"\r\n1\r\n11\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_http_is_a_bad_request_and_the_end(running: Sidecar, broken: bytes) -> None:
    with Wire(running.port) as wire:
        wire.send(broken)
        reply = wire.read()
        assert (reply.status, reply.code) == (400, "bad-request")
        assert reply.headers["connection"] == "close"
        assert wire.closed()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_came_before_it_is_answered_first(
    running: Sidecar, ask: Client, cart: str, broken: bytes
) -> None:
    with Wire(running.port) as wire:
        wire.send(
            request("PUT", f"{cart}/1", b"1") + request("POST", cart, b'{"record":2}') + broken
        )
        assert wire.read().status == 201
        assert wire.read().status == 201
        assert wire.read().code == "bad-request"
        assert wire.closed()
    assert ask("GET", f"{cart}:count").json == {"count": 2}


def test_what_comes_after_it_is_not_read(running: Sidecar, ask: Client, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(b"NONSENSE\r\n\r\n" + request("PUT", f"{cart}/1", b"1"))
        assert wire.read().code == "bad-request"
        assert wire.closed()
    assert ask("GET", f"{cart}/1").status == 404


def test_a_head_that_breaks_off_is_a_bad_request(running: Sidecar) -> None:
    for part in (b"GET /v1 HT", b"GET /v1 HTTP/1.1\r\nHost: local", b"GET /v1 HTTP/1.1\r\n"):
        with Wire(running.port) as wire:
            wire.send(part)
            wire.end()
            assert wire.read().code == "bad-request"
            assert wire.closed()


def test_a_body_that_breaks_off_is_a_bad_request_and_stores_nothing(
    running: Sidecar, ask: Client, cart: str
) -> None:
    chunked = (
        f"PUT {cart}/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1"
    )
    for part in (request("PUT", f"{cart}/1", b"12345")[:-2], chunked.encode()):
        with Wire(running.port) as wire:
            wire.send(part)
            wire.end()
            assert wire.read().code == "bad-request"
            assert wire.closed()
    assert ask("GET", f"{cart}/1").status == 404


# Sizes ------------------------------------------------------------------------------------------


def of_target(size: int) -> bytes:
    return request("GET", "/" + "x" * (size - 1))


def of_head(size: int) -> bytes:
    head = request("GET", "/v1", x_filler="")
    return head[:-4] + b"x" * (size - len(head)) + b"\r\n\r\n"


def test_a_target_of_8_kib_is_taken_and_a_longer_one_is_414(running: Sidecar) -> None:
    with Wire(running.port) as wire:
        wire.send(of_target(8192))
        assert wire.read().code == "not-found"
        wire.send(of_target(8193))
        reply = wire.read()
        assert (reply.status, reply.code) == (414, "target-too-long")
        assert wire.closed()


def test_a_head_of_32_kib_is_taken_and_a_larger_one_is_431(running: Sidecar) -> None:
    with Wire(running.port) as wire:
        wire.send(of_head(32 * 1024))
        assert wire.read().status == 200
        wire.send(of_head(32 * 1024 + 1))
        reply = wire.read()
        assert (reply.status, reply.code) == (431, "head-too-large")
        assert wire.closed()


def test_many_small_fields_are_measured_together(running: Sidecar) -> None:
    head = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n"
    with Wire(running.port) as wire:
        wire.send(head + b"a: b\r\n" * 5000 + b"\r\n")
        assert wire.read().status == 200
        wire.send(head + b"a: b\r\n" * 6000 + b"\r\n")
        assert wire.read().code == "head-too-large"


def test_endless_heads_are_refused_before_they_end(running: Sidecar) -> None:
    for start, code in (
        (b"GET /" + b"x" * 9000, "target-too-long"),
        (b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 33000, "head-too-large"),
        (b"G" * 11000, "bad-request"),
    ):
        with Wire(running.port) as wire:
            wire.send(start)
            assert wire.read().code == code
            assert wire.closed()


def test_a_refused_client_may_go_on_sending_until_it_reads(running: Sidecar) -> None:
    """A closed socket would answer what still comes with a reset, and the answer could be lost."""
    with Wire(running.port) as wire:
        wire.send(b"GET /" + b"x" * 10_000)
        wire.wait()
        for _ in range(20):
            wire.send(b"x" * 10_000)
        assert wire.read().code == "target-too-long"
        assert wire.closed()


# The order of a connection ------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(running: Sidecar, cart: str) -> None:
    sent = b""
    for n in range(100):
        sent += request("PUT", f"{cart}/{n}", b"%d" % n) + request("GET", f"{cart}/{n}")
        sent += request("POST", f"{cart}:batchGet", f'{{"keys":["{n}"]}}')
        sent += request("FOO", f"{cart}/{n}")
    with Wire(running.port) as wire:
        wire.send(sent)
        for n in range(100):
            assert wire.read().status == 201
            assert wire.read().body == b"%d" % n
            assert wire.read().json["records"][0]["record"] == n
            assert wire.read().status == 405


def test_a_request_may_come_byte_by_byte(running: Sidecar, cart: str) -> None:
    chunked = f"PATCH {cart}/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    messages = (
        request("PUT", f"{cart}/1", b'{"a":1}')
        + chunked.encode() + b'3;x=y\r\n{"b\r\n4\r\n":2}\r\n0\r\nTrailer: x\r\n\r\n'
        + request("GET", f"{cart}/1")
    )  # fmt: skip
    with Wire(running.port) as wire:
        for place in range(len(messages)):
            wire.send(messages[place : place + 1])
        assert wire.read().status == 201
        assert wire.read().json == {"a": 1, "b": 2}
        assert wire.read().json == {"a": 1, "b": 2}


def test_empty_lines_before_a_request_are_passed_over(running: Sidecar) -> None:
    with Wire(running.port) as wire:
        wire.send(b"\r\n\r\n" + request("GET", "/v1") + b"\r\n" + request("GET", "/v1"))
        assert [wire.read().status, wire.read().status] == [200, 200]


def test_connection_close_is_heeded(running: Sidecar, cart: str) -> None:
    for target in ("/v1", f"{cart}/1"):
        with Wire(running.port) as wire:
            wire.send(request("GET", target, connection="close"))
            assert wire.read().headers["connection"] == "close"
            assert wire.closed()


def test_http_1_0_closes_unless_it_is_asked_to_stay(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(f"GET {cart}/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        assert wire.read().headers["connection"] == "keep-alive"
        wire.send(f"GET {cart}/1 HTTP/1.0\r\n\r\n".encode())
        assert wire.read().headers["connection"] == "close"
        assert wire.closed()


def test_a_half_closed_client_gets_all_its_answers(running: Sidecar, cart: str) -> None:
    for targets in ((f"{cart}/1", f"{cart}/2"), ("/v1", f"{cart}:count", f"{cart}/1")):
        with Wire(running.port) as wire:
            wire.send(b"".join(request("GET", target) for target in targets))
            wire.end()
            assert [wire.read().status in (200, 404) for _ in targets] == [True] * len(targets)
            assert wire.closed()


def test_an_upgrade_is_declined(running: Sidecar) -> None:
    for upgrade in ("websocket", "h2c"):
        with Wire(running.port) as wire:
            asked = request("GET", "/v1", connection="Upgrade", upgrade=upgrade)
            wire.send(asked + request("GET", "/v1"))
            assert [wire.read().status, wire.read().status] == [200, 200]
