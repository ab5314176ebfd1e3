"""What sidecars say in words is hostile until it is short, printable and on one line. Pure."""

from __future__ import annotations

import re
from typing import Final

MOST_CHARACTERS: Final = 256
"""Of a message that is shown in a status or a log."""

_CODE: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_MOST_OF_A_CODE: Final = 64


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """`text` on one line, without control, format or surrogate characters, at most `most` long."""
    text = text[: 4 * most]  # the rest could not be shown: no need to look at it
    # str.isprintable is False for every control, format and bidirectional character (Cc, Cf, Cs).
    shown = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def code(text: str) -> str:
    """`text` if it is a problem code (lower case, hyphens), else "unknown"."""
    return text if len(text) <= _MOST_OF_A_CODE and _CODE.match(text) else "unknown"
