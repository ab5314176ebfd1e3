"""An operator's message into a configuration to apply. Pure.

What breaks the protocol is `Malformed` and touches nothing. A document that is bad for this
sidecar, which may be older than the operator, is refused for its store alone; a field it does not
know is ignored and named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from pannier.config.configuration import Configuration, ResolvedStore
from pannier.config.convert import convert
from pannier.config.documents import SecretRef, secret_refs
from pannier.config.placed import placed
from pannier.config.problems import Problem
from pannier.config.served import StoreType
from pannier.config.stream.messages import Snapshot, StoreEntry, read_snapshot
from pannier.keys import is_store_name

MOST_WARNINGS: Final = 20
"""Warnings that an answer names; further ones are counted."""


class Malformed(ValueError):
    """A message that breaks the protocol; the text says how, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a set of entries says."""

    configuration: Configuration
    warnings: list[str]
    """Fields that were ignored, each with its store."""


def read_message(message: str | bytes) -> Snapshot:
    """The snapshot that a message is. Raises Malformed."""
    if not isinstance(message, str):
        raise Malformed("a message in binary: text is expected")
    try:
        snapshot = read_snapshot(message)
    except msgspec.ValidationError:
        raise Malformed("a message that is no snapshot") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Malformed("a message that is not JSON") from None
    check_entries(snapshot.stores)
    return snapshot


def check_entries(entries: Iterable[StoreEntry]) -> None:
    """Raise Malformed for entries that cannot be told apart, or say nothing."""
    seen: set[str] = set()
    for entry in entries:
        if not is_store_name(entry.name):
            raise Malformed("a store whose name is no DNS label")
        if entry.name in seen:
            raise Malformed(f"the store {entry.name} twice")
        if entry.document is None and not entry.keep:
            raise Malformed(f"the store {entry.name} without a document, and not to be kept")
        seen.add(entry.name)


def read_entries(version: str, entries: Iterable[StoreEntry]) -> Read:
    """What the entries of one snapshot, or of the kept file, ask for."""
    stores: dict[str, ResolvedStore] = {}
    refused: dict[str, str] = {}
    types: dict[str, StoreType] = {}
    kept: dict[str, str] = {}
    warnings: list[str] = []
    for entry in entries:
        if entry.keep or entry.document is None:
            kept[entry.name] = entry.reason or "it cannot be resolved now"
            continue
        converted = convert(placed(entry.document), lenient=True)
        warnings += [f"{entry.name}: {each.field}: {each.said}" for each in converted.warnings]
        problems = list(converted.problems)
        if converted.name is not None and converted.name != entry.name:
            problems.append(_problem("metadata.name", "is not the name of the store it came for"))
        document = converted.document
        credentials = {
            SecretRef(name=each.name, key=each.key): each.value for each in entry.credentials
        }
        if document is not None:
            problems += [
                _problem(path, f"the secret {ref} did not come with it")
                for path, ref in secret_refs(document)
                if ref not in credentials
            ]
        if document is not None and not problems:
            stores[entry.name] = ResolvedStore(document, credentials, entry.uid)
            continue
        refused[entry.name] = "; ".join(str(problem) for problem in problems)
        if converted.type is not None:
            types[entry.name] = converted.type
    return Read(
        Configuration(
            version=version,
            source="stream",
            stores=stores,
            refused=refused,
            refused_types=types,
            kept=kept,
            error=_error(refused, kept),
        ),
        _bounded(warnings),
    )


def _problem(field: str, message: str) -> Problem:
    return Problem(line=None, field=field, message=message)


def _error(refused: dict[str, str], kept: dict[str, str]) -> str | None:
    lines = [f"store {name}: {reason}" for name, reason in refused.items()]
    lines += [f"store {name} is kept as it is: {reason}" for name, reason in kept.items()]
    return "\n".join(lines) or None


def _bounded(warnings: list[str]) -> list[str]:
    if len(warnings) <= MOST_WARNINGS:
        return warnings
    return [*warnings[:MOST_WARNINGS], f"and {len(warnings) - MOST_WARNINGS} more like these"]
