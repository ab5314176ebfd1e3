"""The page of the chart's values: each with its default and the comment above it in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from reference.markdown import code, page, sentence, table

FILE: Final = Path(__file__).resolve().parents[2] / "helm" / "pannier" / "values.yaml"

Row = tuple[str, str, str]
"""A value's path, its default, and what is said of it."""


def chart_page() -> str:
    """The page."""
    return page(
        "Values of the chart",
        "What `helm install --set` and `--values` may say. Anything else is refused by the chart's "
        "schema, with the name that it does not know.",
        table(
            ("value", "default", "meaning"),
            [[code(path), code(default), sentence(said)] for path, default, said in values()],
        ),
    )


def values() -> Iterator[Row]:
    """Every value, in the file's order. A section has no default."""
    text = FILE.read_text()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from below("", root, text.splitlines(), described=False)


def below(path: str, node: yaml.MappingNode, lines: list[str], *, described: bool) -> Iterator[Row]:
    """What a section holds. Where the section is described, its values need not be."""
    before = ""
    for key, value in node.value:
        name = f"{path}{key.value}"
        line = key.start_mark.line
        said = comment_above(line, key.start_mark.column, lines)
        if not said and not path and line > 0 and lines[line - 1]:
            said = before  # one comment for a group without a gap
        before = said
        if isinstance(value, yaml.MappingNode) and value.value:
            if said:
                yield name, "", said
            yield from below(f"{name}.", value, lines, described=described or bool(said))
        else:
            assert said or described, f"values.yaml: write above {name} what it is"
            yield name, json.dumps(yaml.safe_load(yaml.serialize(value)), ensure_ascii=False), said


def comment_above(line: int, column: int, lines: list[str]) -> str:
    """The comment right above a line, of the same depth."""
    found: list[str] = []
    mark = " " * column + "#"
    while line > 0 and lines[line - 1].startswith(mark):
        line -= 1
        found.insert(0, lines[line].removeprefix(mark).strip())
    if line == 0:
        return ""  # the head of the file
    return " ".join(found)
