"""What of a cluster is watched, where it is found in the API, and with which selector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pannier_operator.cache import Kind
from pannier_operator.resolving import LABEL
from pannier_operator.settings import OperatorSettings

GROUP: Final = "pannier.dev"
VERSION: Final = "v1alpha1"

SELECTORS: Final[Mapping[Kind, str]] = {"secrets": f"{LABEL}=true"}
"""What the API server is to select: other Secrets are never sent to the operator."""

_ROOTS: Final[Mapping[Kind, str]] = {
    "storebackends": f"/apis/{GROUP}/{VERSION}",
    "secrets": "/api/v1",
    "namespaces": "/api/v1",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """One collection of the API: a kind, in one namespace or everywhere."""

    kind: Kind
    namespace: str | None = None
    """None: of every namespace."""

    @property
    def path(self) -> str:
        """Its path in the API."""
        within = f"/namespaces/{self.namespace}" if self.namespace is not None else ""
        return f"{_ROOTS[self.kind]}{within}/{self.kind}"

    def __str__(self) -> str:
        return self.kind if self.namespace is None else f"{self.kind} of {self.namespace}"


def scopes_of(settings: OperatorSettings) -> tuple[Scope, ...]:
    """Everything an operator of these settings watches."""
    if settings.clusterwide:
        return tuple(Scope(kind) for kind in ("storebackends", "secrets", "namespaces"))
    return tuple(
        Scope(kind, namespace)
        for namespace in dict.fromkeys(settings.watch_namespace)
        for kind in ("storebackends", "secrets")
    )
