"""Pannier's own version, as it was installed. Imports nothing of ours."""

from __future__ import annotations

from functools import cache


@cache
def installed_version() -> str:
    """The distribution's version, or "unknown" where Pannier runs without being installed.

    importlib.metadata takes milliseconds to import, so it is imported at the first question.
    """
    from importlib import metadata

    try:
        return metadata.version("pannier")
    except metadata.PackageNotFoundError:
        return "unknown"
