"""A file of StoreBackends checked as far as it can be without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pannier.config.configuration import ResolvedStore
from pannier.config.documents import secret_refs
from pannier.config.factory import examine
from pannier.config.file_source import read_file
from pannier.config.placed import line_of
from pannier.config.problems import ConfigurationRefused, Problem
from pannier.config.reading import Reading, read_text
from pannier.config.resolving import all_refs, resolve


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    stores: Sequence[tuple[str, str]]
    """Name and type of each good store."""
    problems: list[Problem]
    unchecked: int = 0
    """Secret references that were not looked at, for want of a directory."""


def check_file(path: Path, secrets_dir: Path | None) -> Checked:
    """Check every document; with `secrets_dir` the secrets, and what they hold, too."""
    try:
        reading = read_text(read_file(path))
    except ConfigurationRefused as refused:
        return Checked([], refused.problems)
    for name, store in _resolvable(reading, secrets_dir).items():
        try:
            examine(store)
        except ValueError as error:
            field = f"spec.{store.document.spec.type}"
            line = line_of(reading.roots[name], field)
            problem = Problem(line=line, field=field, message=str(error), store=name)
            reading.problems.append(problem)
            reading.refused.add(name)
    stores = [
        (name, document.spec.type)
        for name, document in reading.documents.items()
        if name not in reading.refused
    ]
    reading.problems.sort(key=lambda problem: problem.line or 0)
    unchecked = len(all_refs(reading.documents)) if secrets_dir is None else 0
    return Checked(stores, reading.problems, unchecked)


def _resolvable(reading: Reading, secrets_dir: Path | None) -> dict[str, ResolvedStore]:
    """The stores whose credentials are at hand; without a directory, those that need none."""
    if secrets_dir is not None:
        return resolve(reading, secrets_dir)
    return {
        name: ResolvedStore(document)
        for name, document in reading.documents.items()
        if not secret_refs(document)
    }
