"""Who may ask: Host, Origin and token, over the wire."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.real.sidecar import Sidecar


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "localhost:3900", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:39"],
)
def test_the_local_names_are_let_in(ask: Client, cart: str, host: str) -> None:
    assert ask("GET", "/v1", host=host).status == 200
    for _ in range(2):
        assert ask("PUT", f"{cart}/1", b"1", host=host).status in (201, 204)


@pytest.mark.parametrize(
    "host",
    ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "localhost.", "", "[::2]", "::1",
     "localhost:3900:1", "localhost@evil.test", "127.0.0.2", "0.0.0.0", "localhost, localhost"],
)  # fmt: skip
def test_any_other_host_is_forbidden(ask: Client, cart: str, host: str) -> None:
    for method, target in (("GET", "/v1"), ("PUT", f"{cart}/1"), ("GET", "/nowhere")):
        reply = ask(method, target, b"1", host=host)
        assert (reply.status, reply.code) == (403, "forbidden")
    assert ask("GET", f"{cart}/1").status == 404


@pytest.mark.parametrize("origin", ["http://localhost:3900", "https://evil.test", "null", ""])
def test_a_web_page_is_forbidden(ask: Client, cart: str, origin: str) -> None:
    for method, target in (("GET", "/v1"), ("PUT", f"{cart}/1"), ("OPTIONS", f"{cart}/1")):
        reply = ask(method, target, b"1", origin=origin)
        assert (reply.status, reply.code) == (403, "forbidden")
    assert ask("GET", f"{cart}/1").status == 404


def test_http_1_0_without_a_host_is_let_in(running: Sidecar) -> None:
    with Wire(running.port) as wire:
        wire.send(b"GET /v1 HTTP/1.0\r\n\r\n")
        assert wire.read().status == 200


def test_more_hosts_and_origins_can_be_allowed(own: Callable[..., Sidecar]) -> None:
    flags = ("--allow-host", "shop.test", "--allow-host", "10.0.0.7",
             "--allow-origin", "https://app.test")  # fmt: skip
    ask = Client(own(*flags).port)
    for host in ("shop.test:80", "SHOP.test", "10.0.0.7", "localhost"):
        assert ask("GET", "/v1", host=host).status == 200
    assert ask("GET", "/v1", host="x.shop.test").code == "forbidden"
    assert ask("GET", "/v1", origin="https://app.test").status == 200
    assert ask("GET", "/v1", origin="http://app.test").code == "forbidden"
    ask.close()


def test_an_allowed_page_may_ask_first_and_read_the_answers(
    own: Callable[..., Sidecar], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("right")
    origin = "https://app.test"
    ask = Client(own("--allow-origin", origin, "--api-token-file", str(token)).port)
    first = ask("OPTIONS", "/v1/default/Cart/1", origin=origin, access_control_request_method="PUT")
    assert first.status == 204
    assert "PUT" in first.headers["access-control-allow-methods"]
    assert "If-Match" in first.headers["access-control-allow-headers"]
    for method, target in (("PUT", "/v1/default/Cart/1"), ("GET", "/nothing"), ("OPTIONS", "/v1")):
        for headers in ({}, {"authorization": "Bearer right"}):
            reply = ask(method, target, b"1", origin=origin, **headers)
            assert reply.headers["access-control-allow-origin"] == origin
            assert reply.headers["vary"] == "Origin"
            assert headers or reply.status == 401
    stream = ask("GET", "/v1/default/Cart", origin=origin, authorization="Bearer right",
                 accept="application/x-ndjson")  # fmt: skip
    assert stream.headers["access-control-allow-origin"] == origin
    asked = {"access_control_request_method": "PUT", "authorization": "Bearer right"}
    assert ask("OPTIONS", "/v1", **asked).code == "method-not-allowed", "no page asked"
    refused = ask("OPTIONS", "/v1", origin="https://evil.test", **asked)
    assert (refused.code, "access-control-allow-origin" in refused.headers) == ("forbidden", False)
    assert "access-control-allow-origin" not in ask("GET", "/v1", **asked).headers
    ask.close()


# The token --------------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


def test_the_token_is_asked_of_every_request(own: Callable[..., Sidecar], token: Path) -> None:
    ask = Client(own("--api-token-file", str(token)).port)
    cart = "/v1/default/Cart"
    for authorization in ("Bearer first-token", "bearer first-token", "Bearer   first-token"):
        assert ask("PUT", f"{cart}/1", b"1", authorization=authorization).status in (201, 204)
    wrong = ({}, *({"authorization": value} for value in (
        "Bearer", "Bearer ", "Bearer first", "Bearer first-token2", "Basic first-token",
        "first-token", "Bearer FIRST-TOKEN", "Bearer \xe4")))  # fmt: skip
    for headers in wrong:
        for method, target in (("GET", f"{cart}/1"), ("GET", "/openapi.json"), ("GET", "/x")):
            reply = ask(method, target, **headers)
            assert (reply.status, reply.code) == (401, "unauthorized")
            assert reply.headers["www-authenticate"].startswith("Bearer")
    assert ask("GET", "/v1", host="evil.test").code == "forbidden", "the host is checked first"
    ask.close()


def test_a_changed_token_file_is_read_again(own: Callable[..., Sidecar], token: Path) -> None:
    ask = Client(own("--api-token-file", str(token)).port)
    assert ask("GET", "/v1", authorization="Bearer first-token").status == 200
    fresh = token.with_name("fresh")
    fresh.write_text("second-token")
    os.replace(fresh, token)
    assert ask("GET", "/v1", authorization="Bearer second-token").status == 200
    assert ask("GET", "/v1", authorization="Bearer first-token").status == 401
    token.unlink()
    assert ask("GET", "/v1", authorization="Bearer second-token").status == 200
    ask.close()


def test_the_admin_port_asks_for_no_token(own: Callable[..., Sidecar], token: Path) -> None:
    running = own("--api-token-file", str(token))
    admin = Client(running.admin_port)
    assert admin("GET", "/healthz").status == 200
    admin.close()
    assert "first-token" not in running.log.read_text()


def test_the_token_never_comes_back(own: Callable[..., Sidecar], token: Path) -> None:
    running = own("--api-token-file", str(token))
    with Wire(running.port) as wire:
        wire.send(request("GET", "/nothing", authorization="Bearer first-token"))
        wire.send(b"GARBAGE first-token\r\n\r\n")
        assert b"first-token" not in wire.rest()
    assert "first-token" not in running.log.read_text()
