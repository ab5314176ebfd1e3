"""What a sidecar says of its stores to the operator, and no more than it may. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import structs

from pannier.config.stream.messages import MAX_REPORT_BYTES, Applied, State, StoreReport, encode

if TYPE_CHECKING:
    from pannier.config.keeper import End
    from pannier.config.served import StoreState

LONGEST_MESSAGE: Final = 256
"""Characters of a message: as many as a StoreBackend's status shows."""


def report_of(end: End | None, state: StoreState) -> StoreReport:
    """What became of one store's configuration, and whether the backend that serves answers."""
    reachable = {"ready": True, "unavailable": False}.get(state)
    if end is None:
        return StoreReport(state="pending", message="It is being opened.", reachable=reachable)
    if end.state == "applied":
        return StoreReport(state="applied", reachable=reachable)
    return StoreReport(
        state=end.state,
        code=end.code,
        message=printable(end.message, LONGEST_MESSAGE),
        reachable=reachable,
    )


def changes(
    before: Mapping[str, StoreReport], now: Mapping[str, StoreReport]
) -> dict[str, StoreReport]:
    """Those of `now` that the operator does not know yet."""
    return {name: report for name, report in now.items() if before.get(name) != report}


def fitting(report: Applied | State) -> bytes:
    """The message's bytes; with a great many stores at fault, without what each one says."""
    message = encode(report)
    if len(message) <= MAX_REPORT_BYTES:
        return message
    short = {name: structs.replace(each, message="") for name, each in report.stores.items()}
    if isinstance(report, Applied):
        return encode(structs.replace(report, stores=short, warnings=[]))
    return encode(structs.replace(report, stores=short))


def printable(text: str, longest: int) -> str:
    """`text` in one line, without control characters, cut to `longest`."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."
