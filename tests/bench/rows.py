"""The rows of a benchmark: what was measured, what was wanted, and how the two compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

TOLERANCE = 0.9
"""A target is missed where the ratio is below this: machines and runs differ."""


@dataclass(kw_only=True)
class Row:
    """One measurement. What does not apply is None."""

    subject: str
    operation: str
    concurrency: int | None = None
    requests_per_cpu_second: float | None = None
    """Requests (of a batch or an export: records) by the user and system time of the process."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    measured: str | None = None
    """In words, where it is neither a rate nor a latency."""
    target: str | None = None
    ratio: float | None = None
    """How much of the target was reached: 1 is exactly met, more is better."""

    def document(self) -> dict[str, object]:
        """The row for `--json`."""
        return asdict(self)


def missed(rows: Sequence[Row]) -> list[Row]:
    """The rows whose target was missed by more than the tolerance."""
    return [row for row in rows if row.ratio is not None and row.ratio < TOLERANCE]


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    head = ("subject", "operation", "c", "per CPU s", "p50 ms", "p99 ms", "measured", "target",
            "ratio")  # fmt: skip
    lines = [head, *(cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    aligned = [
        "  ".join(
            cell.rjust(width) if place in (2, 3, 4, 5, 8) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def cells(row: Row) -> tuple[str, ...]:
    """The texts of one row."""
    verdict = ""
    if row.ratio is not None:
        verdict = f"{row.ratio:.2f}" + ("" if row.ratio >= 1 else " ~" if row.ratio >= TOLERANCE
                                        else " MISSED")  # fmt: skip
    return (
        row.subject,
        row.operation,
        "" if row.concurrency is None else str(row.concurrency),
        "" if row.requests_per_cpu_second is None else f"{row.requests_per_cpu_second:,.0f}",
        "" if row.p50_ms is None else f"{row.p50_ms:.2f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.2f}",
        row.measured or "",
        row.target or "",
        verdict,
    )
