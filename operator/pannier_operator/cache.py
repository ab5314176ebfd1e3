"""What was seen of the cluster: objects by kind and name, each as new as it is known. Pure.

Watches and complete lists both tell it, in any order and with news that has been overtaken: an
older state of an object never replaces a newer one, a deletion concerns the object of its uid
alone, and an object that is gone does not come back by news from before. No repr shows content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["storebackends", "secrets", "namespaces"]

KINDS: Final[tuple[Kind, ...]] = ("storebackends", "secrets", "namespaces")

MOST_GONE: Final = 10_000
"""Deletions that are remembered, to tell late news of what is gone."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which object of a kind."""

    namespace: str
    """"" for what has no namespace."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(slots=True)
class Seen:
    """One object as it was seen last."""

    key: Key
    uid: str
    resource_version: str
    content: Mapping[str, Any] = field(repr=False)
    """What is kept of the object, in the API's own words."""
    place: int = 0
    """Of all news, the how-manieth this was."""
    watched: bool = False
    """Whether the watch told of this state, not a list alone."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list that is under way."""

    kind: Kind
    namespace: str | None
    """None: of every namespace."""
    place: int
    """What was seen later is not in the list, and is not missed in it."""


@dataclass(slots=True)
class Found:
    """What a complete list told that was not known."""

    changed: list[Key] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)


class Cache:
    """Every object that is watched. `changed` is told each key whose object is another now."""

    def __init__(self, changed: Callable[[Kind, Key], None] = lambda kind, key: None) -> None:
        self.changed = changed
        self._objects: dict[Kind, dict[Key, Seen]] = {kind: {} for kind in KINDS}
        self._gone: dict[str, str] = {}
        """uid -> the resourceVersion at which the object was gone, the oldest first."""
        self._place = 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind}: {len(self._objects[kind])}" for kind in KINDS)
        return f"<Cache {counts}>"

    # Reading ------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Seen | None:
        """The object of that name, if it is there."""
        return self._objects[kind].get(Key(namespace, name))

    def all(self, kind: Kind) -> Iterator[Seen]:
        """Every object of a kind."""
        return iter(list(self._objects[kind].values()))

    def count(self, kind: Kind) -> int:
        """How many objects of a kind there are."""
        return len(self._objects[kind])

    def unwatched(self, kind: Kind, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` whose present state no watch has told of."""
        objects = self._objects[kind]
        return [key for key in keys if key in objects and not objects[key].watched]

    # What is told -------------------------------------------------------------------------------

    def put(self, kind: Kind, thing: Mapping[str, Any], *, watched: bool = True) -> bool:
        """An object as it is now. Returns whether that was news."""
        seen = read(kind, thing)
        known = self._objects[kind].get(seen.key)
        gone_at = self._gone.get(seen.uid)
        if gone_at is not None and not is_newer(seen.resource_version, gone_at):
            return False
        if known is not None and not is_newer(seen.resource_version, known.resource_version):
            if watched and known.resource_version == seen.resource_version:
                known.watched = True
            return False
        self._place += 1
        seen.place, seen.watched = self._place, watched
        self._objects[kind][seen.key] = seen
        self.changed(kind, seen.key)
        return True

    def drop(self, kind: Kind, thing: Mapping[str, Any]) -> bool:
        """An object that is gone, or is not selected any more. Returns whether that was news."""
        seen = read(kind, thing)
        self._remember_gone(seen.uid, seen.resource_version)
        known = self._objects[kind].get(seen.key)
        if known is None or known.uid != seen.uid:
            return False
        # A Secret that got its label back is of the same uid, and newer.
        if is_newer(known.resource_version, seen.resource_version):
            return False
        del self._objects[kind][seen.key]
        self.changed(kind, seen.key)
        return True

    # Complete lists -----------------------------------------------------------------------------

    def begin_list(self, kind: Kind, namespace: str | None) -> Listing:
        """To be called before the list is asked for."""
        return Listing(kind, namespace, self._place)

    def finish_list(
        self, listing: Listing, things: Iterable[Mapping[str, Any]], resource_version: str
    ) -> Found:
        """The whole list has come, as things stood at `resource_version`: what it lacks is gone."""
        found = Found()
        named: set[Key] = set()
        for thing in things:
            key = key_of(thing)
            named.add(key)
            if self.put(listing.kind, thing, watched=False):
                found.changed.append(key)
        objects = self._objects[listing.kind]
        for key, seen in list(objects.items()):
            if key in named or listing.namespace not in (None, key.namespace):
                continue
            if seen.place > listing.place or is_newer(seen.resource_version, resource_version):
                continue
            self._remember_gone(seen.uid, resource_version)
            del objects[key]
            found.gone.append(key)
            self.changed(listing.kind, key)
        return found

    def _remember_gone(self, uid: str, resource_version: str) -> None:
        self._gone.pop(uid, None)
        self._gone[uid] = resource_version
        while len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]


def is_newer(one: str, other: str) -> bool:
    """Whether resourceVersion `one` is after `other`.

    They are numbers of one sequence (kubernetes.io, "Resource versions": comparable since 1.35,
    and with etcd always); where they are not, what came last is taken for newer.
    """
    if one.isdecimal() and other.isdecimal():
        return int(one) > int(other)
    return one != other


def key_of(thing: Mapping[str, Any]) -> Key:
    """Which object it is."""
    metadata = thing["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def read(kind: Kind, thing: Mapping[str, Any]) -> Seen:
    """What is kept of an object of the API."""
    metadata = thing["metadata"]
    return Seen(
        key_of(thing), metadata["uid"], metadata["resourceVersion"], KEPT[kind](metadata, thing)
    )


def _of_storebackend(metadata: Mapping[str, Any], thing: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**thing, "metadata": kept}


def _of_secret(metadata: Mapping[str, Any], thing: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": thing.get("data") or {}, "labels": metadata.get("labels") or {}}


def _of_namespace(metadata: Mapping[str, Any], thing: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "labels": metadata.get("labels") or {},
        "phase": (thing.get("status") or {}).get("phase", "Active"),
    }


KEPT: Final[Mapping[Kind, Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]]] = {
    "storebackends": _of_storebackend,
    "secrets": _of_secret,
    "namespaces": _of_namespace,
}
"""What is kept of each kind."""
