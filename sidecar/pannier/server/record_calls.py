"""GET, HEAD, PUT and DELETE of one record: what they mean, once, for both lanes.

A lane has read the request up to its body; here its conditions are tested, the store is asked and
the answer is built. Nothing here knows a connection. The fast lane passes a callback (`start`), the
aiohttp lane awaits (`answer`): a task and a future cost 3 µs, which the fast lane cannot spend.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from hashlib import sha1
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pannier import json_text
from pannier.aio.stores.base import KeyValueStoreBackendBase, missing
from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.config.served import Generation, ServedStore
from pannier.counting import OperationCounts, outcome_of
from pannier.errors import (
    ETagMismatch,
    ObjectExistError,
    PannierError,
    PoolClosed,
    StoreNotReady,
    Unsupported,
)
from pannier.histograms import BOUNDS
from pannier.operations import ALWAYS, Condition, Outcome
from pannier.server import conditions
from pannier.server.answers import JSON, Answer
from pannier.server.problems import problem
from pannier.server.refusals import Internal

if TYPE_CHECKING:
    from pannier.aio.stores.grouped_records import GroupedRecords

FOUND = JSON + b'ETag: "%b"\r\n'
"""The fields of a record that was found, but for its tag."""

log = logging.getLogger("pannier.server")

Method = Literal["GET", "HEAD", "PUT", "DELETE"]
Done = Callable[[Answer], None]


class Operation(Protocol):
    """What a store gives back for an operation it carries out with a callback."""

    def abandon(self) -> None:
        """Never call the callback; the operation itself may still be done."""


class RecordRequest:
    """One request for one record, and once started the call that carries it out.

    `schema` and `key` are valid and decoded, `body` is a PUT's. One object is both, because each
    object costs the fast lane 0.3 µs.
    """

    __slots__ = (
        "_began", "_counts", "_done", "_generation", "_operation", "body", "bucket", "key",
        "method", "preconditions", "schema", "seconds", "store",
    )  # fmt: skip

    def __init__(
        self,
        method: Method,
        store: str,
        schema: str,
        key: str,
        if_match: str | None = None,
        if_none_match: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Raises InvalidRequest for a condition that is not one."""
        self.method = method
        self.store = store
        self.schema = schema
        self.key = key
        self.body = body
        self.preconditions = None
        if if_match is not None or if_none_match is not None:
            self.preconditions = conditions.parse(if_match, if_none_match)
        self._done: Done | None = None
        """Told the answer; None before the start and after the end."""
        # Set by the start, and nowhere looked at before:
        self._began: float
        self._counts: OperationCounts
        self._generation: Generation
        self._operation: Operation
        self.seconds: float
        """How long it took, once it is answered."""
        self.bucket: int
        """The place of that among the bounds of histograms."""

    def __repr__(self) -> str:
        return f"<{self.method} {self.store}/{self.schema}/{self.key}>"

    def abandon(self) -> None:
        """The client is gone: its callback is never called. Does nothing to one that ended."""
        if self._done is None:
            return
        self._done = None
        self._operation.abandon()
        self._counts.count("cancelled", perf_counter() - self._began)
        self._generation.leave()

    # What the store answers ---------------------------------------------------------------------

    def have_read(self, value: bytes | None, error: PannierError | None) -> None:
        """The store has read: `value` (None: no record), or it failed."""
        if error is not None:
            self._fail(error)
            return
        if value is None:
            self._fail(missing(self.schema, self.key))
            return
        # Of 250 bytes: 0.5 µs; a client that compares what it wrote needs no second read.
        tag = sha1(value, usedforsecurity=False).hexdigest()
        preconditions = self.preconditions
        if preconditions is not None:
            if not preconditions.matches(tag):
                self._fail(self._mismatch(), 412)
                return
            if preconditions.excludes(tag):
                self._end("ok", Answer(304, b'ETag: "%b"\r\n' % tag.encode()))
                return
        self._end("ok", Answer(200, FOUND % tag.encode(), value))

    def have_written(self, outcome: Outcome | None, error: PannierError | None) -> None:
        """The store has written or erased, or refused to, or failed."""
        if error is not None:
            self._fail(error)
        elif outcome is Outcome.REPLACED or outcome is Outcome.CREATED:
            tag = sha1(self.body, usedforsecurity=False).hexdigest()
            status = 204 if outcome is Outcome.REPLACED else 201
            self._end("ok", Answer(status, b'ETag: "%b"\r\n' % tag.encode()))
        elif outcome is Outcome.DELETED:
            self._end("ok", Answer(204))
        elif outcome is Outcome.ABSENT:
            # DELETE of what is not there is 404 whatever If-Match says (RFC 9110 section 13.2.1).
            status = 412 if self.method == "PUT" else 404
            self._fail(missing(self.schema, self.key), status)
        elif outcome is Outcome.PRESENT:
            self._fail(self._present(), 412)
        else:
            self._fail(self._mismatch(), 412)

    def _present(self) -> PannierError:
        return ObjectExistError(
            f"{self.schema}/{self.key} exists already: PUT without If-None-Match replaces it."
        )

    def _mismatch(self) -> PannierError:
        match = self.preconditions.match if self.preconditions is not None else None
        if match is not None and match.any:  # it held: what did not is If-None-Match: * beside it
            return self._present()
        return ETagMismatch(
            f"{self.schema}/{self.key} has another ETag: read it again and decide anew."
        )

    # The end ------------------------------------------------------------------------------------

    def _fail(self, error: PannierError, status: int | None = None) -> None:
        self._end(outcome_of(error), self.problem(error, status))

    def problem(self, error: PannierError, status: int | None = None) -> Answer:
        """The answer that tells of `error`, with this request's names."""
        return problem(error, status=status, store=self.store, schema=self.schema, key=self.key)

    def _end(self, outcome: str, answer: Answer) -> None:
        done = self._done
        if done is None:
            return
        self._done = None
        self.seconds = seconds = perf_counter() - self._began
        counts = self._counts  # its `count`, without the call
        try:
            counts.outcomes[outcome] += 1
        except KeyError:
            counts.outcomes[outcome] = 1
        self.bucket = bucket = bisect_left(BOUNDS, seconds)
        counts.counts[bucket] += 1
        counts.sum += seconds
        generation = self._generation  # its `leave`, without the call
        generation.active -= 1
        if generation.active == 0:
            generation.rest()
        done(answer)


# Starting ---------------------------------------------------------------------------------------


def start(served: ServedStore, request: RecordRequest, done: Done) -> None:
    """Carry out `request` on the store and call `done` once with the answer, perhaps at once.

    Refusals and failures are answers too. If the client goes away first, `request.abandon()`.
    """
    request._began = perf_counter()
    request.seconds = 0.0
    request.bucket = 0
    generation = served.generation
    method = request.method
    condition = ALWAYS
    try:
        if generation is None:
            raise StoreNotReady(f"Store {served.name} has not been opened yet; try again.")
        if method == "GET" or method == "HEAD":
            request._counts = served.counts.get
        else:
            if method == "PUT":
                json_text.check(request.body)
                request._counts = served.counts.put
            else:
                request._counts = served.counts.delete
            if request.preconditions is not None:
                condition = _condition(served, generation.backend, request)
    except PannierError as error:
        done(request.problem(error))
        return
    request._done = done
    request._generation = generation
    generation.active += 1
    way = generation.way or _way_of(generation)
    try:
        way(generation.backend, request, condition)
    except Exception as error:
        if request._done is None:
            raise  # it was answered: the fault is the lane's
        request._fail(fault(error))


def fault(error: BaseException) -> Internal:
    """What a client is told of a bug of ours, or of a store's; the log has the rest."""
    log.error("a store failed in an unforeseen way", exc_info=error)
    return Internal("The sidecar's log says what went wrong.")


def _condition(
    served: ServedStore, backend: KeyValueStoreBackendBase, request: RecordRequest
) -> Condition:
    """What the store must test as it writes. Raises Unsupported where it cannot."""
    if request.method == "PUT":
        condition = conditions.for_put(request.preconditions)
    else:
        condition = conditions.for_delete(request.preconditions)
    if condition.kind == "etag" and "cas" not in backend.capabilities:
        raise Unsupported(
            f"Store {served.name} cannot compare ETags in a write: send If-Match: * or none."
        )
    return condition


async def answer(served: ServedStore, request: RecordRequest) -> Answer:
    """The answer to `request`. Cancelled, it abandons the operation."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    start(served, request, done)
    try:
        return await future
    finally:
        request.abandon()


# The ways to ask a store ------------------------------------------------------------------------


def at_once(
    backend: InMemoryKeyValueStoreBackend, request: RecordRequest, condition: Condition
) -> None:
    """A store in this process answers without waiting."""
    method, schema, key = request.method, request.schema, request.key
    try:
        if method == "PUT":
            outcome = backend.write_now(schema, key, request.body, condition)
        elif method == "DELETE":
            outcome = backend.erase_now(schema, key, condition)
        else:
            request.have_read(backend.read_now(schema, key), None)
            return
    except PannierError as error:
        request.have_read(None, error)
    else:
        request.have_written(outcome, None)


def by_callback(backend: GroupedRecords, request: RecordRequest, condition: Condition) -> None:
    """A store that groups commands takes the callback itself."""
    method, schema, key = request.method, request.schema, request.key
    if method == "GET" or method == "HEAD":
        request._operation = backend.submit_read(schema, key, request.have_read)
    elif method == "PUT":
        request._operation = backend.submit_write(
            schema, key, request.body, condition, request.have_written
        )
    else:
        request._operation = backend.submit_erase(schema, key, condition, request.have_written)


def by_task(
    backend: KeyValueStoreBackendBase, request: RecordRequest, condition: Condition
) -> None:
    """Any other store is asked by its coroutines, in a task of their own."""
    method, schema, key = request.method, request.schema, request.key
    work: Coroutine[Any, Any, Any]
    if method == "PUT":
        work = backend.write(schema, key, request.body, condition)
    elif method == "DELETE":
        work = backend.erase(schema, key, condition)
    else:
        request._operation = TaskOperation(backend.read(schema, key), request.have_read)
        return
    request._operation = TaskOperation(work, request.have_written)


class TaskOperation:
    """A store's coroutine as an operation with a callback."""

    __slots__ = ("_callback", "_task")

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        callback: Callable[[Any, PannierError | None], None],
    ) -> None:
        self._callback = callback
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(self._ended)

    def abandon(self) -> None:
        """Cancel the task; what it has begun ends as its store sees fit."""
        self._task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._callback(None, PoolClosed("The store was closed; nothing is known to be done."))
            return
        error = task.exception()
        if error is None:
            self._callback(task.result(), None)
        elif isinstance(error, PannierError):
            self._callback(None, error)
        else:
            self._callback(None, fault(error))


Way = Callable[[Any, RecordRequest, Condition], None]


def _way_of(generation: Generation) -> Way:
    """How this backend is asked; decided once and kept with it."""
    backend = generation.backend
    way: Way
    if isinstance(backend, InMemoryKeyValueStoreBackend):
        way = at_once
    elif hasattr(backend, "submit_read"):
        way = by_callback
    else:
        way = by_task
    generation.way = way
    return way
