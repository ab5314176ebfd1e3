"""The page of a StoreBackend's status: its fields, and every reason of every condition.

Which reasons there are is read from the code that gives them, what they mean from
`reference.reasons`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any, Final, get_args

from crd.status import COLUMNS, CONDITION, STATUS

from pannier_operator import conditions, resolving
from pannier_operator.conditions import CONDITIONS
from reference.markdown import code, page, sentence, table
from reference.reasons import REASONS

CONDITION_OF: Final = {
    "_ready": "Ready",
    "_accepted": "Accepted",
    "_synced": "Synced",
    "_pending": "Synced",
    "_reachable": "Reachable",
}
"""Function of `pannier_operator.conditions` -> the condition it gives."""

ABOUT: Final = (
    "`kubectl get storebackends` shows it in columns, `kubectl describe storebackend NAME` in "
    "full, with the events. Only the operator writes it, at most once a second."
)
ABOUT_CONDITIONS: Final = (
    "Each has `status` (True, False or Unknown), `observedGeneration`, `lastTransitionTime`, "
    "`reason` and a `message` that names what is wrong and says what to do. Ready repeats the "
    "reason and the message of the first of the others that is False. An event of the same reason "
    "is written when Ready changes, or is False for another reason."
)
ABOUT_REJECTIONS: Final = (
    "`status.rejections` quotes at most five sidecars that refused the configuration: their `pod`, "
    "a `code`, which is `invalid-config` or one of [the problem codes](problems.md), and a "
    "`message`."
)

Case = tuple[str, str, str]
"""Condition, status, reason."""


def status_page() -> str:
    """The page."""
    cases = list(dict.fromkeys(cases_of_the_code()))
    wrong = set(cases) ^ set(REASONS)
    assert not wrong, f"tools/reference/reasons.py: without words, or words for nothing: {wrong}"
    parts = [
        ABOUT,
        table(
            ("column", "meaning"),
            [
                [str(each["name"]), str(each.get("description", "How long it has been there."))]
                for each in COLUMNS
            ],
        ),
        "With `-o wide` there is Reason too.",
        "## Fields",
        table(("field", "meaning"), list(fields("", STATUS))),
        "## Conditions",
        sentence(CONDITION["properties"]["type"]["description"]),  # type: ignore[index]
        ABOUT_CONDITIONS,
    ]
    for condition in CONDITIONS:
        rows = [
            [code(reason), holds, *REASONS[condition, holds, reason]]
            for each, holds, reason in cases
            if each == condition
        ]
        parts += [
            f"### {condition}",
            table(("reason", "status", "means", "what to do"), rows),
        ]
    parts += [
        "## Rejections",
        ABOUT_REJECTIONS,
    ]
    return page("Status of a StoreBackend", *parts)


def fields(path: str, schema: dict[str, Any]) -> Iterator[list[str]]:
    for name, each in schema["properties"].items():
        yield [code(path + name), each["description"]]
        if each["type"] == "object":
            yield from fields(f"{path}{name}.", each)


def cases_of_the_code() -> Iterator[Case]:
    """Every condition the operator can give, in the order of the code."""
    for function in ast.parse(inspect.getsource(conditions)).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_Condition":
                holds, reason = node.args[0], node.args[1]
                if isinstance(holds, ast.Constant):
                    for each in reasons_in(reason):
                        yield CONDITION_OF[function.name], str(holds.value), each


def reasons_in(value: ast.expr) -> list[str]:
    """What an expression for a reason may come to."""
    if isinstance(value, ast.IfExp):
        return [*reasons_in(value.body), *reasons_in(value.orelse)]
    if isinstance(value, ast.Constant):
        return [str(value.value)]
    text = ast.unparse(value)
    if text == "resolved.reason":
        return list(get_args(resolving.Reason))
    if text == "each.reason":
        return []  # Ready repeats another's
    return [getattr(conditions, text)]
