"""Which namespaces are served: those whose sidecars must know the CA. Pure.

An operator of named namespaces serves just these. One of the whole cluster serves those in which
sidecars are injected and those that have a StoreBackend: others see nothing of Pannier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pannier_operator.cache import Cache, Key, Kind
from pannier_operator.snapshots import Snapshots

INJECT_LABEL: Final = "pannier.dev/inject"
"""On a namespace, "enabled": its pods get a sidecar."""


class Namespaces:
    """The served ones, kept as the cache changes."""

    def __init__(self, cache: Cache, snapshots: Snapshots, named: Sequence[str]) -> None:
        self._cache = cache
        self._snapshots = snapshots
        self._named = frozenset(named)
        self._served = set(named)

    def served(self) -> list[str]:
        """Their names, in order."""
        return sorted(self._served)

    def may_dial(self, namespace: str) -> bool:
        """Whether sidecars of that namespace are let in; those of a namespace without a
        StoreBackend get an empty configuration."""
        return not self._named or namespace in self._named

    def changed(self, kind: Kind, key: Key) -> bool:
        """The cache has news (of which `Snapshots` knows already). Whether another is served now.

        It is asked for each change of a StoreBackend, and looks at one namespace alone.
        """
        if self._named or kind == "secrets":
            return False
        name = key.name if kind == "namespaces" else key.namespace
        is_served = self._is_served(name)
        if is_served == (name in self._served):
            return False
        (self._served.add if is_served else self._served.discard)(name)
        return True

    def _is_served(self, name: str) -> bool:
        seen = self._cache.get("namespaces", "", name)
        if seen is None or seen.content["phase"] != "Active":
            return False
        labelled = seen.content["labels"].get(INJECT_LABEL) == "enabled"
        return labelled or self._snapshots.has_stores(name)
