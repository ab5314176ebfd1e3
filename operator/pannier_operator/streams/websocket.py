"""aiohttp's WebSocket as a session wants it: no write waits, and no end lingers."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from pannier.config.stream.messages import MAX_REPORT_BYTES, SUBPROTOCOL, Close

CLOSE_WITHIN: Final = 3.0
"""Seconds a sidecar has to answer a close."""
MOST_UNREAD: Final = 64 * 1024
"""Bytes in the transport's buffer beyond which no ping or pong is added."""
MOST_REASON: Final = 120
"""Bytes of a close reason (RFC 6455 5.5: 125 with the code)."""

_BROKEN: Final = {
    1002: "the WebSocket framing is broken",
    1003: "messages are text frames",
    1007: "a message is not UTF-8",
    1009: f"a message is larger than {MAX_REPORT_BYTES} bytes",
}
"""What aiohttp finds wrong, by the code it would close with."""


class StreamSocket(web.WebSocketResponse):
    """One upgraded connection."""

    def __init__(self) -> None:
        super().__init__(
            timeout=CLOSE_WITHIN,
            protocols=(SUBPROTOCOL,),
            autoping=False,  # a pong is a sign of life that the session wants to see
            compress=False,
            max_msg_size=MAX_REPORT_BYTES,
            # Nothing waits for a reader: what may lie unread is bounded by who writes.
            writer_limit=sys.maxsize,
            decode_text=False,
        )
        self.broken = ""
        """What was wrong with the sidecar's frames."""

    @property
    def _transport(self) -> asyncio.Transport | None:
        request = self._req
        return None if request is None else request.transport

    def send(self, data: bytes) -> bool:
        """Write a text message now; False if the connection is gone."""
        return self._write(data, WSMsgType.TEXT)

    def ask_alive(self) -> None:
        """Ask for a sign of life, unless the sidecar reads nothing anyway."""
        if self._unread <= MOST_UNREAD:
            self._write(b"", WSMsgType.PING)

    def say_alive(self, data: bytes) -> None:
        """Give a sign of life, unless the sidecar reads nothing anyway."""
        if self._unread <= MOST_UNREAD:
            self._write(bytes(data), WSMsgType.PONG)

    @property
    def _unread(self) -> int:
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def _write(self, data: bytes, kind: WSMsgType) -> bool:
        frame = self.send_frame(data, kind)
        try:
            frame.send(None)  # with this writer_limit it never waits: it ends at once
        except StopIteration:
            return True
        except (ConnectionError, RuntimeError):
            return False
        frame.close()
        return True

    async def close(
        self, *, code: int = 1000, message: bytes = b"", drain: bool = True
    ) -> bool:  # fmt: skip
        """As aiohttp's, which calls it where frames are broken: that has a code of ours."""
        if code in _BROKEN:
            self.broken = _BROKEN[code]
            code, message = Close.MALFORMED, self.broken.encode()
        return await super().close(code=code, message=message, drain=False)

    async def end(self, code: Close, reason: str) -> None:
        """Close with this code, wait for the sidecar's close for a moment, and be gone."""
        message = reason.encode("utf-8", "replace")[:MOST_REASON].decode("utf-8", "ignore")
        try:
            await self.close(code=code, message=message.encode())
        finally:
            if self.close_code == WSCloseCode.ABNORMAL_CLOSURE:
                self.abort()  # a polite end would wait for a reader that there is not

    def abort(self) -> None:
        """Cut the connection."""
        transport = self._transport
        if transport is not None:
            transport.abort()

    def __repr__(self) -> str:
        return "<StreamSocket>"
