# Generated from sidecar/pannier/aio/connectors/base.py by tools/async_to_sync.py; do not edit.
"""The connector: one connection to a backend. Imports errors only; does no I/O itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, Self


class BackendConnectorBase(ABC):
    """One connection to a backend, opened by `connect` and closed by `disconnect`.

    A manager drives any class with these three methods, so an application can bring its own.
    """

    preferred_mode: ClassVar[Any] = None
    """The ConnectionMode a manager picks when it is asked for none; None means POOLED."""

    def __init__(
        self,
        host: str,
        port: int,
        username: str | None = None,
        password: str | None = None,
        db: int | str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self._password = password
        self.db = db

    @property
    def password(self) -> str | None:
        """The credential; kept out of the repr."""
        return self._password

    @abstractmethod
    def connect(self) -> None:
        """Open the connection. Raises BackendUnavailable, with its cause chained."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close the connection; a closed one may be closed again."""

    @abstractmethod
    def is_connected(self) -> bool:
        """Whether the backend answers on this connection now (a round trip, where it needs one)."""

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"
