"""The aiohttp lane: every request of the record port, refused in the contract's order or routed.

The order is that of this file: host, origin, token; path; method; draining or not ready; store;
schema, key, query, conditions; body size; body; capability; precondition; backend.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import cast

import msgspec

from pannier.config.served import ServedStore
from pannier.errors import ObjectExistError, PannierError
from pannier.server import (
    batches,
    conditions,
    cross_origin,
    inserting,
    listing,
    merging,
    record_calls,
    stores,
    streaming,
)
from pannier.server.answers import JSON, Answer
from pannier.server.exchange import Exchange, Reply
from pannier.server.lean_aiohttp import BaseRequest
from pannier.server.record_calls import RecordRequest
from pannier.server.refusals import (
    BadRequest,
    Draining,
    HeadTooLarge,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    TargetTooLong,
)
from pannier.server.serving import Serving
from pannier.server.targets import (
    METHODS,
    Target,
    decode_key,
    decode_schema,
    parse,
    parse_query,
)

log = logging.getLogger("pannier.server")

_READS = frozenset(("GET", "HEAD"))
_READ_ROUTES = frozenset(("query", "batchGet"))

Action = Callable[[Exchange, Target, ServedStore], Awaitable[Answer | None]]


class Lane:
    """Answers the requests of the record port that the fast lane does not take."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._openapi: Answer | None = None
        self._actions: dict[str, Action] = {
            "store": self._store,
            "schemas": self._schemas,
            "schema": self._list_or_insert,
            "count": self._count,
            "query": self._query,
            "batchGet": self._batch_get,
            "batchWrite": self._batch_write,
            "record": self._record,
        }

    async def handle(self, request: BaseRequest) -> Reply:
        """Answer one request."""
        return await self._carry_out(request, None)

    async def refuse(self, request: BaseRequest, error: PannierError) -> Reply:
        """Answer what is no HTTP; nothing follows it on its connection."""
        return await self._carry_out(request, error)

    async def _carry_out(self, request: BaseRequest, broken: PannierError | None) -> Reply:
        began = perf_counter()
        serving = self._serving
        exchange = Exchange(request, serving.budget, serving.settings.client_timeout)
        target = Target("unknown")

        async def answer() -> Answer | None:
            nonlocal target
            if broken is not None:
                raise broken
            target = parse(exchange.target)
            return await self._answer(exchange, target)

        serving.active += 1
        try:
            answered = await answer_safely(exchange, answer)
            if answered is not None:
                read = exchange.method in _READS or target.route in _READ_ROUTES
                await exchange.send(answered, done=not read)
        finally:
            serving.active -= 1
            reply = exchange.reply()
            method = "other" if broken is not None else exchange.method
            if exchange.status:  # else the client was gone before there was an answer
                seconds = perf_counter() - began
                serving.http.count(method, target.route, exchange.status, seconds)
        return reply

    async def _answer(self, exchange: Exchange, target: Target) -> Answer | None:
        serving = self._serving
        asks_first = self._admit(exchange, target)
        route = target.route
        allowed = METHODS.get(route)
        if allowed is None:
            raise NotFound("There is nothing at this path: GET /openapi.json says what there is.")
        if route == "server" and exchange.method != "OPTIONS":
            raise BadRequest("The target * is for OPTIONS alone.")
        if asks_first:
            return cross_origin.preflight(allowed)
        if exchange.method not in allowed:
            raise MethodNotAllowed(f"This path takes {', '.join(allowed)}.", allow=allowed)
        if serving.draining:
            raise Draining("The sidecar is being stopped: send this to its successor.")
        if route == "openapi":
            return self._describe()
        if not serving.configured:
            raise NotReady("No configuration has come yet; try again soon.")
        if route == "stores":
            no_parameters(target)
            found = [stores.summary(served) for served in serving.table.stores.values()]
            return json_answer({"stores": found})
        served = stores.find(serving.table, target.store)
        exchange.store = served.name
        return await self._actions[route](exchange, target, served)

    def _admit(self, exchange: Exchange, target: Target) -> bool:
        """Refuse who may not ask; True for a browser that asks first what a page may send."""
        admission = self._serving.admission
        host = target.authority if target.authority is not None else exchange.raw_header("Host")
        origin = exchange.raw_header("Origin")
        refusal = admission.source_refusal(host, origin)
        if refusal is not None:
            raise refusal
        if origin is not None:
            exchange.more_fields = cross_origin.fields(origin)
            if exchange.method == "OPTIONS" and "Access-Control-Request-Method" in exchange.headers:
                return True  # it brings no token, and learns nothing that the document does not say
        refusal = admission.refusal(host, origin, exchange.raw_header("Authorization"))
        if refusal is not None:
            raise refusal
        return False

    def _describe(self) -> Answer:
        if self._openapi is None:
            from pannier.server import openapi

            settings = self._serving.settings
            self._openapi = Answer(200, JSON, msgspec.json.encode(openapi.document(settings)))
        return self._openapi

    # Stores and schemas -------------------------------------------------------------------------

    async def _store(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        no_parameters(target)
        return json_answer(
            {
                **stores.summary(served),
                "capabilities": stores.capabilities(served),
                "pool": stores.pool_figures(served),
            }
        )

    async def _schemas(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        stores.check_ready(served)
        limit, cursor, others = listing.page_parameters(parse_query(target.query))
        if others:
            raise unknown_parameter(others[0][0])
        with stores.operation(served, "schemas") as backend:
            return json_answer(await listing.schemas(backend, limit, cursor))

    # Lists --------------------------------------------------------------------------------------

    async def _list_or_insert(
        self, exchange: Exchange, target: Target, served: ServedStore
    ) -> Answer | None:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        if exchange.method == "POST":
            no_parameters(target)
            return await self._insert(exchange, served, schema)
        asked = listing.of_query(parse_query(target.query), schema)
        return await self._list(exchange, served, schema, asked, "list")

    async def _query(
        self, exchange: Exchange, target: Target, served: ServedStore
    ) -> Answer | None:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        no_parameters(target)
        body = await exchange.body(self._serving.settings.max_record_bytes)
        asked = listing.of_document(body, schema)
        return await self._list(exchange, served, schema, asked, "query")

    async def _list(
        self,
        exchange: Exchange,
        served: ServedStore,
        schema: str,
        asked: listing.ListRequest,
        name: str,
    ) -> Answer | None:
        streamed = streaming.wants_lines(exchange.header("Accept"))
        if streamed and asked.limit is not None:
            raise InvalidRequest("NDJSON gives the whole list: it takes no limit.")
        try:
            with stores.operation(served, name) as backend:
                if not streamed:
                    return Answer(200, JSON, await listing.page(backend, schema, asked))
                await streaming.stream(exchange, backend, schema, asked)
        except PannierError as error:
            if not exchange.status:
                raise
            log.warning("a stream was cut: %s: %s", error.code, error)
        return None

    async def _count(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        pairs = parse_query(target.query)
        for name, _ in pairs:
            if name in ("limit", "cursor"):
                raise InvalidRequest(f"A count takes filters, and no {name}.")
        asked = listing.of_query(pairs, schema)
        with stores.operation(served, "count") as backend:
            return json_answer({"count": await listing.count(backend, schema, asked.matches)})

    # One record ---------------------------------------------------------------------------------

    async def _insert(self, exchange: Exchange, served: ServedStore, schema: str) -> Answer:
        limit = self._serving.settings.max_record_bytes
        key, record = inserting.read(await exchange.body(limit))
        exchange.key = key
        with stores.operation(served, "insert") as backend:
            return await inserting.insert(backend, served.name, schema, key, record)

    async def _record(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        key = exchange.key = decode_key(target.key)
        no_parameters(target)
        if_match, if_none_match = exchange.header("If-Match"), exchange.header("If-None-Match")
        limit = self._serving.settings.max_record_bytes
        if exchange.method == "PATCH":
            preconditions = conditions.parse(if_match, if_none_match)
            patch = await exchange.body(limit)
            merging.check(patch)
            with stores.operation(served, "patch") as backend:
                stores.check_capability(backend, "merge-patch", "merge a patch")
                try:
                    return await merging.merge(backend, schema, key, patch, preconditions, limit)
                except ObjectExistError as error:
                    return exchange.problem(error, status=412)
        method = cast(record_calls.Method, exchange.method)
        request = RecordRequest(method, served.name, schema, key, if_match, if_none_match)
        if method == "PUT":
            request.body = await exchange.body(limit)
        return await record_calls.answer(served, request)

    # Batches ------------------------------------------------------------------------------------

    async def _batch_get(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        no_parameters(target)
        limit = self._serving.settings.max_body_bytes
        keys = batches.read_keys(await exchange.body(limit))
        with stores.operation(served, "batch_get") as backend:
            return await batches.get(backend, schema, keys, limit)

    async def _batch_write(self, exchange: Exchange, target: Target, served: ServedStore) -> Answer:
        stores.check_ready(served)
        schema = exchange.schema = decode_schema(target.schema)
        no_parameters(target)
        settings = self._serving.settings
        body = await exchange.body(settings.max_body_bytes)
        batch = batches.read_batch(body, settings.max_record_bytes)
        with stores.operation(served, "batch_write") as backend:
            batches.check_capabilities(backend, batch)
            return Answer(200, JSON, await batches.write(backend, schema, batch))


async def answer_safely(
    exchange: Exchange, answer: Callable[[], Awaitable[Answer | None]]
) -> Answer | None:
    """What `answer` gives, or the problem document of what it raises; None if all is written.

    A bug of ours is logged with its traceback, and answered without.
    """
    try:
        return await answer()
    except PannierError as error:
        if isinstance(error, (BadRequest, TargetTooLong, HeadTooLarge, Draining)):
            exchange.refuse_to_keep()
        return exchange.problem(error)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("a request failed in an unforeseen way")
        return exchange.problem(Internal("The sidecar's log says what went wrong."))


def json_answer(document: object) -> Answer:
    """A 200 with a JSON document."""
    return Answer(200, JSON, msgspec.json.encode(document))


def no_parameters(target: Target) -> None:
    """Refuse a query string where none has a meaning: a typing error is not passed over."""
    pairs = parse_query(target.query)
    if pairs:
        raise unknown_parameter(pairs[0][0])


def unknown_parameter(name: str) -> InvalidRequest:
    """The refusal of a parameter that does nothing here."""
    return InvalidRequest(
        f"The parameter {name[:100]!r} is unknown here: leave it out (only lists and counts take "
        "filters)."
    )
