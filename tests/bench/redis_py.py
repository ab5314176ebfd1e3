"""redis-py doing the same work in a process of its own: what the sidecar is compared with.

`python -m tests.bench.redis_py WHAT PORT CONCURRENCY SECONDS` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import redis
import redis.asyncio

from tests.bench.records import HASH, RECORD, SIZE_OF_A_BATCH, key

Figures = dict[str, float]


def figures(requests: int, times: list[float], before: float) -> Figures:
    """The object that is printed."""
    spent = time.process_time() - before
    times.sort()
    at = len(times) - 1
    return {
        "requests": requests,
        "cpu_seconds": spent,
        "p50_ms": times[at // 2] * 1000,
        "p99_ms": times[at * 99 // 100] * 1000,
    }


def pipelines(port: int, seconds: float, *, writes: bool) -> Figures:
    """`pipeline(transaction=False)` of 100 HGET or HSET, again and again."""
    client = redis.Redis(port=port)
    client.ping()
    before, end = time.process_time(), time.perf_counter() + seconds
    times: list[float] = []
    sent = 0
    while (began := time.perf_counter()) < end:
        pipeline = client.pipeline(transaction=False)
        for number in range(SIZE_OF_A_BATCH):
            if writes:
                pipeline.hset(HASH, key(number), RECORD)
            else:
                pipeline.hget(HASH, key(number))
        pipeline.execute()
        times.append(time.perf_counter() - began)
        sent += SIZE_OF_A_BATCH
    return figures(sent, times, before)


async def singles(port: int, concurrency: int, seconds: float, *, writes: bool) -> Figures:
    """Bare redis-py: `concurrency` coroutines on a pool, a command at a time."""
    pool = redis.asyncio.BlockingConnectionPool(port=port, max_connections=concurrency)
    client = redis.asyncio.Redis(connection_pool=pool)
    await client.ping()
    before, end = time.process_time(), time.perf_counter() + seconds
    times: list[float] = []

    async def worker() -> int:
        done = 0
        while (began := time.perf_counter()) < end:
            if writes:
                await client.hset(HASH, key(done % 1000), RECORD)
            else:
                await client.hget(HASH, key(done % 1000))
            times.append(time.perf_counter() - began)
            done += 1
        return done

    done = await asyncio.gather(*(worker() for _ in range(concurrency)))
    found = figures(sum(done), times, before)
    await client.aclose()
    return found


def scan(port: int, name: str) -> Figures:
    """A loop of HSCAN COUNT 1000 over a whole hash, every record taken once."""
    client = redis.Redis(port=port)
    client.ping()
    before = time.process_time()
    began = time.perf_counter()
    position, seen = 0, 0
    while True:
        position, found = client.hscan(name, position, count=1000)
        seen += len(found)
        if position == 0:
            return figures(seen, [time.perf_counter() - began], before)


def main() -> None:
    """Do what the arguments say."""
    what, port, concurrency, seconds = sys.argv[1:]
    if what.startswith("scan:"):
        found = scan(int(port), what.removeprefix("scan:"))
    elif what.startswith("pipeline-"):
        found = pipelines(int(port), float(seconds), writes=what == "pipeline-put")
    else:
        found = asyncio.run(
            singles(int(port), int(concurrency), float(seconds), writes=what == "put")
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
