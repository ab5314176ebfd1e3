"""What is wrong with a configuration: where, what, and how to mend it. Pure.

A problem never holds a credential: it names references, fields and lines, and quotes only values
of fields that are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pannier.errors import PannierError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    line: int | None
    """The line in the file, from 1; None where the document did not come from a file."""
    field: str
    """The path of the field, `spec.pool.maxConnections`; empty for the document as a whole."""
    message: str
    """What is wrong, such as `unknown field`."""
    fix: str = ""
    """What to do about it, such as `did you mean maxConnections?`."""
    store: str | None = None
    """The name of the document's store, where it is known."""

    def __str__(self) -> str:
        """`line 12: spec.pool.maxConnection: unknown field; did you mean maxConnections?`"""
        where = [f"line {self.line}"] if self.line is not None else []
        if self.field:
            where.append(self.field)
        return ": ".join([*where, self.said])

    @property
    def said(self) -> str:
        """The message and the fix, without the place."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


class ConfigurationRefused(PannierError):
    """A configuration of which nothing can be served; `problems` says all that is wrong."""

    status = 400
    code = "configuration-refused"
    title = "The configuration was refused"

    def __init__(self, origin: str, problems: Iterable[Problem]) -> None:
        self.origin = origin
        """Where the configuration comes from: the file's path."""
        self.problems = list(problems)
        super().__init__("\n".join(listing(origin, self.problems)))


def listing(origin: str, problems: Iterable[Problem]) -> list[str]:
    """One line a problem, `stores.yaml:12: spec.pool.maxConnection: unknown field; ...`."""
    lines = []
    for problem in problems:
        place = f"{origin}:{problem.line}" if problem.line is not None else origin
        parts = [place, problem.field, problem.said] if problem.field else [place, problem.said]
        lines.append(": ".join(parts))
    return lines


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean maxConnections?` for a word that is nearly a known one, else what is known."""
    words = list(known)
    by_lower = {name.lower(): name for name in words}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]}?"
    return f"known here: {', '.join(words)}"
