"""What each audience is to run, from what was seen of the cluster. No I/O.

Resolving a StoreBackend is done once for each of its states, and one audience's answer is made
once for each state of its namespace: a thousand sidecars of one Deployment share it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pannier_operator.cache import Cache, Key, Kind, Seen
from pannier_operator.resolving import Resolved, generation_of, resolve
from pannier_operator.sharing import Places
from pannier_operator.wanted import Audience, Wanted, WantedStore, version_of


class Snapshots:
    """The stores of every namespace, resolved."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._resolved: dict[Key, Resolved] = {}
        self._names: dict[str, set[str]] = defaultdict(set)
        """Namespace -> the names of its StoreBackends."""
        self._refers: dict[Key, frozenset[str]] = {}
        """StoreBackend -> the Secrets it referred to when it was resolved last."""
        self._users: dict[Key, set[Key]] = defaultdict(set)
        """The same from the other end: Secret -> StoreBackends."""
        self._wanted: dict[str, dict[str, Wanted]] = defaultdict(dict)
        """Namespace -> service account -> its answer, as long as nothing changes in it."""
        self._unlabelled: dict[str, set[str]] = defaultdict(set)
        """Namespace -> Secrets that exist without the label, as far as somebody looked."""
        self.places = Places()

    # Told of changes ----------------------------------------------------------------------------

    def changed(self, kind: Kind, key: Key) -> Iterable[Key]:
        """Something changed in the cache. Returns the StoreBackends that are to be looked at."""
        if kind == "storebackends":
            return self._backend_changed(key)
        if kind == "secrets":
            self._unlabelled[key.namespace].discard(key.name)
            users = list(self._users.get(key, ()))
            for user in users:
                self._forget(user)
            return users
        return ()

    def mark_unlabelled(self, namespace: str, secret: str, *, is_there: bool) -> None:
        """Somebody looked whether a Secret that no list holds exists without the label."""
        known = self._unlabelled[namespace]
        if (secret in known) == is_there:
            return
        (known.add if is_there else known.discard)(secret)
        for user in self._users.get(Key(namespace, secret), ()):
            self._forget(user)

    def _backend_changed(self, key: Key) -> list[Key]:
        seen = self._cache.get("storebackends", key.namespace, key.name)
        names = self._names[key.namespace]
        (names.discard if seen is None else names.add)(key.name)
        before = self._resolved.get(key)
        if seen is not None and before is not None and is_made_from(before.wanted, seen):
            return [key]  # Its status or a label changed: what sidecars run is the same.
        self._forget(key)
        if seen is not None:
            return [key]
        self._refer(key, frozenset())
        return [key, *self.places.put(key, None)]

    def _forget(self, key: Key) -> None:
        self._resolved.pop(key, None)
        self._wanted.pop(key.namespace, None)

    # Asked --------------------------------------------------------------------------------------

    def resolved(self, key: Key) -> Resolved | None:
        """What the StoreBackend came to; None if there is none of that name."""
        known = self._resolved.get(key)
        if known is not None:
            return known
        seen = self._cache.get("storebackends", key.namespace, key.name)
        if seen is None:
            return None
        made = resolve(
            seen,
            lambda namespace, name: self._cache.get("secrets", namespace, name),
            unlabelled=frozenset(self._unlabelled.get(key.namespace, ())),
        )
        self._resolved[key] = made
        self._refer(key, made.secrets)
        return made

    def _refer(self, key: Key, secrets: frozenset[str]) -> None:
        before = self._refers.get(key, frozenset())
        for name in before - secrets:
            self._users[Key(key.namespace, name)].discard(key)
        for name in secrets - before:
            self._users[Key(key.namespace, name)].add(key)
        if secrets:
            self._refers[key] = secrets
        else:
            self._refers.pop(key, None)

    def company_changed(self, key: Key) -> set[Key]:
        """Note where `key` keeps its records now; the others whose warning may be another."""
        resolved = self.resolved(key)
        return self.places.put(key, resolved.document if resolved is not None else None)

    def store(self, namespace: str, name: str) -> WantedStore | None:
        """One StoreBackend as it goes to sidecars."""
        resolved = self.resolved(Key(namespace, name))
        return resolved.wanted if resolved is not None else None

    def has_stores(self, namespace: str) -> bool:
        """Whether the namespace has a StoreBackend."""
        return bool(self._names.get(namespace))

    def wanted_for(self, audience: Audience) -> Wanted:
        """Everything one audience is to run."""
        known = self._wanted[audience.namespace]
        answer = known.get(audience.service_account)
        if answer is None:
            answer = self._make(audience)
            # Resolving may have cleared what was known.
            self._wanted[audience.namespace][audience.service_account] = answer
        return answer

    def _make(self, audience: Audience) -> Wanted:
        stores = {}
        for name in sorted(self._names.get(audience.namespace, ())):
            store = self.store(audience.namespace, name)
            if store is not None and store.is_for(audience):
                stores[name] = store
        return Wanted(version_of(stores.values()), stores)


def is_made_from(wanted: WantedStore, seen: Seen) -> bool:
    """Whether `wanted` was made from this uid and generation of the resource."""
    return wanted.uid == seen.uid and wanted.generation == generation_of(seen)
