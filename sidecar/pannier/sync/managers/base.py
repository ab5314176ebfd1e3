# Generated from sidecar/pannier/aio/managers/base.py by tools/async_to_sync.py; do not edit.
"""What both managers share: lending connectors of a pool, and judging how they come back."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from pannier.pool import hooks
from pannier.sync.pool_driver import ConnectionPool


class ConnectorManagerBase:
    """Lends connectors; the pool below opens, checks and closes them.

    A connector comes back clean, or is closed. It is closed where the borrower's block, or the
    code that gives it back, is being left by an exception: always if that is a cancellation (or
    any other BaseException that is no Exception), and for other errors unless the connector says
    by `reusable` that no reply is outstanding. So a reply that comes late is never read by the
    next borrower.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        """The pool: its settings, timings and counters, and the callbacks of the group commit."""

    def get_connection(self) -> Any:
        """A connected connector, the caller's until `release_connection`.

        Raises PoolTimeout, PoolFull, PoolClosed or BackendUnavailable.
        """
        return self.pool.acquire()

    def release_connection(self, connector: Any, *, broken: bool = False) -> None:
        """Give a connector back; never waits. `broken`: close it, whatever it says of itself.

        Raises NotBorrowed (a ValueError), and changes nothing, where it was given back before or
        is not this manager's.
        """
        spoiled = broken or is_spoiled_by(sys.exc_info()[1], connector)
        self.pool.give_back(connector, broken=spoiled)

    def connection(self) -> BorrowedConnection:
        """A context manager: a connected connector inside the block, given back at its end."""
        return BorrowedConnection(self.pool)

    def shutdown(self, timeout: float = 5.0) -> None:
        """Refuse all who wait and come, wait `timeout` seconds for borrowers, then close all."""
        self.pool.shutdown(timeout)

    def reconfigure(self, **settings: Any) -> None:
        """Change pool settings while it runs. Raises TypeError or ValueError, changing nothing."""
        self.pool.reconfigure(**settings)

    def stats(self) -> dict[str, int]:
        """`max in_use idle opening pending`, and the counters `timeouts rejected closed leaks`."""
        return self.pool.stats()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.pool!r}>"


class BorrowedConnection:
    """One loan of a connector, as long as a block; may be used for one block after another."""

    __slots__ = ("_connector", "_pool")

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connector: Any = None

    def __enter__(self) -> Any:
        self._connector = self._pool.acquire()
        return self._connector

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connector, self._connector = self._connector, None
        self._pool.give_back(connector, broken=is_spoiled_by(error, connector))


def is_spoiled_by(error: BaseException | None, connector: Any) -> bool:
    """Whether a connector must be closed because its borrower was left by `error`."""
    if error is None:
        return False
    return not isinstance(error, Exception) or not hooks.is_reusable(connector)
