"""The parts the OpenAPI document is made of: refusals, schemas, parameters and headers.

Statuses and codes come from the error classes, so that the document cannot say others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pannier.errors import PannierError
from pannier.server.problems import TYPES

Json = dict[str, Any]


def refusals(errors: Iterable[type[PannierError] | tuple[int, type[PannierError]]]) -> Json:
    """The responses of these errors, by status; `(412, error)` is one under another status."""
    by_status: dict[int, list[type[PannierError]]] = {}
    for each in errors:
        status, error = each if isinstance(each, tuple) else (each.status, each)
        known = by_status.setdefault(status, [])
        if error.code not in {other.code for other in known}:
            known.append(error)
    return {str(status): _refusal(status, found) for status, found in sorted(by_status.items())}


def _refusal(status: int, errors: list[type[PannierError]]) -> Json:
    response: Json = {
        "description": "; ".join(f"`{error.code}`: {error.title}" for error in errors),
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Problem"},
                        {
                            "properties": {
                                "status": {"const": status},
                                "code": {"enum": sorted(error.code for error in errors)},
                            }
                        },
                    ]
                }
            }
        },
    }
    named = {503: "Retry-After", 405: "Allow", 401: "WWW-Authenticate"}.get(status)
    if named is not None:
        response["headers"] = {named: {"$ref": f"#/components/headers/{named}"}}
    return response


# Components -------------------------------------------------------------------------------------

TAG_PATTERN = '^"[0-9a-f]{40}"$'
KEY: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 512,
    "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]+$",
    "not": {"enum": [".", ".."]},
    "description": "1 to 512 bytes of UTF-8 without control characters, not `.` or `..`.",
}


def schemas() -> Json:
    """The schemas that operations refer to."""
    text: Json = {"type": "string"}
    figure: Json = {"type": "integer", "minimum": 0}
    tag: Json = {"type": "string", "pattern": TAG_PATTERN}
    store = {
        "name": text,
        "type": {"enum": ["memory", "redis", "hdfs"]},
        "state": {"enum": ["connecting", "ready", "unavailable", "rejected", "draining"]},
    }
    return {
        "Problem": object_of(
            {
                "type": {"type": "string", "pattern": f"^{TYPES}"},
                "title": text,
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "What happened, and what to do."},
                "code": text,
                "store": text,
                "schema": text,
                "key": text,
            },
            optional=("store", "schema", "key"),
            closed=False,
        ),
        "Record": {"description": "Any JSON value, nested at most 512 deep."},
        "Key": KEY,
        "Store": object_of(store),
        "StoreDetail": object_of(
            {
                **store,
                "capabilities": {
                    "type": "array",
                    "items": {"enum": ["atomic-batch", "cas", "merge-patch"]},
                },
                "pool": object_of(
                    dict.fromkeys(("max", "in_use", "idle", "opening", "pending"), figure)
                ),
            }
        ),
        "Entry": object_of(
            {
                "key": text,
                "etag": tag,
                "record": {"$ref": "#/components/schemas/Record"},
            }
        ),
        "Page": object_of(
            {
                "records": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}},
                "next": {
                    "type": ["string", "null"],
                    "description": "The cursor of the next page; only null ends the list.",
                },
            }
        ),
        "Schemas": object_of(
            {
                "schemas": {"type": "array", "items": object_of({"name": text, "count": figure})},
                "next": {"type": ["string", "null"]},
            }
        ),
        "Inserted": object_of({"key": text, "etag": tag}),
        "Result": object_of(
            {"key": text, "status": {"type": "integer"}, "etag": tag, "code": text},
            optional=("etag", "code"),
        ),
        "Filter": {
            "type": "object",
            "description": (
                "Dotted paths; an object is operators, anything else equality. All must hold."
            ),
            "propertyNames": {"pattern": "^[^.]+(\\.[^.]+)*$"},
            "additionalProperties": {
                "anyOf": [
                    {"not": {"type": "object"}},
                    {
                        "type": "object",
                        "properties": {
                            **{name: {} for name in ("eq", "ne", "gt", "gte", "lt", "lte")},
                            **dict.fromkeys(("contains", "startswith", "endswith"), text),
                            "in": {"type": "array"},
                            "exists": {"type": "boolean"},
                        },
                        "minProperties": 1,
                        "additionalProperties": False,
                    },
                ]
            },
            "examples": [{"address.city": "Paris", "age": {"gte": 3, "lt": 9}}],
        },
    }


def parameters() -> Json:
    """The parameters that operations refer to."""
    return {
        "store": _in_path("store", {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                                    "minLength": 1, "maxLength": 63}),
        "schema": _in_path("schema", {"type": "string",
                                      "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"}),
        "key": _in_path("key", {"$ref": "#/components/schemas/Key"}),
        "limit": _in_query("limit", {"type": "integer", "minimum": 1, "maximum": 1000,
                                     "default": 100}, "The most records of a page."),
        "cursor": _in_query("cursor", {"type": "string"}, "`next` of the page before."),
        "filters": {
            **_in_query(
                "filters",
                {"type": "object", "additionalProperties": {"type": "string"},
                 "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9]*$",
                                   "not": {"enum": ["limit", "cursor", "prefix", "fields", "order",
                                                    "keysOnly"]}}},
                "Any other parameter is a condition, `field=value` or `field__op=value`.",
            ),
            "style": "form",
            "explode": True,
        },
    }  # fmt: skip


def _in_path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def headers() -> Json:
    """The headers of answers."""
    text: Json = {"type": "string"}
    return {
        "ETag": _header({"type": "string", "pattern": TAG_PATTERN},
                        "The quoted SHA-1 of the stored bytes."),
        "Location": _header(text, "The new record's path."),
        "Retry-After": _header({"type": "string", "pattern": "^[1-9][0-9]*$"},
                               "Whole seconds after which another try may succeed."),
        "Allow": _header(text, "The methods of this path."),
        "WWW-Authenticate": _header(text, "How to bring the token."),
    }  # fmt: skip


def _header(schema: Json, description: str) -> Json:
    return {"required": True, "schema": schema, "description": description}


def object_of(properties: Json, *, optional: tuple[str, ...] = (), closed: bool = True) -> Json:
    """The schema of an object with these members, required but for the `optional` ones."""
    made: Json = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    if closed:
        made["additionalProperties"] = False
    return made
