"""The process's log: lines for a person or for a machine, a repeated trouble once a second.

The sidecar and the operator share it. A line may name what it is about (`extra={"resource": ..}`).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

MOST_KEPT = 256
"""Different troubles remembered at once; past it all are forgotten."""


class OnceASecond(logging.Filter):
    """Lets each warning or error through once a second, and says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        about = getattr(record, "resource", "")
        trouble = (record.name, record.levelno, f"{about} {record.msg}")
        last, left_out = self._seen.get(trouble, (0.0, 0))
        if 0 <= record.created - last < 1:
            self._seen[trouble] = (last, left_out + 1)
            return False
        if len(self._seen) >= MOST_KEPT:
            self._seen.clear()
        self._seen[trouble] = (record.created, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like it)"
        return True


class TextFormat(logging.Formatter):
    """`2026-11-23 14:02:11.123 warning pannier.server: what happened`; where a line is about one
    resource, its name comes before what happened, `[default/shop]`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        resource = getattr(record, "resource", None)
        about = f"[{resource}] " if resource is not None else ""
        line = f"{moment} {record.levelname.lower()} {record.name}: {about}{record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormat(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        import msgspec

        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        resource = getattr(record, "resource", None)
        if resource is not None:
            document["resource"] = resource
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document).decode()


def configure(form: Literal["text", "json"], level: str) -> None:
    """Send the process's log to standard error in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormat() if form == "json" else TextFormat())
    handler.addFilter(OnceASecond())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
