"""The port that sidecars dial: TLS, one path, an upgrade for who is known, refusals for the rest.

Everything a stranger can hold is bounded: the time of a handshake and of a request's head, their
size, how many are under way, and how often one address is refused.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from aiohttp import web

from pannier.config.stream.messages import PATH, SUBPROTOCOL, Close
from pannier_operator.bounded_server import BoundedServer
from pannier_operator.streams.authenticating import Identity, Later, Refused
from pannier_operator.streams.fleet import Fleet
from pannier_operator.streams.hearsay import printable
from pannier_operator.streams.limiting import SourceLimit
from pannier_operator.streams.session import Session
from pannier_operator.streams.websocket import StreamSocket

log = logging.getLogger("pannier_operator.streams")

HEAD_WITHIN: Final = 10.0
"""Seconds for the TLS handshake, and again for a request's head."""
MOST_HEAD_LINE: Final = 16 * 1024
"""Bytes of a header; a service-account token is one or two kilobytes."""
MOST_HEADERS: Final = 64
MOST_STREAMS: Final = 20_000
MOST_OPENING: Final = 8_192
"""Connections that are not streams yet: in TLS, in their head, in their review."""
GONE_WITHIN: Final = 4.0
"""Seconds in which streams that were closed are to be gone."""
BACKLOG: Final = 4_096
"""Connections the kernel holds while a storm is worked off."""


class Authenticates(Protocol):
    """What `authenticating.Authenticator` does."""

    async def authenticate(self, token: str) -> Identity:
        """Who brings this token. Raises Refused or Later."""
        ...


class StreamServer:
    """Listens, and runs a session for each sidecar that is let in."""

    def __init__(
        self,
        fleet: Fleet,
        authenticator: Authenticates,
        *,
        ready: Callable[[], bool],
        most_streams: int = MOST_STREAMS,
        most_opening: int = MOST_OPENING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ready()`: this operator leads and has seen all there is; else sidecars try later."""
        self._fleet = fleet
        self._authenticator = authenticator
        self._ready = ready
        self._most_streams = most_streams
        self._most_opening = most_opening
        self._clock = clock
        self._sources = SourceLimit()
        self._handler: BoundedServer | None = None
        self._server: asyncio.Server | None = None
        self._streams = 0
        self.port = 0
        """The port it listens on, once started."""

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext) -> None:
        """Listen. A certificate that is loaded into the context later serves new handshakes."""
        loop = asyncio.get_running_loop()
        self._handler = BoundedServer(
            self._handle,
            has_room=self._has_room,
            access_log=None,
            keepalive_timeout=HEAD_WITHIN,  # aiohttp's clock for the first head, too
            max_line_size=2048,
            max_field_size=MOST_HEAD_LINE,
            max_headers=MOST_HEADERS,
            lingering_time=1.0,
        )
        self._server = await loop.create_server(
            self._handler,
            host,
            port,
            ssl=ssl_context,
            backlog=BACKLOG,
            ssl_handshake_timeout=HEAD_WITHIN,
            ssl_shutdown_timeout=3.0,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._fleet.start()

    async def close_all(self, code: Close, spread: float) -> None:
        """Close every stream with this code, spread over so many seconds; go on listening."""
        await self._fleet.close_all(code, spread)

    async def close(self) -> None:
        """Stop listening, and cut what is still there."""
        if self._server is not None:
            self._server.close()
        await self._fleet.close_all(Close.GOING_AWAY, 0)
        await self._all_gone()
        if self._handler is not None:
            self._handler.pre_shutdown()
            await self._handler.shutdown(5.0)
        if self._server is not None:
            await self._server.wait_closed()
        await self._fleet.stop()

    async def _all_gone(self) -> None:
        """Let sidecars answer their close: aiohttp reads nothing any more once it shuts down."""
        try:
            async with asyncio.timeout(GONE_WITHIN):
                # Each stream ends in a task of its own; nothing tells of the last.
                while self._streams:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("%d streams are cut: their sidecars answer no close", self._streams)

    def _has_room(self) -> bool:
        assert self._handler is not None
        return self._handler.held - self._streams < self._most_opening

    # A request ----------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Upgrade, or refuse: path, method, readiness, subprotocol, rate, token."""
        if request.path != PATH:
            return _refusal(404, f"Sidecars dial {PATH}.")
        if request.method != "GET":
            return _refusal(405, "A stream is opened with GET.", {"Allow": "GET"})
        if not self._ready():
            return self._refuse(503, "not-ready", "Not the leader, or not ready yet.", _soon())
        offered = request.headers.getall("Sec-WebSocket-Protocol", [])
        if SUBPROTOCOL not in {each.strip() for line in offered for each in line.split(",")}:
            return self._refuse(400, "bad-request", f"The subprotocol must be {SUBPROTOCOL}.")
        socket = StreamSocket()
        if not socket.can_prepare(request):
            return self._refuse(400, "bad-request", "This is not a WebSocket handshake.")
        if self._streams >= self._most_streams:
            return self._refuse(503, "full", "As many streams as are allowed are open.", _soon())
        source = request.remote or ""
        wait = self._sources.wait(source, self._clock())
        if wait:
            return self._refuse(429, "rate-limited", "Too many refusals.", int(wait) + 1)
        try:
            token = _bearer(request)
            identity = await self._authenticator.authenticate(token)
        except Refused as refused:
            self._sources.refused(source, self._clock())
            log.warning("stream from %s refused: %s (%s)", source, refused, refused.reason)
            return self._refuse(401, refused.reason, printable(str(refused)))
        except Later as later:
            return self._refuse(503, "later", str(later), later.retry_after)
        if not self._ready():  # it took its time
            return self._refuse(503, "not-ready", "Not the leader any more.", _soon())
        return await self._serve(request, socket, identity)

    async def _serve(
        self, request: web.BaseRequest, socket: StreamSocket, identity: Identity
    ) -> web.StreamResponse:
        self._streams += 1
        try:
            await socket.prepare(request)
            session = Session(
                identity.pod, identity.audience, socket, self._fleet, now=self._fleet.clock()
            )
            await session.run()
        finally:
            self._streams -= 1
        return socket

    def _refuse(
        self, status: int, reason: str, detail: str, retry_after: int | None = None
    ) -> web.Response:
        self._fleet.figures.refusals[reason] += 1
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return _refusal(status, detail, headers)


def _bearer(request: web.BaseRequest) -> str:
    """The token that was brought. Raises Refused."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise Refused("no-token", "no service-account token was brought")
    return token


def _refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    response = web.Response(status=status, text=detail + "\n", headers=headers)
    response.force_close()
    return response


def _soon() -> int:
    """Seconds after which to try again, so that not all do at once."""
    return random.randint(1, 5)
