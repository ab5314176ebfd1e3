"""What a store asks a sidecar, in its HTTP words: paths, conditions, batches, pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from pannier import json_text
from pannier.errors import BackendRefused, InvalidRecord
from pannier.filters import Condition as Filter
from pannier.http_answers import Answer
from pannier.operations import Condition, Outcome, Write, WriteResult
from pannier.sidecar_problems import error_of_code, problem_of

M = TypeVar("M")

MOST = 1000
"""The most keys, operations or records of one request."""
PART_BYTES = 8 * 1024 * 1024
"""Half of what a sidecar takes in one body by default."""
WRITE_OVERHEAD = 2048
"""Bytes beside its record that a write may take: its key (at most 512 bytes, escaped), its tags."""

_json = msgspec.json.encode

_REFUSALS = {
    "record-exists": Outcome.PRESENT,
    "record-not-found": Outcome.ABSENT,
    "etag-mismatch": Outcome.MISMATCH,
}


def key_path(store: str, schema: str, key: str) -> str:
    """The path of one record."""
    return f"/v1/{store}/{schema}/{quote(key, safe='')}"


def condition_headers(condition: Condition) -> dict[str, str]:
    """The precondition of a write (RFC 9110 section 13.1)."""
    if condition.kind == "absent":
        return {"If-None-Match": "*"}
    if condition.kind == "present":
        return {"If-Match": "*"}
    if condition.kind == "etag":
        return {"If-Match": quoted(condition.etags)}
    return {}


def quoted(etags: Sequence[str]) -> str:
    """A list of ETags as a header has it."""
    return ", ".join(f'"{etag}"' for etag in etags)


def refused_outcome(answer: Answer) -> Outcome | None:
    """The outcome that the refusal of a single write stands for; None if it stands for none."""
    if answer.status not in (404, 409, 412):
        return None
    return _REFUSALS.get(str(problem_of(answer).get("code")))


# Batches ----------------------------------------------------------------------------------------


def batch_get(keys: Sequence[str]) -> bytes:
    """The body of a batchGet."""
    return _json({"keys": keys})


def records_of(body: bytes) -> list[tuple[str, bytes]]:
    """Key and stored bytes of each record of a page or a batchGet."""
    found = [json_text.members(bytes(one)) or {} for one in member_items(body, "records")]
    return [(json_text.parse(bytes(one["key"])), bytes(one["record"])) for one in found]


def member_items(body: bytes, name: str) -> list[msgspec.Raw]:
    """The items of the member `name` of a JSON object, as raw text. Raises BackendRefused."""
    items = None
    try:
        members = json_text.members(body) or {}
        items = json_text.items(bytes(members[name])) if name in members else None
    except InvalidRecord:
        pass
    if items is None:
        raise strange(name)
    return items


def member(body: bytes, name: str, kind: type[M]) -> M:
    """The member `name` of a JSON object, which must be a `kind`. Raises BackendRefused."""
    try:
        members = json_text.members(body) or {}
        value = json_text.parse(bytes(members[name])) if name in members else None
    except InvalidRecord:
        value = None
    if not isinstance(value, kind):
        raise strange(name)
    return value


def next_cursor(body: bytes) -> str | None:
    """The cursor of the page that follows; None after the last. Raises BackendRefused."""
    members = json_text.members(body) or {}
    return None if members.get("next") == msgspec.Raw(b"null") else member(body, "next", str)


def strange(name: str) -> BackendRefused:
    """The error for an answer that a sidecar would not give."""
    return BackendRefused(f"The answer has no {name} as a sidecar's has: is it a sidecar?")


def in_parts(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """`writes` in parts that one request may hold each."""
    start = size = 0
    for place, write in enumerate(writes):
        size += len(write.value or b"") + WRITE_OVERHEAD
        if place > start and (place - start == MOST or size > PART_BYTES):
            yield writes[start:place]
            start, size = place, len(write.value or b"") + WRITE_OVERHEAD
    if start < len(writes):
        yield writes[start:]


def batch_write(writes: Sequence[Write], *, atomic: bool) -> bytes:
    """The body of a batchWrite."""
    return _json({"operations": [_operation(write) for write in writes], "atomic": atomic})


def _operation(write: Write) -> dict[str, Any]:
    kind = write.condition.kind
    operation: dict[str, Any] = {"op": "delete", "key": write.key}
    if write.value is not None:
        operation["op"] = {"absent": "insert", "present": "update"}.get(kind, "put")
        operation["record"] = msgspec.Raw(write.value)
    if kind == "etag":
        operation["ifMatch"] = quoted(write.condition.etags)
    return operation


def is_rejected_batch(answer: Answer) -> bool:
    """Whether an atomic batch was refused as a whole, with a result for each write."""
    problem = problem_of(answer)
    return problem.get("code") == "batch-rejected" and "results" in problem


def results_of(body: bytes, writes: Sequence[Write]) -> list[WriteResult]:
    """What became of each write of a batch."""
    results = [json_text.parse(bytes(one)) for one in member_items(body, "results")]
    return [_result(result, write) for result, write in zip(results, writes, strict=True)]


def _result(result: dict[str, Any], write: Write) -> WriteResult:
    status, code = result.get("status"), result.get("code")
    if status == 201:
        return Outcome.CREATED
    if status == 204:
        return Outcome.REPLACED if write.value is not None else Outcome.DELETED
    if code in _REFUSALS:
        return _REFUSALS[code]
    if code == "batch-rejected":
        return BackendRefused(f"{write.key} was not written: its batch was refused as a whole.")
    return error_of_code(str(code), f"{write.key}: the sidecar answered {status} {code}.")


# Filters ----------------------------------------------------------------------------------------


def filter_document(conditions: Sequence[Filter]) -> dict[str, dict[str, Any]]:
    """A `:query` filter that lets through all records that meet `conditions`, and maybe more.

    The sidecar knows no record classes, so of a typed field it can only see whether it is there.
    Names with a dot in them, a second condition of one kind on one field, and texts that no UTF-8
    can hold stay at home.
    """
    document: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        name, operator, value = ".".join(condition.path), condition.operator, True
        if condition.operand.is_typed:
            operator = "exists"
        else:
            value = as_json(condition.operand.as_json)
        if name.count(".") == len(condition.path) - 1 and is_encodable({name: value}):
            document.setdefault(name, {}).setdefault(operator, value)
    return document


def is_encodable(value: Any) -> bool:
    """Whether JSON in UTF-8 can hold a value."""
    try:
        _json(value)
    except UnicodeEncodeError:
        return False
    return True


def as_json(value: Any) -> Any:
    """A filter's value for the JSON encoder, numbers by their text."""
    if isinstance(value, Decimal):
        return msgspec.Raw(str(value).encode())
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    return value


def query(conditions: dict[str, dict[str, Any]], limit: int, cursor: str | None) -> bytes:
    """The body of a `:query`."""
    document: dict[str, Any] = {"filter": conditions, "limit": limit}
    if cursor is not None:
        document["cursor"] = cursor
    return _json(document)


def page_query(limit: int, cursor: str | None) -> str:
    """The query string of a list's page."""
    return f"?limit={limit}" + (f"&cursor={quote(cursor, safe='')}" if cursor is not None else "")
