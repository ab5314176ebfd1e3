"""Talking to a sidecar as clients do: whole requests, and bytes as they come on a socket."""

from __future__ import annotations

import json
import select
import socket
from dataclasses import dataclass
from typing import Any

TIMEOUT = 20.0


@dataclass
class Reply:
    """One answer as it stood on the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The problem's code, once the document proved to be one."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"].endswith("/" + problem["code"])
        assert problem["title"]
        assert problem["detail"]
        return str(problem["code"])


class Wire:
    """A connection on which bytes are sent and answers read, one after the other."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Close our half."""
        self._socket.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        """Return once something can be read."""
        assert select.select([self._socket], [], [], TIMEOUT)[0], "nothing came"

    def reset(self) -> None:
        """Vanish: the peer gets a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def read(self, *, head_only: bool = False) -> Reply:
        """The next answer. `head_only`: it answers a HEAD."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        status = int(line.split(" ")[1])
        headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        if head_only or status in (100, 204, 304):
            return Reply(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Reply(status, headers, self._chunks())
        if "content-length" not in headers:
            return Reply(status, headers, self.rest())
        return Reply(status, headers, self._exactly(int(headers["content-length"])))

    def rest(self) -> bytes:
        """Everything until the sidecar closes."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            self._buffer += b"<reset>"
        rest, self._buffer = self._buffer, b""
        return rest

    def closed(self) -> bool:
        """Whether the sidecar closes the connection now, with nothing more to say."""
        return self.rest() == b""

    def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self._until(b"\r\n"), 16)
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
            if size == 0:
                return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._more():
                raise EOFError(f"closed after {self._buffer!r}")
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                raise EOFError(f"closed after {self._buffer!r}")
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bool:
        data = self._socket.recv(1 << 18)
        self._buffer += data
        return bool(data)


class Client:
    """Asks one sidecar, on a connection it keeps, and on a new one where that was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._wire: Wire | None = None

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | str | object | None = None,
        **headers: str,
    ) -> Reply:
        """One request. Keywords are headers: `if_match='"..."'`; other bodies go as JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        data = request(method, target, body, **headers)
        if self._wire is None:
            self._wire = Wire(self.port)
        self._wire.send(data)
        reply = self._wire.read(head_only=method == "HEAD")
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def request(method: str, target: str, body: bytes | str | None = None, **headers: str) -> bytes:
    """The bytes of a request, framed by Content-Length if it has a body."""
    named = {"Host": "localhost"}
    named |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    if body is not None:
        body = body.encode() if isinstance(body, str) else body
        named.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")


def etag(value: bytes) -> str:
    """The ETag that the contract gives these stored bytes."""
    from hashlib import sha1

    return f'"{sha1(value).hexdigest()}"'
