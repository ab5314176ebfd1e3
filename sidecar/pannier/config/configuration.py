"""One state of the world to apply: the stores that are wanted, with their credentials. Pure.

The file and the stream both end in this, and `config.applying` starts from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pannier.config.documents import SecretRef, StoreBackend
from pannier.config.served import StoreType

Source = Literal["default", "file", "stream"]


@dataclass(frozen=True, slots=True)
class ResolvedStore:
    """A good document and what its secret references hold."""

    document: StoreBackend
    credentials: Mapping[SecretRef, str] = field(default_factory=dict, repr=False)
    """By reference; kept out of the repr. Compared, never shown."""
    uid: str = ""
    """Which resource of that name it is; empty where its source does not tell them apart."""

    def credential(self, ref: SecretRef | None) -> str | None:
        """What `ref` holds; None where the document refers to nothing."""
        return self.credentials[ref] if ref is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything one source wants served now."""

    version: str
    source: Source
    stores: Mapping[str, ResolvedStore]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Stores whose document is bad or cannot be resolved, with the reason: they keep what they
    run."""
    refused_types: Mapping[str, StoreType] = field(default_factory=dict)
    """What those of `refused` say they are, where they say so."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Stores whose source cannot resolve them now, with the reason: whatever runs stays as it is,
    a pending change included."""
    complete: bool = True
    """Whether a store that is not named is to be removed."""
    error: str | None = None
    """What is wrong with the configuration, in one text."""
