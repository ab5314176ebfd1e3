"""Removing temporary files that a crashed writer left behind, and never a live writer's.

A temporary file's name says for how long its writer may be at work. Its age is taken by one clock
only, the NameNode's: its modification time against the Date of the NameNode's answer.
"""

from __future__ import annotations

import time

from pannier.errors import PannierError
from pannier.webhdfs.listing import children
from pannier.webhdfs.names import TEMPORARY, lifetime_of
from pannier.webhdfs.records import FAILURES
from pannier.webhdfs.session import Session

EVERY_SECONDS = 3600.0
"""A store looks at its first write, and then at most this often, beside a write."""
MAX_SECONDS = 1.0
"""The longest a sweep holds a connection; the next one goes on."""


class Sweeper:
    """Says when a sweep is due, for all connections of one store."""

    def __init__(self, now: float) -> None:
        self._due = now

    def is_due(self, now: float) -> bool:
        """Whether to sweep now; asking puts the next sweep off."""
        if now < self._due:
            return False
        self._due = now + EVERY_SECONDS
        return True


def sweep(session: Session, base: str, seconds: float = MAX_SECONDS) -> int:
    """Delete temporary files older than their writers can be; how many were deleted.

    Whatever fails is left to the next sweep.
    """
    until = time.monotonic() + seconds
    directory = f"{base}/{TEMPORARY}"
    swept = 0
    after: str | None = None
    more = True
    try:
        server_time = session.ask("GET", "GETFILESTATUS", base or "/", until).server_time
        while more and server_time is not None:
            statuses, more = children(session, directory, after)
            for status in statuses:
                after = status.pathSuffix
                lifetime = lifetime_of(after)
                age = server_time - status.modificationTime / 1000
                if lifetime is None or age <= lifetime:
                    continue
                if time.monotonic() > until:
                    return swept
                session.ask("DELETE", "DELETE", f"{directory}/{after}", until)
                swept += 1
    except (*FAILURES, PannierError):
        pass
    return swept
