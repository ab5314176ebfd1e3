"""A sidecar's refusals back as the errors they were on the other side. Pure."""

from __future__ import annotations

from typing import Any

from pannier import errors, json_text
from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    InvalidRecord,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
)
from pannier.http_answers import Answer, AnswerLost

_NOT_NOW = frozenset(("draining", "overloaded", "not-ready"))
"""Codes of a sidecar that cannot serve at the moment; nothing was done."""
_OWN_MEMBERS = frozenset(("type", "title", "status", "detail", "code"))


def _classes() -> dict[tuple[str, str], type[PannierError]]:
    """Every error by code and title; also by code alone, where the first defined stands."""
    found: dict[tuple[str, str], type[PannierError]] = {}
    for error in PannierError.__subclasses__():
        if error.__module__ == errors.__name__:
            found[error.code, error.title] = error
            found.setdefault((error.code, ""), error)
    return found


_CLASSES = _classes()


def error_of_code(code: str, detail: str, title: str = "", **fields: Any) -> PannierError:
    """The error that has this code on the wire."""
    known = _CLASSES.get((code, title)) or _CLASSES.get((code, ""))
    if known is None:
        known = BackendUnavailable if code in _NOT_NOW else BackendRefused
    return known(detail, **fields)


def problem_of(answer: Answer) -> dict[str, Any]:
    """The problem document of a refusal; empty where it is none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        document = json_text.parse_state(answer.body)
    except InvalidRecord:
        return {}
    return document if isinstance(document, dict) else {}


def error_of(answer: Answer, where: str, *, write: bool) -> PannierError:
    """The error of an answer that is no success. `where` names what was asked for."""
    problem = problem_of(answer)
    code = problem.get("code")
    if not isinstance(code, str) or code == "internal":
        said = f"The sidecar answered {answer.status} to the request for {where}."
        if answer.status < 500:
            return BackendRefused(said)
        # It may have failed after it had done the work.
        return OutcomeUnknown(said) if write else BackendUnavailable(said)
    fields = {name: value for name, value in problem.items() if name not in _OWN_MEMBERS}
    return error_of_code(
        code, str(problem.get("detail", "")), str(problem.get("title", "")), **fields
    )


def error_of_loss(lost: AnswerLost, where: str, *, write: bool) -> PannierError:
    """The error of an answer that did not come."""
    if not lost.sent:
        return BackendUnavailable(f"{where}: the sidecar is not reached ({lost.reason}).")
    if write:
        return OutcomeUnknown(
            f"{where}: the write was sent and not answered ({lost.reason}); read the record to "
            "see whether it was done."
        )
    if lost.timed_out:
        return OperationTimeout(f"{where}: the sidecar gave {lost.reason}.")
    return BackendUnavailable(f"{where}: the connection to the sidecar was lost ({lost.reason}).")
