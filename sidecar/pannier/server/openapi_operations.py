"""The operations of the OpenAPI document: each route and method with its answers. Pure."""

from __future__ import annotations

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    Contended,
    ETagMismatch,
    InvalidCursor,
    InvalidFilter,
    InvalidKey,
    InvalidRecord,
    InvalidSchema,
    NotAnObject,
    ObjectDoesNotExist,
    ObjectExistError,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    PoolTimeout,
    StoreFull,
    StoreNotFound,
    TooLarge,
    Unsupported,
)
from pannier.server.openapi_parts import Json, object_of, refusals
from pannier.server.refusals import (
    BadRequest,
    BatchRejected,
    Draining,
    Forbidden,
    HeadTooLarge,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    TargetTooLong,
    Unauthorized,
    UnsupportedMediaType,
)
from pannier.server.settings import SidecarSettings

Errors = tuple[type[PannierError] | tuple[int, type[PannierError]], ...]

EVERYWHERE: Errors = (
    BadRequest, InvalidRequest, Forbidden, NotFound, MethodNotAllowed, TargetTooLong, HeadTooLarge,
    Internal, Draining, NotReady, Overloaded,
)  # fmt: skip
OF_STORE: Errors = (StoreNotFound,)
OF_SCHEMA: Errors = (*OF_STORE, InvalidSchema)
OF_KEY: Errors = (*OF_SCHEMA, InvalidKey)
OF_BACKEND: Errors = (PoolTimeout, BackendUnavailable, BackendRefused)
OF_READ: Errors = (*OF_BACKEND, OperationTimeout)
OF_WRITE: Errors = (*OF_BACKEND, OutcomeUnknown, StoreFull, Unsupported)
OF_LIST: Errors = (*OF_SCHEMA, *OF_READ, InvalidFilter, InvalidCursor)
OF_BODY: Errors = (InvalidRecord, TooLarge, UnsupportedMediaType)

TAGS = '^(\\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'


def paths(settings: SidecarSettings) -> Json:
    """All paths."""
    builder = Builder(settings)
    return {
        "/openapi.json": builder.reading("describe", "This document", _json({}), ()),
        "/v1": builder.reading(
            "listStores",
            "All stores",
            _json(object_of({"stores": {"type": "array", "items": _ref("Store")}})),
            (),
        ),
        "/v1/{store}": builder.reading(
            "getStore", "A store, what it can do, and its pool", _json(_ref("StoreDetail")),
            OF_STORE, "store",
        ),
        "/v1/{store}:schemas": builder.reading(
            "listSchemas", "The schemas that hold records", _json(_ref("Schemas")),
            (*OF_STORE, *OF_READ, InvalidCursor), "store", "limit", "cursor",
        ),
        "/v1/{store}/{schema}": {
            **builder.reading(
                "list", "A page of records, or (Accept: application/x-ndjson) all of them",
                _page(), OF_LIST, "store", "schema", "limit", "cursor", "filters",
            ),
            "post": builder.operation(
                "insert", "Insert a record, with a new UUIDv7 where there is no key",
                {"201": _described("Inserted", _json(_ref("Inserted")), "Location", "ETag")},
                (*OF_SCHEMA, InvalidKey, *OF_BODY, *OF_WRITE, ObjectExistError),
                "store", "schema",
                body=object_of({"key": _key(), "record": _ref("Record")}, optional=("key",)),
            ),
        },
        "/v1/{store}/{schema}:count": builder.reading(
            "count", "How many records there are, or meet the filters",
            _json(object_of({"count": {"type": "integer", "minimum": 0}})),
            OF_LIST, "store", "schema", "filters",
        ),
        "/v1/{store}/{schema}:query": {
            "post": builder.operation(
                "query", "A page of the records that meet a filter",
                {"200": _described("A page", _page())},
                (*OF_LIST, *OF_BODY), "store", "schema",
                body=object_of(
                    {
                        "filter": _ref("Filter"),
                        "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
                        "cursor": {"type": "string"},
                    },
                    optional=("filter", "limit", "cursor"),
                ),
            )
        },
        "/v1/{store}/{schema}:batchGet": {
            "post": builder.operation(
                "batchGet", "Many records by their keys, in the order asked",
                {"200": _described("Those found, and the keys that were not", _json(object_of({
                    "records": {"type": "array", "items": _ref("Entry")},
                    "missing": {"type": "array", "items": {"type": "string"}},
                })))},
                (*OF_SCHEMA, InvalidKey, *OF_BODY, *OF_READ), "store", "schema",
                body=object_of({"keys": {"type": "array", "maxItems": 1000, "items": _key()}}),
            )
        },
        "/v1/{store}/{schema}:batchWrite": {
            "post": builder.operation(
                "batchWrite", "Many writes in order, each with its result, or all or nothing",
                {"200": _described("The results", _json(object_of({
                    "results": {"type": "array", "items": _ref("Result")}})))},
                (*OF_SCHEMA, InvalidKey, *OF_BODY, *OF_WRITE, BatchRejected), "store", "schema",
                body=object_of(
                    {
                        "operations": {"type": "array", "maxItems": 1000, "items": _write()},
                        "atomic": {"type": "boolean", "default": False},
                    },
                    optional=("atomic",),
                ),
            )
        },
        "/v1/{store}/{schema}/{key}": builder.record(),
    }  # fmt: skip


class Builder:
    """Operations with what this sidecar adds to each: its token."""

    def __init__(self, settings: SidecarSettings) -> None:
        self._everywhere: Errors = EVERYWHERE
        if settings.api_token_file is not None:
            self._everywhere = (*EVERYWHERE, Unauthorized)

    def operation(
        self,
        name: str,
        summary: str,
        answers: Json,
        errors: Errors,
        *parameters: str,
        body: Json | None = None,
        conditions: tuple[Json, ...] = (),
    ) -> Json:
        """One operation."""
        made: Json = {
            "operationId": name,
            "summary": summary,
            "parameters": [
                *({"$ref": f"#/components/parameters/{each}"} for each in parameters),
                *conditions,
            ],
            "responses": {**answers, **refusals((*self._everywhere, *errors))},
        }
        if body is not None:
            made["requestBody"] = {"required": True, "content": _json(body)}
        return made

    def reading(
        self, name: str, summary: str, content: Json, errors: Errors, *parameters: str
    ) -> Json:
        """GET and HEAD of one path."""
        head = {"200": {"description": f"{summary}, without the body"}}
        return {
            "get": self.operation(
                name, summary, {"200": _described(summary, content)}, errors, *parameters
            ),
            "head": _without_bodies(
                self.operation(f"{name}Head", summary, head, errors, *parameters)
            ),
        }

    def record(self) -> Json:
        """The operations on one record."""
        path = ("store", "schema", "key")
        reads: Errors = (*OF_KEY, *OF_READ, ObjectDoesNotExist, ETagMismatch)
        writes: Errors = (*OF_KEY, *OF_WRITE, ETagMismatch)
        if_match = _condition("If-Match", {"type": "string", "pattern": TAGS})
        if_none_match = _condition("If-None-Match", {"type": "string", "pattern": TAGS})
        found = {
            "200": _described("The stored bytes", _json(_ref("Record")), "ETag"),
            "304": _described("If-None-Match names the record's ETag", None, "ETag"),
        }
        return {
            "get": self.operation(
                "get", "A record", found, reads, *path, conditions=(if_match, if_none_match)
            ),
            "head": _without_bodies(
                self.operation(
                    "head", "Whether a record is there", found, reads, *path,
                    conditions=(if_match, if_none_match),
                )
            ),
            "put": self.operation(
                "put", "Store a record",
                {
                    "201": _described("Created", None, "ETag"),
                    "204": _described("Replaced", None, "ETag"),
                },
                (*writes, *OF_BODY, (412, ObjectExistError), (412, ObjectDoesNotExist)),
                *path,
                body=_ref("Record"),
                conditions=(if_match, _condition("If-None-Match", {"enum": ["*"]})),
            ),
            "patch": self.operation(
                "patch", "Merge into a record (RFC 7396), atomically",
                {"200": _described("The new record", _json(_ref("Record")), "ETag")},
                (*writes, *OF_BODY, OperationTimeout, ObjectDoesNotExist, (412, ObjectExistError),
                 NotAnObject, Contended),
                *path,
                body={"type": "object"},
                conditions=(if_match, if_none_match),
            ),
            "delete": self.operation(
                "delete", "Delete a record", {"204": _described("Deleted")},
                (*writes, ObjectDoesNotExist), *path, conditions=(if_match,),
            ),
        }  # fmt: skip


def _key() -> Json:
    return {"anyOf": [{"$ref": "#/components/schemas/Key"}, {"type": "integer"}]}


def _write() -> Json:
    """An operation of a batch: which members it has depends on its `op`."""
    match = {"type": "string", "minLength": 1, "pattern": '^(\\*|(W/)?"[!#-~]*"|[0-9a-f]{40})$'}
    record = _ref("Record")
    kinds = (("put", {"record": record, "ifMatch": match}),
             ("insert", {"record": record}),
             ("update", {"record": record, "ifMatch": match}),
             ("delete", {"ifMatch": match}))  # fmt: skip
    return {
        "oneOf": [
            object_of({"op": {"const": op}, "key": _key(), **rest}, optional=("ifMatch",))
            for op, rest in kinds
        ]
    }


def _page() -> Json:
    return {**_json(_ref("Page")), "application/x-ndjson": {"schema": {"type": "string"}}}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _described(description: str, content: Json | None = None, *headers: str) -> Json:
    made: Json = {"description": description}
    if content is not None:
        made["content"] = content
    if headers:
        made["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return made


def _condition(name: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "schema": schema}


def _without_bodies(operation: Json) -> Json:
    """The same answers as to a GET, their headers alone."""
    for response in operation["responses"].values():
        response.pop("content", None)
    return operation
