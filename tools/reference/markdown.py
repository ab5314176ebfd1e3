"""Tables and texts in Markdown, and the docstrings they are filled from."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from types import ModuleType


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what a cell holds cannot break it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell(each) for each in line)} |\n" for line in lines)


def cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """`text` on one line; `<name>` outside of code is no HTML."""
    parts = as_line(text).split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def as_line(text: str) -> str:
    return " ".join(text.split())


def code(value: object) -> str:
    """A value as it is written; nothing where there is none."""
    text = as_line(str(value))
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """`text` as it stands in a cell of its own, with a full stop."""
    line = as_line(text)
    if line and not line.endswith((".", "!", "?")):
        line += "."
    return line


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n".join((f"# {title}\n", *(part.rstrip("\n") + "\n" for part in parts)))


def anchor(heading: str) -> str:
    """The link to a heading, as GitHub makes it."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def field_docstrings(module: ModuleType, owner: str) -> dict[str, str]:
    """The docstrings under the fields of the class `owner`, on one line each."""
    found: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and node.name == owner:
            for field, after in zip(node.body, node.body[1:]):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                    assert isinstance(field.target, ast.Name)
                    assert isinstance(after.value, ast.Constant)
                    found[field.target.id] = as_line(str(after.value.value))
    return found
