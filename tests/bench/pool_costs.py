"""What borrowing and giving back an idle connection costs: `python -m tests.bench.pool_costs`.

CPU time, the best of several rounds: the figures in the drivers' docstrings come from here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pannier.aio import pool_driver as aio
from pannier.pool.settings import PoolSettings
from pannier.sync import pool_driver as sync

LOANS = 50_000
ROUNDS = 7


class Connector:
    """Costs nothing itself."""

    closed = False

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def is_connected(self) -> bool:
        return True

    def looks_alive(self) -> bool:
        return not self.closed


class SyncConnector(Connector):
    """The same without coroutines."""

    def connect(self) -> None: ...  # type: ignore[override]

    def disconnect(self) -> None: ...  # type: ignore[override]


def best(measure: Callable[[], float]) -> float:
    """Microseconds of CPU a loan, in the best round."""
    return min(measure() for _ in range(ROUNDS)) / LOANS * 1e6


async def asyncio_costs() -> None:
    pool = aio.ConnectionPool(Connector, {}, PoolSettings())
    pool.give_back(await pool.acquire())

    def callbacks() -> float:
        start = time.process_time()
        for _ in range(LOANS):
            pool.give_back(pool.take_now())
        return time.process_time() - start

    def hand_over() -> float:
        pool._core.reconfigure(time.monotonic(), max_connections=1)
        connector = pool.take_now()
        start = time.process_time()
        for _ in range(LOANS):
            pool.enqueue(1, lambda connector: None, lambda error, count: None)
            pool.give_back(connector)
        spent = time.process_time() - start
        pool.give_back(connector)
        return spent

    async def coroutines() -> float:
        start = time.process_time()
        for _ in range(LOANS):
            pool.give_back(await pool.acquire())
        return time.process_time() - start

    print(f"asyncio, take_now and give_back   {best(callbacks):5.2f} us")
    print(f"asyncio, enqueue and give_back    {best(hand_over):5.2f} us")
    rounds = [await coroutines() for _ in range(ROUNDS)]
    print(f"asyncio, acquire and give_back    {min(rounds) / LOANS * 1e6:5.2f} us")
    await pool.shutdown()


def threading_costs() -> None:
    pool = sync.ConnectionPool(SyncConnector, {}, PoolSettings())
    pool.give_back(pool.acquire())

    def loans() -> float:
        start = time.process_time()
        for _ in range(LOANS):
            pool.give_back(pool.acquire())
        return time.process_time() - start

    print(f"threads, acquire and give_back    {best(loans):5.2f} us")
    pool.shutdown()


if __name__ == "__main__":
    asyncio.run(asyncio_costs())
    threading_costs()
