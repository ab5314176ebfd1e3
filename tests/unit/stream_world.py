"""A real stream server with TLS in this process, and sidecars that a test makes say what it likes.

Who dials is told by the token itself (`namespace/account/pod/uid`): the API server's part has tests
of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from pannier.config.stream import messages
from pannier.config.stream.messages import SUBPROTOCOL, Snapshot, StoreEntry, StoreReport
from pannier_operator.streams.authenticating import Identity, Later, Refused
from pannier_operator.streams.fleet import Fleet, StreamSettings
from pannier_operator.streams.server import StreamServer
from pannier_operator.tally import Tally
from pannier_operator.wanted import Audience, Pod, Wanted, WantedStore, version_of
from tests.real.certificates import Certificates

SECONDS = 20.0
"""How long a condition may take on a busy machine; it takes milliseconds."""


def store(
    name: str,
    generation: int = 1,
    *,
    accounts: Iterable[str] | None = None,
    keep: bool = False,
    size: int = 0,
) -> WantedStore:
    """A store as it goes to sidecars; another generation is another fingerprint."""
    document = {"kind": "StoreBackend", "metadata": {"name": name}, "spec": {"x": "x" * size}}
    return WantedStore(
        name=name,
        uid=f"uid-{name}",
        generation=generation,
        fingerprint=f"{name}-{generation}{'-kept' if keep else ''}",
        entry=StoreEntry(name=name, keep=True, reason="SecretNotFound: none")
        if keep
        else StoreEntry(name=name, document=document),
        service_accounts=None if accounts is None else frozenset(accounts),
    )


class TokensSayWho:
    """An authenticator that believes."""

    async def authenticate(self, token: str) -> Identity:
        if token == "later":
            raise Later("the API server is away", 7)
        if token.count("/") != 3:
            raise Refused("token-refused", "the token is not known")
        namespace, account, pod, uid = token.split("/")
        return Identity(Pod(namespace, pod, uid), Audience(namespace, account))


class Clock:
    """The loop's time, and what the test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


class World:
    """The operator's side, and a way to dial it."""

    def __init__(self, certificates: Certificates, settings: StreamSettings | None) -> None:
        self.stores: dict[str, dict[str, WantedStore]] = {}
        self.computed: list[Audience] = []
        self.reported: list[tuple[str, str]] = []
        self.epoch = 3
        self.is_ready = True
        self.clock = Clock()
        self.fleet = Fleet(
            wanted_for=self.wanted_for,
            reported=lambda namespace, name: self.reported.append((namespace, name)),
            epoch=lambda: self.epoch,
            clock=self.clock,
            settings=settings,
        )
        self.server = StreamServer(self.fleet, TokensSayWho(), ready=lambda: self.is_ready)
        self.certificates = certificates
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates.server_cert, certificates.server_key)
        self.client: aiohttp.ClientSession
        self.sidecars: list[Sidecar] = []
        """All that dialed: a client that nobody holds would close its stream."""
        self.numbers = itertools.count(1)

    def wanted_for(self, audience: Audience) -> Wanted:
        self.computed.append(audience)
        stores = self.stores.get(audience.namespace, {})
        mine = {name: each for name, each in sorted(stores.items()) if each.is_for(audience)}
        return Wanted(version=version_of(mine.values()), stores=mine)

    def want(self, namespace: str, *stores: WantedStore) -> None:
        """The namespace's stores are these now."""
        self.stores[namespace] = {each.name: each for each in stores}
        self.fleet.changed(namespace)

    def tally(self, which: WantedStore, namespace: str = "shop") -> Tally:
        return self.fleet.tally(namespace, which)

    async def dial(
        self,
        pod: str | None = None,
        *,
        namespace: str = "shop",
        account: str = "default",
        uid: str | None = None,
        token: str | None = None,
        **more: Any,
    ) -> Sidecar:
        """An open stream of that pod. Raises aiohttp.WSServerHandshakeError where it is refused."""
        pod = pod or f"pod-{next(self.numbers)}"
        token = token or f"{namespace}/{account}/{pod}/{uid or 'uid-of-' + pod}"
        more.setdefault("protocols", (SUBPROTOCOL,))
        more.setdefault("headers", {"Authorization": f"Bearer {token}"})
        more.setdefault("autoping", True)
        socket = await self.client.ws_connect(
            f"https://127.0.0.1:{self.server.port}/v1/stream", max_msg_size=0, **more
        )
        self.sidecars.append(Sidecar(socket))
        return self.sidecars[-1]

    async def enter(self, pod: str | None = None, **more: Any) -> Sidecar:
        """An open stream that has said hello."""
        version = more.pop("version", None)
        sidecar = await self.dial(pod, **more)
        await sidecar.say(messages.Hello(build="test", version=version))
        return sidecar


class Sidecar:
    """A client that knows the protocol's words and does only what it is told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, message: Any) -> None:
        await self.socket.send_str(messages.encode(message).decode())

    async def snapshot(self) -> Snapshot:
        """The next snapshot."""
        async with asyncio.timeout(SECONDS):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return messages.read_snapshot(message.data)

    async def answer(self, snapshot: Snapshot, **reports: StoreReport) -> None:
        """Say `applied`: each store is, but for what `reports` says."""
        stores = {
            each.name: StoreReport(state="applied", reachable=True)
            for each in snapshot.stores
            if not each.keep
        }
        await self.say(
            messages.Applied(
                version=snapshot.version, nonce=snapshot.nonce, stores=stores | reports
            )
        )

    async def follow(self) -> Snapshot:
        """Take the next snapshot and apply it."""
        snapshot = await self.snapshot()
        await self.answer(snapshot)
        return snapshot

    async def closed(self) -> tuple[int | None, str]:
        """The code and reason the operator closes with; what comes before is dropped."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.socket.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data, message.extra or ""
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return self.socket.close_code, f"{message.type.name}: {message.data!r}"


async def until(condition: Callable[[], Any], what: str = "the condition holds") -> None:
    """Return once it holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - any condition, no event tells it
            await asyncio.sleep(0.005)
    assert condition(), what


@asynccontextmanager
async def world(
    certificates: Certificates, settings: StreamSettings | None = None
) -> AsyncIterator[World]:
    """A server that listens; closed at the end with all its streams."""
    made = World(certificates, settings)
    trust = ssl.create_default_context(cafile=certificates.ca)
    await made.server.start("127.0.0.1", 0, made.context)
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        made.client = client
        try:
            yield made
        finally:
            for sidecar in made.sidecars:
                sidecar.socket._response.close()  # at once, in whatever state it is
            await made.server.close()
