"""batchGet and batchWrite, over the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.http.wire import Client, etag
from tests.real.sidecar import Sidecar

OTHER = etag(b"other")


def write(ask: Client, cart: str, *operations: dict[str, Any], **more: Any) -> Any:
    return ask("POST", f"{cart}:batchWrite", {"operations": list(operations), **more})


def op(name: str, key: object, record: Any = ..., **more: Any) -> dict[str, Any]:
    return {"op": name, "key": key, **({} if record is ... else {"record": record}), **more}


def test_batch_get_answers_in_the_order_asked(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/a", b"{ }")
    ask("PUT", f"{cart}/7", b"2")
    reply = ask("POST", f"{cart}:batchGet", {"keys": ["b", 7, "a", "c", "a"]})
    assert reply.json == {
        "records": [
            {"key": "7", "etag": etag(b"2"), "record": 2},
            {"key": "a", "etag": etag(b"{ }"), "record": {}},
            {"key": "a", "etag": etag(b"{ }"), "record": {}},
        ],
        "missing": ["b", "c"],
    }
    assert b'"record":{ }' in reply.body
    assert ask("POST", f"{cart}:batchGet", {"keys": []}).json == {"records": [], "missing": []}


def test_batch_get_takes_1000_keys_and_no_more(ask: Client, cart: str) -> None:
    keys = [str(n) for n in range(1000)]
    assert ask("POST", f"{cart}:batchGet", {"keys": keys}).json["missing"] == keys
    assert ask("POST", f"{cart}:batchGet", {"keys": [*keys, "x"]}).code == "invalid-request"


def test_a_batch_get_over_the_answer_limit_is_413(own: Callable[..., Sidecar]) -> None:
    ask = Client(own("--max-body-bytes", "10000").port)
    cart = "/v1/default/Cart"
    ask("PUT", f"{cart}/1", b'"' + b"x" * 6000 + b'"')
    assert ask("POST", f"{cart}:batchGet", {"keys": ["1"]}).status == 200
    reply = ask("POST", f"{cart}:batchGet", {"keys": ["1", "1"]})
    assert (reply.status, reply.code) == (413, "too-large")
    ask.close()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "invalid-request"),
        (b"[]", "invalid-request"),
        (b'{"keys":"a"}', "invalid-request"),
        (b'{"keys":[1],"more":1}', "invalid-request"),
        (b'{"keys":[""]}', "invalid-key"),
        (b'{"keys":[null]}', "invalid-key"),
        (b'{"keys":["a",{}]}', "invalid-key"),
        (b'{"keys":[', "invalid-json"),
    ],
)
def test_a_malformed_batch_get_is_refused(ask: Client, cart: str, body: bytes, code: str) -> None:
    reply = ask("POST", f"{cart}:batchGet", body)
    assert (reply.status, reply.code) == (400, code)


def test_each_write_has_the_status_of_its_own_request(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/old", b"0")
    tag = etag(b"0")
    reply = write(
        ask, cart,
        op("put", "new", 1), op("put", "new", 2), op("put", 42, 3),
        op("insert", "new", 4), op("insert", "fresh", 5),
        op("update", "gone", 6), op("update", "fresh", 7),
        op("delete", "gone"), op("delete", "fresh"),
        op("put", "old", 8, ifMatch=OTHER), op("put", "gone", 8, ifMatch="*"),
        op("update", "old", 9, ifMatch=OTHER), op("update", "gone", 9, ifMatch=OTHER),
        op("delete", "old", ifMatch=OTHER), op("delete", "gone", ifMatch=OTHER),
        op("put", "old", 8, ifMatch=tag.strip('"')),
        op("delete", "old", ifMatch=f'"a", {etag(b"8")}'),
    )  # fmt: skip
    assert reply.status == 200
    missing, mismatch = "record-not-found", "etag-mismatch"
    assert reply.json == {"results": [
        {"key": "new", "status": 201, "etag": etag(b"1")},
        {"key": "new", "status": 204, "etag": etag(b"2")},
        {"key": "42", "status": 201, "etag": etag(b"3")},
        {"key": "new", "status": 409, "code": "record-exists"},
        {"key": "fresh", "status": 201, "etag": etag(b"5")},
        {"key": "gone", "status": 404, "code": missing},
        {"key": "fresh", "status": 204, "etag": etag(b"7")},
        {"key": "gone", "status": 404, "code": missing},
        {"key": "fresh", "status": 204},
        {"key": "old", "status": 412, "code": mismatch},
        {"key": "gone", "status": 412, "code": missing},
        {"key": "old", "status": 412, "code": mismatch},
        {"key": "gone", "status": 404, "code": missing},
        {"key": "old", "status": 412, "code": mismatch},
        {"key": "gone", "status": 404, "code": missing},
        {"key": "old", "status": 204, "etag": etag(b"8")},
        {"key": "old", "status": 204},
    ]}  # fmt: skip
    assert ask("GET", f"{cart}:count").json == {"count": 2}


def test_the_stored_bytes_are_those_of_the_record_member(ask: Client, cart: str) -> None:
    body = b'{"operations": [{"op":"put","key":"1","record":  {"a" : 1.50,\n"a":2}  }]}'
    reply = ask("POST", f"{cart}:batchWrite", body)
    value = b'{"a" : 1.50,\n"a":2}'
    assert reply.json["results"][0]["etag"] == etag(value)
    assert ask("GET", f"{cart}/1").body == value


def test_an_atomic_batch_is_all(ask: Client, cart: str) -> None:
    reply = write(ask, cart, op("put", "1", 1), op("insert", "2", 2), atomic=True)
    assert [result["status"] for result in reply.json["results"]] == [201, 201]


def test_or_nothing(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"1")
    reply = write(ask, cart, op("put", "1", 2), op("delete", "1"), op("update", "9", 3),
                  op("put", "5", 1), atomic=True)  # fmt: skip
    assert (reply.status, reply.code) == (409, "batch-rejected")
    results = reply.json["results"]
    assert [result["key"] for result in results] == ["1", "1", "9", "5"]
    assert results[2] == {"key": "9", "status": 404, "code": "record-not-found"}
    assert all(result["status"] >= 400 for result in results)
    assert ask("GET", f"{cart}/1").body == b"1"
    assert ask("GET", f"{cart}:count").json == {"count": 1}


def test_a_batch_takes_1000_operations_and_no_more(ask: Client, cart: str) -> None:
    operations = [op("put", n, n) for n in range(1000)]
    assert len(write(ask, cart, *operations).json["results"]) == 1000
    refused = write(ask, cart, *operations, op("put", "extra", 1))
    assert (refused.status, refused.code) == (400, "invalid-request")
    assert ask("GET", f"{cart}/extra").status == 404
    assert write(ask, cart).json == {"results": []}


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (op("push", "1", 1), "invalid-request"),
        (op("put", "1"), "invalid-request"),
        (op("insert", "1", 1, ifMatch=OTHER), "invalid-request"),
        (op("delete", "1", 1), "invalid-request"),
        ({"op": "put", "record": 1}, "invalid-request"),
        ({"key": "1", "record": 1}, "invalid-request"),
        (op("put", "1", 1, extra=1), "invalid-request"),
        (op("put", "1", 1, ifMatch=5), "invalid-request"),
        (op("put", "1", 1, ifMatch=None), "invalid-request"),
        (op("delete", "1", ifMatch=None), "invalid-request"),
        (op("put", "1", 1, ifMatch='"half'), "invalid-request"),
        (op(5, "1", 1), "invalid-request"),
        (17, "invalid-request"),
        (op("put", "", 1), "invalid-key"),
        (op("put", "..", 1), "invalid-key"),
        (op("put", None, 1), "invalid-key"),
        (op("put", "k" * 513, 1), "invalid-key"),
    ],
)
def test_a_malformed_operation_refuses_the_whole(
    ask: Client, cart: str, operation: Any, code: str
) -> None:
    reply = write(ask, cart, op("put", "first", 1), operation)
    assert (reply.status, reply.code) == (400, code)
    assert "1" in reply.json["detail"]
    assert ask("GET", f"{cart}/first").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"operations":{}}',
        b'{"operations":[],"atomic":1}',
        b'{"operations":[],"atomic":null}',
        b'{"operations":[],"x":1}',
    ],
)
def test_a_malformed_batch_is_refused(ask: Client, cart: str, body: bytes) -> None:
    assert ask("POST", f"{cart}:batchWrite", body).code == "invalid-request"


def test_a_record_over_its_limit_refuses_the_whole(own: Callable[..., Sidecar]) -> None:
    ask = Client(own("--max-record-bytes", "100").port)
    cart = "/v1/default/Cart"
    reply = write(ask, cart, op("put", "1", 1), op("put", "2", "x" * 99))
    assert (reply.status, reply.code) == (413, "too-large")
    assert ask("GET", f"{cart}/1").status == 404
    assert write(ask, cart, op("put", "2", "x" * 98)).json["results"][0]["status"] == 201
    ask.close()
