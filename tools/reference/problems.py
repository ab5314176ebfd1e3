"""The page of problem codes: status and meaning from the errors themselves, advice from here.

An error without advice, or advice for none, stops the generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pannier import errors
from pannier.errors import NotBorrowed, PannierError
from pannier.server import refusals
from reference.markdown import as_line, code, page, table

NOT_ON_THE_WIRE: Final = frozenset({PannierError, NotBorrowed})
"""A base, and what only the library can raise."""

ALSO: Final = {"record-exists": (412,), "record-not-found": (412,)}
"""Statuses beside the error's own: a precondition that failed."""

ADVICE: Final = {
    "backend-refused": "Read `detail`: a permission, a wrong type or a setting of the backend. "
    "Correct it there; repeating does not help.",
    "backend-unavailable": "Repeat after `Retry-After`. If it stays: [the runbook]"
    "(../dashboards.md#pannierbackenddown).",
    "bad-request": "Correct the client: what it sends is not HTTP/1.1, or it hung up in the "
    "middle.",
    "batch-rejected": "Read `results` for the operation that was refused, correct it, send the "
    "whole batch again.",
    "contended": "Repeat after `Retry-After`; or read, change and `PUT` with `If-Match`.",
    "draining": "The pod is ending. Repeat on a new connection.",
    "etag-mismatch": "Somebody was faster: read the record, decide anew, send its present ETag.",
    "forbidden": "Call `localhost`; or allow the name or origin with `--allow-host` or "
    "`--allow-origin`.",
    "head-too-large": "Send fewer or shorter headers.",
    "internal": "Look into the sidecar's log and report it with the line that is there.",
    "invalid-cursor": "Begin the list anew. A cursor holds for one store and one schema, and not "
    "across a restart or failover of Redis.",
    "invalid-filter": "Read `detail` for the operator or value; `/openapi.json` lists the "
    "operators.",
    "invalid-json": "Send one JSON value in UTF-8, without NaN and infinities.",
    "invalid-key": "1 to 512 bytes of UTF-8 without control characters, percent-encoded; not `.` "
    "or `..`.",
    "invalid-request": "Read `detail` for the member or parameter; `/openapi.json` has the shape.",
    "invalid-schema": "1 to 128 of `A-Z a-z 0-9 _ . -`, beginning with a letter, a digit or `_`.",
    "method-not-allowed": "Use a method of the header `Allow`.",
    "not-an-object": "Use `PUT` for records that are no JSON object.",
    "not-found": "Paths are `/v1/{store}/{schema}/{key}`; a slash in a key is `%2F`.",
    "not-ready": "Repeat after `Retry-After`. If it stays: `GET /readyz` on the admin port says "
    "why, `kubectl describe storebackend` what to do.",
    "outcome-unknown": "Read the record and compare its ETag with the SHA-1 of what you sent; "
    "repeat if it is not there.",
    "overloaded": "Repeat after `Retry-After`. If it stays: fewer or smaller requests at once, or "
    "raise `--max-inflight-bytes` or `--max-clients`.",
    "pool-exhausted": "Repeat after `Retry-After`. If it stays: [the runbook]"
    "(../dashboards.md#pannierwaitingforconnection); `pool` in the answer has the figures.",
    "record-exists": "An insert (`POST`, or `PUT` with `If-None-Match: *`) found it there: `PUT` "
    "without a condition replaces it.",
    "record-not-found": "It is not there, which may be your answer; `PUT` creates it.",
    "store-full": "Make room: delete, or raise `memory.maxBytes`, Redis' `maxmemory` or the HDFS "
    "quota.",
    "store-not-found": "`GET /v1` lists the stores. In a cluster: is there a StoreBackend of that "
    "name in the pod's namespace, and does `serviceAccounts` name the pod's?",
    "target-too-long": "Use `:query` or `:batchGet`, which take a body.",
    "timeout": "Read again: nothing was changed. If it stays, look at *use of a connection*.",
    "too-large": "Split the record or the batch, or raise `--max-record-bytes` or "
    "`--max-body-bytes`.",
    "unauthorized": "Send `Authorization: Bearer` with the token of `--api-token-file`.",
    "unsupported": "`GET /v1/{store}` lists what the store can; use another way or another store.",
    "unsupported-media-type": "Send the body as it is, without `Content-Encoding`.",
}


def problems_page() -> str:
    """The page."""
    by_code: dict[str, list[type[PannierError]]] = {}
    for error in on_the_wire():
        by_code.setdefault(error.code, []).append(error)
    wrong = by_code.keys() ^ ADVICE.keys()
    assert not wrong, f"tools/reference/problems.py: no advice, or advice for nothing: {wrong}"
    rows = []
    for name in sorted(by_code, key=lambda each: (by_code[each][0].status, each)):
        kinds = by_code[name]
        statuses = sorted({each.status for each in kinds} | {*ALSO.get(name, ())})
        meaning = " Or: ".join(as_line(each.__doc__ or "") for each in kinds)
        rows.append([code(name), ", ".join(map(str, statuses)), meaning, ADVICE[name]])
    names = [
        [code(each.__name__), code(each.code)]
        for each in sorted(on_the_wire(), key=lambda each: each.__name__)
        if each.__module__ == errors.__name__
    ]
    return page(
        "Problem codes",
        "Every refusal is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, "
        "`detail` and `code`, and `store`, `schema` and `key` where they apply. Programs look at "
        "`code`; `detail` is for people and may change. Every 503 has `Retry-After` in whole "
        "seconds.",
        "A write that was refused was not done, unless `code` is `outcome-unknown` (or `internal`, "
        "which is a bug).",
        table(("code", "status", "means", "what to do"), rows),
        "## In the library",
        "The library raises the same as exceptions, below `pannier.PannierError`; each has "
        "`status` and `code`.",
        table(("exception", "code"), names),
    )


def on_the_wire() -> Iterator[type[PannierError]]:
    """Every error that a request can end in."""
    for module in (errors, refusals):
        for each in vars(module).values():
            if not isinstance(each, type) or not issubclass(each, PannierError):
                continue
            if each.__module__ == module.__name__ and each not in NOT_ON_THE_WIRE:
                yield each
