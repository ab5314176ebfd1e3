"""What the fast lane's own Python costs, without sockets: `python -m tests.bench.lane_costs`.

From a request's bytes to its answer's, through record calls and group commit, in groups of 32; the
pool, the event loop, the kernel and Redis are left out. The best of many short runs is printed,
so that other people's work on the machine does not count.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from pannier.aio.stores.grouped_redis import GroupedRedisStore
from pannier.config.served import Generation, ServedStore, StoreTable
from pannier.server.admission import Admission
from pannier.server.budget import Budget
from pannier.server.connection import Connection
from pannier.server.fast_lane import FastLane
from pannier.server.serving import Serving
from pannier.server.settings import SidecarSettings
from tests.bench.records import RECORD

CLIENTS = 32
RUNS = 500
VALUE = RECORD.encode()


class Sink:
    """A transport, a connection, a pool and a wire that do nothing but remember the callback."""

    def __init__(self) -> None:
        self.wire = self
        self.done: Any = None

    def connection_made(self, transport: object) -> None: ...

    def write(self, data: bytes) -> None: ...

    def take_now(self) -> Sink:
        return self

    def give_back(self, connector: object, *, broken: bool = False) -> None: ...

    def send(self, packed: bytes, replies: int, done: Any) -> None:
        self.done = done


class SinkStore(GroupedRedisStore):
    """A store whose pool is a sink."""

    sink = Sink()

    def pools(self) -> Any:
        return [self.sink]


async def measure(requests: list[bytes], reply: object) -> float:
    """µs for each of `requests`, all answered with `reply`."""
    loop = asyncio.get_running_loop()
    store = SinkStore()
    store.is_open = True
    served = ServedStore("shop", "redis", "ready", generation=Generation(store))
    serving = Serving(
        settings=SidecarSettings(),
        table=StoreTable(stores={"shop": served}),
        admission=Admission(),
        budget=Budget(1 << 26),
    )
    admitted: dict[bytes, Any] = {}
    lanes = [FastLane(serving, cast(Connection, Sink()), loop, admitted) for _ in requests]
    for lane in lanes:
        lane.connection_made(cast(asyncio.Transport, Sink()))
    replies = [reply] * len(requests)
    under_way = cast(Any, object())
    best = 1e9
    for _ in range(RUNS):
        began = time.perf_counter()
        store.groups.reads.flying.add(under_way)  # so that these are gathered
        for lane, request in zip(lanes, requests, strict=True):
            lane.data_received(request)
        store.groups.reads.flying.discard(under_way)
        store.groups.reads._flush()
        store.sink.done(replies, None)
        best = min(best, (time.perf_counter() - began) / len(requests))
    return best * 1e6


async def main() -> None:
    """Print what a GET and a PUT of 250 bytes cost."""
    head = "{} /v1/shop/Cart/key{} HTTP/1.1\r\nHost: 127.0.0.1:3900\r\n"
    gets = [(head.format("GET", number) + "\r\n").encode() for number in range(CLIENTS)]
    puts = [
        (head.format("PUT", number) + f"Content-Length: {len(VALUE)}\r\n\r\n").encode() + VALUE
        for number in range(CLIENTS)
    ]
    print(f"GET {await measure(gets, VALUE):.2f} µs")
    print(f"PUT {await measure(puts, 0):.2f} µs")


if __name__ == "__main__":
    asyncio.run(main())
