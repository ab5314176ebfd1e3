"""How a command ends: its exit code, and the sentence it says on standard error."""

from __future__ import annotations

import os
import sys
from typing import Final

REFUSED: Final = 1
"""The sidecar, or the backend behind it, said no; or what was checked is wrong."""
UNREACHABLE: Final = 3
"""No sidecar answered."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells report it (128 + SIGINT)."""


class Ending(Exception):
    """The command ends here, with a code and a sentence (none: all is said already)."""

    def __init__(self, code: int, said: str = "") -> None:
        super().__init__(said)
        self.code = code


def complain(said: str) -> None:
    """Say on standard error what went wrong."""
    print(f"pannier: {said}", file=sys.stderr)


def drop_output() -> None:
    """Let the interpreter's last flush go nowhere: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
