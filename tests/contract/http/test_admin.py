"""The admin port: health, readiness, metrics, status and its page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from hashlib import sha256

import pytest

from tests.contract.http.wire import Client, Wire
from tests.real.sidecar import Sidecar


@pytest.fixture
def admin(running: Sidecar) -> Iterator[Client]:
    client = Client(running.admin_port)
    yield client
    client.close()


def test_health_and_readiness(admin: Client) -> None:
    assert admin("GET", "/healthz").status == 200
    ready = admin("GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"ready": True, "reasons": []})
    assert admin("GET", "/readyz?startup").status == 200


def test_status_tells_configuration_and_stores(admin: Client) -> None:
    status = admin("GET", "/v1/status").json
    assert set(status) == {"version", "config", "stores"}
    assert set(status["config"]) == {"version", "source", "appliedAt", "error"}
    assert status["config"]["source"] == "default"
    assert status["config"]["error"] is None
    assert datetime.fromisoformat(status["config"]["appliedAt"]).tzinfo is not None
    figures = {"max": 0, "in_use": 0, "idle": 0, "opening": 0, "pending": 0}
    assert status["stores"] == [
        {"name": "default", "type": "memory", "state": "ready", "error": None, "pool": figures}
    ]


def test_metrics_count_the_requests_of_both_lanes(
    running: Sidecar, ask: Client, admin: Client, cart: str
) -> None:
    def counted(line: str) -> float:
        text = admin("GET", "/metrics").body.decode()
        found = re.search(re.escape(line) + r" (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    lines = [
        'pannier_http_requests_total{method="PUT",route="record",status="201"}',
        'pannier_http_requests_total{method="POST",route="batchGet",status="200"}',
        'pannier_http_requests_total{method="other",route="schema",status="405"}',
    ]
    before = [counted(line) for line in lines]
    ask("PUT", f"{cart}/1", b"1")
    ask("POST", f"{cart}:batchGet", {"keys": []})
    ask("SECRET", cart)
    assert [counted(line) for line in lines] == [count + 1 for count in before]


def test_metrics_hold_no_key_and_no_schema(ask: Client, admin: Client) -> None:
    ask("PUT", "/v1/default/SecretSchema/secret-key", b'"secret-value"')
    text = admin("GET", "/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"ecret" not in text.body


def test_the_status_page_needs_nothing_from_outside(admin: Client) -> None:
    page = admin("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    html = page.body.decode()
    assert "default" in html
    assert not re.search(r'(?:src|href)="(?!/|data:image/svg)', html)
    assert not re.search(r"\bstyle=|\bon[a-z]+=|@import|url\(", html)


def test_its_policy_allows_exactly_its_own_style_and_script(admin: Client) -> None:
    page = admin("GET", "/")
    html = page.body.decode()
    policy = dict(part.strip().split(" ", 1) for part in
                  page.headers["content-security-policy"].split(";"))  # fmt: skip
    assert policy["default-src"] == "'none'"
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = [b64encode(sha256(text.encode()).digest()).decode() for text in texts]
        assert policy[directive] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy["frame-ancestors"] == "'none'"


def test_the_admin_port_only_reads(admin: Client) -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/status"):
        assert admin("HEAD", path).status == 200
        for method in ("POST", "PUT", "DELETE", "FOO"):
            reply = admin(method, path)
            assert (reply.status, reply.code) == (405, "method-not-allowed")
            assert reply.headers["allow"] == "GET, HEAD"
    assert admin("GET", "/v1/default/Cart/1").code == "not-found"


def test_host_and_origin_are_checked_on_loopback(running: Sidecar, admin: Client) -> None:
    assert admin("GET", "/v1/status", host="evil.test").code == "forbidden"
    assert admin("GET", "/v1/status", origin="http://evil.test").code == "forbidden"
    with Wire(running.admin_port) as wire:
        wire.send(b"NONSENSE\r\n\r\n")
        assert wire.read().code == "bad-request"


def test_on_every_address_any_host_may_ask(own: Callable[..., Sidecar]) -> None:
    from tests.real.programs import free_port

    port = free_port()
    with_all = own("--admin-listen", f"0.0.0.0:{port}", wait=False)
    from tests.real.sidecar import wait_until_ready

    with_all.admin_port = port
    wait_until_ready(with_all)
    probe = Client(port)
    assert probe("GET", "/readyz", host="10.1.2.3:3901").status == 200
    probe.close()
