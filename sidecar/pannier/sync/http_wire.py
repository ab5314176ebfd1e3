"""One HTTP connection to a sidecar: a request out, its answer in. The threading side, hand-written.

`pannier.aio.http_wire` has the same names. Whatever ends an exchange before its answer is whole,
and any byte that nobody asked for, closes the connection for good.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from pannier.http_answers import Answer, AnswerLost, AnswerReader, SidecarAddress
from pannier.redis.sockets import shut_down

_READ_SIZE = 64 * 1024


class HttpWire:
    """A dialed connection. Made by `dial`. Threads at once take turns."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN | select.POLLPRI)
        self._turn = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether it is open and no answer is outstanding."""
        return not self._turn.locked() and self.looks_alive()

    def looks_alive(self) -> bool:
        """What the socket shows without asking: False once its end, or an unasked byte, is in."""
        if not self._turn.acquire(blocking=False):
            return not self._closed  # what comes in now is the answer that is waited for
        try:
            return not self._closed and not self._readable.poll(0)
        finally:
            self._turn.release()

    def exchange(self, request: bytes, method: str, timeout: float) -> Answer:
        """Send one request and return its answer.

        Raises AnswerLost if it is not in after `timeout` seconds, or cannot come any more; then,
        and when it is interrupted, the connection is closed.
        """
        with self._turn:
            if self._closed or self._readable.poll(0):
                self.close()
                raise AnswerLost("the connection is closed", sent=False)
            try:
                answer = self._exchange(request, AnswerReader(method), time.monotonic() + timeout)
            except TimeoutError:
                self.close()
                raise AnswerLost(f"no answer within {timeout:g} s", timed_out=True) from None
            except (OSError, ValueError) as error:
                self.close()
                raise AnswerLost(str(error)) from None
            except BaseException:
                self.close()
                raise
            if not answer.keep_alive:
                self.close()
            return answer

    def _exchange(self, request: bytes, reader: AnswerReader, deadline: float) -> Answer:
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(request)
        while reader.answer is None:
            self._socket.settimeout(_left(deadline))
            data = self._socket.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError("the sidecar closed the connection")
            reader.feed(data)
        return reader.answer

    def close(self) -> None:
        """Close at once; a thread that waits for an answer sees the connection end."""
        self._closed = True
        if os.getpid() == self._process and self._socket.fileno() >= 0:
            shut_down(self._socket.fileno())
        self._socket.close()

    def abandon(self) -> None:
        """Close the file descriptor; in a forked child the parent's stream is left as it is."""
        self.close()


def dial(address: SidecarAddress, timeout: float) -> HttpWire:
    """Open a connection. Raises OSError or TimeoutError."""
    if address.unix_socket is None:
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return HttpWire(sock)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address.unix_socket)
    except BaseException:
        sock.close()
        raise
    return HttpWire(sock)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
