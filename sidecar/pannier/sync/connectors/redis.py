# Generated from sidecar/pannier/aio/connectors/redis.py by tools/async_to_sync.py; do not edit.
"""The Redis connector: one logged-in connection, dialed by `pannier.sync.redis_wire`."""

from __future__ import annotations

import ssl
from typing import Any

from pannier.errors import BackendUnavailable
from pannier.redis import commands as commands
from pannier.redis.address import RedisAddress, RedisTls, plain
from pannier.redis.replies import ConnectionLost, LoginRefused
from pannier.sync.connectors.base import BackendConnectorBase
from pannier.sync.redis_wire import RedisWire, dial


class RedisConnector(BackendConnectorBase):
    """One connection to a Redis server by TCP, TLS or a unix socket.

    `timeout` bounds, in seconds, each of dialing, logging in and asking whether it is connected.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        *,
        unix_socket: str | None = None,
        tls: RedisTls | ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        """`tls`: what to trust and present; its context is made once if it is given as one."""
        super().__init__(host, port, username, password, db)
        if isinstance(tls, RedisTls):
            server_name = server_name or tls.server_name
            tls = tls.context()
        self.timeout = timeout
        self.wire: RedisWire | None = None
        """The open connection; the group commit sends its pipelines straight through it."""
        self._address = RedisAddress(
            host=host,
            port=port,
            unix_socket=unix_socket,
            db=db,
            username=username,
            password=password,
            tls=tls,
            server_name=server_name,
        )

    def connect(self) -> None:
        """Dial and log in. Raises BackendUnavailable, with its cause chained."""
        self.disconnect()
        address = self._address
        try:
            self.wire = dial(address, self.timeout)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"Redis at {address} did not take the connection within {self.timeout:g} s."
            ) from error
        except (OSError, ValueError) as error:
            raise BackendUnavailable(
                f"Redis at {address} cannot be reached: {plain(error)}."
            ) from error
        except ConnectionLost as lost:
            raise BackendUnavailable(
                f"Redis at {address} took the connection, but not the login ({lost.reason})."
            ) from lost
        except LoginRefused as said:
            user = f"user {address.username!r}" if address.username else "the default user"
            raise BackendUnavailable(
                f"Redis at {address} refused the login of {user}: {said}."
            ) from said

    def disconnect(self) -> None:
        """Close the connection; a closed one may be closed again."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.close()
            wire.wait_closed()

    def is_connected(self) -> bool:
        """Whether the server answers a PING. It does even where it answers with an error."""
        if self.wire is None or not self.wire.is_idle:
            return False
        try:
            self.wire.execute(commands.PING, 1, self.timeout)
        except ConnectionLost:
            return False
        return True

    def execute(self, packed: bytes, replies: int, timeout: float) -> list[Any]:
        """Send a pipeline and return its replies, error replies as `hiredis.ReplyError` among them.

        Raises ConnectionLost where they cannot come, or not within `timeout` seconds; the
        connection is closed then, and when it is cancelled.
        """
        if self.wire is None:
            raise ConnectionLost("not connected", sent=False)
        return self.wire.execute(packed, replies, timeout)

    @property
    def run(self) -> str:
        """Which run of the server this is connected to; "" where it does not say."""
        return self.wire.run if self.wire is not None else ""

    # What a pool asks without I/O (see pannier.pool.hooks) ---------------------------------------

    def looks_alive(self) -> bool:
        """What the socket shows at once: False where it is closed or holds an unasked byte."""
        return self.wire is not None and self.wire.looks_alive()

    @property
    def reusable(self) -> bool:
        """Whether no reply is outstanding, so that nobody could read another's."""
        return self.wire is not None and self.wire.is_idle

    def retire(self) -> None:
        """Close the connection at once: the server's answer said that another may fare better."""
        if self.wire is not None:
            self.wire.close()

    def abandon(self) -> None:
        """Let go of the connection without a goodbye or a call to an event loop."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.abandon()

    def __repr__(self) -> str:
        state = "connected" if self.looks_alive() else "closed"
        return f"<{type(self).__name__} {self._address}, db {self.db}, {state}>"
