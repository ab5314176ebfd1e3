"""A TCP proxy before a real server, for faults that the server itself cannot be made to show."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Passes bytes on both ways; the attributes change what it does from the next byte on."""

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        """Seconds every piece of an answer is held back."""
        self.cut_after: int | None = None
        """Bytes of answers that still pass; then that connection is cut, and this is None again."""
        self.swallow = False
        """Answers are read and dropped, as if the network did it."""
        self.connections = 0
        """How many were ever taken."""
        self._target = target
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def inject(self, data: bytes) -> None:
        """Send bytes nobody asked for to every client."""
        with self._lock:
            clients = [sock for sock in self._open if sock.getsockname()[1] == self.port]
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(data)

    def cut_all(self) -> None:
        """End every connection now."""
        with self._lock:
            held = list(self._open)
        for sock in held:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(10)

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            self._run(self._pass_on, client, server, False)
            self._run(self._pass_on, server, client, True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers and not self._passes(data, sink):
                    break
                if not answers:
                    sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if answers:
            with self._lock:
                self._open -= {source, sink}
            source.close()
            sink.close()

    def _passes(self, data: bytes, sink: socket.socket) -> bool:
        """Pass an answer on as the faults allow; False ends its connection."""
        if self.delay:
            time.sleep(self.delay)
        if self.swallow:
            return True
        with self._lock:
            ends = self.cut_after is not None and self.cut_after <= len(data)
            if self.cut_after is not None:
                data = data[: self.cut_after]
                self.cut_after = None if ends else self.cut_after - len(data)
        sink.sendall(data)
        return not ends


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before the server on 127.0.0.1 port `target`."""
    running = Proxy(target)
    try:
        yield running
    finally:
        running.close()
