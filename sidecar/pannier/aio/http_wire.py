"""One HTTP connection to a sidecar: a request out, its answer in. The asyncio side, hand-written.

`pannier.sync.http_wire` has the same names. Whatever ends an exchange before its answer is whole,
and any byte that nobody asked for, closes the connection for good.
"""

from __future__ import annotations

import asyncio
import os
import select

from pannier.http_answers import Answer, AnswerLost, AnswerReader, SidecarAddress
from pannier.redis.sockets import shut_down


class HttpWire(asyncio.Protocol):
    """A dialed connection. Made by `dial`. Callers at once take turns."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._turn = asyncio.Lock()
        self._process = os.getpid()
        self._readable = select.poll()

    @property
    def is_idle(self) -> bool:
        """Whether it is open and no answer is outstanding."""
        return self.looks_alive() and self._future is None

    def looks_alive(self) -> bool:
        """What the socket shows without asking: False once its end, or an unasked byte, is in."""
        if self._transport is None or self._transport.is_closing():
            return False
        # The event loop may not have had the time to notice; 1 µs against a write of unknown fate.
        return self._turn.locked() or not self._readable.poll(0)

    async def exchange(self, request: bytes, method: str, timeout: float) -> Answer:
        """Send one request and return its answer.

        Raises AnswerLost if it is not in after `timeout` seconds, or cannot come any more; then,
        and when it is cancelled, the connection is closed.
        """
        async with self._turn:
            transport = self._transport
            if transport is None or transport.is_closing() or self._readable.poll(0):
                self.close()
                raise AnswerLost("the connection is closed", sent=False)
            self._reader = AnswerReader(method)
            self._future = asyncio.get_running_loop().create_future()
            transport.write(request)
            try:
                async with asyncio.timeout(timeout):
                    answer = await self._future
            except TimeoutError:
                self.close()
                raise AnswerLost(f"no answer within {timeout:g} s", timed_out=True) from None
            except BaseException:
                self.close()
                raise
            finally:
                self._reader = self._future = None
            if not answer.keep_alive:
                self.close()
            return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        reader, future = self._reader, self._future
        if reader is None or future is None or future.done():
            self.close()  # nobody asked for this
            return
        try:
            if reader.feed(data) and reader.answer is not None:
                future.set_result(reader.answer)
        except ValueError as error:
            future.set_exception(AnswerLost(str(error)))

    def connection_lost(self, error: Exception | None) -> None:
        if self._future is not None and not self._future.done():
            reason = str(error) if error is not None else "the sidecar closed the connection"
            self._future.set_exception(AnswerLost(reason))

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """End the connection without a call to the event loop: it may be closed, or another's.

        In a forked child it only lets go: the stream is the parent's.
        """
        transport, self._transport = self._transport, None
        if transport is not None and os.getpid() == self._process:
            shut_down(transport.get_extra_info("socket").fileno())


async def dial(address: SidecarAddress, timeout: float) -> HttpWire:
    """Open a connection. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        if address.unix_socket is not None:
            _, wire = await loop.create_unix_connection(HttpWire, address.unix_socket)
        else:
            _, wire = await loop.create_connection(HttpWire, address.host, address.port)
    return wire
