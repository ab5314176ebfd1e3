"""One stream to the operator: hello, snapshots answered, changes reported, bye.

Nothing here can hold up a record: it all happens in tasks of its own, and a peer that takes
nothing, or says nothing to two pings, is given up.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pannier.config.stream.messages import (
    MAX_SNAPSHOT_BYTES,
    PING_EVERY,
    Bye,
    Close,
    Hello,
    State,
    StoreReport,
    encode,
)
from pannier.config.stream.reading import Malformed, read_message
from pannier.config.stream.redialing import LIVED, Cause, cause_of_close
from pannier.config.stream.reports import changes, fitting, printable
from pannier.config.stream.stores import StreamStores
from pannier.config.stream.turns import Verdict
from pannier.version import installed_version

log = logging.getLogger("pannier.config")

REPORT_EVERY: Final = 0.25
"""Seconds between looks at the stores: more changes than four a second are told as one."""
SEND_WITHIN: Final = 2 * PING_EVERY
"""Seconds that the operator may take to read a message, before the stream counts as dead."""
BYE_WITHIN: Final = 1.0
"""Seconds for the last message: the end of the sidecar waits no longer for the operator."""
LONGEST_REASON: Final = 120
"""Characters of a close reason, which may have 123 bytes (RFC 6455 5.5)."""


class Session:
    """One connected stream, from hello to its end."""

    def __init__(self, connection: ClientConnection, stores: StreamStores) -> None:
        self._connection = connection
        self._stores = stores
        self._known: dict[str, StoreReport] = {}
        """What the operator was told of each store."""
        self._answering = False
        self._asked = asyncio.Event()

    async def run(self) -> tuple[Cause, str]:
        """Speak until the stream ends; gives why it did, for the redial and for the log."""
        asked = asyncio.create_task(self._asked.wait())
        tasks: set[asyncio.Task[Any]] = {asked}
        try:
            await self._hello()
            for part in (self._read(), self._report(), self._heed()):
                tasks.add(asyncio.create_task(part))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {asked}:
                task.result()  # Raises: none of them ends otherwise.
            await self._connection.close(1000, "it is dialed anew")
            return Cause.ASKED, "it was asked to dial anew"
        except Malformed as error:
            await self._connection.close(Close.MALFORMED, printable(str(error), LONGEST_REASON))
            return Cause.BROKEN, f"the operator sent {error}"
        except ConnectionClosed as error:
            return ending_of(error)
        except TimeoutError:
            return Cause.BROKEN, f"the operator read nothing for {SEND_WITHIN:g} s"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._connection.transport.abort()

    def end(self) -> None:
        """Close the stream, to dial anew."""
        self._asked.set()

    async def leave(self) -> None:
        """Say bye and close: the sidecar stops."""
        try:
            async with asyncio.timeout(BYE_WITHIN):
                await self._connection.send(encode(Bye()), text=True)
                await self._connection.close(1000, "the sidecar stops")
        except (ConnectionClosed, TimeoutError):
            self._connection.transport.abort()

    # What is said -------------------------------------------------------------------------------

    async def _hello(self) -> None:
        stores = self._stores
        version = stores.version
        await self._send(encode(Hello(build=installed_version(), version=version)))
        if version is not None:
            self._known = stores.reports()
            await self._send(fitting(State(version=version, stores=self._known)))

    async def _report(self) -> None:
        """Tell what has changed since it was last told."""
        stores = self._stores
        while True:
            await asyncio.sleep(REPORT_EVERY)
            version = stores.version
            if self._answering or version is None:
                continue
            news = changes(self._known, stores.reports())
            if news:
                self._known |= news
                await self._send(fitting(State(version=version, stores=news)))

    async def _read(self) -> None:
        """Take snapshots, one after the other."""
        stores = self._stores
        while True:
            snapshot = read_message(await self._connection.recv())
            verdict = stores.judge(snapshot)
            if verdict is Verdict.REPEATED:
                log.warning("a snapshot that was taken already was sent again: it is passed over")
                continue
            if verdict is Verdict.STALE:
                raise Malformed(
                    f"a snapshot of epoch {snapshot.epoch}, and epoch {stores.epoch} was seen"
                )
            self._answering = True
            try:
                answer = await stores.take(snapshot)
                self._known = dict(answer.stores)
                await self._send(fitting(answer))
            finally:
                self._answering = False

    async def _heed(self) -> None:
        """Note that the operator is there, as long as the stream lives."""
        while True:
            await asyncio.sleep(LIVED)
            self._stores.heard()

    async def _send(self, message: bytes) -> None:
        async with asyncio.timeout(SEND_WITHIN):
            await self._connection.send(message, text=True)


def ending_of(error: ConnectionClosed) -> tuple[Cause, str]:
    """Why a stream was closed, by whoever closed it first."""
    sent, received = error.sent, error.rcvd
    if received is not None and error.rcvd_then_sent is not False:
        said = printable(received.reason, 200)
        code = f"{received.code} ({said})" if said else f"{received.code}"
        return cause_of_close(received.code), f"the operator closed it: {code}"
    if sent is None:
        return Cause.BROKEN, "the connection was cut"
    if sent.code == 1009:
        return Cause.BROKEN, f"the operator sent more than {MAX_SNAPSHOT_BYTES} bytes at once"
    if sent.code == 1011:
        return Cause.BROKEN, "the operator answered no ping"
    return Cause.BROKEN, f"the operator broke the WebSocket protocol ({sent.code})"
