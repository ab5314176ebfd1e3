"""Thousands of sidecars on one core: real TLS, real WebSocket frames, the stream's real words.

Started by `tests.bench.push`, which tells it what to do, and is told, by lines of JSON. It speaks
the protocol by hand, since aiohttp's client would need more CPU than the operator under
measurement. After each `applied` it sends a ping: the pong says that the operator has read the
answer, as frames are read in their order.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import ssl
import sys
import time
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

from pannier.config.stream.messages import Applied, Hello, StoreReport, encode

APPLIED = StoreReport(state="applied", reachable=True)
AT_ONCE = 256
"""Dials under way; each sidecar of a cluster is a machine's own affair, here they share a core."""


class Pool(msgspec.Struct):
    maxConnections: int = 0


class Spec(msgspec.Struct):
    pool: Pool = msgspec.field(default_factory=Pool)


class Document(msgspec.Struct):
    spec: Spec = msgspec.field(default_factory=Spec)


class Entry(msgspec.Struct):
    name: str
    document: Document = msgspec.field(default_factory=Document)
    keep: bool = False


class Pushed(msgspec.Struct):
    """As much of a snapshot as is needed to answer it."""

    version: str
    nonce: str
    stores: list[Entry]


read_pushed = msgspec.json.Decoder(Pushed).decode


class Stream(asyncio.Protocol):
    """One sidecar's connection."""

    def __init__(self, fleet: Fleet, token: str, version: str | None) -> None:
        self.fleet = fleet
        self.token = token
        self.version = version
        self.edit = 0
        self.acknowledged = 0.0
        self.opened = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.buffer = bytearray()
        self.status = 0
        self.settled = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: pannier.v1\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            .encode()
        )  # fmt: skip

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        if not self.status:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.status = int(buffer[9:12])
            del buffer[: end + 4]
            if self.status == 101:
                self.send(1, encode(Hello(build="bench", version=self.version)))
                if self.version is not None:  # nothing will be pushed: its pong says it is in
                    self.settled = False
                    self.send(9, b"in")
                    return
            if not self.opened.done():
                self.opened.set_result(self.status)
            if self.status != 101:
                return
        while (frame := self.take()) is not None:
            self.handle(*frame)

    def take(self) -> tuple[int, bytes] | None:
        """The next whole frame: its opcode and payload. Servers do not mask."""
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        length, at = buffer[1], 2
        if length == 126:
            length, at = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, at = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < at + length:
            return None
        payload = bytes(buffer[at : at + length])
        opcode = buffer[0] & 15
        del buffer[: at + length]
        return opcode, payload

    def handle(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            pushed = read_pushed(payload)
            self.version = pushed.version
            edits = [each.document.spec.pool.maxConnections for each in pushed.stores]
            self.edit = max(edits, default=0)
            self.fleet.pushes += 1
            stores = {each.name: APPLIED for each in pushed.stores if not each.keep}
            self.send(1, encode(Applied(version=pushed.version, nonce=pushed.nonce, stores=stores)))
            self.send(9, b"%d" % self.edit)
        elif opcode == 10:
            if not self.opened.done():
                self.opened.set_result(101)
            if payload != b"in":
                self.acknowledged = time.monotonic()
                self.fleet.heard(int(payload))
        elif opcode == 9:
            self.send(10, payload)
        elif opcode == 8:
            self.fleet.closes[int.from_bytes(payload[:2], "big")] = (
                self.fleet.closes.get(int.from_bytes(payload[:2], "big"), 0) + 1
            )
            self.send(8, payload[:2])
            self.transport.close()

    def send(self, opcode: int, payload: bytes) -> None:
        """A frame with the mask 0: masked as the protocol demands, at no cost."""
        length = len(payload)
        head = bytes((0x80 | opcode, 0x80 | length)) if length < 126 else (
            bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
        )  # fmt: skip
        self.transport.write(head + b"\0\0\0\0" + payload)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.opened.done():
            self.opened.set_result(0)
        self.fleet.gone(self)


class Fleet:
    """All of them, and what the bench asks of them."""

    def __init__(self, port: int, ca: str) -> None:
        self.port = port
        self.context = ssl.create_default_context(cafile=ca)
        self.streams: dict[str, Stream] = {}
        self.versions: dict[str, str | None] = {}
        self.pushes = 0
        self.refusals: dict[int, int] = {}
        self.closes: dict[int, int] = {}
        self.room = asyncio.Semaphore(AT_ONCE)
        self.counts: dict[int, int] = {}
        self.news = asyncio.Event()
        self.dialing: set[asyncio.Task[None]] = set()
        self.redials = False
        self.tokens: list[str] = []
        self.first = 0.0
        """When the first of them was in, after there was none."""

    def heard(self, edit: int) -> None:
        self.counts[edit] = self.counts.get(edit, 0) + 1
        self.news.set()

    def gone(self, stream: Stream) -> None:
        if self.streams.get(stream.token) is stream:
            del self.streams[stream.token]
            self.versions[stream.token] = stream.version
            if self.redials:
                self.dial(stream.token)

    def dial(self, token: str) -> None:
        task = asyncio.create_task(self._dial(token))
        self.dialing.add(task)
        task.add_done_callback(self.dialing.discard)

    async def _dial(self, token: str) -> None:
        """Dial until it is in, as a sidecar does: exponential with full jitter."""
        loop, bound = asyncio.get_running_loop(), 0.5
        await asyncio.sleep(random.uniform(0, bound) if self.redials else 0)
        while True:
            async with self.room:
                stream = Stream(self, token, self.versions.get(token))
                status = 0
                try:
                    await asyncio.wait_for(
                        loop.create_connection(
                            lambda stream=stream: stream, "127.0.0.1", self.port,
                            ssl=self.context, server_hostname="127.0.0.1",
                        ), 10,
                    )  # fmt: skip
                    status = await asyncio.wait_for(stream.opened, 10)
                except (OSError, TimeoutError, ssl.SSLError):
                    pass
            if status == 101:
                if not self.streams:
                    self.first = time.monotonic()
                self.streams[token] = stream
                self.news.set()
                return
            self.refusals[status] = self.refusals.get(status, 0) + 1
            if hasattr(stream, "transport"):
                stream.transport.abort()
            await asyncio.sleep(random.uniform(0.05, bound))
            bound = min(bound * 2, 30.0)

    async def all_in(self, count: int) -> None:
        while len(self.streams) < count:
            self.news.clear()
            await self.news.wait()

    async def all_have(self, edit: int) -> list[float]:
        """When each was acknowledged to have applied this edit, once all have."""
        while self.counts.get(edit, 0) < len(self.streams):
            self.news.clear()
            await self.news.wait()
        return sorted(each.acknowledged for each in self.streams.values())


async def main() -> None:
    """Do what stands on the standard input, line by line."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, ca, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    fleet = Fleet(port, ca)
    fleet.tokens = Path(path).read_text().split()  # noqa: ASYNC240 - before anything runs
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order: dict[str, Any] = json.loads(line)
        began = time.monotonic()
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(order.get("seconds", 120)):
                match order["do"]:
                    case "dial":
                        fleet.redials = False
                        for token in fleet.tokens[: order["count"]]:
                            if token not in fleet.streams:
                                fleet.dial(token)
                        await fleet.all_in(order["count"])
                        fleet.redials = True
                    case "back":
                        await fleet.all_in(order["count"])
                    case "expect":
                        answer["times"] = await fleet.all_have(order["edit"])
                    case "figures":
                        pass
        except TimeoutError:
            answer["late"] = True
        answer |= {
            "seconds": time.monotonic() - began,
            "now": time.monotonic(),
            "first": fleet.first,
            "streams": len(fleet.streams),
            "pushes": fleet.pushes,
            "refusals": fleet.refusals,
            "closes": fleet.closes,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
