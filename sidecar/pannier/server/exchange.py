"""One request on the aiohttp lane and its answer: body in, bytes out, all of it bounded.

Answers are written straight to the transport, as the fast lane writes them; aiohttp is given a
`Reply` that says only whether the connection goes on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, cast

from pannier.errors import PannierError, TooLarge
from pannier.server.answers import CLOSE, KEEP, Answer, encode, stream_head
from pannier.server.budget import Budget
from pannier.server.connection import Connection
from pannier.server.lean_aiohttp import BaseRequest
from pannier.server.problems import problem
from pannier.server.refusals import BadRequest, Overloaded, UnsupportedMediaType

SMALL = 16 * 1024
"""Answers up to this many bytes are not counted: a pool figure or a problem must always go out."""
DRAINED = 64 * 1024
"""A refused body up to this long is read and dropped, so that the connection can be kept."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Reply:
    """What aiohttp is told about an answer that is written already."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: BaseRequest) -> None:
        """Nothing is left to send."""

    async def write_eof(self) -> None:
        """Nothing is left to send."""


class Exchange:
    """One request and its one answer."""

    __slots__ = (
        "_budget", "_client_timeout", "_held", "_keep", "_request", "connection", "headers",
        "key", "method", "more_fields", "schema", "status", "store",
    )  # fmt: skip

    def __init__(self, request: BaseRequest, budget: Budget, client_timeout: float) -> None:
        self._request = request
        self._budget = budget
        self._client_timeout = client_timeout
        self._held = 0
        self._keep = True
        self.connection = cast(Connection, request.protocol)
        self.method = request.method
        self.headers = request.headers
        self.status = 0
        """Of the answer, once there is one."""
        self.more_fields = b""
        """Header lines beside the answer's own."""
        self.store: str | None = None
        self.schema: str | None = None
        self.key: str | None = None

    @property
    def target(self) -> bytes:
        """The request target as it was sent."""
        return self._request.raw_path.encode(errors="surrogateescape")

    def header(self, name: str) -> str | None:
        """A header's value; several lines are joined by commas (RFC 9110 section 5.3)."""
        values = self.headers.getall(name, None)
        if values is None:
            return None
        return values[0] if len(values) == 1 else ", ".join(values)

    def raw_header(self, name: str) -> bytes | None:
        """A header's value as bytes."""
        value = self.header(name)
        return value.encode(errors="surrogateescape") if value is not None else None

    # The body -----------------------------------------------------------------------------------

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge as soon as it is known to be over `limit` bytes,
        UnsupportedMediaType for an encoded one, BadRequest if it breaks off or comes too slowly,
        and Overloaded."""
        length = self.headers.get("Content-Length")
        if length is not None and int(length) > limit:
            raise too_large(limit)
        if "Content-Encoding" in self.headers:
            raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
        payload = self._request.content
        if payload.is_eof():
            body = payload.read_nowait()
            self._hold(len(body))
            if len(body) > limit:
                raise too_large(limit)
            return body
        if self._awaits_continue():
            self._write(CONTINUE)
        try:
            async with asyncio.timeout(self._client_timeout):
                return await self._collect(payload, limit)
        except TimeoutError:
            self._keep = False
            raise BadRequest("The request's body did not come in time.") from None

    async def _collect(self, payload: Any, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await payload.readany():
            size += len(part)
            if size > limit:
                raise too_large(limit)
            self._hold(len(part))
            parts.append(part)
        return b"".join(parts)

    def _awaits_continue(self) -> bool:
        expect = self.headers.get("Expect")
        return (
            expect is not None
            and expect.lower() == "100-continue"
            and self._request.version == (1, 1)
            and self._request.content.total_bytes == 0
        )

    # The answer ---------------------------------------------------------------------------------

    def problem(self, error: PannierError, *, status: int | None = None) -> Answer:
        """The answer that tells of `error`, with the names this request has so far."""
        return problem(error, status=status, store=self.store, schema=self.schema, key=self.key)

    async def send(self, answer: Answer, *, done: bool = True) -> None:
        """Write the answer and wait until the client took most of it.

        `done`: something was changed, so the client must be told, whatever memory it takes.
        Does nothing once a stream has begun: it can only be cut.
        """
        if self.status:
            return
        if len(answer.body) > SMALL:
            try:
                self._hold(len(answer.body), force=done)
            except Overloaded as error:
                answer = self.problem(error)
        self.status = answer.status
        if self.more_fields:
            answer = Answer(answer.status, answer.fields + self.more_fields, answer.body)
        self._write(
            encode(answer, with_body=self.method != "HEAD", connection=self._connection_line())
        )
        await self.drain()

    def reply(self) -> Reply:
        """The end of the exchange: what aiohttp is told."""
        self._budget.give(self._held)
        self._held = 0
        return Reply(self._keep)

    def refuse_to_keep(self) -> None:
        """Close the connection after the answer."""
        self._keep = False

    def _connection_line(self) -> bytes:
        """Decide whether the connection goes on, and say so."""
        request = self._request
        if not request.keep_alive or self.connection.last or not self._body_ends_soon():
            self._keep = False
        if not self._keep:
            return CLOSE
        return KEEP if request.version == (1, 0) else b""

    def _body_ends_soon(self) -> bool:
        payload = self._request.content
        if payload.is_eof():
            return True
        length = self.headers.get("Content-Length")
        return length is not None and int(length) <= DRAINED and "Expect" not in self.headers

    # A streamed answer --------------------------------------------------------------------------

    def begin_stream(self, fields: bytes) -> bool:
        """Write the head of a 200 of unknown length; False if no body follows (a HEAD)."""
        self.status = 200
        chunked = self._request.version == (1, 1)
        if not chunked:
            self._keep = False
        fields += self.more_fields
        self._write(stream_head(fields, chunked=chunked, connection=self._connection_line()))
        return self.method != "HEAD"

    async def stream(self, data: bytes) -> bool:
        """Write one part and wait until the client took it; False if the client is gone."""
        self._budget.give(self._held)
        self._held = 0
        self._hold(len(data), force=True)
        if self._request.version == (1, 1):
            self._write(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._write(data)
        await self.drain()
        return self.connection.transport is not None

    def end_stream(self) -> None:
        """Write the last chunk."""
        if self._request.version == (1, 1):
            self._write(b"0\r\n\r\n")

    def cut_stream(self) -> None:
        """End a stream that failed so that the client cannot take it for a whole one."""
        self._keep = False
        transport = self.connection.transport
        if transport is not None and self._request.version != (1, 1):
            # HTTP/1.0 tells a cut from an end by a reset alone: closing must not linger.
            held = transport.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    # Underneath ---------------------------------------------------------------------------------

    def _hold(self, size: int, *, force: bool = False) -> None:
        self._budget.take(size, force=force)
        self._held += size

    def _write(self, *parts: bytes) -> None:
        transport = self.connection.transport
        if transport is not None:
            transport.writelines(parts)

    async def drain(self) -> None:
        """Wait while the client is behind; one that takes nothing for long is given up."""
        connection = self.connection
        while connection.writing_paused and connection.transport is not None:
            behind = connection.transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._client_timeout):
                    await connection._drain_helper()
            except TimeoutError:
                transport = connection.transport
                if transport is not None and transport.get_write_buffer_size() >= behind:
                    transport.abort()
                    return
            except ConnectionError:
                return


def too_large(limit: int) -> TooLarge:
    """The refusal of a body over its limit."""
    return TooLarge(f"The body is over {limit} bytes: send less, or raise the sidecar's limit.")
