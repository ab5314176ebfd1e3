"""One client's connection on aiohttp: the framing gate in front of its parser, and our own words.

aiohttp keeps what it is good at: strict parsing, the queue of pipelined requests, flow control of
bodies. Changed is what a client can see or misuse: broken HTTP is answered as a problem document,
in its turn; a half-closed client gets its answer; one that sends slowly is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pannier.errors import PannierError
from pannier.server.framing import MAX_HEAD, MAX_TARGET, Framing, Head
from pannier.server.lean_aiohttp import (
    EMPTY_PAYLOAD,
    BaseRequest,
    BrokenMessage,
    HttpProcessingError,
    RequestHandler,
    RequestPayloadError,
    Server,
    StreamReader,
    StreamResponse,
)
from pannier.server.refusals import BadRequest

log = logging.getLogger("pannier.server")

LINGER = 2.0
"""Seconds a refused client is listened to after its answer: closing while its bytes are still
coming would reset the connection, and the answer could be lost with it."""

MOST_QUEUED = 2
"""Pipelined requests that wait in memory; the others wait in the socket."""

UNCOUNTED = 16 * 1024
"""Bytes of answers a client may leave unread before they count as bytes in flight: with
`max_clients` of them they come to `max_inflight_bytes`."""

Refuse = Callable[[BaseRequest, PannierError], Awaitable[Any]]


class Connection(RequestHandler):
    """aiohttp's handler of one connection, fed one message at a time."""

    __slots__ = (
        "_client_timeout",
        "_ended",
        "_framing",
        "_gone",
        "_head_timer",
        "_incoming",
        "_refuse",
    )

    def __init__(
        self,
        manager: ConnectionServer,
        *,
        loop: asyncio.AbstractEventLoop,
        refuse: Refuse,
        client_timeout: float,
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=cast(Any, None),
            auto_decompress=False,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEAD,
            lingering_time=LINGER,
        )
        self._framing = Framing()
        self._incoming: StreamReader = EMPTY_PAYLOAD
        """The body being received, or one that is complete."""
        self._refuse = refuse
        self._client_timeout = client_timeout
        self._head_timer: asyncio.TimerHandle | None = None
        self._ended = False
        """The client closed its half: what it asked is answered, and then all is closed."""
        self._gone: asyncio.Future[None] | None = None

    @property
    def quiet(self) -> bool:
        """Whether no part of a request is held, awaited, running or unanswered here.

        The fast lane may then take the next bytes; otherwise they belong to `data_received`.
        """
        if not self._framing.between or self._messages or self._force_close or self._close:
            return False
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    @property
    def queued(self) -> int:
        """How many requests came and wait for the one before them."""
        return len(self._messages)

    @property
    def last(self) -> bool:
        """Whether no request can follow the one being answered."""
        if self._close:
            return True
        ending = self._ended or (self._server is not None and self._server.closing)
        return ending and not self._messages and self._framing.between

    @property
    def _server(self) -> ConnectionServer | None:
        return cast("ConnectionServer | None", self._manager)

    # What the transport tells -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=UNCOUNTED)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._force_close or self._close or self._parser is None:
            return
        if data:
            self._framing.feed(data)
        else:
            self._parse(b"")  # aiohttp resumes: the parser may hold a tail
        self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a half-closed connection while an answer is owed."""
        self._ended = True
        self._tell_gone()
        if self.quiet:
            return False
        if not self._framing.between:
            self._break(BadRequest("The connection was closed in the middle of a request."))
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._tell_gone()
        super().connection_lost(exc)

    # From bytes to requests ---------------------------------------------------------------------

    def _advance(self) -> None:
        """Give the parser what is there, until the queue is full or more must come."""
        framing = self._framing
        while len(self._messages) < MOST_QUEUED and not self._reading_paused:
            try:
                piece = framing.next()
            except PannierError as refusal:
                self._break(refusal)
                break
            if piece is None:
                break
            self._parse(piece)
        if len(self._messages) >= MOST_QUEUED and not self._buffer_paused:
            self._pause_reading_for_buffer()
        self._watch_head()

    def _parse(self, piece: bytes) -> None:
        assert self._parser is not None
        try:
            messages, upgraded, _ = self._parser.feed_data(piece)
        except HttpProcessingError as error:
            self._break(BadRequest(f"This is not HTTP/1.1: {one_line(error.message)}."))
            return
        if upgraded:
            self._parser.set_upgraded(False)  # every upgrade is declined: the request is answered
        for message, payload in messages:
            headers = message.headers
            coding = headers.get("Transfer-Encoding")
            if coding is not None:
                if coding.lower() != "chunked" or not message.chunked:
                    self._break(BadRequest("Transfer-Encoding can only be chunked."))
                    return
                if message.version != (1, 1):
                    self._break(BadRequest("HTTP/1.0 has no Transfer-Encoding."))
                    return
            if isinstance(piece, Head):
                length = headers.get("Content-Length", "0")
                self._framing.expect(None if message.chunked else int(length))
            self._request_count += 1
            self._incoming = payload
            self._messages.append((message, payload))
        if messages:
            self._wake()

    def _break(self, refusal: PannierError) -> None:
        """What comes from here on cannot be read: refuse it in its turn, and then close."""
        self._framing.abandon()
        self._stop_head_timer()
        if not self._incoming.is_eof():
            self._incoming.set_exception(refusal)
            return
        self._request_count += 1
        info = BrokenMessage(status=refusal.status, exc=refusal, message=str(refusal))
        self._messages.append((info, EMPTY_PAYLOAD))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume_reading_if_drained(self) -> None:
        self._advance()
        if len(self._messages) < MOST_QUEUED:
            self._resume_reading_for_buffer()

    # Slow clients -------------------------------------------------------------------------------

    def _watch_head(self) -> None:
        """Give the client `client_timeout` for each head, from its first byte."""
        if self._framing.between or self._framing.in_body:
            self._stop_head_timer()
        elif self._head_timer is None and not self._messages:
            self._head_timer = self._loop.call_later(self._client_timeout, self._head_too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if not self._framing.between and not self._framing.in_body:
            self._break(BadRequest("The request's head did not come in time."))

    def _process_keepalive(self) -> None:
        """Idle connections stay: closing one races with its next request (RFC 9112 section 9.5).

        What bounds them is `--max-clients`.
        """
        self._keepalive_handle = None

    # Answers ------------------------------------------------------------------------------------

    def _make_error_handler(
        self, err_info: BrokenMessage
    ) -> Callable[[BaseRequest], Awaitable[StreamResponse]]:
        async def refuse(request: BaseRequest) -> StreamResponse:
            reply = await self._refuse(request, cast(PannierError, err_info.exc))
            await self.linger()
            return cast(StreamResponse, reply)

        return refuse

    async def linger(self) -> None:
        """Say that nothing follows the answer, and listen until the client closes or LINGER."""
        self._close = True
        if self.transport is None or self._ended:
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._gone = self._loop.create_future()
        await asyncio.wait((self._gone,), timeout=LINGER)

    def _tell_gone(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp reports what it cannot place; a body that broke off was answered already."""
        error = kw.get("exc_info")
        if not isinstance(error, (PannierError, RequestPayloadError, ConnectionError)):
            log.error("a connection failed: %s", args[0] if args else error, exc_info=error)


class ConnectionServer(Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(
        self,
        handler: Callable[[BaseRequest], Awaitable[Any]],
        *,
        refuse: Refuse,
        client_timeout: float,
    ) -> None:
        super().__init__(handler)
        self._refuse = refuse
        self._client_timeout = client_timeout
        self.closing = False
        """Each connection is closed after the answer that it is giving now."""

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def queued(self) -> int:
        """How many requests came and wait for the one before them."""
        return sum(cast(Connection, each).queued for each in self._connections)

    async def end(self, timeout: float) -> None:
        """Close every connection once what was written to it is taken, or after `timeout`."""
        for transport in list(self._connections.values()):
            transport.close()
        deadline = self._loop.time() + timeout
        # aiohttp keeps the connections and tells nobody when one is gone.
        while self._connections and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for transport in list(self._connections.values()):
            transport.abort()

    def __call__(self) -> Connection:
        return Connection(
            self, loop=self._loop, refuse=self._refuse, client_timeout=self._client_timeout
        )


def one_line(message: str) -> str:
    """The first line of the parser's complaint."""
    return message.partition("\n")[0].rstrip(".: ")
