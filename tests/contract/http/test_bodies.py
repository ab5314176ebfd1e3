"""Bodies: one JSON value in UTF-8, bounded, however it is framed and sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.contract.http.wire import Client, Wire, etag, request
from tests.real.sidecar import Sidecar

MIB = 1024 * 1024

NOT_JSON = {
    "nothing": b"",
    "space": b"  ",
    "a word": b"hello",
    "half an object": b'{"a":1',
    "two values": b"1 2",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a':1}",
    "a comment": b"1 // one",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "leading zero": b"01",
    "a raw line end in a string": b'"a\nb"',
    "broken utf-8": b'"\xff"',
    "cut utf-8": b'"\xc3"',
    "a surrogate in utf-8": b'"\xed\xa0\x80"',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf1",
    "nested 513 deep": b"[" * 513 + b"]" * 513,
    "nested 100000 deep": b"[" * 100_000 + b"]" * 100_000,
    "opened 100000 deep": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_no_json_is_refused(ask: Client, cart: str, method: str, body: bytes) -> None:
    reply = ask(method, f"{cart}/1", body)
    assert (reply.status, reply.code) == (400, "invalid-json")
    assert ask("GET", f"{cart}/1").status == 404


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_nor_is_it_taken_inside_a_body(ask: Client, cart: str, body: bytes) -> None:
    if body.strip() == b"":
        return
    assert ask("POST", cart, b'{"record":' + body + b"}").code == "invalid-json"
    batch = b'{"operations":[{"op":"put","key":"1","record":' + body + b"}]}"
    assert ask("POST", f"{cart}:batchWrite", batch).code == "invalid-json"
    assert ask("GET", f"{cart}:count").json == {"count": 0}


def test_512_levels_and_duplicate_keys_are_kept(ask: Client, cart: str) -> None:
    for value in (b"[" * 512 + b"]" * 512, b'{"a":1,"a":{"b":1,"b":2}}'):
        assert ask("PUT", f"{cart}/1", value).status in (201, 204)
        assert ask("GET", f"{cart}/1").body == value


def test_a_request_without_a_body_is_invalid_json(ask: Client, cart: str) -> None:
    for method, target in (("PUT", f"{cart}/1"), ("PATCH", f"{cart}/1"), ("POST", cart)):
        assert ask(method, target).code == "invalid-json"


def test_a_content_type_is_not_demanded(ask: Client, cart: str) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json", "x"):
        assert ask("PUT", f"{cart}/1", b"1", content_type=kind).status in (201, 204)
        assert ask("POST", cart, b'{"record":1}', content_type=kind).status == 201


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br", "x"])
def test_an_encoded_body_is_415(ask: Client, cart: str, encoding: str) -> None:
    for method, target in (("PUT", f"{cart}/1"), ("PATCH", f"{cart}/1"), ("POST", cart),
                           ("POST", f"{cart}:batchGet"), ("POST", f"{cart}:query")):  # fmt: skip
        reply = ask(method, target, b"{}", content_encoding=encoding)
        assert (reply.status, reply.code) == (415, "unsupported-media-type")
    assert ask("GET", f"{cart}:count").json == {"count": 0}


def test_a_get_with_a_body_is_answered_all_the_same(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"1")
    assert ask("GET", f"{cart}/1", b"ignored").body == b"1"
    assert ask("GET", "/v1", b"ignored").status == 200
    assert ask("DELETE", f"{cart}/1", b"ignored").status == 204


# Sizes ------------------------------------------------------------------------------------------


def test_a_record_of_1_mib_is_taken_and_a_larger_one_is_413(ask: Client, cart: str) -> None:
    value = b'"' + b"x" * (MIB - 2) + b'"'
    assert ask("PUT", f"{cart}/1", value).status == 201
    assert ask("GET", f"{cart}/1").body == value
    for method, target in (("PUT", f"{cart}/2"), ("PATCH", f"{cart}/1"), ("POST", cart),
                           ("POST", f"{cart}:query")):  # fmt: skip
        reply = ask(method, target, value + b" ")
        assert (reply.status, reply.code) == (413, "too-large")
    assert ask("GET", f"{cart}/2").status == 404


def test_a_patched_record_over_the_limit_is_413(ask: Client, cart: str) -> None:
    half = "x" * (600 * 1024)
    ask("PUT", f"{cart}/1", {"a": half})
    reply = ask("PATCH", f"{cart}/1", {"b": half})
    assert (reply.status, reply.code) == (413, "too-large")
    assert list(ask("GET", f"{cart}/1").json) == ["a"]


def test_a_batch_has_a_limit_of_its_own(own: Callable[..., Sidecar]) -> None:
    ask = Client(own("--max-record-bytes", "100", "--max-body-bytes", "2000").port)
    cart = "/v1/default/Cart"
    batch = b'{"operations":[]' + b" " * 1000 + b"}"
    assert ask("POST", f"{cart}:batchWrite", batch).status == 200
    assert ask("POST", f"{cart}:batchWrite", batch + b" " * 1000).code == "too-large"
    assert ask("POST", f"{cart}:batchGet", b" " * 2000).code == "invalid-json"
    assert ask("POST", f"{cart}:batchGet", b" " * 2001).code == "too-large"
    assert ask("PUT", f"{cart}/1", b"1" * 101).code == "too-large"
    assert ask("PUT", f"{cart}/1", b"1" * 100).status == 201
    ask.close()


def test_an_oversized_body_is_refused_before_it_is_sent(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(request("PUT", f"{cart}/1", content_length="1000000000000"))
        reply = wire.read()
        assert (reply.status, reply.code) == (413, "too-large")
        assert reply.headers["connection"] == "close"


def test_an_endless_chunked_body_is_refused_at_its_limit(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(request("PUT", f"{cart}/1", transfer_encoding="chunked"))
        for _ in range(17):
            wire.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert wire.read().code == "too-large"


def test_a_refused_body_leaves_the_connection_usable(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(request("PUT", f"{cart}x%00/1", b"1" * 50_000) + request("GET", "/v1"))
        assert wire.read().status == 400
        assert wire.read().status == 200


# Framing ----------------------------------------------------------------------------------------


def chunks(body: bytes, size: int) -> Iterator[bytes]:
    for place in range(0, len(body), size):
        part = body[place : place + size]
        yield b"%x\r\n%b\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_chunked_body_is_one_body(running: Sidecar, cart: str, size: int) -> None:
    value = b'"' + b"x" * min(size * 50, 500_000) + b'"'
    with Wire(running.port) as wire:
        wire.send(request("PUT", f"{cart}/1", transfer_encoding="Chunked"))
        for part in chunks(value, size):
            wire.send(part)
        reply = wire.read()
        assert (reply.status, reply.headers["etag"]) == (201, etag(value))
        wire.send(request("GET", f"{cart}/1"))
        assert wire.read().body == value


def test_a_client_may_wait_for_100_continue(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        for method, target, body in (("PUT", f"{cart}/1", b"123"), ("POST", cart, b'{"record":1}')):
            head = request(method, target, content_length=str(len(body)), expect="100-continue")
            wire.send(head)
            assert wire.read().status == 100
            wire.send(body)
            assert wire.read().status == 201


def test_a_refused_body_is_not_asked_for(running: Sidecar, cart: str) -> None:
    for target, length, status in ((f"{cart}/1", "2000000", 413), ("/v1/no/C/1", "3", 404)):
        with Wire(running.port) as wire:
            wire.send(request("PUT", target, content_length=length, expect="100-continue"))
            reply = wire.read()
            assert (reply.status, reply.headers["connection"]) == (status, "close")


def test_a_body_that_comes_with_its_expectation_needs_no_continue(
    running: Sidecar, cart: str
) -> None:
    with Wire(running.port) as wire:
        wire.send(request("PUT", f"{cart}/1", b"123", expect="100-continue"))
        assert wire.read().status == 201
