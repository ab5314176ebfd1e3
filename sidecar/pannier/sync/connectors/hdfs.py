# Generated from sidecar/pannier/aio/connectors/hdfs.py by tools/async_to_sync.py; do not edit.
"""The connection to HDFS: a WebHDFS session of its own, and on this side a thread to use it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from pannier.errors import PannierError
from pannier.sync.connectors.base import BackendConnectorBase
from pannier.sync.worker import Worker
from pannier.webhdfs.login import SimpleLogin
from pannier.webhdfs.namenodes import Cluster
from pannier.webhdfs.session import Session

P = ParamSpec("P")
T = TypeVar("T")


class HDFSConnector(BackendConnectorBase):
    """One connection to a NameNode's WebHDFS port, kept alive between requests.

    It carries one operation at a time, so a pool of N connectors has at most N requests under way
    at HDFS. `cluster` is for a store: its NameNodes, login and timeout, which then stand for
    `host`, `port` and `username`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9870,
        username: str | None = None,
        *,
        cluster: Cluster | None = None,
    ) -> None:
        if cluster is None:
            cluster = Cluster([f"http://{host}:{port}"], SimpleLogin(username))
        first = urlsplit(cluster.addresses[0])
        super().__init__(first.hostname or host, first.port or port, username)
        self.cluster = cluster
        self._session = Session(self.cluster)
        self._worker: Worker | None = None
        self._running = 0

    def connect(self) -> None:
        """Log in and prove that a NameNode serves. Raises BackendUnavailable, its cause chained."""
        self.abandon()
        self._session = Session(self.cluster)
        self._worker = Worker()
        try:
            self._worker.run(self._session.open)
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Close the session; a closed one may be closed again."""
        self.abandon()

    def is_connected(self) -> bool:
        """Whether a NameNode answers on this session now: one round trip."""
        if self._worker is None or not self._session.is_open:
            return False
        try:
            self._worker.run(self._session.probe)
        except PannierError:
            return False
        return True

    def run(
        self,
        operation: Callable[Concatenate[Session, P], T],
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> T:
        """What `operation(session, *arguments)` returns or raises, a blocking use of it."""
        if self._worker is None:
            self.connect()
        assert self._worker is not None
        self._running += 1
        try:
            return self._worker.run(operation, self._session, *arguments, **keywords)
        finally:
            self._running -= 1

    # What the pool asks (see pannier.pool.hooks) --------------------------------------------------

    def looks_alive(self) -> bool:
        """Whether the session is open; a connection HDFS closed meanwhile is opened anew."""
        return self._session.is_open

    @property
    def reusable(self) -> bool:
        """Whether HDFS could be reached and no call is under way, so that the next may go out."""
        return self._session.reachable and not self._running

    def abandon(self) -> None:
        """Close the sockets at once; a call under way ends by its own timeout."""
        self._session.close()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
