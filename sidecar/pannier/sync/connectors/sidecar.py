# Generated from sidecar/pannier/aio/connectors/sidecar.py by tools/async_to_sync.py; do not edit.
"""The connector to a sidecar: one HTTP connection, kept alive."""

from __future__ import annotations

from pannier.errors import BackendUnavailable
from pannier.http_answers import Answer, AnswerLost, SidecarAddress, request
from pannier.sync.connectors.base import BackendConnectorBase
from pannier.sync.http_wire import HttpWire, dial


class SidecarConnector(BackendConnectorBase):
    """One connection to a sidecar by TCP, or by the unix socket where one is given.

    `token` is the bearer token of a sidecar that asks for one. `timeout` bounds, in seconds, the
    dialing and the asking whether it is connected.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 3900,
        *,
        unix_socket: str | None = None,
        token: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(host, port, password=token)
        self.timeout = timeout
        self._address = SidecarAddress(host, port, unix_socket)
        self._wire: HttpWire | None = None

    def connect(self) -> None:
        """Dial. Raises BackendUnavailable, with its cause chained."""
        self.disconnect()
        try:
            self._wire = dial(self._address, self.timeout)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"The sidecar at {self._address} did not take the connection within "
                f"{self.timeout:g} s."
            ) from error
        except OSError as error:
            raise BackendUnavailable(
                f"The sidecar at {self._address} cannot be reached: {error}."
            ) from error

    def disconnect(self) -> None:
        """Close the connection; a closed one may be closed again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def is_connected(self) -> bool:
        """Whether the sidecar answers on this connection, be it with a refusal."""
        try:
            self.execute("GET", "/v1", timeout=self.timeout)
        except AnswerLost:
            return False
        return True

    def execute(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        timeout: float,
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        Raises AnswerLost where it cannot come, or not within `timeout` seconds; the connection is
        closed then, and when it is cancelled.
        """
        if self._wire is None:
            raise AnswerLost("not connected", sent=False)
        every = dict(headers or {})
        if self.password is not None:
            every["Authorization"] = f"Bearer {self.password}"
        packed = request(method, target, self._address.authority, every, body)
        return self._wire.exchange(packed, method, timeout)

    # What a pool asks without I/O (see pannier.pool.hooks) ---------------------------------------

    def looks_alive(self) -> bool:
        """What the socket shows at once: False where it is closed or holds an unasked byte."""
        return self._wire is not None and self._wire.looks_alive()

    @property
    def reusable(self) -> bool:
        """Whether no answer is outstanding, so that nobody could read another's."""
        return self._wire is not None and self._wire.is_idle

    def abandon(self) -> None:
        """Let go of the connection without a goodbye or a call to an event loop."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abandon()

    def __repr__(self) -> str:
        state = "connected" if self.looks_alive() else "closed"
        return f"<{type(self).__name__} {self._address}, {state}>"
