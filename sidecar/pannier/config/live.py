"""The sidecar's configuration as it lives: read at the start, applied, and followed as it changes.

The server makes one, loads it before it listens, starts it inside its loop, and closes it last.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pannier.config.applying import Applier
from pannier.config.configuration import Configuration, ResolvedStore
from pannier.config.documents import default_document
from pannier.config.factory import build
from pannier.config.served import StoreTable

if TYPE_CHECKING:
    from pannier.config.following import FollowedFile
    from pannier.config.stream.dialing import StreamSettings
    from pannier.config.stream.source import StreamSource


class LiveConfiguration:
    """What `table` serves: the documents of `config`, what the operator's `stream` sends, or one
    memory store named `default`."""

    def __init__(
        self,
        table: StoreTable,
        *,
        config: Path | None = None,
        secrets_dir: Path | None = None,
        leak_threshold: float | None = None,
        stream: StreamSettings | None = None,
    ) -> None:
        self._table = table
        self._config = config
        self._secrets_dir = secrets_dir
        self._leak_threshold = leak_threshold
        self._stream_settings = stream
        self._first: Configuration | None = None
        self._applier: Applier | None = None
        self._file: FollowedFile | None = None
        self._stream: StreamSource | None = None

    def load(self) -> None:
        """Read the first configuration. Raises ConfigurationRefused if no store can be served."""
        if self._stream_settings is not None:
            # The WebSocket client costs 1.5 MB and 12 ms, which the others need not pay.
            from pannier.config.stream.source import StreamSource

            self._stream = StreamSource(self._stream_settings, self._table)
            self._first = self._stream.first()
            return
        if self._config is None:
            document = default_document()
            stores = {document.name: ResolvedStore(document)}
            self._first = Configuration(version="default", source="default", stores=stores)
            return
        # YAML costs 16 ms and 1 MB at the start, which a sidecar without a file need not pay.
        from pannier.config.following import FollowedFile

        self._file = FollowedFile(self._config, self._secrets_dir)
        self._first = self._file.first()

    async def start(self) -> None:
        """Install the stores, and follow their source. Backends are reached in the background."""
        if self._first is None and self._stream is None:
            self.load()
        self._applier = Applier(
            self._table, make=partial(build, leak_threshold=self._leak_threshold)
        )
        if self._first is not None:
            self._applier.apply(self._first)
        if self._file is not None:
            self._file.follow(self._applier)
        if self._stream is not None:
            self._stream.follow(self._applier)

    def reload(self) -> None:
        """Read the file again now, changed or not, or dial the operator anew (SIGHUP)."""
        if self._file is not None:
            self._file.reload()
        if self._stream is not None:
            self._stream.redial()

    async def close(self) -> None:
        """Follow nothing any more, and close every store."""
        if self._stream is not None:
            await self._stream.close()
        if self._file is not None:
            await self._file.close()
        if self._applier is not None:
            await self._applier.close()
