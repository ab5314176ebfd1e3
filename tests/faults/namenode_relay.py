"""A relay before a NameNode that loses answers, for moments a real one cannot be asked for.

Requests to a NameNode have no body here, so a request is its head and an answer what Content-Length
or chunks say.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum


class Fate(Enum):
    """What becomes of one request."""

    PASS = "pass"
    """Carried out and answered."""
    LOSE_ANSWER = "lose answer"
    """Carried out; the connection is cut instead of the answer."""
    LOSE_REQUEST = "lose request"
    """The connection is cut before the NameNode sees it."""
    CUT_ALL = "cut all"
    """As LOSE_ANSWER, and the relay refuses every connection from then on."""


class Relay:
    """Listens on a port of its own; `decide(operation, target)` says what becomes of a request."""

    def __init__(self, port: int, decide: Callable[[str, str], Fate]) -> None:
        self._upstream = port
        self._decide = decide
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._refuse()
        for held in self._sockets:
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        for thread in self._threads:
            thread.join(5)

    def _refuse(self) -> None:
        # Only a shutdown wakes the thread that is in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            while head := read_head(client):
                target = head.split(b" ", 2)[1].decode()
                operation = target.split("op=", 1)[1].split("&", 1)[0]
                fate = self._decide(operation, target)
                if fate is Fate.LOSE_REQUEST:
                    return
                with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                    self._sockets.append(server)
                    server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    answer = bytearray()
                    while piece := server.recv(65536):
                        answer += piece
                if fate is Fate.CUT_ALL:
                    self._refuse()
                if fate is not Fate.PASS:
                    return
                client.sendall(bytes(answer))
                return  # the answer said Connection: close


def read_head(client: socket.socket) -> bytes:
    """A request's head, b"" at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(65536)
        if not piece:
            return b""
        head += piece
    return head
