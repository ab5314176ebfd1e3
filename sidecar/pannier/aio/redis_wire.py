"""One connection to a Redis server: bytes out, replies in. The asyncio side, written by hand.

The threading side has the same names. A wire carries one pipeline at a time. It never repeats a
command and never reads a reply that belongs to another: whatever ends a pipeline before its last
reply, and any byte that nobody asked for, closes the connection for good.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from hiredis import HiredisError, PushNotification, Reader, ReplyError

from pannier.redis import commands as commands
from pannier.redis.address import RedisAddress, plain
from pannier.redis.replies import ConnectionLost, LoginRefused, knows_no_hello, run_of, spoken
from pannier.redis.sockets import KEPT_BUFFER, keep_alive, shut_down

Done = Callable[[list[Any], ConnectionLost | None], None]
"""Told once how a pipeline ended: with all its replies and None, or with what came and the loss.

An error reply is a `hiredis.ReplyError` among the replies (or nested in one), never raised.
"""

_INCOMPLETE = object()
_RESTING = 0.001
"""Seconds after a reply from which on a connection counts as resting."""


class RedisWire(asyncio.Protocol):
    """A dialed connection. Made by `dial`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = loop.create_future()
        self.run = ""
        """Which run of the server this is connected to; "" where it does not say."""
        self._loop = loop
        self._process = os.getpid()
        self._reader = Reader(notEnoughData=_INCOMPLETE)
        self._reader.setmaxbuf(KEPT_BUFFER)
        self._transport: asyncio.Transport | None = None
        self._lost: ConnectionLost | None = None
        self._done: Done | None = None
        self._turn = asyncio.Lock()
        self._wanted = 0
        self._rests_at = 0.0
        self._readable = select.poll()
        self._replies: list[Any] = []

    @property
    def is_idle(self) -> bool:
        """Whether it can take a pipeline: connected, and no reply outstanding."""
        return self._lost is None and self._done is None

    def looks_alive(self) -> bool:
        """What is known without asking: False once the end, or an unasked byte, has come in.

        After a rest the socket itself is looked at too (0.7 µs), for a busy event loop may not have
        come to it yet, and a write that is sent into a closed connection ends as unknown.
        """
        transport = self._transport
        if self._lost is not None or transport is None or transport.is_closing():
            return False
        return self._loop.time() < self._rests_at or not self._readable.poll(0)

    def send(self, packed: bytes, replies: int, done: Done) -> None:
        """Write one pipeline; `done` is called when its `replies` replies are in, or it is lost.

        On a connection that has ended `done` is called at once. No task, no future, one write.
        """
        if self._done is not None:
            raise RuntimeError("This connection still waits for the replies to another pipeline.")
        if self._lost is not None or self._transport is None:
            reason = self._lost.reason if self._lost is not None else "not connected"
            done([], ConnectionLost(reason, sent=False))
            return
        self._done = done
        self._wanted = replies
        self._transport.write(packed)

    async def execute(self, packed: bytes, replies: int, timeout: float) -> list[Any]:
        """Send one pipeline and return its replies.

        Raises ConnectionLost if they are not in after `timeout` seconds, or cannot come any more;
        then, and when it is cancelled, the connection is closed. Callers at once take turns.
        """
        async with self._turn:
            future: asyncio.Future[list[Any]] = self._loop.create_future()
            self.send(packed, replies, partial(_settle, future))
            late = partial(self.close, f"no answer within {timeout:g} s", timed_out=True)
            timer = self._loop.call_later(timeout, late)
            try:
                return await future
            except asyncio.CancelledError:
                self.close("given up in mid-command")
                raise
            finally:
                timer.cancel()

    def close(self, reason: str = "closed by us", *, timed_out: bool = False) -> None:
        """Close at once; a pipeline under way ends as lost for `reason`."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason, timed_out=timed_out)

    async def wait_closed(self) -> None:
        """Return once a closed connection has left the event loop."""
        await asyncio.wait((self._closed,), timeout=1)

    def abandon(self) -> None:
        """End the connection without a call to the event loop: it may be closed, or another's.

        In a forked child it only lets go: the stream is the parent's.
        """
        self._lost = ConnectionLost("abandoned")
        self._done = None
        transport, self._transport = self._transport, None
        if transport is not None and os.getpid() == self._process:
            shut_down(transport.get_extra_info("socket").fileno())

    # What the event loop calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse what came in (hiredis takes 0.08 µs for a reply of 250 bytes)."""
        done = self._done
        if done is None:
            self._unasked(data)
            return
        replies, wanted, gets = self._replies, self._wanted, self._reader.gets
        try:
            self._reader.feed(data)
            while len(replies) < wanted:
                reply = gets()
                if reply is _INCOMPLETE:
                    return
                if type(reply) is not PushNotification:
                    replies.append(reply)
        except HiredisError:
            self.close("it does not speak Redis's protocol")
            return
        if self._reader.has_data():
            # Which of the replies was the stranger, nobody can tell: so none of them counts.
            self._replies = []
            self.close("it sent more replies than it was asked for")
            return
        self._done = None
        self._replies = []
        self._rests_at = self._loop.time() + _RESTING
        done(replies, None)

    def eof_received(self) -> None:
        self._lose("the server closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(plain(error) if error is not None else "the server closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)

    # Ends -----------------------------------------------------------------------------------------

    def _unasked(self, data: bytes) -> None:
        """Bytes on an idle connection: at most a push message is harmless."""
        reply: Any = None
        try:
            self._reader.feed(data)
            while type(reply := self._reader.gets()) is PushNotification:
                pass
        except HiredisError:
            reply = None
        if reply is _INCOMPLETE and not self._reader.has_data():
            return
        # A server that is full, or in protected mode, says so to whoever connects, and closes.
        said = spoken(reply) if isinstance(reply, ReplyError) else "it sent what nobody asked for"
        self.close(said)

    def _lose(self, reason: str, *, timed_out: bool = False) -> None:
        if self._lost is None:
            self._lost = ConnectionLost(reason)
        done, self._done = self._done, None
        if done is not None:
            replies, self._replies = self._replies, []
            done(replies, ConnectionLost(reason, timed_out=timed_out, replies=replies))


async def dial(address: RedisAddress, timeout: float) -> RedisWire:
    """Open a connection and log in, each within `timeout` seconds.

    Raises OSError or TimeoutError where it cannot be opened, ConnectionLost where it ends in the
    login, and LoginRefused; then, and when it is cancelled, nothing stays open.
    """
    wire = await _open(address, timeout)
    try:
        await _log_in(wire, address, timeout)
    except BaseException:
        wire.close()
        await wire.wait_closed()
        raise
    return wire


async def _open(address: RedisAddress, timeout: float) -> RedisWire:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        if address.unix_socket is not None:
            _, wire = await loop.create_unix_connection(RedisWire, address.unix_socket)
            return wire
        transport, wire = await loop.create_connection(
            RedisWire,
            address.host,
            address.port,
            ssl=address.tls,
            server_hostname=(address.server_name or address.host) if address.tls else None,
        )
    keep_alive(transport.get_extra_info("socket").fileno())
    return wire


async def _log_in(wire: RedisWire, address: RedisAddress, timeout: float) -> None:
    """HELLO with the login, the database, and which run of the server this is: one round trip."""
    login = [commands.hello(address.username, address.password)]
    chosen = [commands.select(address.db)] if address.db else []
    replies = await _asked(wire, login + chosen, timeout)
    if isinstance(replies[0], ReplyError) and knows_no_hello(str(replies[0])):
        login = []
        if address.username is not None or address.password is not None:
            login = [commands.auth(address.username, address.password)]
        replies = await _asked(wire, login + chosen, timeout)
    *replies, about = replies
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise LoginRefused(spoken(reply))
    wire.run = run_of(about)


async def _asked(wire: RedisWire, packed: list[bytes], timeout: float) -> list[Any]:
    try:
        return await wire.execute(b"".join([*packed, commands.SERVER]), len(packed) + 1, timeout)
    except ConnectionLost as lost:
        if lost.replies and isinstance(lost.replies[0], ReplyError):
            # A server that has no room says so, and closes.
            raise LoginRefused(spoken(lost.replies[0])) from None
        raise


def _settle(
    future: asyncio.Future[list[Any]], replies: list[Any], lost: ConnectionLost | None
) -> None:
    if future.done():
        return
    if lost is None:
        future.set_result(replies)
    else:
        future.set_exception(lost)
