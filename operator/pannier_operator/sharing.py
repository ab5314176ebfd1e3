"""Which StoreBackends keep their records in the same place. Pure, and linear in their number.

Two on one server, database and prefix see and overwrite each other's records, which may be meant
and is more often a copied line: `conditions` says it, nothing is refused.
"""

from __future__ import annotations

from pannier.config.documents import Hdfs, Redis, StoreBackend
from pannier.config.formats import parse_node
from pannier_operator.cache import Key

Place = tuple[str, ...]


class Places:
    """Where each StoreBackend keeps its records."""

    def __init__(self) -> None:
        self._place_of: dict[Key, Place] = {}
        self._keys_at: dict[Place, set[Key]] = {}

    def put(self, key: Key, document: StoreBackend | None) -> set[Key]:
        """Note what `key` says now (None: nothing). Returns the others whose company changed."""
        place = place_of(document) if document is not None else None
        before = self._place_of.get(key)
        if place == before:
            return set()
        touched: set[Key] = set()
        if before is not None:
            there = self._keys_at[before]
            there.discard(key)
            touched |= there
            if not there:
                del self._keys_at[before]
            del self._place_of[key]
        if place is not None:
            there = self._keys_at.setdefault(place, set())
            touched |= there
            there.add(key)
            self._place_of[key] = place
        return touched

    def others(self, key: Key) -> list[Key]:
        """The StoreBackends that share the place of `key`, in the order of their names."""
        place = self._place_of.get(key)
        if place is None:
            return []
        there = self._keys_at[place] - {key}
        return sorted(there, key=lambda each: (each.namespace, each.name))


def place_of(document: StoreBackend) -> Place | None:
    """Where its records are; None where nobody else can be (memory, a pod's own socket)."""
    backend = document.backend()
    if isinstance(backend, Redis):
        servers = _servers(backend)
        if servers is None:
            return None
        return ("redis", *servers, str(backend.db), backend.key_prefix)
    if isinstance(backend, Hdfs):
        return ("hdfs", *sorted(each.lower() for each in backend.namenodes), backend.base_path)
    return None


def _servers(redis: Redis) -> list[str] | None:
    if redis.host is not None:
        return [f"{redis.host.lower().rstrip('.')}:{redis.port}"]
    if redis.sentinel is not None:
        return [redis.sentinel.master, *sorted(_node(each, 26379) for each in redis.sentinel.nodes)]
    if redis.cluster is not None:
        return sorted(_node(each, 6379) for each in redis.cluster.nodes)
    return None


def _node(text: str, port: int) -> str:
    host, own = parse_node(text)
    return f"{host.lower().rstrip('.')}:{own or port}"
