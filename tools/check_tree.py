"""Checks of the tree that no other tool makes; each finding is one line, and the exit code is 1.

Run by `./dev lint`. Reads the files that git tracks (all files where there is no git), so that a
developer's own notes beside them are left alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

LINES_OF_ONE_IDEA = 500
"""A source file beyond this many lines holds two ideas."""

REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|maven\.(?:apache|org)|proxy\.golang|crates|docker|ghcr|quay)"
    r"\.(?:org|io|com)\b(?!/(?:POM|xsd|SETTINGS))"
)
"""Hosts that serve packages; a pom.xml's own XML namespace is a name, not an address."""

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/[\w.]+")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")

QUOTED = re.compile(r"`([^`\s]+)`")
LOOKS_LIKE_A_PATH = re.compile(r"[\w.-]+(?:/[\w.{},*-]+)*(?:/|\.(?:py|md|toml|txt|yaml|json))")
PATHS_START_AT = ("", "sidecar", "sidecar/pannier", "operator/pannier_operator", "tests")


def main() -> int:
    files = tracked_files()
    findings = [
        *forbidden_words(files),
        *missing_paths(file for file in files if file.suffix == ".md"),
        *missing_names(),
        *long_files(files),
        *missing_pins(),
    ]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def tracked_files() -> list[Path]:
    """The files of the project, relative to its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "-z"]
    try:
        names = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        paths = [path for path in paths if path.parts[0] == ".ci" or path.parts[0][0] != "."]
    else:
        paths = [Path(name) for name in names.split("\0") if name]
    return [path for path in paths if (ROOT / path).is_file()]


def forbidden_words(files: list[Path]) -> Iterator[str]:
    """A package registry's host, a path of somebody's machine, a mark of unfinished work."""
    for path in files:
        try:
            lines = (ROOT / path).read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            for pattern, what in (
                (REGISTRY, "names a package registry's host"),
                (MACHINE_PATH, "names a path of one machine"),
                (UNFINISHED, "is marked as unfinished"),
            ):
                found = pattern.search(line)
                if found:
                    yield f"{path}:{number}: {what}: {found.group()}"


def missing_paths(documents: Iterator[Path]) -> Iterator[str]:
    """A path in backticks that a document names and that is not there."""
    for document in documents:
        for number, line in enumerate((ROOT / document).read_text().splitlines(), 1):
            for quoted in QUOTED.findall(line):
                if LOOKS_LIKE_A_PATH.fullmatch(quoted) and not is_there(quoted):
                    yield f"{document}:{number}: there is no {quoted}"


def missing_names() -> Iterator[str]:
    """A path or a class that a diagram of ARCHITECTURE.md names and that is not there."""
    source = "\n".join(
        path.read_text() for side in ("sidecar", "operator") for path in (ROOT / side).rglob("*.py")
    )
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for diagram in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for path in re.findall(r"[\w*/]+\.py\b", diagram):
            if not is_there(path) and not is_there(f"server/{path}"):
                yield f"ARCHITECTURE.md: there is no {path}"
        for name, member in re.findall(r"\b([A-Z]\w+)\.(\w+)", diagram):
            classes = re.findall(
                rf"^class {name}\b.*?(?=^class |\Z)", source, re.MULTILINE | re.DOTALL
            )
            if not any(re.search(rf"\b{member}\b", text) for text in classes):
                yield f"ARCHITECTURE.md: there is no {name}.{member}"


def is_there(quoted: str) -> bool:
    """Whether a path, in which `{a,b}` stands for two and `*` for any, is in the tree."""
    braces = re.search(r"\{([^}]*)\}", quoted)
    if braces:
        before, after = quoted[: braces.start()], quoted[braces.end() :]
        return all(is_there(before + part + after) for part in braces.group(1).split(","))
    return any(
        next((ROOT / start).glob(quoted.rstrip("/")), None) is not None for start in PATHS_START_AT
    )


def long_files(files: list[Path]) -> Iterator[str]:
    """A source file that has grown into more than one idea."""
    for path in files:
        if path.suffix == ".py" and path.parts[0] != "tests":
            length = len((ROOT / path).read_text().splitlines())
            if length > LINES_OF_ONE_IDEA:
                yield f"{path}: {length} lines; past {LINES_OF_ONE_IDEA} it is two ideas"


def missing_pins() -> Iterator[str]:
    """A package that the project or its tests run with and that constraints.txt does not pin."""
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
            if not re.fullmatch(r"[\w.-]+==[\w.+]+", line):
                yield f"constraints.txt: a pin is name==version, this is none: {line}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *chain(*project["project"]["optional-dependencies"].values()),
        *project["dependency-groups"]["dev"],
    ]
    seen: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if name not in pins:
            yield f"constraints.txt: no pin for {name}: ./dev lock writes it anew"
        elif not requirement.specifier.contains(pins[name], prereleases=True):
            yield f"constraints.txt: {name}=={pins[name]} is not {requirement.specifier}"
        wanted.extend(requirements_of(requirement))


def requirements_of(requirement: Requirement) -> Iterator[str]:
    """What an installed package asks for here, with the extras that are asked of it."""
    try:
        asked = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return  # an extra that is not installed here
    for text in asked:
        marker = Requirement(text).marker
        if marker is None or any(
            marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
        ):
            yield text


if __name__ == "__main__":
    sys.exit(main())
