"""Requests to a sidecar, over the standard library's http.client.

Why not aiohttp: importing it costs a quarter of a second of CPU, which `pannier get` in a shell
loop would pay for each record; and a command needs one connection, or a few threads with one each.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from pannier.cli.endings import REFUSED, UNREACHABLE, Ending

READ_SIZE = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a sidecar listens and how it is spoken to."""

    host: str = "127.0.0.1"
    port: int = 3900
    secure: bool = False
    unix_socket: Path | None = None
    token: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    """Seconds to wait for an answer, or for the next part of one."""

    def __str__(self) -> str:
        if self.unix_socket is not None:
            return str(self.unix_socket)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.secure else ''}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Refusal(Ending):
    """The sidecar answered with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        code = str(problem.get("code") or f"status {status}")
        said = str(problem.get("detail") or problem.get("title") or "no reason was given")
        super().__init__(REFUSED, f"{code}: {said}", code)

    def document(self) -> dict[str, Any]:
        """The sidecar's own problem document."""
        return {**self.problem, "code": self.problem_code}


class Unreachable(Ending):
    """No answer came: the sidecar is not there, or it went away."""

    def __init__(self, endpoint: Endpoint, why: str) -> None:
        super().__init__(UNREACHABLE, f"no sidecar answers on {endpoint}: {why}")


class BrokenOff(Ending):
    """An answer ended before its end."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(REFUSED, f"the answer of {endpoint} broke off before its end")


class Client:
    """One connection to a sidecar, opened at the first request and kept; for one thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> Reply:
        """One request and its whole answer. Raises Unreachable, and Refusal for every problem."""
        with self._exchange(method, path, body, headers) as response:
            reply = whole(response)
        if reply.status >= 400:
            raise refusal(reply)
        return reply

    def lines(self, path: str, headers: Mapping[str, str] = {}) -> Iterator[bytes]:
        """The lines of an NDJSON answer as they come, without their line ends.

        Raises Refusal, Unreachable, and BrokenOff where the last line is not there.
        """
        accept = {"Accept": "application/x-ndjson", **headers}
        with self._exchange("GET", path, None, accept) as response:
            if response.status >= 400:
                raise refusal(whole(response))
            rest = b""
            while part := response.read1(READ_SIZE):
                *ended, rest = (rest + part).split(b"\n")
                yield from ended
            if rest:
                raise BrokenOff(self.endpoint)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._open()
        try:
            connection.request(method, path, body, self._headers(headers))
            yield connection.getresponse()
        except http.client.IncompleteRead as error:
            self.close()
            raise BrokenOff(self.endpoint) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(self.endpoint, reason(error)) from error
        except BaseException:
            # The rest of the answer is unread: the connection is of no more use.
            self.close()
            raise

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            endpoint = self.endpoint
            if endpoint.unix_socket is not None:
                self._connection = UnixConnection(endpoint.unix_socket, endpoint.timeout)
            elif endpoint.secure:
                self._connection = http.client.HTTPSConnection(
                    endpoint.host,
                    endpoint.port,
                    timeout=endpoint.timeout,
                    context=ssl.create_default_context(),
                )
            else:
                self._connection = http.client.HTTPConnection(
                    endpoint.host, endpoint.port, timeout=endpoint.timeout
                )
        return self._connection

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = self.endpoint.token
        return {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def whole(response: http.client.HTTPResponse) -> Reply:
    """An answer read to its end."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, response.read())


def refusal(reply: Reply) -> Refusal:
    """The problem in an answer; one that is no problem document still says its status."""
    try:
        problem = msgspec.json.decode(reply.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        problem = {"detail": f"an answer of status {reply.status} that is no problem document"}
    return Refusal(reply.status, problem)


def reason(error: BaseException) -> str:
    """Why there was no answer, in one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def parse_url(url: str) -> Endpoint:
    """`http://host:port`, `https://host`, `unix:/path`. Raises ValueError."""
    if url.startswith("unix:"):
        return Endpoint(unix_socket=Path(url.removeprefix("unix:").removeprefix("//")))
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it such as http://127.0.0.1:3900")
    if parts.path.strip("/") or parts.query or parts.username is not None:
        raise ValueError("write scheme, host and port alone")
    secure = parts.scheme == "https"
    return Endpoint(
        host=parts.hostname, port=parts.port or (443 if secure else 3900), secure=secure
    )


def path_of(store: str, schema: str = "", key: str | None = None, action: str = "") -> str:
    """The request path of a store, a schema or a record, encoded; `action` such as `:count`."""
    path = f"/v1/{quote(store, safe='')}"
    if schema:
        path += f"/{quote(schema, safe='')}"
    path += action
    return path if key is None else f"{path}/{quote(key, safe='')}"
