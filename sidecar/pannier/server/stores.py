"""What every route does with a store: find it by name, enter it, count what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.config.served import ServedStore, StoreTable
from pannier.counting import outcome_of
from pannier.errors import StoreNotFound, StoreNotReady, Unsupported
from pannier.server.targets import decode_store

FIGURES = ("max", "in_use", "idle", "opening", "pending")
"""The pool figures that are shown, in this order."""


def find(table: StoreTable, raw: bytes) -> ServedStore:
    """The store that a path's first segment names. Raises StoreNotFound."""
    name = decode_store(raw)
    served = table.stores.get(name) if name is not None else None
    if served is None:
        raise StoreNotFound(
            "No store of this name is configured: GET /v1 lists those that are.",
            **({"store": name} if name is not None else {}),
        )
    return served


def check_ready(served: ServedStore) -> None:
    """Raise StoreNotReady for a store that was never opened."""
    if served.generation is None:
        raise StoreNotReady(
            f"Store {served.name} is {served.state}"
            + (f": {served.error}" if served.error else "; try again soon.")
        )


@contextmanager
def operation(served: ServedStore, name: str) -> Iterator[KeyValueStoreBackendBase]:
    """Enter the store for one operation, to be counted under `name` with how it ends."""
    check_ready(served)
    generation = served.generation
    assert generation is not None
    began = perf_counter()
    outcome = "ok"
    backend = generation.enter()
    try:
        yield backend
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        generation.leave()
        served.counts.count(name, outcome, perf_counter() - began)


def check_capability(backend: KeyValueStoreBackendBase, capability: str, does: str) -> None:
    """Raise Unsupported unless the store has the capability to do what `does` says."""
    if capability not in backend.capabilities:
        raise Unsupported(f"This store cannot {does} (it lacks the capability {capability}).")


def summary(served: ServedStore) -> dict[str, Any]:
    """A store as `GET /v1` lists it."""
    return {"name": served.name, "type": served.type, "state": served.state}


def pool_figures(served: ServedStore) -> dict[str, int]:
    """The pool's figures; all 0 for a store without a pool, or not opened yet."""
    if served.generation is None:
        return dict.fromkeys(FIGURES, 0)
    stats = served.generation.backend.stats()
    return {name: stats[name] for name in FIGURES}


def capabilities(served: ServedStore) -> list[str]:
    """What the store can do beyond reading and writing, sorted."""
    if served.generation is None:
        return []
    return sorted(served.generation.backend.capabilities)
