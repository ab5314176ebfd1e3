"""The documents of one configuration: each one read, and the rules between them. Pure.

Whatever is wrong is returned, all of it at once, never raised: a bad document must not keep the
good ones beside it from being served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pannier.config.convert import Converted, convert
from pannier.config.documents import StoreBackend
from pannier.config.placed import Placed
from pannier.config.problems import Problem
from pannier.config.served import StoreType
from pannier.config.yaml_documents import read_yaml


@dataclass(slots=True)
class Reading:
    """What a text of documents says, and all that is wrong with it."""

    documents: dict[str, StoreBackend] = field(default_factory=dict)
    """The good documents by store name, in their order."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Names whose document is there and bad."""
    types: dict[str, StoreType] = field(default_factory=dict)
    """What each named document says its store is, the bad ones included."""
    roots: dict[str, Placed] = field(default_factory=dict)
    """The good documents as they were written, to find the lines of their fields."""
    complete: bool = True
    """Whether the name of every document is known. If not, a store that seems to be missing may
    be in a document that could not be read, so nothing may be removed."""

    def refusal_of(self, name: str) -> str:
        """What is wrong with the document of this store, in one text."""
        return "; ".join(str(problem) for problem in self.problems if problem.store == name)


def read_text(text: bytes) -> Reading:
    """Read a file of YAML documents, strictly."""
    found = read_yaml(text)
    reading = Reading(complete=found.complete)
    read: list[Converted] = []
    for document in found.documents:
        if document.root.value is None and not document.problems:
            continue  # Nothing between two separators.
        converted = convert(document.root)
        converted.problems += [_of_store(problem, converted.name) for problem in document.problems]
        read.append(converted)
    _gather(read, reading)
    reading.problems += found.problems
    if not read and not found.problems:
        reading.complete = False
        reading.problems.append(
            Problem(
                line=None,
                field="",
                message="there is no document in it",
                fix="write a StoreBackend (an empty file removes no store)",
            )
        )
    reading.problems.sort(key=lambda problem: problem.line or 0)
    return reading


def read_objects(roots: Iterable[Placed], *, lenient: bool = True) -> Reading:
    """Read documents that came as JSON, by default leniently: unknown fields are warnings."""
    reading = Reading()
    _gather([convert(root, lenient=lenient) for root in roots], reading)
    return reading


def _gather(read: list[Converted], reading: Reading) -> None:
    """Refuse names that are there twice, and sort the documents into good and bad."""
    first: dict[str, Converted] = {}
    for converted in read:
        name = converted.name
        if name is None:
            reading.complete = False
        elif name in first:
            line = first[name].line
            converted.problems.append(
                Problem(
                    line=converted.line,
                    field="metadata.name",
                    message=f"{name} is the name of "
                    + ("another document" if line is None else f"the document of line {line}")
                    + " too",
                    fix="rename one of the two",
                    store=name,
                )
            )
            reading.refused.add(name)
        else:
            first[name] = converted
            if converted.type is not None:
                reading.types[name] = converted.type
    for converted in read:
        reading.problems += converted.problems
        reading.warnings += converted.warnings
        if converted.name is not None and converted.problems:
            reading.refused.add(converted.name)
    for name, converted in first.items():
        if name not in reading.refused and converted.document is not None:
            reading.documents[name] = converted.document
            reading.roots[name] = converted.root


def _of_store(problem: Problem, name: str | None) -> Problem:
    return Problem(
        line=problem.line,
        field=problem.field,
        message=problem.message,
        fix=problem.fix,
        store=name,
    )
