"""The pool's decisions carried out on asyncio: one `ConnectionPool` belongs to one event loop.

Two ways in. Coroutines: `acquire`, `shutdown`, `reconfigure`. Callbacks, for the hot path, without
a task or a future: `take_now`, `enqueue`, `join`, `leave`, and `give_back`, which both ways share.
"""

from __future__ import annotations

import random as random_module
import time
from collections.abc import Callable
from typing import Any

from pannier.errors import PannierError
from pannier.pool.settings import PoolSettings


class Ticket:
    """One place in the queue, for one or more operations (its weight)."""


class ConnectionPool:
    """A pool of connectors of one class, all made from one dict of keywords."""

    def __init__(
        self,
        connector_class: type[Any],
        connector_config: dict[str, Any],
        settings: PoolSettings,
        *,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None: ...

    # The callback API ---------------------------------------------------------------------------

    def take_now(self) -> Any | None:
        """An idle connector that was used within the last 0.5 s and looks alive, or None.

        None also where anybody waits already (a newcomer never overtakes), where the pool is
        closed, and where the connection needs a round trip first: then `enqueue`.
        """

    def enqueue(
        self,
        weight: int,
        granted: Callable[[Any], None],
        refused: Callable[[PannierError, int], None],
    ) -> Ticket:
        """Wait in line for one connector, for `weight` operations that arrived now.

        `granted(connector)` is called once, perhaps before `enqueue` returns; the connector is
        then the caller's until `give_back`. `refused(error, count)` is called instead when the
        `count` oldest operations of the ticket are refused (PoolTimeout: those whose
        connection_timeout is over, each counted from its own arrival, so it may be called more
        than once; every other error: all that are left). Raises at once, and calls nothing:
        PoolFull, PoolClosed, BackendUnavailable.
        """

    def join(self, ticket: Ticket, weight: int = 1) -> bool:
        """Put `weight` more operations, arriving now, into the last ticket of the queue.

        False where the ticket is not the last one waiting any more (then `enqueue` anew).
        Raises PoolFull.
        """

    def leave(self, ticket: Ticket, position: int | None = None) -> None:
        """A waiting operation was cancelled: the one at `position` in order of arrival (0 is the
        oldest still waiting in the ticket), or with None all of them.

        A ticket left by all is over and nothing is called any more; one that is over is ignored.
        """

    def give_back(self, connector: Any, *, broken: bool = False) -> None:
        """Take a connector back and hand it to the longest waiter; never blocks, never awaits.

        `broken`: its stream may hold another's reply, so it is closed. Raises NotBorrowed (a
        ValueError) where the connector is not out, and changes nothing.
        """

    # The coroutine API --------------------------------------------------------------------------

    async def acquire(self) -> Any:
        """A connected connector. Raises PoolTimeout, PoolFull, PoolClosed, BackendUnavailable."""

    async def shutdown(self, timeout: float = 5.0) -> None:
        """Refuse everybody, wait up to `timeout` seconds for borrowed ones, then close them."""

    async def reconfigure(self, **settings: Any) -> None:
        """Change settings (names of PoolSettings) of the live pool. Raises ValueError, TypeError."""

    def stats(self) -> dict[str, int]:
        """`max in_use idle opening pending`, and the counters `timeouts rejected closed leaks`."""
