"""The other end of a sidecar's stream, scripted: for what a real operator cannot be made to show.

It speaks the protocol over TLS with aiohttp's server, in a thread of its own, and believes every
token. What it is to push, to break or to refuse, the test says.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from pannier.config.stream.messages import (
    PATH,
    SUBPROTOCOL,
    Applied,
    Bye,
    Credential,
    Hello,
    Report,
    Snapshot,
    State,
    StoreEntry,
    encode,
    read_report,
)
from tests.real.certificates import Certificates
from tests.real.redis import until

WITHIN = 30.0
"""Seconds a test waits for what a sidecar does."""

_nonces = itertools.count(1)


class Stream:
    """One stream of a sidecar: everything it said, and why it ended."""

    def __init__(self, peer: Peer, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.peer = peer
        self.socket = socket
        self.token = request.headers.get("Authorization", "")
        self.reports: list[Report] = []
        self.closed: tuple[int, str] | None = None
        """The close code and reason that the sidecar sent; (1006, "") for a cut connection."""
        assert request.transport is not None
        self.transport: asyncio.Transport = request.transport  # type: ignore[assignment]

    @property
    def hello(self) -> Hello:
        """What it said first."""
        until(lambda: self.reports, "it says hello", WITHIN)
        assert isinstance(self.reports[0], Hello)
        return self.reports[0]

    @property
    def states(self) -> list[State]:
        return [each for each in self.reports if isinstance(each, State)]

    @property
    def said_bye(self) -> bool:
        return any(isinstance(each, Bye) for each in self.reports)

    def answer(self, nonce: str) -> Applied | None:
        """What it answered to a snapshot so far."""
        answers = [each for each in self.reports if isinstance(each, Applied)]
        return next((each for each in answers if each.nonce == nonce), None)

    def push(
        self, *entries: StoreEntry, version: str = "v1", epoch: int = 1, nonce: str = ""
    ) -> Applied:
        """Push a snapshot and return its answer."""
        nonce = self.send(*entries, version=version, epoch=epoch, nonce=nonce)
        until(lambda: self.answer(nonce) or self.closed, f"{version} is answered", WITHIN)
        answer = self.answer(nonce)
        assert answer is not None, self.closed
        return answer

    def send(
        self, *entries: StoreEntry, version: str = "v1", epoch: int = 1, nonce: str = ""
    ) -> str:
        """Send a snapshot; gives its nonce."""
        nonce = nonce or f"n{next(_nonces)}"
        snapshot = Snapshot(version=version, epoch=epoch, nonce=nonce, stores=list(entries))
        self.say(encode(snapshot).decode())
        return nonce

    def say(self, message: str | bytes) -> None:
        """Send any message, as text or binary."""
        if isinstance(message, str):
            self.peer.do(self.socket.send_str(message))
        else:
            self.peer.do(self.socket.send_bytes(message))

    def say_raw(self, data: bytes) -> None:
        """Put bytes on the connection beside the WebSocket protocol."""
        self.peer.call(lambda: self.transport.write(data))

    def close(self, code: int, reason: str = "") -> None:
        """Close it with a code."""
        self.peer.do(self.socket.close(code=code, message=reason.encode()))

    def stop_reading(self) -> None:
        """Take nothing any more, as if this end hung; the connection stays open."""
        self.peer.call(self.transport.pause_reading)

    def cut(self) -> None:
        """End its connection at once."""
        self.peer.call(self.transport.abort)

    def ended(self) -> tuple[int, str]:
        """Wait for its end; gives the sidecar's close code and reason."""
        until(lambda: self.closed is not None, "the stream ends", WITHIN)
        assert self.closed is not None
        return self.closed


class Peer:
    """A scripted operator."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.streams: list[Stream] = []
        self.dials: list[float] = []
        """When each dial came as far as HTTP, by the monotonic clock."""
        self.tokens: list[str] = []
        """What each dial brought."""
        self.refusal: tuple[int, dict[str, str], str] | None = None
        """Status, header fields and text to answer a dial with."""
        self.subprotocols: tuple[str, ...] = (SUBPROTOCOL,)
        self.answers_pings = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stream peer")
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"wss://{self.host}:{self.port}"

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the peer's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN)

    def call(self, work: Callable[[], object]) -> None:
        """Call a function on the peer's loop."""

        async def called() -> None:
            work()

        self.do(called())

    def start(self, certificate: Path, key: Path) -> None:
        """Listen, on the port it had before if there was one."""
        if not self._thread.is_alive():
            self._thread.start()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.do(self._listen(context))

    def stop(self) -> None:
        """Be away: nothing listens, and every stream is cut."""
        if self._runner is not None:
            self.do(self._leave())

    def end(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN)
        self._loop.close()

    def stream(self, number: int = 0) -> Stream:
        """The stream of this number, once it is there and has said hello."""
        until(lambda: len(self.streams) > number, f"stream {number} is dialed", WITHIN)
        found = self.streams[number]
        until(lambda: found.reports or found.closed, "it says hello", WITHIN)
        return found

    async def _listen(self, context: ssl.SSLContext) -> None:
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=context)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def _leave(self) -> None:
        assert self._runner is not None
        for stream in self.streams:
            if stream.closed is None:
                stream.transport.abort()
        await self._runner.cleanup()
        self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.dials.append(time.monotonic())
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.refusal is not None:
            status, fields, text = self.refusal
            return web.Response(status=status, headers=fields, text=text)
        socket = web.WebSocketResponse(
            protocols=self.subprotocols, autoping=self.answers_pings, autoclose=True,
            compress=False, timeout=0.5,
        )  # fmt: skip
        await socket.prepare(request)
        stream = Stream(self, socket, request)
        self.streams.append(stream)
        while True:
            message = await socket.receive()
            if message.type is WSMsgType.TEXT:
                stream.reports.append(read_report(message.data))
            elif message.type is WSMsgType.CLOSE:
                stream.closed = (message.data, message.extra or "")
                return socket
            elif message.type not in (WSMsgType.PING, WSMsgType.PONG):
                stream.closed = stream.closed or (WSCloseCode.ABNORMAL_CLOSURE, "")
                return socket


@contextmanager
def peer(certificates: Certificates, host: str = "127.0.0.1") -> Iterator[Peer]:
    """A scripted operator that listens with TLS."""
    running = Peer(host)
    running.start(certificates.server_cert, certificates.server_key)
    try:
        yield running
    finally:
        running.end()


class Bearings:
    """What a sidecar is started with to find its operator: files that a test may change."""

    def __init__(self, directory: Path, certificates: Certificates, url: str) -> None:
        self.url = url
        self.token = directory / "token"
        self.ca = directory / "ca.crt"
        self.last_good = directory / "last-good"
        self.token.write_text("a-first-token")
        self.ca.write_bytes(certificates.ca.read_bytes())

    @property
    def options(self) -> list[str]:
        """The flags of `pannier sidecar`."""
        return [
            "--operator", self.url, "--operator-token-file", str(self.token),
            "--operator-ca-file", str(self.ca), "--last-good-file", str(self.last_good),
        ]  # fmt: skip


def redis_entry(
    port: int, name: str = "shop", *, fields: dict[str, Any] | None = None,
    secret: tuple[str, str] | None = None, **spec: Any,
) -> StoreEntry:  # fmt: skip
    """A store in a Redis on this machine; `secret` is a user and its password."""
    redis: dict[str, Any] = {"host": "127.0.0.1", "port": port, **(fields or {})}
    credentials = []
    if secret is not None:
        user, password = secret
        redis |= {"username": user, "passwordSecretRef": {"name": "shop-redis", "key": "password"}}
        credentials = [Credential(name="shop-redis", key="password", value=password)]
    return StoreEntry(
        name=name,
        document={
            "apiVersion": "pannier.dev/v1alpha1",
            "kind": "StoreBackend",
            "metadata": {"name": name, "namespace": "default", "uid": "1", "generation": 1},
            "spec": {"type": "redis", "redis": redis, **spec},
        },
        credentials=credentials,
    )


def keep(name: str = "shop", reason: str = "SecretNotFound: shop-redis is not there") -> StoreEntry:
    """Word to keep what runs under a name."""
    return StoreEntry(name=name, keep=True, reason=reason)
