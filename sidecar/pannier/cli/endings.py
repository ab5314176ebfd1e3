"""How a command ends: its exit code, and the sentence it says on standard error."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

REFUSED: Final = 1
"""The sidecar, or the backend behind it, said no; or what was checked is wrong."""
UNREACHABLE: Final = 3
"""No sidecar answered."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells report it (128 + SIGINT)."""


CODES: Final = {UNREACHABLE: "unreachable", INTERRUPTED: "interrupted"}
"""What the endings are called in JSON that have no code of their own; the others: `refused`."""


class Ending(Exception):
    """The command ends here, with a code and a sentence (none: all is said already)."""

    def __init__(self, code: int, said: str = "", problem_code: str = "") -> None:
        super().__init__(said)
        self.code = code
        self.problem_code = problem_code or CODES.get(code, "refused")

    def document(self) -> dict[str, Any]:
        """The same as JSON: a problem document, or as much of one as there is."""
        return {"code": self.problem_code, "detail": str(self)}


def complain(said: str) -> None:
    """Say on standard error what went wrong."""
    print(f"pannier: {said}", file=sys.stderr)


def complain_as_json(document: dict[str, Any]) -> None:
    """Say the same as one JSON object on a line."""
    import msgspec

    print(msgspec.json.encode(document).decode(), file=sys.stderr)


def drop_output() -> None:
    """Let the interpreter's last flush go nowhere: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
