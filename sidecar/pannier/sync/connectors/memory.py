# Generated from sidecar/pannier/aio/connectors/memory.py by tools/async_to_sync.py; do not edit.
"""The memory store's connector: there is nothing to connect to."""

from __future__ import annotations

from pannier.sync.connectors.base import BackendConnectorBase


class InMemoryConnector(BackendConnectorBase):
    """Connected from `connect` to `disconnect`; it reaches nothing."""

    def __init__(self, host: str = "", port: int = 0) -> None:
        super().__init__(host, port)
        self._connected = False

    def connect(self) -> None:
        self._connected = True

    def disconnect(self) -> None:
        self._connected = False

    def is_connected(self) -> bool:
        return self._connected
