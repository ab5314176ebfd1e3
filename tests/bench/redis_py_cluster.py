"""redis-py's RedisCluster doing the same work in a process of its own, over the same hashes.

`python -m tests.bench.redis_py_cluster WHAT PORT CONCURRENCY SECONDS` prints one JSON object, as
`tests.bench.redis_py` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import redis
import redis.asyncio

from tests.bench.records import IN_BUCKETS, KEYS, RECORD, SCHEMA, SIZE_OF_A_BATCH, key
from tests.bench.redis_py import Figures, figures


def hash_of(name: str) -> str:
    """The hash that a key is in."""
    return IN_BUCKETS.hash_of(SCHEMA, name)


def pipelines(port: int, seconds: float, *, writes: bool) -> Figures:
    """`pipeline()` of 100 HGET or HSET, which it parts by node, again and again."""
    client = redis.RedisCluster(host="127.0.0.1", port=port)
    before, end = time.process_time(), time.perf_counter() + seconds
    times: list[float] = []
    sent = 0
    names = [key(number) for number in range(SIZE_OF_A_BATCH)]
    while (began := time.perf_counter()) < end:
        pipeline = client.pipeline()
        for name in names:
            if writes:
                pipeline.hset(hash_of(name), name, RECORD)
            else:
                pipeline.hget(hash_of(name), name)
        pipeline.execute()
        times.append(time.perf_counter() - began)
        sent += SIZE_OF_A_BATCH
    return figures(sent, times, before)


async def singles(port: int, concurrency: int, seconds: float, *, writes: bool) -> Figures:
    """`concurrency` coroutines, a command at a time."""
    client = redis.asyncio.RedisCluster(
        host="127.0.0.1", port=port, max_connections=max(8, concurrency)
    )
    await client.initialize()
    before, end = time.process_time(), time.perf_counter() + seconds
    times: list[float] = []

    async def worker(number: int) -> int:
        done = 0
        while (began := time.perf_counter()) < end:
            name = key((number + done) % KEYS)
            if writes:
                await client.hset(hash_of(name), name, RECORD)
            else:
                await client.hget(hash_of(name), name)
            times.append(time.perf_counter() - began)
            done += 1
        return done

    done = await asyncio.gather(*(worker(number) for number in range(concurrency)))
    found = figures(sum(done), times, before)
    await client.aclose()
    return found


def scan(port: int, schema: str) -> Figures:
    """A loop of HSCAN COUNT 1000 over every bucket of a schema, every record taken once."""
    client = redis.RedisCluster(host="127.0.0.1", port=port)
    before = time.process_time()
    began = time.perf_counter()
    seen = 0
    for name in IN_BUCKETS.hashes_of(schema):
        position = -1
        while position != 0:
            position, found = client.hscan(name, max(position, 0), count=1000)
            seen += len(found)
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
