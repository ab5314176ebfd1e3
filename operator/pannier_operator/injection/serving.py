"""The port the API server asks for each pod that is created: TLS, one path, an answer in any case.

Every replica serves it. Nothing is remembered between two reviews and nothing is asked of the API
server, so that a review, and a dry run, changes nothing anywhere. What a stranger can hold is
bounded: connections, their time, and the bytes of bodies.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, MutableMapping
from typing import Final

from aiohttp import web

from pannier_operator.bounded_server import BoundedServer
from pannier_operator.injection.reviewing import NotAReview, Reviewed

PATH: Final = "/inject"
MOST_BODY: Final = 4 * 1024 * 1024
"""Bytes of a review; the API server takes objects of at most 3 MiB."""
MOST_BODIES: Final = 64 * 1024 * 1024
"""Bytes of all bodies that are being read."""
MOST_CONNECTIONS: Final = 1024
WITHIN: Final = 5.0
"""Seconds for a TLS handshake, and again for a body: the API server waits no longer."""
KEEP_ALIVE: Final = 120.0
"""Seconds an idle connection is kept: longer than the API server does (90), which would else send
a review into a connection that is just being closed, and refuse the pod."""

log = logging.getLogger("pannier.operator")


class InjectionServer:
    """Answers AdmissionReviews with what `review` says of them."""

    def __init__(
        self,
        review: Callable[[bytes], Reviewed],
        *,
        results: MutableMapping[str, int],
        leaving: Callable[[], bool] = lambda: False,
        most_connections: int = MOST_CONNECTIONS,
        within: float = WITHIN,
    ) -> None:
        """`results` are counted by what became of each review. While `leaving()`, connections are
        closed with their answer, so that the API server goes to another replica."""
        self._review = review
        self._results = results
        self._leaving = leaving
        self._most_connections = most_connections
        self._within = within
        self._reading = 0
        self._handler: BoundedServer | None = None
        self._server: asyncio.Server | None = None
        self.port = 0
        """The port it listens on, once started."""

    @property
    def listens(self) -> bool:
        """Whether it was started."""
        return self._server is not None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext) -> None:
        """Listen. A certificate that is loaded into the context later serves new handshakes.
        Raises OSError."""
        self._handler = BoundedServer(
            self._handle,
            has_room=self._has_room,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=1.0,
        )
        self._server = await asyncio.get_running_loop().create_server(
            self._handler,
            host,
            port,
            ssl=ssl_context,
            ssl_handshake_timeout=self._within,
            ssl_shutdown_timeout=1.0,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening; what is being answered is answered."""
        if self._server is None or self._handler is None:
            return
        self._server.close()
        self._handler.pre_shutdown()
        await self._handler.shutdown(self._within)
        await self._server.wait_closed()

    def _has_room(self) -> bool:
        assert self._handler is not None
        return self._handler.held < self._most_connections

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.path != PATH:
            return refusal(404, f"Reviews are sent to {PATH}.")
        if request.method != "POST":
            return refusal(405, "A review is sent with POST.", {"Allow": "POST"})
        try:
            reviewed = self._review(await self._body(request))
        except web.HTTPException as error:
            return self._failed(request, error.status, error.text or error.reason)
        except NotAReview as error:
            return self._failed(request, 400, f"This is no AdmissionReview: {error}.")
        except ConnectionError:
            return refusal(400, "Whoever asked is gone.")
        except Exception:
            # A fault of ours: the API server does by its failurePolicy as if nobody were here.
            log.exception("a review could not be answered")
            self._results["failed"] += 1
            return refusal(500, "The review could not be answered; the operator's log says why.")
        self._results[reviewed.result] += 1
        tell(reviewed)
        response = web.Response(body=reviewed.answer, content_type="application/json")
        if self._leaving():
            response.force_close()
        return response

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The body, within bounds. Raises web.HTTPException."""
        if (request.content_length or 0) > MOST_BODY:
            raise web.HTTPRequestEntityTooLarge(MOST_BODY, request.content_length or 0)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._within):
                async for part in request.content.iter_any():
                    size += len(part)
                    self._reading += len(part)
                    if size > MOST_BODY:
                        raise web.HTTPRequestEntityTooLarge(MOST_BODY, size)
                    if self._reading > MOST_BODIES:
                        raise web.HTTPServiceUnavailable(text="Too many reviews at once.")
                    parts.append(part)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="The review did not come in time.") from None
        except web.RequestPayloadError:
            raise web.HTTPBadRequest(text="The body is not whole.") from None
        finally:
            self._reading -= size
        return b"".join(parts)

    def _failed(self, request: web.BaseRequest, status: int, text: str) -> web.Response:
        self._results["failed"] += 1
        log.warning("a review from %s is refused: %s", request.remote, text)
        return refusal(status, text)


def tell(reviewed: Reviewed) -> None:
    """One line for each pod that something was done with, or could not be done with."""
    dry = " (dry run)" if reviewed.dry_run else ""
    if reviewed.warnings:
        for warning in reviewed.warnings:
            log.warning("pod %s%s: %s", reviewed.pod, dry, warning)
    else:
        level = logging.INFO if reviewed.result == "injected" else logging.DEBUG
        log.log(level, "pod %s%s: sidecar %s", reviewed.pod, dry, reviewed.result)


def refusal(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal after which the connection is closed: its body may not have been read."""
    response = web.Response(status=status, text=f"{text}\n", headers=headers)
    response.force_close()
    return response
