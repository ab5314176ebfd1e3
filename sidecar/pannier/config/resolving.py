"""The documents of a file joined with what their secret references hold."""

from __future__ import annotations

from pathlib import Path

from pannier.config.configuration import ResolvedStore
from pannier.config.documents import SecretRef, StoreBackend, secret_refs
from pannier.config.placed import line_of
from pannier.config.problems import Problem
from pannier.config.reading import Reading
from pannier.config.secrets import SecretUnusable, read_secret


def resolve(reading: Reading, secrets_dir: Path | None) -> dict[str, ResolvedStore]:
    """The stores of `reading` whose every secret can be read.

    The others are moved to `reading.refused`, with a problem for each bad reference.
    """
    stores: dict[str, ResolvedStore] = {}
    for name, document in list(reading.documents.items()):
        credentials: dict[SecretRef, str] = {}
        problems: list[Problem] = []
        for path, ref in secret_refs(document):
            try:
                credentials[ref] = read_secret(secrets_dir, ref)
            except SecretUnusable as error:
                message, _, fix = str(error).partition(": ")
                line = line_of(reading.roots[name], path)
                problems.append(
                    Problem(line=line, field=path, message=message, fix=fix, store=name)
                )
        if problems:
            reading.problems += problems
            reading.refused.add(name)
            del reading.documents[name]
        else:
            stores[name] = ResolvedStore(document, credentials)
    reading.problems.sort(key=lambda problem: problem.line or 0)
    return stores


def all_refs(documents: dict[str, StoreBackend]) -> set[SecretRef]:
    """Every secret that some document refers to."""
    return {ref for document in documents.values() for _, ref in secret_refs(document)}
