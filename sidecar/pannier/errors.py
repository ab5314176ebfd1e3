"""Every refusal Pannier can make, each with the HTTP status and code it has on the wire.

The library raises these, the server turns them into problem documents, the client and the
documents read the same attributes: so the four cannot disagree. No I/O, no other import of ours.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PannierError(Exception):
    """Base of all errors of Pannier.

    `status` and `code` are the HTTP status and the problem code of the error, `title` its fixed
    headline. `str(error)` is the detail: it says what happened and what to do, and never holds a
    credential. `fields` go into the problem document beside it (pool figures, a key).
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", **fields: Any) -> None:
        super().__init__(detail or self.title)
        self.fields = fields


# The pool -----------------------------------------------------------------------------------


class PoolTimeout(PannierError):
    """No connection became free within `connection_timeout`; nothing was sent."""

    status = 503
    code = "pool-exhausted"
    title = "No connection became free in time"


class PoolFull(PannierError):
    """`max_waiting` operations wait already; nothing was sent."""

    status = 503
    code = "pool-exhausted"
    title = "Too many operations wait for a connection"


class PoolClosed(PannierError):
    """The pool, or the store above it, was shut down; nothing was sent."""

    status = 503
    code = "not-ready"
    title = "The store is closed"


class NotBorrowed(PannierError, ValueError):
    """A connector was given back that is not out: twice, or to a pool it does not come from."""

    title = "The connector is not borrowed"


# The backend --------------------------------------------------------------------------------


class BackendUnavailable(PannierError):
    """The backend cannot be reached or cannot serve now; nothing was done, so a retry is safe."""

    status = 503
    code = "backend-unavailable"
    title = "The backend is unavailable"


class BackendRefused(PannierError):
    """The backend answered with a refusal that a retry will not change; nothing was done."""

    status = 502
    code = "backend-refused"
    title = "The backend refused the operation"


class OperationTimeout(PannierError):
    """A read was sent and not answered in time; reading again is safe."""

    status = 504
    code = "timeout"
    title = "The backend did not answer in time"


class OutcomeUnknown(PannierError):
    """A write was sent and its answer did not come: it may or may not have been applied.

    Read the record and compare its ETag with the SHA-1 of what was written to find out.
    """

    status = 504
    code = "outcome-unknown"
    title = "The outcome of the write is unknown"


class StoreFull(PannierError):
    """The backend or the memory store has no room for this write; nothing was done."""

    status = 507
    code = "store-full"
    title = "The store is full"


class Contended(PannierError):
    """Other writers changed the record at each attempt of a merge; nothing was done."""

    status = 503
    code = "contended"
    title = "The record is being changed by others"


# The store ----------------------------------------------------------------------------------


class StoreNotFound(PannierError):
    """No store of that name is configured."""

    status = 404
    code = "store-not-found"
    title = "No such store"


class StoreNotReady(PannierError):
    """The store is configured but has not been opened yet, or its configuration was rejected."""

    status = 503
    code = "not-ready"
    title = "The store is not ready"


class Unsupported(PannierError):
    """This store, or this request's combination of conditions, lacks the asked capability."""

    status = 501
    code = "unsupported"
    title = "Not supported"


# The record ---------------------------------------------------------------------------------


class ObjectExistError(PannierError, ValueError):
    """`insert_record` of a key that is present; nothing was changed."""

    status = 409
    code = "record-exists"
    title = "The record exists already"


class ObjectDoesNotExist(PannierError, ValueError):
    """The record named by the key is absent; nothing was changed."""

    status = 404
    code = "record-not-found"
    title = "No such record"


class ETagMismatch(PannierError):
    """The record's present ETag is not the one asked for; nothing was changed."""

    status = 412
    code = "etag-mismatch"
    title = "The record has another ETag"


class InvalidKey(PannierError, ValueError):
    """The record key breaks the rules of `pannier.keys`."""

    status = 400
    code = "invalid-key"
    title = "Invalid key"


class InvalidSchema(PannierError, ValueError):
    """The schema name breaks the rules of `pannier.keys`."""

    status = 400
    code = "invalid-schema"
    title = "Invalid schema name"


class InvalidRecord(PannierError, ValueError):
    """The record is not one JSON value in UTF-8 (or its class cannot be turned into one)."""

    status = 400
    code = "invalid-json"
    title = "The record is not valid JSON"


class NotAnObject(PannierError, ValueError):
    """A merge patch, or the record it is applied to, is not a JSON object."""

    status = 422
    code = "not-an-object"
    title = "A merge patch needs JSON objects"


class TooLarge(PannierError, ValueError):
    """The record, or the body that holds it, is over its limit in bytes."""

    status = 413
    code = "too-large"
    title = "Too large"


class InvalidFilter(PannierError, ValueError):
    """A filter names an unknown operator or gives an operator a value it cannot use."""

    status = 400
    code = "invalid-filter"
    title = "Invalid filter"


class InvalidCursor(PannierError, ValueError):
    """A page cursor that this store did not make, or made for another schema."""

    status = 400
    code = "invalid-cursor"
    title = "Invalid cursor"
