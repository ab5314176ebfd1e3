"""The first failure answers: host, token, path, method, store, names, query, conditions, body."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.contract.http.wire import Client
from tests.real.sidecar import Sidecar

TOKEN = {"authorization": "Bearer right"}
LONG = b"[" * 2000


def test_the_first_failure_answers(own: Callable[..., Sidecar], tmp_path: Path) -> None:
    """Each request has one fault less than the one before it, from the front of the order."""
    token = tmp_path / "token"
    token.write_text("right")
    ask = Client(own("--api-token-file", str(token), "--max-record-bytes", "1000").port)
    bad = {"if_match": "bad tag", "content_encoding": "gzip"}
    steps = [
        ("FOO", "/v1/no/.C/%00/x", {**bad, "host": "evil.test", "origin": "x"}, LONG, "forbidden"),
        ("FOO", "/v1/no/.C/%00/x", {**bad, "origin": "x"}, LONG, "forbidden"),
        ("FOO", "/v1/no/.C/%00/x", bad, LONG, "unauthorized"),
        ("FOO", "/v1/no/.C/%00/x", {**bad, **TOKEN}, LONG, "not-found"),
        ("FOO", "/v1/no/.C/%00?x=%", {**bad, **TOKEN}, LONG, "method-not-allowed"),
        ("PUT", "/v1/no/.C/%00?x=%", {**bad, **TOKEN}, LONG, "store-not-found"),
        ("PUT", "/v1/default/.C/%00?x=%", {**bad, **TOKEN}, LONG, "invalid-schema"),
        ("PUT", "/v1/default/C/%00?x=%", {**bad, **TOKEN}, LONG, "invalid-key"),
        ("PUT", "/v1/default/C/1?x=1", {**bad, **TOKEN}, LONG, "invalid-request"),
        ("PUT", "/v1/default/C/1", {**bad, **TOKEN}, LONG, "invalid-request"),
        ("PUT", "/v1/default/C/1", {**TOKEN, "content_encoding": "gzip"}, LONG, "too-large"),
        ("PUT", "/v1/default/C/1", {**TOKEN, "content_encoding": "gzip"}, b"[",
         "unsupported-media-type"),
        ("PUT", "/v1/default/C/1", {**TOKEN, "if_none_match": '"a"'}, b"[", "invalid-json"),
        ("PUT", "/v1/default/C/1", {**TOKEN, "if_none_match": '"a"'}, b"[]", "unsupported"),
        ("PUT", "/v1/default/C/1", {**TOKEN, "if_match": '"a"'}, b"[]", "record-not-found"),
        ("PUT", "/v1/default/C/1", TOKEN, b"[]", None),
    ]  # fmt: skip
    for method, target, headers, body, code in steps:
        reply = ask(method, target, body, **headers)
        assert reply.code == code, (method, target, headers)
    ask.close()


def test_lists_are_refused_in_the_same_order(ask: Client, cart: str) -> None:
    steps = [
        ("DELETE", "/v1/no/.C?limit=x&a__in=1", "method-not-allowed"),
        ("GET", "/v1/no/.C?limit=x&a__in=1", "store-not-found"),
        ("GET", "/v1/default/.C?limit=x&a__in=1", "invalid-schema"),
        ("GET", f"{cart}?limit=x&a__in=1", "invalid-request"),
        ("GET", f"{cart}?limit=1&a__in=1", "invalid-filter"),
    ]
    for method, target, code in steps:
        assert ask(method, target).code == code


def test_a_problem_names_what_it_is_about(ask: Client, cart: str) -> None:
    schema = cart.rpartition("/")[2]
    assert "store" not in ask("GET", "/nothing").json
    about = ask("GET", "/v1/nothing/C/1").json
    assert (about["store"], "schema" in about) == ("nothing", False)
    about = ask("GET", f"{cart}/%00").json
    assert (about["store"], about["schema"], "key" in about) == ("default", schema, False)
    about = ask("PATCH", f"{cart}/k", b"[]").json
    assert (about["store"], about["schema"], about["key"]) == ("default", schema, "k")
