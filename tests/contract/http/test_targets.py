"""Paths, keys and methods, over the wire."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.real.sidecar import Sidecar

KEYS = [
    "a", "a b", "a/b", "a+b", "a%b", "a:b", ":", "...", ".a", "a?b#c&d=e", "käse", "\U0001f9c0",
    "a" * 512, "ä" * 256, "\xa0", "\u2028", "%2F", "{}", "~-_.!$'()*,;=@",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda key: quote(key)[:20])
def test_any_text_of_up_to_512_bytes_is_a_key(ask: Client, cart: str, key: str) -> None:
    target = f"{cart}/{quote(key, safe='')}"
    assert ask("PUT", target, b"1").status == 201
    assert ask("GET", target).body == b"1"
    assert [item["key"] for item in ask("GET", cart).json["records"]] == [key]
    assert ask("POST", cart, {"key": key, "record": 1}).json["key"] == key


def test_percent_encoding_is_another_spelling_of_the_same_key(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/a+b", b"1")
    assert ask("GET", f"{cart}/a%2Bb").body == b"1"
    assert ask("GET", f"{cart}/%61%2b%62").body == b"1"
    assert ask("GET", f"{cart}/a%20b").status == 404
    ask("PUT", f"{cart}/a:count", b"2")
    assert ask("GET", f"{cart}/a%3Acount").body == b"2"


@pytest.mark.parametrize(
    "raw",
    ["", ".", "..", "%2E", "%2e%2E", "%", "%4", "%zz", "a%", "%ff", "%C3", "%ED%A0%80", "%00",
     "%1F", "%7F", "%C2%80", "%C2%9F", "%0A", "a" * 513, "%C3%A4" * 257],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_a_bad_key_is_refused(ask: Client, cart: str, method: str, raw: str) -> None:
    reply = ask(method, f"{cart}/{raw}", b"{}" if method in ("PUT", "PATCH") else None)
    assert reply.status == 400
    assert method == "HEAD" or reply.code == "invalid-key"


@pytest.mark.parametrize(
    "schema",
    ["", ".a", "-a", "a" * 129, "a%20b", "%C3%A4", "a+b", "%zz", "a%3Acount", "a%2Fb", "a%0A"],
)  # fmt: skip
def test_a_bad_schema_is_refused(ask: Client, schema: str) -> None:
    for target in (f"/v1/default/{schema}/1", f"/v1/default/{schema}"):
        reply = ask("GET", target)
        assert (reply.status, reply.code) == (400, "invalid-schema")
    assert ask("POST", f"/v1/default/{schema}:batchGet", {"keys": []}).code == "invalid-schema"


def test_a_schema_may_have_dots_dashes_and_128_characters(ask: Client) -> None:
    for schema in ("_a.b-c", "0", "A" * 128, "%41b"):
        assert ask("GET", f"/v1/default/{schema}").status == 200


@pytest.mark.parametrize("store", ["", "other", "Default", "a.b", "-a", "a" * 64, "%zz", "a%2Fb"])
def test_an_unknown_store_is_404(ask: Client, store: str) -> None:
    for target in (f"/v1/{store}", f"/v1/{store}:schemas", f"/v1/{store}/Cart", f"/v1/{store}/C/1"):
        reply = ask("GET", target)
        assert (reply.status, reply.code) == (404, "store-not-found")
    assert ask("PUT", f"/v1/{store}/Cart/1", b"1").code == "store-not-found"


def test_a_store_name_may_be_percent_encoded(ask: Client) -> None:
    assert ask("GET", "/v1/d%65fault").status == 200


@pytest.mark.parametrize(
    "target",
    ["/", "/v2", "/v1x", "/V1", "//v1", "/v1/default/Cart/1/2", "/v1/default/Cart/1/",
     "/v1/default:other", "/v1/default:", "/v1/default:schemas/x", "/v1/default/Cart:other",
     "/v1/default/Cart:", "/v1/default/Cart:count/1", "/v1/default/Cart:Count", "/v1/default:count",
     "/v1/default/Cart:count:count", "/v1:schemas", "/openapi.json/", "/openapi", "/healthz",
     "/v1/default/Cart:c%6Funt", "/%761"],
)  # fmt: skip
def test_an_unknown_path_is_not_found(ask: Client, target: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        reply = ask(method, target)
        assert (reply.status, reply.code) == (404, "not-found")


ALLOWED = {
    "/v1": "GET, HEAD",
    "/v1/default": "GET, HEAD",
    "/v1/default:schemas": "GET, HEAD",
    "/v1/default/Cart": "GET, HEAD, POST",
    "/v1/default/Cart:count": "GET, HEAD",
    "/v1/default/Cart:query": "POST",
    "/v1/default/Cart:batchGet": "POST",
    "/v1/default/Cart:batchWrite": "POST",
    "/v1/default/Cart/1": "GET, HEAD, PUT, PATCH, DELETE",
    "/openapi.json": "GET, HEAD",
}
METHODS = [
    "GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY",
    "PURGE", "PRI", "get", "Foo", "X-1!#$%&'*+.^_`|~", "M" * 300,
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method[:12])
def test_any_other_method_token_is_405_with_allow(ask: Client, method: str) -> None:
    for target, allow in ALLOWED.items():
        if method in allow.split(", "):
            continue
        reply = ask(method, target, b"{}")
        assert (reply.status, reply.code) == (405, "method-not-allowed"), target
        assert reply.headers["allow"] == allow


def test_every_get_has_its_head(ask: Client) -> None:
    for target, allow in ALLOWED.items():
        if "HEAD" in allow and "Cart/1" not in target:
            assert ask("HEAD", target).status == 200


@pytest.mark.parametrize(
    "target",
    ["/v1?x=1", "/v1/default?x", "/v1/default/Cart/1?x=1", "/v1/default/Cart/1?limit=1"],
)
def test_a_parameter_that_does_nothing_is_refused(ask: Client, target: str) -> None:
    reply = ask("GET", target)
    assert (reply.status, reply.code) == (400, "invalid-request")
    assert "leave it out" in reply.json["detail"]
    assert ask("GET", target.partition("?")[0] + "?").status in (200, 404)


# The forms of a target (RFC 9112 section 3.2) ---------------------------------------------------


def test_an_absolute_target_is_taken_with_the_host_it_names(running: Sidecar, cart: str) -> None:
    with Wire(running.port) as wire:
        wire.send(
            request("PUT", f"http://localhost:{running.port}{cart}/1", b"1", host="evil.test")
        )
        assert wire.read().status == 201
        wire.send(request("GET", f"HTTP://127.0.0.1{cart}/1"))
        assert wire.read().body == b"1"
        wire.send(request("GET", f"http://evil.test{cart}/1"))
        assert wire.read().code == "forbidden"
        wire.send(request("GET", "http://localhost"))
        assert wire.read().code == "not-found"
        wire.send(request("GET", f"http://user@localhost{cart}/1"))
        assert wire.read().code == "bad-request"


@pytest.mark.parametrize(
    "target", ["v1", "*", "ftp://localhost/v1", "/v1#part", "/v1?a#b", "/v1/k\u00e4se", "\\v1"]
)
def test_what_is_no_target_is_broken_http(running: Sidecar, target: str) -> None:
    with Wire(running.port) as wire:
        wire.send(request("GET", target))
        reply = wire.read()
        assert (reply.status, reply.code) == (400, "bad-request")
        assert reply.headers["connection"] == "close"
        assert wire.closed()


def test_options_star_is_405(ask: Client) -> None:
    assert ask("OPTIONS", "*").code == "method-not-allowed"
