"""One connection to a Redis server: bytes out, replies in. The threading side, written by hand.

The asyncio side has the same names. A wire carries one pipeline at a time. It never repeats a
command and never reads a reply that belongs to another: whatever ends a pipeline before its last
reply, and any byte that nobody asked for, closes the connection for good.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import Any

from hiredis import HiredisError, PushNotification, Reader

from pannier.redis import commands as commands
from pannier.redis.address import RedisAddress, plain
from pannier.redis.replies import ConnectionLost, run_of
from pannier.redis.sockets import KEPT_BUFFER, shut_down

_INCOMPLETE = object()
_READ_SIZE = 64 * 1024


class RedisWire:
    """A dialed connection. Made by `dial`; used by one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.run = ""
        """Which run of the server this is connected to; "" where it does not say."""
        self._socket = sock
        self._process = os.getpid()
        self._reader = Reader(notEnoughData=_INCOMPLETE)
        self._reader.setmaxbuf(KEPT_BUFFER)
        self._buffer: Any = bytearray(_READ_SIZE)
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN | select.POLLPRI)
        self._lost: str | None = None
        self._waiting = False
        self._turn = threading.Lock()

    @property
    def is_idle(self) -> bool:
        """Whether it can take a pipeline: connected, and no reply outstanding."""
        return self._lost is None and not self._waiting

    def looks_alive(self) -> bool:
        """What the socket shows without asking: False once its end, or an unasked byte, is in."""
        if not self._turn.acquire(blocking=False):
            return self._lost is None  # what comes in now is the reply that is waited for
        try:
            return self._is_quiet()
        finally:
            self._turn.release()

    def _is_quiet(self) -> bool:
        return self._lost is None and not self._readable.poll(0)

    def execute(self, packed: bytes, replies: int, timeout: float) -> list[Any]:
        """Send one pipeline and return its replies.

        An error reply is a `hiredis.ReplyError` among them (or nested in one), never raised.
        Raises ConnectionLost if they are not in after `timeout` seconds, or cannot come any more;
        then, and when it is interrupted, the connection is closed. Callers at once
        take turns.
        """
        with self._turn:
            if self._lost is None and not self._is_quiet():
                self.close("the server closed the connection, or sent what nobody asked for")
            if self._lost is not None:
                raise ConnectionLost(self._lost, sent=False)
            self._waiting = True
            received: list[Any] = []
            try:
                self._exchange(packed, received, replies, time.monotonic() + timeout)
            except TimeoutError:
                reason = f"no answer within {timeout:g} s"
                self.close(reason)
                raise ConnectionLost(reason, timed_out=True, replies=received) from None
            except (OSError, ValueError, HiredisError) as error:
                # ValueError: another thread closed the socket (a shutdown past its deadline).
                reason = self._lost or _reason(error)
                self.close(reason)
                raise ConnectionLost(reason, replies=received) from None
            except BaseException:
                self.close("given up in mid-command")
                raise
            finally:
                self._waiting = False
            return received

    def _exchange(self, packed: bytes, received: list[Any], wanted: int, deadline: float) -> None:
        sock, reader, buffer = self._socket, self._reader, self._buffer
        sock.settimeout(_left(deadline))
        sock.sendall(packed)
        while True:
            sock.settimeout(_left(deadline))
            size = sock.recv_into(buffer)
            if size == 0:
                raise ConnectionResetError(0, "the server closed the connection")
            reader.feed(buffer, 0, size)
            while len(received) < wanted:
                reply = reader.gets()
                if reply is _INCOMPLETE:
                    break
                if type(reply) is not PushNotification:
                    received.append(reply)
            else:
                if reader.has_data():
                    # Which of the replies was the stranger, nobody can tell: none of them counts.
                    received.clear()
                    raise ConnectionResetError(0, "it sent more replies than it was asked for")
                return

    def close(self, reason: str = "closed by us") -> None:
        """Close at once; a thread that waits for a reply sees the connection end."""
        if self._lost is None:
            self._lost = reason
        if os.getpid() == self._process and self._waiting and self._socket.fileno() >= 0:
            shut_down(self._socket.fileno())
        self._socket.close()

    def wait_closed(self) -> None:
        """Return once it is closed: on this side it is when `close` returns."""

    def abandon(self) -> None:
        """Close the file descriptor; in a forked child the parent's stream is left as it is."""
        self.close("abandoned")


def dial(address: RedisAddress, timeout: float) -> RedisWire:
    """Open a connection and log in, each within `timeout` seconds.

    Raises OSError or TimeoutError where it cannot be opened, ConnectionLost where it ends in the
    login, and LoginRefused; then nothing stays open.
    """
    from pannier.sync.redis_dial import dialed_socket  # redis-py, at the first connection

    wire = RedisWire(dialed_socket(address, timeout))
    wire.run = run_of(wire.execute(commands.SERVER, 1, timeout)[0])
    return wire


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: BaseException) -> str:
    if isinstance(error, HiredisError):
        return "it does not speak Redis's protocol"
    return plain(error)
