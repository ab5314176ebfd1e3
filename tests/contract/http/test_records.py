"""GET, HEAD, PUT and DELETE of one record, over the wire."""

from __future__ import annotations

import pytest

from tests.contract.http.wire import Client, etag

VALUES = [
    b'{"total": 3}',
    b'{ "b":1.10,"a" : 1e400, "a":2 }',
    b"null",
    b"0",
    b'"text"',
    b"[1,\n 2]",
    b" true ",
    b"123456789012345678901234567890",
    '{"name":"käse \U0001f9c0"}'.encode(),
]


@pytest.mark.parametrize("value", VALUES)
def test_the_stored_bytes_are_the_bytes_sent(ask: Client, cart: str, value: bytes) -> None:
    created = ask("PUT", f"{cart}/42", value)
    assert (created.status, created.body) == (201, b"")
    assert created.headers["etag"] == etag(value)
    got = ask("GET", f"{cart}/42")
    assert (got.status, got.body) == (200, value)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["etag"] == etag(value)


def test_put_creates_once_and_then_replaces(ask: Client, cart: str) -> None:
    assert ask("PUT", f"{cart}/1", b"1").status == 201
    replaced = ask("PUT", f"{cart}/1", b"2")
    assert (replaced.status, replaced.headers["etag"]) == (204, etag(b"2"))
    assert "content-length" not in replaced.headers
    assert ask("GET", f"{cart}/1").body == b"2"


def test_head_answers_as_get_without_the_body(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b'{"a":1}')
    got, head = ask("GET", f"{cart}/1"), ask("HEAD", f"{cart}/1")
    for reply in (got, head):
        reply.headers.pop("date")
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")
    missing = ask("HEAD", f"{cart}/2")
    assert (missing.status, missing.body) == (404, b"")


def test_a_missing_record_is_a_problem_that_names_it(ask: Client, cart: str) -> None:
    schema = cart.rpartition("/")[2]
    for method in ("GET", "DELETE"):
        reply = ask(method, f"{cart}/a%2Fb")
        assert (reply.status, reply.code) == (404, "record-not-found")
        problem = reply.json
        assert (problem["store"], problem["schema"], problem["key"]) == ("default", schema, "a/b")
        assert problem["detail"].endswith("check its schema and key, or insert it first.")


def test_delete_removes_the_record(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"1")
    deleted = ask("DELETE", f"{cart}/1")
    assert (deleted.status, deleted.body) == (204, b"")
    assert ask("GET", f"{cart}/1").code == "record-not-found"


# Conditions -------------------------------------------------------------------------------------

OTHER = etag(b"other")


def test_if_none_match_on_get_answers_304_with_the_etag(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"1")
    tag = etag(b"1")
    for condition in (tag, f"W/{tag}", f"{OTHER}, {tag}", "*"):
        reply = ask("GET", f"{cart}/1", if_none_match=condition)
        assert (reply.status, reply.headers["etag"], reply.body) == (304, tag, b"")
        assert ask("HEAD", f"{cart}/1", if_none_match=condition).status == 304
    assert ask("GET", f"{cart}/1", if_none_match=OTHER).status == 200
    assert ask("GET", f"{cart}/none", if_none_match="*").status == 404


def test_if_match_on_get_is_strong(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"1")
    assert ask("GET", f"{cart}/1", if_match=etag(b"1")).status == 200
    assert ask("GET", f"{cart}/1", if_match="*").status == 200
    for condition in (OTHER, "W/" + etag(b"1")):
        reply = ask("GET", f"{cart}/1", if_match=condition)
        assert (reply.status, reply.code) == (412, "etag-mismatch")
    assert ask("GET", f"{cart}/none", if_match=OTHER).code == "record-not-found"


def test_if_none_match_star_on_put_inserts(ask: Client, cart: str) -> None:
    assert ask("PUT", f"{cart}/1", b"1", if_none_match="*").status == 201
    refused = ask("PUT", f"{cart}/1", b"2", if_none_match="*")
    assert (refused.status, refused.code) == (412, "record-exists")
    assert ask("GET", f"{cart}/1").body == b"1"


def test_if_match_star_on_put_updates(ask: Client, cart: str) -> None:
    refused = ask("PUT", f"{cart}/1", b"1", if_match="*")
    assert (refused.status, refused.code) == (412, "record-not-found")
    assert ask("GET", f"{cart}/1").status == 404
    ask("PUT", f"{cart}/1", b"1")
    assert ask("PUT", f"{cart}/1", b"2", if_match="*").status == 204


def test_if_match_on_put_compares_and_sets(ask: Client, cart: str) -> None:
    missing = ask("PUT", f"{cart}/1", b"1", if_match=OTHER)
    assert (missing.status, missing.code) == (412, "record-not-found")
    ask("PUT", f"{cart}/1", b"1")
    for condition in (OTHER, "W/" + etag(b"1"), etag(b"1").upper()):
        refused = ask("PUT", f"{cart}/1", b"2", if_match=condition)
        assert (refused.status, refused.code) == (412, "etag-mismatch")
    assert ask("GET", f"{cart}/1").body == b"1"
    assert ask("PUT", f"{cart}/1", b"2", if_match=f"{OTHER}, {etag(b'1')}").status == 204


def test_other_if_none_match_on_put_is_unsupported(ask: Client, cart: str) -> None:
    for condition in (OTHER, f"W/{OTHER}", f"{OTHER}, {OTHER}"):
        reply = ask("PUT", f"{cart}/1", b"1", if_none_match=condition)
        assert (reply.status, reply.code) == (501, "unsupported")
    assert ask("GET", f"{cart}/1").status == 404


def test_conditions_that_exclude_each_other_never_hold(ask: Client, cart: str) -> None:
    for condition in ("*", etag(b"1")):
        refused = ask("PUT", f"{cart}/1", b"2", if_none_match="*", if_match=condition)
        assert (refused.status, refused.code) == (412, "record-not-found")
    ask("PUT", f"{cart}/1", b"1")
    for condition, code in (("*", "record-exists"), (OTHER, "etag-mismatch")):
        refused = ask("PUT", f"{cart}/1", b"2", if_none_match="*", if_match=condition)
        assert (refused.status, refused.code) == (412, code)
    assert ask("GET", f"{cart}/1").body == b"1"


def test_if_match_on_delete(ask: Client, cart: str) -> None:
    assert ask("DELETE", f"{cart}/1", if_match=OTHER).code == "record-not-found"
    assert ask("DELETE", f"{cart}/1", if_match="*").status == 404
    ask("PUT", f"{cart}/1", b"1")
    refused = ask("DELETE", f"{cart}/1", if_match=OTHER)
    assert (refused.status, refused.code) == (412, "etag-mismatch")
    assert ask("DELETE", f"{cart}/1", if_match=etag(b"1")).status == 204


@pytest.mark.parametrize("tag", ["abc", '"abc', '"a" "b"', "", "*, *", '*, "a"', 'w/"a"'])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_bad_tag_is_an_invalid_request(ask: Client, cart: str, method: str, tag: str) -> None:
    body = b"{}" if method in ("PUT", "PATCH") else None
    for header in ("if_match", "if_none_match"):
        reply = ask(method, f"{cart}/1", body, **{header: tag})
        assert (reply.status, reply.code) == (400, "invalid-request")


# PATCH ------------------------------------------------------------------------------------------


def test_a_patch_merges_and_answers_with_the_new_record(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b'{"a": 1.10, "b": {"x": 1, "y": 2}, "n": 12345678901234567890.50}')
    reply = ask("PATCH", f"{cart}/1", b'{"b": {"y": null, "z": 3.00}, "c": [1]}')
    assert reply.status == 200
    assert reply.json == {"a": 1.1, "b": {"x": 1, "z": 3.0}, "n": 12345678901234567890.5, "c": [1]}
    assert b"1.10" in reply.body
    assert b"12345678901234567890.50" in reply.body
    assert b"3.00" in reply.body
    assert reply.headers["etag"] == etag(reply.body)
    got = ask("GET", f"{cart}/1")
    assert (got.body, got.headers["etag"]) == (reply.body, reply.headers["etag"])


def test_a_patch_that_is_no_object_is_422_before_the_record_is_404(ask: Client, cart: str) -> None:
    for patch in (b"[]", b"1", b"null", b'"a"'):
        reply = ask("PATCH", f"{cart}/none", patch)
        assert (reply.status, reply.code) == (422, "not-an-object")
    assert ask("PATCH", f"{cart}/none", b"{}", if_match="*").code == "record-not-found"


def test_a_record_that_is_no_object_cannot_be_patched(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b"[1]")
    reply = ask("PATCH", f"{cart}/1", b"{}")
    assert (reply.status, reply.code) == (422, "not-an-object")


def test_conditions_on_patch(ask: Client, cart: str) -> None:
    ask("PUT", f"{cart}/1", b'{"a":1}')
    tag = etag(b'{"a":1}')
    refusals = (
        ({"if_match": OTHER}, "etag-mismatch"),
        ({"if_match": f"W/{tag}"}, "etag-mismatch"),
        ({"if_none_match": "*"}, "record-exists"),
        ({"if_none_match": f"W/{tag}"}, "etag-mismatch"),
    )
    for conditions, code in refusals:
        reply = ask("PATCH", f"{cart}/1", b'{"a":2}', **conditions)
        assert (reply.status, reply.code) == (412, code)
    assert ask("PATCH", f"{cart}/1", b'{"a":2}', if_match=tag).json == {"a": 2}


# POST -------------------------------------------------------------------------------------------


def test_post_inserts_the_bytes_of_the_record_member(ask: Client, cart: str) -> None:
    reply = ask("POST", cart, b'{"key": "a/\xc3\xa4 b", "record": {"total":  3.0} }')
    assert reply.status == 201
    assert reply.json == {"key": "a/ä b", "etag": etag(b'{"total":  3.0}')}
    assert reply.headers["etag"] == etag(b'{"total":  3.0}')
    assert reply.headers["location"] == f"{cart}/a%2F%C3%A4%20b"
    assert ask("GET", reply.headers["location"]).body == b'{"total":  3.0}'


def test_post_without_a_key_makes_a_uuid_of_version_7(ask: Client, cart: str) -> None:
    import time
    from uuid import UUID

    keys = [ask("POST", cart, {"record": n}).json["key"] for n in range(3)]
    assert len(set(keys)) == 3
    for key in keys:
        made = UUID(key)
        assert (str(made), made.version, made.variant) == (key, 7, "specified in RFC 4122")
        assert abs((made.int >> 80) / 1000 - time.time()) < 60


def test_post_of_a_present_key_is_409_and_changes_nothing(ask: Client, cart: str) -> None:
    ask("POST", cart, {"key": 42, "record": 1})
    for key in (42, "42", 42.0):
        reply = ask("POST", cart, {"key": key, "record": 2})
        assert (reply.status, reply.code, reply.json["key"]) == (409, "record-exists", "42")
    assert ask("GET", f"{cart}/42").body == b"1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "invalid-request"),
        (b"[]", "invalid-request"),
        (b'{"key":"a"}', "invalid-request"),
        (b'{"record":1,"extra":2}', "invalid-request"),
        (b'{"record":1,"key":true}', "invalid-key"),
        (b'{"record":1,"key":1.5}', "invalid-key"),
        (b'{"record":1,"key":1e9999}', "invalid-key"),
        (b'{"record":1,"key":1%s}' % (b"0" * 600), "invalid-key"),
        (b'{"record":1,"key":null}', "invalid-key"),
        (b'{"record":1,"key":""}', "invalid-key"),
        (b'{"record":1,"key":".."}', "invalid-key"),
        (b'{"record":1,"key":"a\\u0000"}', "invalid-key"),
        (b'{"record":1', "invalid-json"),
        (b'{"record":"\xff"}', "invalid-json"),
        (b"", "invalid-json"),
    ],
)
def test_a_malformed_insert_is_refused(ask: Client, cart: str, body: bytes, code: str) -> None:
    reply = ask("POST", cart, body)
    assert (reply.status, reply.code) == (400, code)
    assert ask("GET", f"{cart}:count").json == {"count": 0}
