"""Lists, pages, filters, counts, queries and NDJSON, over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.http.wire import Client, Wire, etag, request
from tests.real.sidecar import Sidecar

NDJSON = "application/x-ndjson"

PEOPLE: list[dict[str, Any]] = [
    {"name": "Ann", "age": 3, "address": {"city": "Paris"}},
    {"name": "Bob", "age": 9.0, "address": {"city": "Rome"}},
    {"name": "Ann B", "age": 30, "tall": True},
    {"name": "3", "age": "3"},
]


def fill(ask: Client, cart: str, values: list[Any]) -> None:
    operations = [{"op": "put", "key": str(n), "record": v} for n, v in enumerate(values)]
    for start in range(0, len(operations), 1000):
        batch = {"operations": operations[start : start + 1000]}
        assert ask("POST", f"{cart}:batchWrite", batch).status == 200


def keys(reply: Any) -> list[str]:
    assert reply.status == 200, reply
    return sorted(item["key"] for item in reply.json["records"])


def test_a_list_holds_key_etag_and_the_stored_bytes(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/a%2Fb", b'{ "x":  1.0 }')
    reply = ask("GET", cart)
    assert reply.headers["content-type"] == "application/json"
    tag = etag(b'{ "x":  1.0 }')
    assert reply.json == {
        "records": [{"key": "a/b", "etag": tag, "record": {"x": 1.0}}],
        "next": None,
    }
    assert b'"record":{ "x":  1.0 }' in reply.body


def test_an_unknown_schema_is_empty(ask: Client, cart: str) -> None:
    assert ask("GET", cart).json == {"records": [], "next": None}
    assert ask("GET", f"{cart}:count").json == {"count": 0}


def test_pages_show_every_record_once(ask: Client, cart: str) -> None:
    fill(ask, cart, list(range(257)))
    seen: list[str] = []
    sizes = []
    target = f"{cart}?limit=50"
    while True:
        page = ask("GET", target).json
        seen += [item["key"] for item in page["records"]]
        sizes.append(len(page["records"]))
        if page["next"] is None:
            break
        target = f"{cart}?limit=50&cursor={page['next']}"
    assert sorted(seen, key=int) == [str(n) for n in range(257)]
    assert sizes == [50, 50, 50, 50, 50, 7]


def test_the_default_limit_is_100_and_the_greatest_1000(ask: Client, cart: str) -> None:
    fill(ask, cart, list(range(1001)))
    assert len(ask("GET", cart).json["records"]) == 100
    page = ask("GET", f"{cart}?limit=1000").json
    assert len(page["records"]) == 1000
    assert page["next"] is not None


def test_a_page_ends_at_4_mib_and_skips_nothing(ask: Client, cart: str) -> None:
    fill(ask, cart, ["x" * 900_000 for _ in range(6)])
    first = ask("GET", cart)
    assert len(first.body) < 4 * 1024 * 1024 + 1000
    assert first.json["next"] is not None
    rest = ask("GET", f"{cart}?cursor={first.json['next']}")
    assert sorted(keys(first) + keys(rest)) == list("012345")


def test_a_page_ends_after_10000_scanned_records(ask: Client, cart: str) -> None:
    fill(ask, cart, [{"n": n} for n in range(12_000)])
    page = ask("GET", f"{cart}?n=11999").json
    assert page["records"] == []
    assert page["next"] is not None
    assert keys(ask("GET", f"{cart}?n=11999&cursor={page['next']}")) == ["11999"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=Ann", "0"),
        ("age=3", "0"),
        ("age=3.0", "0"),
        ("age=%223%22", "3"),
        ("age__gte=9", "12"),
        ("age__gte=3&age__lt=10", "01"),
        ("age__gt=1&age__gt=5", "12"),
        ("address__city=Paris", "0"),
        ("address__city__in=%5B%22Rome%22%2C%22Oslo%22%5D", "1"),
        ("address__exists=false", "23"),
        ("name__startswith=Ann", "02"),
        ("name__contains=3", "3"),
        ("name=Ann+B", "2"),
        ("name=Ann%20B", "2"),
        ("tall=true", "2"),
        ("tall=1", ""),
        ("name__ne=Ann", "123"),
        ("nothing=1", ""),
    ],
)
def test_filters(ask: Client, cart: str, query: str, found: str) -> None:
    fill(ask, cart, PEOPLE)
    assert keys(ask("GET", f"{cart}?{query}")) == list(found)
    assert ask("GET", f"{cart}:count?{query}").json == {"count": len(found)}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({}, "0123"),
        ({"filter": {}}, "0123"),
        ({"filter": {"address.city": "Paris", "age": {"gte": 3, "lt": 9}}}, "0"),
        ({"filter": {"name": {"contains": "nn"}}}, "02"),
        ({"filter": {"tall": True}}, "2"),
        ({"filter": {"age": "3"}}, "3"),
        ({"filter": {"age": {"in": [3, 30]}}, "limit": 1000}, "02"),
    ],
)
def test_queries(ask: Client, cart: str, document: object, found: str) -> None:
    fill(ask, cart, PEOPLE)
    assert keys(ask("POST", f"{cart}:query", document)) == list(found)


def test_a_query_goes_on_by_its_cursor(ask: Client, cart: str) -> None:
    fill(ask, cart, PEOPLE)
    first = ask("POST", f"{cart}:query", {"limit": 3})
    rest = ask("POST", f"{cart}:query", {"limit": 3, "cursor": first.json["next"]})
    assert sorted(keys(first) + keys(rest)) == list("0123")
    assert rest.json["next"] is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid-request"),
        ("limit=1001", "invalid-request"),
        ("limit=ten", "invalid-request"),
        ("limit=%2B5", "invalid-request"),
        ("limit=1&limit=2", "invalid-request"),
        ("cursor=nonsense", "invalid-cursor"),
        ("cursor=", "invalid-cursor"),
        ("cursor=%C3%A4", "invalid-cursor"),
        ("prefix=a", "invalid-request"),
        ("fields=a", "invalid-request"),
        ("order=a", "invalid-request"),
        ("keysOnly=true", "invalid-request"),
        ("a=%zz", "invalid-request"),
        ("a=%ff", "invalid-request"),
        ("name__in=5", "invalid-filter"),
        ("name__exists=5", "invalid-filter"),
    ],
)
def test_a_bad_list_is_refused(ask: Client, cart: str, query: str, code: str) -> None:
    reply = ask("GET", f"{cart}?{query}")
    assert (reply.status, reply.code) == (400, code)


def test_a_cursor_of_another_schema_is_refused(ask: Client, cart: str) -> None:
    fill(ask, cart, PEOPLE)
    cursor = ask("GET", f"{cart}?limit=1").json["next"]
    assert ask("GET", f"{cart}x?cursor={cursor}").code == "invalid-cursor"


def test_a_condition_that_a_query_repeats_must_hold_too(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b'{"n":0.1}')
    reply = ask("POST", f"{cart}:query", b'{"filter":{"n":1,"n":0.1}}')
    assert (reply.status, reply.json["records"]) == (200, [])
    reply = ask("POST", f"{cart}:query", b'{"filter":{"n":{"gt":0},"n":0.1}}')
    assert [record["key"] for record in reply.json["records"]] == ["1"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "invalid-request"),
        (b'{"filters":{}}', "invalid-request"),
        (b'{"limit":0}', "invalid-request"),
        (b'{"limit":true}', "invalid-request"),
        (b'{"limit":"5"}', "invalid-request"),
        (b'{"limit":null}', "invalid-request"),
        (b'{"cursor":5}', "invalid-request"),
        (b'{"cursor":null}', "invalid-request"),
        (b'{"cursor":"x"}', "invalid-cursor"),
        (b'{"filter":[]}', "invalid-filter"),
        (b'{"filter":null}', "invalid-filter"),
        (b'{"filter":{"a":{"near":1}}}', "invalid-filter"),
        (b'{"filter":{"a":{"contains":1}}}', "invalid-filter"),
        (b'{"filter":{"a":{"in":1}}}', "invalid-filter"),
        (b'{"filter":{"a":1}', "invalid-json"),
    ],
)
def test_a_bad_query_is_refused(ask: Client, cart: str, body: bytes, code: str) -> None:
    reply = ask("POST", f"{cart}:query", body)
    assert (reply.status, reply.code) == (400, code)


def test_a_count_takes_no_page(ask: Client, cart: str) -> None:
    for query in ("limit=5", "cursor=x", "prefix=a"):
        assert ask("GET", f"{cart}:count?{query}").code == "invalid-request"


# NDJSON -----------------------------------------------------------------------------------------


def lines(body: bytes) -> list[Any]:
    assert body == b"" or body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def test_ndjson_streams_the_whole_list(ask: Client, cart: str) -> None:
    fill(ask, cart, [{"n": n} for n in range(2500)])
    reply = ask("GET", cart, accept=NDJSON)
    assert reply.headers["content-type"] == NDJSON
    assert reply.headers["transfer-encoding"] == "chunked"
    found = lines(reply.body)
    assert sorted(item["record"]["n"] for item in found) == list(range(2500))
    assert ask("GET", cart).status == 200, "the connection goes on"


def test_ndjson_takes_filters_and_a_cursor_and_refuses_a_limit(ask: Client, cart: str) -> None:
    fill(ask, cart, PEOPLE)
    assert len(lines(ask("GET", f"{cart}?age__gte=9", accept=NDJSON).body)) == 2
    cursor = ask("GET", f"{cart}?limit=1").json["next"]
    assert len(lines(ask("GET", f"{cart}?cursor={cursor}", accept=NDJSON).body)) == 3
    assert ask("GET", f"{cart}?limit=5", accept=NDJSON).code == "invalid-request"


def test_a_line_end_inside_a_record_becomes_a_space(ask: Client, cart: str) -> None:
    value = b'{"a":\r\n 1,\n"b": "x\\ny"}'
    ask("PUT", f"{cart}/1", value)
    body = ask("GET", cart, accept=NDJSON).body
    assert body.count(b"\n") == 1
    assert lines(body) == [{"key": "1", "etag": etag(value), "record": {"a": 1, "b": "x\ny"}}]


def test_an_empty_ndjson_list_is_no_line(ask: Client, cart: str) -> None:
    reply = ask("GET", cart, accept=NDJSON)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("accept", "streamed"),
    [
        (NDJSON, True),
        ("application/json;q=0.5, Application/X-NDJSON;q=0.9", True),
        ("*/*", False),
        ("application/json", False),
        (f"{NDJSON};q=0", False),
        (f"{NDJSON};q=0.000", False),
        (f"application/json, {NDJSON};q=0.5", False),
        (f"{NDJSON};q=0.5, application/json;q=0.7", False),
        (f"{NDJSON};q=0.5, */*", False),
        (f"{NDJSON};q=0.5, application/json;q=0.4, */*", True),
        (f"{NDJSON};v=1;q=0.5;w=2, application/*;q=0.4", True),
        (f"application/json, {NDJSON}", True),
        (f"{NDJSON}, */*", True),
        (f"{NDJSON};q=0.1", True),
        (f"{NDJSON};q=high, application/json;q=0.4", True),
    ],
)
def test_ndjson_is_chosen_by_accept(ask: Client, cart: str, accept: str, streamed: bool) -> None:
    reply = ask("GET", cart, accept=accept)
    assert reply.headers["content-type"] == (NDJSON if streamed else "application/json")


def test_ndjson_to_http_1_0_ends_with_the_connection(
    running: Sidecar, ask: Client, cart: str
) -> None:
    fill(ask, cart, PEOPLE)
    with Wire(running.port) as wire:
        wire.send(f"GET {cart} HTTP/1.0\r\nAccept: {NDJSON}\r\n\r\n".encode())
        reply = wire.read()
    assert "transfer-encoding" not in reply.headers
    assert reply.headers["connection"] == "close"
    assert len(lines(reply.body)) == 4


def test_a_head_of_a_stream_has_no_body(running: Sidecar, ask: Client, cart: str) -> None:
    fill(ask, cart, PEOPLE)
    with Wire(running.port) as wire:
        wire.send(request("HEAD", cart, accept=NDJSON) + request("GET", f"{cart}/0"))
        assert wire.read(head_only=True).headers["content-type"] == NDJSON
        assert wire.read().json == PEOPLE[0]


# Stores and schemas -----------------------------------------------------------------------------


def test_stores_are_listed_with_type_and_state(ask: Client) -> None:
    assert ask("GET", "/v1").json == {
        "stores": [{"name": "default", "type": "memory", "state": "ready"}]
    }


def test_a_store_tells_what_it_can_and_its_pool(ask: Client) -> None:
    assert ask("GET", "/v1/default").json == {
        "name": "default",
        "type": "memory",
        "state": "ready",
        "capabilities": ["atomic-batch", "cas", "merge-patch"],
        "pool": {"max": 0, "in_use": 0, "idle": 0, "opening": 0, "pending": 0},
    }


def test_schemas_are_listed_in_pages(own: Callable[..., Sidecar]) -> None:
    ask = Client(own().port)
    for name in ("B", "A", "C"):
        ask("PUT", f"/v1/default/{name}/1", b"1")
    ask("PUT", "/v1/default/A/2", b"1")
    found, cursor = [], ""
    while True:
        page = ask("GET", f"/v1/default:schemas?limit=2{cursor}").json
        found += page["schemas"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(found, key=lambda each: each["name"]) == [
        {"name": "A", "count": 2},
        {"name": "B", "count": 1},
        {"name": "C", "count": 1},
    ]
    assert ask("GET", "/v1/default:schemas?cursor=x").code == "invalid-cursor"
    assert ask("GET", "/v1/default:schemas?name=x").code == "invalid-request"
    ask.close()
