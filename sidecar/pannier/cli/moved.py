"""What an export or import has moved so far: counted, shown as it goes, and said at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pannier.cli.endings import complain


@dataclass(slots=True)
class Moved:
    """The figures of one move. `verb` is what was done to the records: exported, imported."""

    verb: str
    records: int = 0
    bytes: int = 0
    present: int = 0
    """Left as they are, because they were there already (import in mode insert)."""
    refused: int = 0
    compared: int | None = None
    """Compared afterwards; None where nobody asked for it."""
    different: int = 0
    complete: bool = False
    started: float = field(default_factory=time.monotonic)

    def sentence(self) -> str:
        """`exported 3 records (1.2 kB) in 0.1 s`, and what else there is to say."""
        seconds = time.monotonic() - self.started
        parts = [f"{self.verb} {counted(self.records)} ({sized(self.bytes)}) in {seconds:.1f} s"]
        if self.present:
            parts.append(f"{self.present} were there already")
        if self.refused:
            parts.append(f"{self.refused} refused")
        if self.compared is not None:
            equal = "all equal" if not self.different else f"{self.different} differ"
            parts.append(f"{counted(self.compared)} compared, {equal}")
        if not self.complete:
            parts.append("not complete")
        return "; ".join(parts)

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            self.verb: self.records,
            "bytes": self.bytes,
            "present": self.present,
            "refused": self.refused,
            "compared": self.compared,
            "different": self.different,
            "seconds": round(time.monotonic() - self.started, 3),
            "complete": self.complete,
        }

    @contextmanager
    def said(self, *, as_json: bool, on_output: bool) -> Iterator[None]:
        """Say at the end what was moved, however it ends.

        In words it goes to standard error; as JSON to standard output (`on_output`), unless that
        carries the records.
        """
        try:
            yield
        finally:
            if not as_json:
                complain(self.sentence())
            else:
                line = msgspec.json.encode(self.document()).decode()
                print(line, file=sys.stdout if on_output else sys.stderr, flush=True)


@contextmanager
def progress(
    moved: Moved, what: str, total: int | None, *, shown: bool
) -> Iterator[Callable[[], None]]:
    """A bar on standard error while the body runs, if it is to be `shown`.

    The body calls what it is given after each step; the bar's own thread draws it.
    """
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, figures="")

        def show() -> None:
            done = moved.records + moved.present + moved.refused
            bar.update(task, completed=done, figures=f"{counted(done)}, {sized(moved.bytes)}")

        yield show


def counted(records: int) -> str:
    """`1 record`, `3 records`."""
    return f"{records} record{'' if records == 1 else 's'}"


def sized(size: float) -> str:
    """Bytes for a person: `1.2 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
