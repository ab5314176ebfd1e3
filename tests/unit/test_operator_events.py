"""What is news between two statuses, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from pannier_operator.events import MAX_NOTE, News, news


def status(ready: str, accepted: str = "True Accepted", message: str = "m") -> dict[str, Any]:
    return {
        "conditions": [
            {"type": name, "status": text.split()[0], "reason": text.split()[1], "message": message}
            for name, text in (("Ready", ready), ("Accepted", accepted))
        ]
    }


READY = status("True Ready")
SHARED = status("True Ready", "True SharedPrefix")
REFUSED = status("False Rejected")
PENDING = status("False Pending")
NO_SECRET = status("False SecretNotFound", "False SecretNotFound")

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = {
    "the first is ready": ({}, READY, [("Normal", "Ready")]),
    "the first is not": ({}, NO_SECRET, [("Warning", "SecretNotFound")]),
    "it stays ready": (READY, READY, []),
    "sidecars came": (status("True NoSidecars"), READY, []),
    "refused": (READY, REFUSED, [("Warning", "Rejected")]),
    "still refused": (REFUSED, status("False Rejected", message="another pod"), []),
    "refused, now for its Secret": (REFUSED, NO_SECRET, [("Warning", "SecretNotFound")]),
    "mended": (NO_SECRET, READY, [("Normal", "Ready")]),
    "under way": (READY, PENDING, [("Normal", "Pending")]),
    "came to share": (READY, SHARED, [("Warning", "SharedPrefix")]),
    "shares still": (SHARED, SHARED, []),
    "shares no more": (SHARED, READY, []),
    "the first shares": ({}, SHARED, [("Normal", "Ready"), ("Warning", "SharedPrefix")]),
    "nothing is said": ({}, {}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_news(name: str) -> None:
    before, after, expected = CASES[name]
    assert [(each.type, each.reason) for each in news(before, after)] == expected


def test_a_note_is_the_message_within_the_api_servers_bounds() -> None:
    assert news({}, READY) == [News("Normal", "Ready", "m")]
    (long,) = news({}, status("True Ready", message="é" * 1024))
    assert len(long.note.encode()) <= MAX_NOTE
    assert set(long.note) == {"é"}
