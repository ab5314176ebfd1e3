"""A real TCP server of one verb, and connectors to it, for the tests of the pool's drivers.

A line is answered by itself. The server can keep silent, cut its connections, and be stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

HELLO = b"hello"
PING = b"ping"


class TinyServer:
    """Answers each line with the same line, in a thread for each connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.lines: list[bytes] = []
        """Every line that was asked, on any connection."""
        self.accepted = 0
        self.mute: set[bytes] = set()
        """Lines whose answers are held back until `speak`."""
        self._speaks = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def open_connections(self) -> int:
        """Connections that no side has closed."""
        with self._lock:
            return len(self._connections)

    def speak(self) -> None:
        """Answer what was held back."""
        self.mute.clear()
        self._speaks.set()

    def cut(self) -> None:
        """Close every connection, as a server does that goes down."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def count(self, line: bytes) -> int:
        """How often the line was asked."""
        return self.lines.count(line)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.speak()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                word = line.strip()
                self.lines.append(word)
                if word in self.mute:
                    self._speaks.wait(60)
                connection.sendall(line)
        with self._lock:
            self._connections.discard(connection)
        connection.close()


@pytest.fixture
def tiny_server() -> Iterator[TinyServer]:
    server = TinyServer()
    yield server
    server.stop()


def shows_life(connection: socket.socket | None) -> bool:
    """Whether the socket is open and has nothing to read."""
    if connection is None or connection.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0)


class AsyncConnector:
    """One connection; `ask` must get back the line it sent."""

    made: list[AsyncConnector]

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None
        self.unanswered = 0
        self.buffer = b""

    async def connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, ("127.0.0.1", self.port))
            self.socket = connection
            await self.ask(HELLO)
        except BaseException:
            connection.close()
            self.socket = None
            raise

    async def disconnect(self) -> None:
        await asyncio.sleep(0)
        self.abandon()

    async def is_connected(self) -> bool:
        try:
            return await self.ask(PING) == PING
        except OSError:
            return False

    async def ask(self, word: bytes) -> bytes:
        if self.socket is None:
            raise ConnectionError("closed")
        loop = asyncio.get_running_loop()
        self.unanswered += 1
        await loop.sock_sendall(self.socket, word + b"\n")
        while b"\n" not in self.buffer:
            data = await loop.sock_recv(self.socket, 4096)
            if not data:
                raise ConnectionResetError("cut")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.unanswered -= 1
        assert line == word, "read another's answer"
        return line

    def looks_alive(self) -> bool:
        return shows_life(self.socket)

    @property
    def reusable(self) -> bool:
        return self.unanswered == 0

    def abandon(self) -> None:
        if self.socket is not None:
            self.socket.close()


class SyncConnector:
    """The same, blocking."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None
        self.unanswered = 0

    def connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self.port), 30)
        self.socket = connection
        self.reader: Any = connection.makefile("rb")
        try:
            self.ask(HELLO)
        except BaseException:
            self.abandon()
            raise

    def disconnect(self) -> None:
        self.abandon()

    def is_connected(self) -> bool:
        try:
            return self.ask(PING) == PING
        except OSError:
            return False

    def ask(self, word: bytes) -> bytes:
        assert self.socket is not None
        self.unanswered += 1
        self.socket.sendall(word + b"\n")
        line: bytes = self.reader.readline()
        if not line:
            raise ConnectionResetError("cut")
        self.unanswered -= 1
        assert line.strip() == word, "read another's answer"
        return word

    def looks_alive(self) -> bool:
        return shows_life(self.socket)

    @property
    def reusable(self) -> bool:
        return self.unanswered == 0

    def abandon(self) -> None:
        if self.socket is not None:
            self.reader.close()
            self.socket.close()
