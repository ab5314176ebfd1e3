"""The whole `.status` of a StoreBackend: what holds of it, why, and what to do. Pure.

It is made anew each time from the resource, how it was resolved and how it fares in the sidecars;
the status before only says since when a condition holds. `pannier_operator.status` writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pannier_operator.tally import Rejection, Tally
from pannier_operator.wanted import WantedStore

MAX_MESSAGE: Final = 1024
"""Characters of a condition's message."""
MAX_DETAIL: Final = 256
"""Characters of what a sidecar said, where it is quoted."""
MAX_REJECTIONS: Final = 5
SETTLE: Final = 1.0
"""Seconds for which a sidecar that has just connected may be about to answer: see `patience`."""

GATHERING: Final = 20.0
"""Seconds after which sidecars have dialed a new leader: they back off with jitter while there is
none. Until then one that is not connected is not taken for gone: kubectl wait would return."""
GATHERING_REASON: Final = "Reconnecting"

CONDITIONS: Final = ("Ready", "Accepted", "Synced", "Reachable")
"""In the order they are shown."""

Holds = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a StoreBackend cannot be resolved now: what `Accepted` says."""

    reason: str
    """InvalidSpec, SecretNotFound, SecretNotLabelled, SecretKeyMissing or SecretMalformed."""
    message: str
    """What is wrong and what to do, without a credential."""


@dataclass(frozen=True, slots=True)
class _Condition:
    holds: Holds
    reason: str
    message: str


def status_of(
    resource: Mapping[str, Any],
    resolved: WantedStore | Unresolved,
    tally: Tally | None,
    *,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    shares_with: Collection[tuple[str, str]] = (),
    gathering: bool = False,
) -> dict[str, Any]:
    """The status of `resource`, as a JSON object.

    `tally` is how it fares in the sidecars, None where nobody counted (yet). `before` is the status
    the resource has. `shares_with` are namespace and name of the StoreBackends whose records lie in
    the same place. `gathering` says that this operator has led for less than `GATHERING`: sidecars
    that the status before speaks of have yet to dial it.
    """
    tally = tally or Tally()
    before = before or {}
    awaited = max(0, _known(before) - tally.connected - tally.lost) if gathering else 0
    namespace = resource["metadata"]["namespace"]
    # What was resolved may be older than the resource: a status never speaks of a generation that
    # it was not made from, and kubectl wait compares each condition's observedGeneration.
    observed = (
        resolved.generation
        if isinstance(resolved, WantedStore)
        else resource["metadata"].get("generation", 1)
    )
    accepted = _accepted(resolved, sorted(shares_with), namespace)
    synced = _synced(accepted, tally, awaited)
    reachable = _reachable(tally)
    found = {
        "Ready": _ready(accepted, synced, reachable),
        "Accepted": accepted,
        "Synced": synced,
        "Reachable": reachable,
    }
    if synced.reason == GATHERING_REASON and _was_synced(before, observed):
        # A change of the leader is no news of the store: what was said of this generation stands.
        return dict(before)
    earlier = {each.get("type"): each for each in before.get("conditions") or ()}
    return {
        "observedGeneration": observed,
        "conditions": [
            _written(name, found[name], observed, now, earlier.get(name)) for name in CONDITIONS
        ],
        "sidecars": {
            "connected": tally.connected,
            "synced": tally.synced,
            "pending": tally.pending,
            "rejected": tally.rejected,
            "reachable": tally.reachable,
            # Who has yet to dial a new leader is lost until it does; the next look knows them so.
            "lost": tally.lost + awaited,
        },
        "synced": f"{tally.synced}/{tally.connected}",
        "rejections": [_rejection(each) for each in tally.rejections[:MAX_REJECTIONS]],
    }


def condition(status: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """The condition `name` of a status; empty where it has none."""
    for each in (status or {}).get("conditions") or ():
        if each.get("type") == name:
            found: Mapping[str, Any] = each
            return found
    return {}


def patience(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> float:
    """Seconds that writing `after` may wait, in case it passes by itself.

    A sidecar that has just connected is pending until it has answered, within half a second. In a
    namespace whose pods come and go, Ready would flap with each. Nothing waits that concerns a new
    generation, says what is wrong, or tells good news.
    """
    was, is_now = condition(before, "Synced"), condition(after, "Synced")
    passes = (
        was.get("status") == "True"
        and is_now.get("reason") == "Pending"
        and was.get("observedGeneration") == is_now.get("observedGeneration")
    )
    return SETTLE if passes else 0.0


# Each condition -----------------------------------------------------------------------------------


def _accepted(
    resolved: WantedStore | Unresolved, shares_with: Sequence[tuple[str, str]], namespace: str
) -> _Condition:
    if isinstance(resolved, Unresolved):
        return _Condition(
            "False",
            resolved.reason,
            f"{_sentence(resolved.message, MAX_MESSAGE - 200)} Until then nothing is pushed: "
            "sidecars that run an earlier configuration of this store serve on with it.",
        )
    if shares_with:
        # A tenant learns that others are there, not what they are called.
        named = [name for other, name in shares_with if other == namespace]
        strangers = len(shares_with) - len(named)
        others = [f"StoreBackend {name}" for name in named[:3]]
        if len(named) > 3:
            others.append(f"{len(named) - 3} more of this namespace")
        if strangers:
            others.append(f"{strangers} of other namespaces")
        return _Condition(
            "True",
            "SharedPrefix",
            "The spec is valid and its Secrets are found. Its records lie on the same server, "
            f"database and prefix as those of {' and '.join(others)}: each reads and "
            "overwrites the other's. If that is not wanted, make a StoreBackend with a keyPrefix "
            "of its own and move the records with pannier export | pannier import.",
        )
    return _Condition("True", "Accepted", "The spec is valid and its Secrets are found.")


def _known(before: Mapping[str, Any]) -> int:
    """How many sidecars the status before speaks of."""
    counts = before.get("sidecars") or {}
    numbers = [counts.get(name) for name in ("connected", "lost")]
    return sum(each for each in numbers if isinstance(each, int))


def _was_synced(before: Mapping[str, Any], observed: int) -> bool:
    was = condition(before, "Synced")
    return was.get("status") == "True" and was.get("observedGeneration") == observed


def _synced(accepted: _Condition, tally: Tally, awaited: int) -> _Condition:
    if accepted.holds != "True":
        return _Condition(
            "False",
            "NotAccepted",
            "Nothing is pushed while the resource is not accepted; see the condition Accepted.",
        )
    if awaited and not (tally.rejected or tally.pending):
        return _Condition(
            "False",
            GATHERING_REASON,
            f"The operator that leads has begun a moment ago; {_counted(awaited)} that the one "
            "before it served have not dialed it yet. It shows by itself which come back.",
        )
    if not tally.connected:
        lost = f" {_counted(tally.lost)} lost in the last 15 minutes." if tally.lost else ""
        return _Condition(
            "True",
            "NoSidecars",
            f"No sidecar that is to have this store is connected.{lost} It is pushed to each that "
            "connects. Pods that should be here: check that they have a sidecar, and its log.",
        )
    if tally.rejected:
        first = tally.rejections[0] if tally.rejections else None
        example = f": {_quoted(first)}" if first else "."
        return _Condition(
            "False",
            "Rejected",
            f"{_of(tally.rejected, tally)} refused this configuration and serve on with what they "
            f"had{example} Correct the spec as the message says.",
        )
    if tally.pending or tally.synced < tally.connected:
        return _pending(tally)
    return _Condition("True", "Synced", f"{_of(tally.synced, tally)} run this generation.")


def _pending(tally: Tally) -> _Condition:
    missing = max(tally.pending, tally.connected - tally.synced)
    if not tally.pendings:
        return _Condition(
            "False",
            "Pending",
            f"{_of(missing, tally)} have not answered yet. If this lasts, look into their logs "
            "and at the alert that their stream is down.",
        )
    first = tally.pendings[0]
    unreachable = first.code == "backend-unavailable"
    advice = (
        "They try again by themselves: check that the backend is up, its address in the spec, and "
        "the NetworkPolicies between the pods and it."
        if unreachable
        else "They try again by themselves; if this lasts, do what the message says."
    )
    return _Condition(
        "False",
        "BackendUnreachable" if unreachable else "Pending",
        f"{_of(missing, tally)} have not put this configuration in force: {_quoted(first)} "
        f"{advice}",
    )


def _reachable(tally: Tally) -> _Condition:
    if not tally.connected:
        return _Condition(
            "Unknown", "NoSidecars", "No sidecar is connected that could say it. Nothing to do."
        )
    if tally.unreachable:
        told = next((e for e in tally.pendings if e.code == "backend-unavailable"), None)
        example = f": {_quoted(told)}" if told else "."
        everywhere = tally.unreachable >= tally.connected
        advice = (
            "Check that the backend is up, and the NetworkPolicies between the pods and it."
            if everywhere
            else "Others reach it: look at the nodes and NetworkPolicies of those pods."
            if tally.reachable
            else "Check that the backend is up."
        )
        return _Condition(
            "False",
            "BackendUnreachable" if everywhere else "PartlyUnreachable",
            f"{_of(tally.unreachable, tally)} do not reach the backend{example} {advice}",
        )
    if tally.reachable:
        return _Condition(
            "True", "Reachable", f"{_of(tally.reachable, tally)} said that the backend answers."
        )
    return _Condition(
        "Unknown",
        "NotReported",
        f"None of {_counted(tally.connected)} has said yet whether the backend answers.",
    )


def _ready(accepted: _Condition, synced: _Condition, reachable: _Condition) -> _Condition:
    # The first that fails names the cause: the others follow from it.
    for each in (accepted, synced, reachable):
        if each.holds == "False":
            return _Condition("False", each.reason, each.message)
    if synced.reason == "NoSidecars":
        return _Condition("True", "NoSidecars", synced.message)
    shared = accepted.reason == "SharedPrefix"
    note = " It shares its place with another one: see the condition Accepted." if shared else ""
    return _Condition("True", "Ready", f"Every connected sidecar serves this generation.{note}")


# Words --------------------------------------------------------------------------------------------


def _written(
    name: str, found: _Condition, observed: int, now: datetime, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    since = _timestamp(now)
    if before and before.get("status") == found.holds and before.get("lastTransitionTime"):
        since = before["lastTransitionTime"]
    return {
        "type": name,
        "status": found.holds,
        "observedGeneration": observed,
        "lastTransitionTime": since,
        "reason": found.reason,
        "message": _printable(found.message, MAX_MESSAGE),
    }


def _timestamp(now: datetime) -> str:
    """As metav1.Time is written: UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of(number: int, tally: Tally) -> str:
    return f"{number} of {_counted(tally.connected)}"


def _counted(number: int) -> str:
    return "1 sidecar" if number == 1 else f"{number} sidecars"


def _quoted(rejection: Rejection) -> str:
    shown = _rejection(rejection)
    return _sentence(f"pod {shown['pod']} says {shown['code']}: {shown['message']}", 600)


def _rejection(rejection: Rejection) -> dict[str, str]:
    return {
        "pod": _printable(rejection.pod, 253),
        "code": _printable(rejection.code, 64),
        "message": _printable(rejection.message, MAX_DETAIL),
    }


def _printable(text: str, limit: int) -> str:
    """`text` on one line, without anything that would move a terminal's cursor."""
    shown = text
    if not text.isprintable():
        shown = "".join(each if each.isprintable() else " " for each in text)
    shown = shown.strip()
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _sentence(text: str, limit: int) -> str:
    shown = _printable(text, limit)
    return shown if shown.endswith((".", "!", "?", "…")) else f"{shown}."
