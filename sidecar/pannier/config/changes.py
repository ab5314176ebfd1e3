"""What it takes to turn one store's configuration into another. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pannier.config.configuration import ResolvedStore


class Step(Enum):
    """How a change of a running store is made."""

    NOTHING = "nothing"
    IN_PLACE = "in place"
    """Pool, timeouts and a memory store's size change on the live backend."""
    REBUILD = "rebuild"
    """A new backend is opened beside the old one and takes its place."""
    ANEW = "anew"
    """The one that runs was deleted, and this one has its name but not its place."""
    REFUSED = "refused"
    """The change would hide or lose the store's data."""


@dataclass(frozen=True, slots=True)
class Change:
    """The step to take, and for a refused one the reason."""

    step: Step
    reason: str = ""


def change(old: ResolvedStore, new: ResolvedStore) -> Change:
    """What turns the running `old` into `new`, both of one name."""
    found = _change(old, new)
    if found.step is Step.REFUSED and old.uid and new.uid and old.uid != new.uid:
        # Deleted and made again, perhaps while nobody was looking: nobody wants the old place.
        return Change(Step.ANEW)
    return found


def _change(old: ResolvedStore, new: ResolvedStore) -> Change:
    before, after = old.document.spec, new.document.spec
    if before.type != after.type:
        return _refused("spec.type", before.type, after.type)
    if before.redis is not None and after.redis is not None:
        if before.redis.key_prefix != after.redis.key_prefix:
            return _refused("spec.redis.keyPrefix", before.redis.key_prefix, after.redis.key_prefix)
        if before.redis.hash_buckets != after.redis.hash_buckets:
            return _refused(
                "spec.redis.hashBuckets", before.redis.hash_buckets, after.redis.hash_buckets
            )
    same_backend = (
        old.document.backend() == new.document.backend() and old.credentials == new.credentials
    )
    if not same_backend and after.type != "memory":
        return Change(Step.REBUILD)
    same_use = before.pool == after.pool and before.request_timeout == after.request_timeout
    return Change(Step.NOTHING if same_backend and same_use else Step.IN_PLACE)


def _refused(field: str, before: object, after: object) -> Change:
    return Change(
        Step.REFUSED,
        f"{field} cannot be changed from {before} to {after} while the store runs: its records "
        "would be out of reach. Write it back, or make a store of another name and move the "
        "records with pannier export | pannier import.",
    )
