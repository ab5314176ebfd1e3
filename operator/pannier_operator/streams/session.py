"""One sidecar's stream from `hello` to its end: reading, answering, and being closed in time.

A session holds up nobody: what it writes goes into its transport's buffer at once, which one push
in flight and a few pings bound, and one that does not read, answer or pong is ended by the clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSMsgType

from pannier.config.stream.messages import (
    PING_EVERY,
    Applied,
    Bye,
    Close,
    Hello,
    State,
    StoreReport,
    StoreState,
    read_report,
)
from pannier_operator.streams.hearsay import printable
from pannier_operator.streams.pushing import Disorder, Push, Pushing
from pannier_operator.streams.websocket import StreamSocket
from pannier_operator.wanted import Audience, Pod, Wanted

if TYPE_CHECKING:
    from pannier_operator.streams.fleet import Fleet

log = logging.getLogger("pannier_operator.streams")

HELLO_WITHIN: Final = 10.0
"""Seconds within which `hello` must come."""
MISSED_PINGS: Final = 2
"""Pings without any sign of life after which the stream is dead."""
MOST_MESSAGES: Final = 200
"""Messages a second from one sidecar; it has no reason for more than a few."""

_KEPT: Final = StoreReport(state="pending")


class Ending(Enum):
    """How a stream ended, as far as it matters to who counts."""

    BYE = "bye"
    """The sidecar said that it stops."""
    CLOSED = "closed"
    """We closed it, and the sidecar will come back or is not to be counted as lost."""
    GONE = "gone"
    """It ended otherwise: the sidecar is lost until it comes back."""


class Session:
    """One stream of one pod."""

    __slots__ = (
        "_ask_closing",
        "_fleet",
        "_heard",
        "_messages",
        "_missed",
        "_next_ping",
        "_second",
        "_socket",
        "_task",
        "audience",
        "entered_at",
        "expires",
        "flying",
        "pod",
        "pushing",
        "states",
        "unsettled",
        "version",
    )

    def __init__(
        self, pod: Pod, audience: Audience, socket: StreamSocket, fleet: Fleet, *, now: float
    ) -> None:
        self.pod = pod
        self.audience = audience
        self.pushing = Pushing(None)
        self.version: str | None = None
        """What `hello` said."""
        self.states: dict[str, StoreState] = {}
        """What the sidecar said last of each store of what it acknowledged."""
        self.unsettled: Push | None = None
        """A push that was answered, with a store still pending."""
        self.flying = 0
        """Bytes of the push in flight, as the fleet counts them."""
        self.entered_at = now
        self.expires = now + fleet.settings.stream_age * random.uniform(0.8, 1.2)
        self._socket = socket
        self._fleet = fleet
        self._task: asyncio.Task[object] | None = None
        self._ask_closing: tuple[Close, str, Ending] | None = None
        self._heard = False
        self._missed = 0
        self._next_ping = now + random.uniform(0, PING_EVERY)
        self._messages = 0
        self._second = now

    def __repr__(self) -> str:
        return f"<Session {self.pod.namespace}/{self.pod.name}>"

    # The life of a stream -----------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the stream to its end; the WebSocket is closed when this returns."""
        self._task = asyncio.current_task()
        ending, entered = Ending.GONE, False
        code, reason = Close.GOING_AWAY, ""
        self._fleet.open(self)
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                hello = await self._receive()
            if hello is None:
                return
            if not isinstance(hello, Hello):
                raise Disorder("the first message must be hello")
            self.version = hello.version
            self.pushing = Pushing(hello.version)
            entered = True
            self._fleet.enter(self)
            if await self._converse():
                ending = Ending.BYE
        except Disorder as disorder:
            code, reason = Close.MALFORMED, str(disorder)
        except TimeoutError:
            code, reason = Close.MALFORMED, f"no hello within {HELLO_WITHIN:g} s"
        except Exception:
            log.exception("stream of pod %s/%s failed", self.pod.namespace, self.pod.name)
            code, reason = Close.LATER, "the operator has failed at this stream"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            if self._ask_closing is None or task.uncancel():
                raise  # it was not we who asked
            code, reason, ending = self._ask_closing
        finally:
            self._fleet.shut(self)
            if entered:
                self._fleet.leave(self, ending, code)
            if code is Close.MALFORMED:
                log.warning(
                    "stream of pod %s/%s closed: %s", self.pod.namespace, self.pod.name, reason
                )
            await self._socket.end(code, reason)

    async def _converse(self) -> bool:
        """Take messages until there are no more; whether the last was `bye`."""
        while (message := await self._receive()) is not None:
            match message:
                case Applied():
                    push = self.pushing.applied(message)
                    if push is not None:
                        self._fleet.answered(self, push, message)
                case State():
                    wanted = self.pushing.reported(message)
                    if wanted is not None:
                        self._fleet.heard(self, wanted, message.stores)
                case Bye():
                    return True
                case Hello():
                    raise Disorder("hello came twice")
        return False

    async def _receive(self) -> Hello | Applied | State | Bye | None:
        """The next message; None at the end of the stream. Raises Disorder."""
        while True:
            message = await self._socket.receive()
            self._heard = True
            self._bound_messages()
            match message.type:
                case WSMsgType.TEXT:
                    try:
                        return read_report(message.data)
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                        raise Disorder(f"not a message: {printable(str(error))}") from None
                case WSMsgType.PONG:
                    pass
                case WSMsgType.PING:
                    self._socket.say_alive(message.data)
                case WSMsgType.BINARY:
                    raise Disorder("messages are text frames")
                case WSMsgType.ERROR if self._socket.broken:
                    raise Disorder(self._socket.broken)
                case _:
                    return None

    def _bound_messages(self) -> None:
        now = self._fleet.clock()
        if now - self._second >= 1:
            self._second, self._messages = now, 0
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            raise Disorder(f"more than {MOST_MESSAGES} messages in a second")

    # What the fleet asks of it ------------------------------------------------------------------

    def offer(self, push: Push, now: float) -> bool:
        """The audience is to run this: send it, or keep it for later. Whether it was sent."""
        if self._ask_closing is not None:
            return False
        sending = self.pushing.want(push, now)
        return sending is not None and self.send(sending)

    def send(self, push: Push) -> bool:
        """Put the push into the transport's buffer; whether there is still a transport."""
        return self._socket.send(push.data)

    def close(self, code: Close, reason: str, ending: Ending = Ending.CLOSED) -> None:
        """End the stream with this code, soon."""
        if self._ask_closing is None and self._task is not None:
            self._ask_closing = (code, reason, ending)
            self._task.cancel()

    def abort(self) -> None:
        """Cut the connection: nobody is there."""
        self._socket.abort()

    def tick(self, now: float) -> None:
        """Look at the clock, about once a second: 0.4 µs where nothing is due."""
        if now >= self._next_ping:
            self._ping(now)
        elif now >= self.expires and not self.flying:
            self.close(Close.REAUTHENTICATE, "time to authenticate anew")

    def _ping(self, now: float) -> None:
        if self._heard:
            self._heard, self._missed = False, 0
        elif self._missed >= MISSED_PINGS:
            log.info("pod %s/%s is silent: cut off", self.pod.namespace, self.pod.name)
            self.abort()
            return
        self._missed += 1
        self._next_ping = now + PING_EVERY
        self._socket.ask_alive()

    # What it knows of its stores ----------------------------------------------------------------

    def take(self, wanted: Wanted, reports: Mapping[str, StoreReport]) -> dict[str, StoreReport]:
        """The reports that count: of stores it was sent, and of a kept one only how it is reached.

        A sidecar that keeps a store runs something, but not what is wanted.
        """
        taken = {}
        for name, report in reports.items():
            store = wanted.stores.get(name)
            if store is None:
                continue
            if store.entry.keep:
                report = msgspec.structs.replace(_KEPT, reachable=report.reachable)
            taken[name] = report
            self.states[name] = report.state
        return taken
