"""Cuts a connection's bytes into heads and bodies before aiohttp's parser sees them. Pure.

aiohttp's parser checks the syntax, strictly; but it answers unknown methods, a long target and a
large head with its own words, and loses the requests that came in one segment with a broken one.
So this gate measures each head, gives the parser one message at a time, and holds back the rest.
How long a body is, the parser says (`expect`): the two cannot disagree.
"""

from __future__ import annotations

import re

from pannier.server.refusals import BadRequest, HeadTooLarge, TargetTooLong

MAX_TARGET = 8 * 1024
MAX_HEAD = 32 * 1024
MAX_CHUNK_LINE = 4 * 1024

KNOWN_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
STAND_IN = b"PURGE"
"""What the parser is shown in place of a method it may not know: no route here takes it."""

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.[01]")
_NOT_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class Head(bytes):
    """A whole head, for the parser."""

    __slots__ = ()


class Framing:
    """The place of one connection in its stream of messages."""

    __slots__ = ("_chunk_line", "_data", "_left", "_searched", "_state", "_trailer")

    def __init__(self) -> None:
        self._data = b""
        self._state = "head"
        """head, body (a known length), size, data, end (of a chunk), trailer, or broken."""
        self._left = 0
        self._searched = 0
        self._trailer = 0

    @property
    def between(self) -> bool:
        """Whether no byte of any message is held or awaited."""
        return self._state == "head" and not self._data

    @property
    def in_body(self) -> bool:
        """Whether a message's head was given out and its body is not complete."""
        return self._state not in ("head", "broken")

    def feed(self, data: bytes) -> None:
        """Take the bytes that came."""
        if self._state != "broken":
            self._data = self._data + data if self._data else data

    def expect(self, length: int | None) -> None:
        """The head just given out has a body of `length` bytes, or (None) a chunked one."""
        if length is None:
            self._state = "size"
        elif length:
            self._state, self._left = "body", length

    def next(self) -> bytes | None:
        """The next piece for the parser (a Head, or bytes of a body), None if more must come.

        Raises the refusal of what is no HTTP; nothing can be read from the connection after it.
        """
        try:
            if self._state == "head":
                return self._next_head()
            if self._state == "body":
                return self._next_of_length()
            if self._state == "broken":
                return None
            return self._next_chunked()
        except (BadRequest, TargetTooLong, HeadTooLarge):
            self.abandon()
            raise

    def abandon(self) -> None:
        """Read nothing more: what follows cannot be told apart."""
        self._state, self._data = "broken", b""

    # Heads --------------------------------------------------------------------------------------

    def _next_head(self) -> Head | None:
        data = self._data
        while data.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines before a request
            data = data[2:]
        end = data.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if end < 0:
            self._data, self._searched = data, len(data)
            self._check_part(data)
            return None
        self._data, self._searched = data[end + 4 :], 0
        return self._checked(data[: end + 4])

    def _check_part(self, data: bytes) -> None:
        """Refuse what no further byte can make a head."""
        if _NOT_IN_A_HEAD.search(data):
            raise BadRequest(
                "This is not HTTP/1.1: lines end with CR LF and hold no control bytes."
            )
        line_end = data.find(b"\r\n")
        if line_end >= 0:
            self._check_line(data[:line_end])
        elif len(data) > MAX_TARGET:
            method, _, rest = data.partition(b" ")
            if len(rest.partition(b" ")[0]) > MAX_TARGET:
                raise too_long()
            if len(method) > 1024 or len(data) > MAX_TARGET + 2048:
                raise BadRequest("This is not an HTTP/1.1 request line.")
        if len(data) > MAX_HEAD:
            raise too_large()

    def _checked(self, head: bytes) -> Head:
        line, _, rest = head.partition(b"\r\n")
        method = self._check_line(line)
        if len(head) > MAX_HEAD:
            raise too_large()
        if method in KNOWN_METHODS:
            return Head(head)
        return Head(STAND_IN + line[len(method) :] + b"\r\n" + rest)

    def _check_line(self, line: bytes) -> bytes:
        """The method of a whole request line."""
        found = _LINE.fullmatch(line)
        if found is None:
            if not line.isascii():
                raise BadRequest(
                    "The request line holds a byte that is not ASCII: percent-encode it in the "
                    "target (%C3%A9 for \u00e9)."
                )
            raise BadRequest("This is not an HTTP/1.1 request line: METHOD /path HTTP/1.1.")
        if len(found[2]) > MAX_TARGET:
            raise too_long()
        return found[1]

    # Bodies -------------------------------------------------------------------------------------

    def _next_of_length(self) -> bytes | None:
        data = self._data
        if not data:
            return None
        piece, self._data = data[: self._left], data[self._left :]
        self._left -= len(piece)
        if not self._left:
            self._state = "head"
        return piece

    def _next_chunked(self) -> bytes | None:
        """All bytes at hand that belong to this chunked body (RFC 9112 section 7.1)."""
        data, place = self._data, 0
        while self._state != "head" and place < len(data):
            if self._state == "data":
                step = min(self._left, len(data) - place)
                self._left -= step
                place += step
                if not self._left:
                    self._state = "size"
                continue
            end = data.find(b"\r\n", place)
            if end < 0:
                if len(data) - place > MAX_CHUNK_LINE:
                    raise BadRequest("A line of the chunked body is too long.")
                break
            self._line_of_body(data[place:end])
            place = end + 2
        self._data = data[place:]
        return data[:place] or None

    def _line_of_body(self, line: bytes) -> None:
        if self._state == "size":
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise BadRequest("The chunked body has a chunk without a size.")
            self._left = int(size[1], 16) + 2  # with its CR LF
            self._state = "data" if self._left > 2 else "trailer"
            self._trailer = 0
            return
        self._trailer += len(line) + 2
        if self._trailer > MAX_HEAD:
            raise too_large()
        if not line:
            self._state = "head"


def too_long() -> TargetTooLong:
    """The refusal of a long target."""
    return TargetTooLong(f"The request target is over {MAX_TARGET} bytes: send less in the URL.")


def too_large() -> HeadTooLarge:
    """The refusal of a large head."""
    return HeadTooLarge(f"The request's head is over {MAX_HEAD} bytes: send fewer header fields.")
