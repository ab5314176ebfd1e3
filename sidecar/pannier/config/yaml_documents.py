"""YAML text into placed values: many documents, lines kept, YAML 1.2 scalars, all faults listed.

It builds values from PyYAML's parsing events instead of its constructor, for four things that has
not: line numbers, a refusal of duplicate keys, the scalars of YAML 1.2 (`no`, `on` and `12:30`
are text, `0o17` is octal), and a bound on size and nesting. An alias is the anchored value itself,
never a copy, so that no alias bomb can unfold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pannier.config.placed import Placed, Scalar
from pannier.config.problems import Problem

MAX_BYTES: Final = 1024 * 1024
"""The largest file: as much as a ConfigMap can hold."""
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000

# libyaml where PyYAML was built with it: 20 times faster, so that a reload does not hold up
# requests (a file of 10 KB: 1 ms against 20 ms).
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE: Final = "tag:yaml.org,2002:"
_NULL = re.compile(r"(?:null|Null|NULL|~|)")
_TRUE = re.compile(r"(?:true|True|TRUE)")
_FALSE = re.compile(r"(?:false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_OCTAL = re.compile(r"0o([0-7]{1,40})")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,40})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)")


@dataclass(slots=True)
class YamlDocument:
    """One document that could be read to its end."""

    root: Placed
    problems: list[Problem]
    """Faults that left something out of `root`: duplicate keys, keys that are no text."""


@dataclass(slots=True)
class YamlText:
    """What a text holds: its documents that could be read, and why no more of it could."""

    documents: list[YamlDocument] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    """Whether every document could be read; if not, there may be more than `documents`."""


def read_yaml(text: bytes) -> YamlText:
    """Read every document of `text`. Faults are returned, never raised."""
    found = YamlText()
    if len(text) > MAX_BYTES:
        found.complete = False
        found.problems.append(
            _problem(None, f"the file is larger than {MAX_BYTES} bytes", "split it")
        )
        return found
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found.complete = False
        line = text.count(b"\n", 0, error.start) + 1
        found.problems.append(_problem(line, "the file is not valid UTF-8", "save it as UTF-8"))
        return found
    builder = _Builder(found)
    try:
        builder.build(yaml.parse(decoded, Loader=_Loader))
    except _Given as given:
        found.complete = False
        found.problems.append(given.problem)
    except yaml.YAMLError as error:
        found.complete = False
        found.problems.append(_syntax_problem(error))
    return found


class _Given(Exception):
    """Reading was given up: nothing after this can be trusted."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet."""

    fields: dict[str, Placed] | None
    items: list[Placed]
    line: int
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    key_lines: dict[str, int] = field(default_factory=dict)
    ignored: bool = False
    """The key read last is a duplicate or no text: its value is read and dropped."""


class _Builder:
    """Turns a stream of events into documents; the nesting is a list, not the Python stack."""

    def __init__(self, found: YamlText) -> None:
        self._found = found
        self._problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Placed] = {}
        self._values = 0

    def build(self, events: Iterable[Any]) -> None:
        for event in self._counted(events):
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._opened(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._closed()

    def _counted(self, events: Iterable[Any]) -> Iterator[Any]:
        for event in events:
            self._values += 1
            if self._values > MAX_VALUES:
                raise _Given(
                    _problem(
                        _line(event), f"the file has more than {MAX_VALUES} values", "split it"
                    )
                )
            yield event

    def _opened(self, event: Any) -> None:
        self._expect_value(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _Given(
                _problem(_line(event), f"values are nested deeper than {MAX_DEPTH}", "flatten them")
            )
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        usual = f"{_CORE}map" if is_mapping else f"{_CORE}seq"
        self._check_tag(event, (usual,))
        self._stack.append(
            _Open({} if is_mapping else None, [], _line(event), getattr(event, "anchor", None))
        )

    def _closed(self) -> None:
        done = self._stack.pop()
        value = done.fields if done.fields is not None else done.items
        self._place(Placed(value, done.line), done.anchor)

    def _alias(self, event: Any) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise _Given(
                _problem(
                    _line(event),
                    "this alias (*name) names no anchor above it",
                    "write &name before the value it stands for, or put a text in quotes",
                )
            )
        if self._expects_key():
            self._key(target.value, _line(event))
        else:
            self._place(Placed(target.value, _line(event)), None)

    def _scalar(self, event: Any) -> None:
        value = self._resolved(event)
        if self._expects_key():
            self._key(value if isinstance(value, str) else event.value, _line(event), value)
            if event.anchor is not None:
                self._anchors[event.anchor] = Placed(value, _line(event))
        else:
            self._place(Placed(value, _line(event)), event.anchor)

    def _expects_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and top.fields is not None and top.key is None

    def _expect_value(self, event: Any) -> None:
        if self._expects_key():
            raise _Given(_problem(_line(event), "a field's name must be text", "put it in quotes"))

    def _key(self, name: object, line: int, value: object = "") -> None:
        top = self._stack[-1]
        assert top.fields is not None
        top.key = name if isinstance(name, str) else str(name)
        top.key_line = line
        top.ignored = False
        if not isinstance(value, str) or not isinstance(name, str):
            self._ignore(f"a field's name must be text, not {top.key}", "put it in quotes")
        elif name == "<<":
            self._ignore("merge keys are not part of YAML 1.2", "write the fields out")
        elif name in top.key_lines:
            self._ignore(f"is on line {top.key_lines[name]} already", "remove one of the two")
        else:
            top.key_lines[name] = line

    def _ignore(self, message: str, fix: str) -> None:
        """Note what is wrong with the key read last, and drop its value when it comes."""
        top = self._stack[-1]
        top.ignored = True
        path = ".".join(level.key for level in self._stack if level.key is not None)
        self._problems.append(Problem(line=top.key_line, field=path, message=message, fix=fix))

    def _place(self, made: Placed, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = made
        if not self._stack:
            self._found.documents.append(YamlDocument(made, self._problems))
            self._problems = []
            return
        top = self._stack[-1]
        if top.fields is None:
            top.items.append(made)
            return
        assert top.key is not None
        if not top.ignored:
            top.fields[top.key] = Placed(made.value, top.key_line)
        top.key = None

    def _check_tag(self, event: Any, known: tuple[str, ...]) -> None:
        if event.tag is not None and event.tag not in ("!", *known):
            raise _Given(
                _problem(
                    _line(event),
                    "this tag (!name) is not understood here",
                    "remove it, or put a text in quotes",
                )
            )

    def _resolved(self, event: Any) -> Scalar:
        """The scalar's value by the core schema of YAML 1.2 (section 10.3.2)."""
        text: str = event.value
        self._check_tag(
            event, tuple(f"{_CORE}{name}" for name in ("str", "int", "float", "bool", "null"))
        )
        if event.tag == f"{_CORE}str" or event.tag == "!":
            return text
        if event.tag is None and not event.implicit[0]:
            return text
        value = plain_scalar(text)
        if event.tag is not None and _CORE + _tag_of(value) != event.tag:
            raise _Given(
                _problem(
                    _line(event),
                    f"the value is no {event.tag.replace(_CORE, '')}",
                    "remove the tag or mend the value",
                )
            )
        return value


def plain_scalar(text: str) -> Scalar:
    """What an unquoted scalar means by the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if octal := _OCTAL.fullmatch(text):
        return int(octal[1], 8)
    if hexadecimal := _HEX.fullmatch(text):
        return int(hexadecimal[1], 16)
    if len(text) <= 100 and _FLOAT.fullmatch(text):
        return float(text)
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    if _NAN.fullmatch(text):
        return float("nan")
    return text


def _tag_of(value: Scalar) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "str"}[type(value)]


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    """PyYAML's own words for a broken text, which say more than we could."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    context = getattr(error, "context", None)
    message = f"this is not YAML: {said}" + (f" {context}" if context else "")
    return _problem(mark.line + 1 if mark is not None else None, message, "")


def _problem(line: int | None, message: str, fix: str) -> Problem:
    return Problem(line=line, field="", message=message, fix=fix)
