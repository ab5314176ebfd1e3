"""The one script's promises: what is done is not done twice, half done is not done, errors pass.

Python is a stand-in here that notes what it is asked to do, so that each of these takes a moment
and no network; the real thing is what CI does before this test runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = """#!/usr/bin/env bash
echo "$*" >>calls
case "$*" in
"-m venv "*)
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    printf '#!/bin/sh\\necho "pannier $*"; exit 7\\n' >.venv/bin/pannier
    chmod +x .venv/bin/pannier
    ;;
"-m pip install "*)
    # No child of its own: bash forgets a SIGINT that its child survived.
    [ ! -e pip-hangs ] || { : >pip-runs; exec sleep 60; }
    [ ! -e pip-fails ] || exit 1
    ;;
-V*) echo "Python 3.11.99 $(cat version 2>/dev/null)" ;;
esac
"""


class Checkout:
    """A checkout whose Python only notes what it is asked to do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        for name in ("dev", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, directory / name)
        self.python = directory / "python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.directory / "dev", *arguments],
            cwd="/", env={**os.environ, "PYTHON": str(self.python)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
        )  # fmt: skip

    def dev(self, *arguments: str) -> tuple[int, str, str]:
        """Run `./dev ARGUMENTS`; its exit code, output and messages."""
        process = self.start(*arguments)
        output, messages = process.communicate(timeout=30)
        return process.returncode, output, messages

    def installations(self) -> int:
        calls = self.directory / "calls"
        return calls.read_text().count("-m pip install") if calls.exists() else 0

    def holds(self, name: str) -> bool:
        return (self.directory / name).exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a path with spaces")


def test_arguments_and_the_exit_code_are_handed_through(checkout: Checkout) -> None:
    code, output, messages = checkout.dev("run", "--listen", "localhost:4000")
    assert (code, output) == (7, "pannier sidecar --listen localhost:4000\n")
    assert "making .venv" in messages
    assert "installing" in messages


def test_what_is_made_is_not_made_again(checkout: Checkout) -> None:
    checkout.dev("run")
    _, _, messages = checkout.dev("run")
    assert checkout.installations() == 1
    assert "installing" not in messages


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", "version"])
def test_a_change_of_what_it_is_made_of_makes_it_anew(checkout: Checkout, changed: str) -> None:
    checkout.dev("run")
    with (checkout.directory / changed).open("a") as file:
        file.write("# another\n")
    checkout.dev("run")
    assert checkout.installations() == 2


def test_a_checkout_that_was_moved_is_made_anew(checkout: Checkout, tmp_path: Path) -> None:
    checkout.dev("run")
    checkout.directory = checkout.directory.rename(tmp_path / "elsewhere")
    checkout.python = checkout.directory / "python"
    checkout.dev("run")
    assert checkout.installations() == 2


def test_a_failed_installation_is_said_and_tried_again(checkout: Checkout) -> None:
    (checkout.directory / "pip-fails").touch()
    code, output, messages = checkout.dev("run")
    assert (code, output) == (1, "")
    assert "could not be installed" in messages
    (checkout.directory / "pip-fails").unlink()
    assert checkout.dev("run")[0] == 7
    assert checkout.installations() == 2


def test_an_interrupted_installation_is_done_again(checkout: Checkout) -> None:
    (checkout.directory / "pip-hangs").touch()
    process = checkout.start("run")
    while not checkout.holds("pip-runs"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in messages
    (checkout.directory / "pip-hangs").unlink()
    assert checkout.dev("run")[0] == 7
    assert checkout.installations() == 2


def test_two_at_once_install_once(checkout: Checkout) -> None:
    both = [checkout.start("run"), checkout.start("run")]
    for process in both:
        process.communicate(timeout=30)
    assert [process.returncode for process in both] == [7, 7]
    assert checkout.installations() == 1


def test_an_unknown_command_is_a_usage_error(checkout: Checkout) -> None:
    code, output, messages = checkout.dev("rnu")
    assert (code, output) == (2, "")
    assert messages.startswith("usage: ./dev COMMAND")


def test_help_names_every_command(checkout: Checkout) -> None:
    code, output, _ = checkout.dev("help")
    assert code == 0
    for command in ("run", "test", "lint", "demo", "bench", "sync", "lock"):
        assert f"\n  {command} " in output
