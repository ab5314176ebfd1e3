"""Clients that vanish and connections that are killed, at random, on a real Redis and a Cluster.

No answer goes to the wrong request, nothing is counted twice or lost, and every gauge is back at
what is real once the storm is over.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pannier.aio.stores.grouped_cluster import GroupedClusterStore
from pannier.aio.stores.grouped_redis import GroupedRedisStore
from pannier.config.served import Generation, ServedStore, StoreTable
from pannier.counting import HttpCounts
from pannier.metrics import Metrics
from pannier.server import record_calls
from pannier.server.answers import Answer
from pannier.server.record_calls import RecordRequest
from tests.faults.redis_load import eventually
from tests.real.redis import RedisServer
from tests.real.redis_cluster import redis_cluster_of

REQUESTS = 4000
WORKERS = 64
CONNECTIONS = 4


def body(key: str) -> bytes:
    """What is stored under a key: a record that names it."""
    return b'{"key": "%b", "pad": "%b"}' % (key.encode(), b"x" * random.randrange(300))


class Storm:
    """Workers that read and write their own records, and give some requests up half-way."""

    def __init__(self, served: ServedStore, seed: int) -> None:
        self.served = served
        self.random = random.Random(seed)
        self.left = REQUESTS
        self.answers: Counter[str] = Counter()
        self.abandoned = 0
        self.wrong: list[str] = []

    async def worker(self, number: int) -> None:
        key = f"key{number}"
        while self.left > 0:
            self.left -= 1
            if self.random.random() < 0.4:
                await self.request(RecordRequest("PUT", "shop", "S", key, body=body(key)))
            else:
                await self.request(RecordRequest("GET", "shop", "S", key))

    async def request(self, request: RecordRequest) -> None:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        record_calls.start(self.served, request, answered.set_result)
        patience = self.random.random()
        if patience < 0.1:
            # Give up at once, or in some later turn of the loop: gathered, in line or sent.
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
            if not answered.done():
                request.abandon()
                request.abandon()
                self.abandoned += 1
                return
        answer = await asyncio.wait_for(answered, 20)
        self.answers[f"{request.method} {answer.status}"] += 1
        if answer.status == 200 and f'"{request.key}"'.encode() not in answer.body:
            self.wrong.append(f"{request.key} was answered {answer.body[:60]!r}")


async def killer(servers: list[RedisServer], storm: Storm) -> int:
    """Kill our connections, one after the other, while the storm lasts."""
    killed = 0
    while storm.left > 0:
        await asyncio.sleep(0.01)
        clients = connections(servers)
        if clients:
            server, client = storm.random.choice(clients)
            server.call("CLIENT", "KILL", "ID", client)
            killed += 1
    return killed


def connections(servers: list[RedisServer]) -> list[tuple[RedisServer, str]]:
    """The connections that are ours, as the servers see them: where, and their ids."""
    found = []
    for server in servers:
        client = server.client()
        ours = [one["id"] for one in client.client_list() if one["name"] == "pannier"]
        found += [(server, number) for number in ours]
        client.close()
    return found


@pytest.fixture(params=["one server", "cluster"])
def servers(
    request: pytest.FixtureRequest, own_redis: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[list[RedisServer]]:
    """One server, or the nodes of a cluster."""
    if request.param == "one server":
        yield [own_redis()]
    else:
        with redis_cluster_of(tmp_path, "--appendonly", "no", replicas=False) as cluster:
            yield cluster.nodes


def store_on(servers: list[RedisServer]) -> GroupedRedisStore | GroupedClusterStore:
    settings: dict[str, Any] = {
        "max_connections": CONNECTIONS, "min_idle": 1, "connection_timeout": 10,
        "request_timeout": 10, "max_waiting": 1000,
    }  # fmt: skip
    if len(servers) == 1:
        return GroupedRedisStore(port=servers[0].port, **settings)
    nodes = [f"127.0.0.1:{server.port}" for server in servers]
    return GroupedClusterStore(nodes, hash_buckets=16, **settings)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_answer_goes_astray_and_no_gauge_drifts(
    servers: list[RedisServer], seed: int
) -> None:
    store = store_on(servers)
    served = ServedStore("shop", "redis", "ready", generation=Generation(store))
    storm = Storm(served, seed)
    killing = asyncio.create_task(killer(servers, storm))
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(storm.worker(number))
    killed = await killing

    assert not storm.wrong
    assert killed > 3
    assert storm.abandoned > 50
    assert storm.answers["GET 200"] > 500
    assert storm.answers["PUT 204"] > 300
    unexpected = set(storm.answers) - {
        "GET 200", "GET 404", "GET 503", "PUT 201", "PUT 204", "PUT 503", "PUT 504",
    }  # fmt: skip
    assert not unexpected

    assert served.generation is not None
    assert served.generation.active == 0
    counted = sum(sum(one.outcomes.values()) for one in served.counts.operations.values())
    assert counted == sum(storm.answers.values()) + storm.abandoned
    cancelled = sum(one.outcomes["cancelled"] for one in served.counts.operations.values())
    assert cancelled == storm.abandoned

    await quiet(store)
    page = Metrics(StoreTable(stores={"shop": served}), HttpCounts()).text().decode()
    samples = [one for family in text_string_to_metric_families(page) for one in family.samples]
    gauges = {
        (one.name, one.labels.get("state")): one.value
        for one in samples
        if one.name in ("pannier_pool_connections", "pannier_pool_pending_requests")
    }
    assert gauges["pannier_pool_connections", "in_use"] == 0
    assert gauges["pannier_pool_connections", "opening"] == 0
    assert gauges["pannier_pool_pending_requests", None] == 0
    idle = gauges["pannier_pool_connections", "idle"]
    await eventually(lambda: len(connections(servers)) == idle, "no connection is nobody's")
    await store.close()


async def quiet(store: GroupedRedisStore | GroupedClusterStore) -> None:
    """Wait until what was abandoned has been read, and dials have ended."""
    async with asyncio.timeout(10):
        while True:
            stats = store.stats()
            flying = any(commit.flying for commit in store.commits())
            if not (stats["in_use"] or stats["opening"] or flying):
                return
            await asyncio.sleep(0.01)
