"""The README's examples, run as printed, give what is printed.

A console block's commands run in a shell against a live sidecar, and what they print is compared
with the lines below them; only the time of day may differ. A Python block runs as a script, and
what it prints is compared with the comments behind its `print` calls.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.real.programs import program
from tests.real.sidecar import PANNIER, Sidecar, sidecar

README = Path(__file__).parents[2] / "README.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STARTS_A_SERVER = ("./dev", "pannier sidecar")
"""Commands that this test does not run: it is run by the one, and starts the other itself."""
WANTS_A_CLUSTER = ("helm ", "kubectl ")
"""Commands of a cluster; the demo (`tests/real/test_demo.py`) applies what the README shows."""


class Example(NamedTuple):
    """A command and the lines that are printed below it."""

    command: str
    printed: str


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README.read_text()) if name == language]


def examples() -> Iterator[Example]:
    """The README's console examples in their order: each may build on those before it."""
    for block in blocks("console"):
        for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = text.splitlines()
            command = [lines.pop(0)]
            while lines and lines[0].startswith("> "):
                command.append(lines.pop(0)[2:])
            yield Example("\n".join(command), "\n".join(lines))


def as_compared(printed: str) -> str:
    """Output without what is another at every run: the time, and white space at the ends."""
    printed = re.sub(r"^Date: .*$", "Date:", printed.replace("\r\n", "\n"), flags=re.MULTILINE)
    printed = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "NOW", printed)
    return "\n".join(line.rstrip() for line in printed.splitlines()).rstrip()


@pytest.fixture
def default_sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar as `./dev run` starts it, on ports of its own."""
    with sidecar(tmp_path) as running:
        yield running


def test_every_command_prints_what_the_readme_shows(
    default_sidecar: Sidecar, tmp_path: Path
) -> None:
    program("curl")
    (tmp_path / "stores.yaml").write_text(blocks("yaml")[0])
    environment = {
        **os.environ,
        "PATH": f"{PANNIER.parent}:{os.environ['PATH']}",
        "PANNIER_URL": default_sidecar.url,
        "PANNIER_ADMIN_URL": default_sidecar.admin_url,
    }
    run = 0
    for command, expected in examples():
        if command.startswith((*STARTS_A_SERVER, *WANTS_A_CLUSTER)):
            continue
        here = command.replace("localhost:3900", f"localhost:{default_sidecar.port}")
        done = subprocess.run(
            ["bash", "-c", here], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        assert as_compared(done.stdout) == as_compared(expected), command
        run += 1
    assert run > 10


def test_the_library_example_prints_what_its_comments_say(tmp_path: Path) -> None:
    [example] = blocks("python")
    expected = re.findall(r"^print\(.*\)\s+# (.*)$", example, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == expected


def test_the_library_example_is_ten_lines() -> None:
    [example] = blocks("python")
    statements = [line for line in example.splitlines() if line]
    assert len(statements) <= 10
