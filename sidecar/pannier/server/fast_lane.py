"""The fast lane: answers plain requests for one record without aiohttp, on the same connection.

A request that is wholly in the buffer, framed by Content-Length and recognised by
`server.plain_requests` is answered here, through the same record calls as everywhere. At anything
else the bytes go to aiohttp's handler, in order and untouched, until that is quiet again.

One request of a connection runs at a time: pipelined ones wait in the buffer, so that answers come
in order and a read sees the write before it. There is no task, future or response object: a GET
costs 5 µs of Python (python -m tests.bench.lane_costs); the system calls cost 8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from pannier.errors import PannierError
from pannier.server import plain_requests, record_calls
from pannier.server.answers import CLOSE, Answer, encode
from pannier.server.connection import Connection
from pannier.server.exchange import SMALL
from pannier.server.plain_requests import (
    MAX_KEPT,
    Block,
    known_beginnings,
    match_encoded_line,
    match_line,
)
from pannier.server.record_calls import RecordRequest
from pannier.server.serving import Serving

MAX_HELD = 64 * 1024
"""Bytes of pipelined requests kept while one is answered; then reading pauses."""


class FastLane(asyncio.Protocol):
    """One client's connection, in front of aiohttp's handler of it."""

    __slots__ = (
        "_admitted", "_connection", "_counted", "_ended", "_held", "_lent", "_loop", "_paused",
        "_reading", "_request", "_rest", "_serving", "_slow_timer", "_taking", "_transport",
        "_unread",
    )  # fmt: skip

    def __init__(
        self,
        serving: Serving,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        admitted: dict[bytes, Block],
    ) -> None:
        """`admitted` is shared by all lanes: header blocks seen and let in, with their meaning."""
        self._serving = serving
        self._admitted = admitted
        self._connection = connection
        self._loop = loop
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._request: RecordRequest | None = None
        """The request that is being answered here."""
        self._held = b""
        """What came while it is."""
        self._rest = 0
        """Bytes of later requests that came in one piece with it."""
        self._lent = False
        """aiohttp's handler has the connection until it is quiet."""
        self._taking = False
        """`_take_more` is on the stack, and goes on by itself after an answer that came at once."""
        self._reading = True
        self._ended = False
        """The client closed its half: what it asked is answered, and then all is closed."""
        self._paused = False
        """The client does not read: what was answered fills its buffers."""
        self._unread = 0
        """How much of it was unread when last looked at, and ..."""
        self._counted = 0
        """... how much is counted in the budget."""
        self._slow_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "LENT" if self._lent else "IDLE" if self._request is None else "BUSY"
        return f"<FastLane {state}, {len(self._held)} bytes held>"

    # What the transport tells -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connection.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.abandon()
            self._serving.budget.give(len(request.body))
        self._held = b""
        self._stop_watching()
        self._connection.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._request is not None:
            self._hold(data)
        elif self._lent and not self._connection.quiet:
            self._connection.data_received(data)
        else:
            self._lent = False
            if self._paused:
                self._hold(data)
            elif (after := self._begin(data, 0)) != len(data):
                self._take_more(data, after)

    def eof_received(self) -> bool | None:
        if self._request is not None or self._held:
            self._ended = True
            return True
        return self._connection.eof_received()

    # Taking requests ----------------------------------------------------------------------------

    def _take_more(self, data: bytes, place: int) -> None:
        """Answer the pipelined requests from `place` on, as far as they are plain."""
        self._taking = True
        while place < len(data) and self._request is None and not self._paused:
            after = self._begin(data, place)
            if after == 0:
                self._taking = False
                self._lend(data[place:])
                return
            place = after
        self._taking = False
        if place < len(data):
            self._hold(data[place:])

    def _begin(self, data: bytes, place: int) -> int:
        """Begin the request at `place`; where it ends, or 0 if it is none of ours."""
        line = match_line(data, place)
        if line is not None:
            raw_beginning, raw_key = line.groups()
            key: str | None = raw_key.decode()
        else:
            line = match_encoded_line(data, place)
            if line is None:
                return 0
            raw_beginning, raw_key = line.groups()
            key = plain_requests.key(raw_key)
        line_end = line.end()
        block_end = data.find(b"\r\n\r\n", line_end)
        if block_end < 0:
            return 0
        # A kept client's header block and line's beginning are the same each time: two look-ups.
        raw_block = data[line_end:block_end]
        block = self._admitted.get(raw_block) or self._admit(raw_block)
        beginning = known_beginnings.get(raw_beginning) or plain_requests.beginning(raw_beginning)
        if block is None or beginning is None:
            return 0
        serving = self._serving
        served = serving.table.stores.get(beginning.store)
        if served is None or served.generation is None or key is None or serving.draining:
            return 0
        method = beginning.method
        after = block_end + 4
        length = block.length
        budget = serving.budget
        if method == "PUT":
            if length is None or length > serving.settings.max_record_bytes:
                return 0
            body_place = after
            after += length
            if after > len(data) or budget.taken + length > budget.limit:
                return 0
            budget.taken += length
            body = data[body_place:after]
        elif length:
            return 0
        else:
            body = b""
        try:
            request = RecordRequest(
                method, beginning.store, beginning.schema, key, block.if_match,
                block.if_none_match, body,
            )  # fmt: skip
        except PannierError:
            budget.taken -= len(body)
            return 0
        self._rest = len(data) - after
        self._request = request
        record_calls.start(served, request, self._answer)
        return after

    def _admit(self, raw: bytes) -> Block | None:
        """What a header block says, if it is plain and lets its client in."""
        block = plain_requests.block(raw)
        admission = self._serving.admission
        if block is None or admission.refusal(block.host, None, block.authorization) is not None:
            return None
        # A host that is let in stays so; a token may be taken back at any time.
        if admission.token_file is None:
            if len(self._admitted) >= MAX_KEPT:
                self._admitted.clear()
            self._admitted[raw] = block
        return block

    def _answer(self, answer: Answer) -> None:
        """Write the answer to the request in hand, and go on with the next."""
        request = self._request
        if request is None:
            return
        self._request = None
        serving = self._serving
        if request.body:
            serving.budget.taken -= len(request.body)
        if len(answer.body) > SMALL:
            answer = self._affordable(request, answer)
        method = request.method
        last = (self._ended or serving.draining) and not self._rest and not self._held
        self._transport.write(encode(answer, method != "HEAD", CLOSE if last else b""))
        serving.http.record[method].count_at(answer.status, request.seconds, request.bucket)
        if last:
            self._transport.close()
        elif self._held and not self._taking:
            self._go_on()

    # Waiting, and lending -----------------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > MAX_HELD and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Take what was held back, now that it is its turn."""
        if self._request is not None or self._paused or self._transport.is_closing():
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        data, self._held = self._held, b""
        if data:
            self._take_more(data, 0)

    def _lend(self, data: bytes) -> None:
        """Give aiohttp's handler these bytes, and all that come until it is quiet."""
        self._lent = True
        self._connection.data_received(data)
        if self._ended and not self._connection.eof_received():
            self._transport.close()

    # Clients that do not read -------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._connection.pause_writing()
        self._paused = True
        if not self._lent:
            self._watch()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
        self._paused = False
        self._stop_watching()
        if self._held:
            self._go_on()

    def _watch(self) -> None:
        """Count the unread answer in the budget, and give up a client that takes none of it."""
        self._unread = self._transport.get_write_buffer_size()
        if not self._counted:
            self._counted = self._unread
            self._serving.budget.take(self._counted, force=True)
        self._slow_timer = self._loop.call_later(
            self._serving.settings.client_timeout, self._look_again
        )

    def _look_again(self) -> None:
        if self._transport.get_write_buffer_size() >= self._unread:
            self._transport.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None
        self._serving.budget.give(self._counted)
        self._counted = 0

    def _affordable(self, request: RecordRequest, answer: Answer) -> Answer:
        """A large record, or the refusal where it has no room among the bytes in flight."""
        budget = self._serving.budget
        try:
            budget.take(len(answer.body))
        except PannierError as error:
            return request.problem(error)
        budget.give(len(answer.body))
        return answer


def with_fast_lane(
    serving: Serving, make: Callable[[], Connection], loop: asyncio.AbstractEventLoop
) -> Callable[[], asyncio.Protocol]:
    """A protocol factory: each of the connections `make` gives, behind a fast lane."""
    admitted: dict[bytes, Block] = {}
    return lambda: FastLane(serving, make(), loop, admitted)
