"""HTTP/1.1 as a client of the sidecar speaks it: requests to bytes, bytes to answers. Pure.

Both sides' `http_wire` carry these bytes. One request is on its way at a time, and none is ever
repeated in here: a write whose answer did not come may have been done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from httptools import HttpParserError, HttpResponseParser


class AnswerLost(Exception):
    """The connection ended before the answer had come in whole.

    `sent` is False where not a byte of the request went out, so nothing can have been done.
    `timed_out` says that we gave up on it.
    """

    def __init__(self, reason: str, *, sent: bool = True, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class SidecarAddress:
    """Where a sidecar listens; the unix socket counts where there is one."""

    host: str
    port: int
    unix_socket: str | None = None

    @property
    def authority(self) -> str:
        """The `Host` header's text."""
        if self.unix_socket is not None:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.unix_socket or self.authority


@dataclass(slots=True)
class Answer:
    """One HTTP answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; of a repeated one the last."""
    body: bytes = b""
    keep_alive: bool = True


def request(
    method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """One request; `target` is percent-encoded already."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class AnswerReader:
    """Reads one answer from the bytes of a connection."""

    def __init__(self, method: str) -> None:
        self.answer: Answer | None = None
        """The answer, once it has come in whole."""
        self._bodiless = method == "HEAD"
        self._reading = Answer()
        self._body: list[bytes] = []
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Take bytes in; whether the answer is whole. Raises ValueError for broken HTTP."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise ValueError("the answer is not HTTP") from error
        return self.answer is not None

    # Called by the parser -----------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reading.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._reading.status = self._parser.get_status_code()
        self._reading.keep_alive = self._parser.should_keep_alive()
        if self._bodiless:
            self.answer = self._reading

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._reading.body = b"".join(self._body)
        self.answer = self._reading
