"""The records that every subject of the benchmark is measured with: 250 bytes of JSON each."""

from __future__ import annotations

import json

import redis

from pannier.redis.layout import RedisLayout

KEYS = 1000
SIZE_OF_A_BATCH = 100
SCHEMA = "Cart"
PREFIX = "pannier:"
HASH = PREFIX + SCHEMA
BUCKETS = 16
"""Of a schema on a cluster, so that every master has some."""
IN_BUCKETS = RedisLayout(PREFIX, BUCKETS)

_CART = {
    "customer": "8f14e45f-ceea-467f-a8f5-0a1b2c3d4e5f",
    "items": [{"sku": "A-1001", "quantity": 2, "price": "19.99"}, {"sku": "B-7", "quantity": 1}],
    "total": 42.5,
    "paid": False,
    "note": "",
}
RECORD = json.dumps(
    {**_CART, "note": "x" * (250 - len(json.dumps(_CART, separators=(",", ":"))))},
    separators=(",", ":"),
)
assert len(RECORD) == 250


def key(number: int) -> str:
    """The key of a record, as the load's script names it."""
    return f"key{number + 1}"


def store(port: int, schema: str, count: int) -> None:
    """Put `count` records into a hash, straight into Redis."""
    client = redis.Redis(port=port)
    for first in range(0, count, 10_000):
        chunk = {key(number): RECORD for number in range(first, min(first + 10_000, count))}
        client.hset(PREFIX + schema, mapping=chunk)
    client.close()


def store_in_buckets(client: redis.RedisCluster, schema: str, count: int) -> None:
    """The same in a cluster."""
    buckets: dict[str, dict[str, str]] = {}
    for number in range(count):
        name = key(number)
        buckets.setdefault(IN_BUCKETS.hash_of(schema, name), {})[name] = RECORD
    for name, mapping in buckets.items():
        fields = list(mapping.items())
        for first in range(0, len(fields), 10_000):
            client.hset(name, mapping=dict(fields[first : first + 10_000]))
    client.close()
