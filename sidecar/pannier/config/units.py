"""Durations and sizes as the configuration writes them: `1m30s`, `64Mi`. Pure.

The same words are used by the documents and by the sidecar's flags, and are those of the
StoreBackend resource, so that a file and the cluster cannot disagree.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

SHORTEST: Final = 0.001
"""Seconds: the shortest duration a document may ask for (1ms)."""
LONGEST: Final = 24 * 3600.0
"""Seconds: the longest duration a document may ask for (24h)."""

LARGEST: Final = 2**60
"""Bytes: the largest size (1Ei). Kubernetes silently cuts quantities that 64 bits do not hold."""

LONGEST_TEXT: Final = 64
"""Characters of a duration or a size, at most."""

DURATION: Final = r"([0-9]+(ms|s|m|h))+"
SIZE: Final = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?"
"""Both are regular expressions of RE2 too, in which the StoreBackend resource has them."""

_DURATION = re.compile(DURATION)
_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}

_SIZE = re.compile(SIZE)
_BYTES: Final[dict[str | None, int]] = {
    None: 1,  # no unit: bytes
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def parse_duration(text: str, *, shortest: float = SHORTEST, longest: float = LONGEST) -> float:
    """The seconds that `text` means. Raises ValueError, which says what to write instead."""
    if not _DURATION.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not a duration: write whole numbers with ms, s, m or h, "
            "such as 500ms, 5s or 1m30s"
        )
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"{_shown(text)} is too long: at most {format_duration(longest)}, "
            f"in at most {LONGEST_TEXT} characters"
        )
    # A number of more digits than a day has milliseconds is too long whatever its unit.
    parts = _PART.findall(text)
    if any(len(number.lstrip("0")) > 12 for number, _ in parts):
        seconds = float("inf")
    else:
        seconds = sum(int(number) * _MILLISECONDS[unit] for number, unit in parts) / 1000
    if seconds < shortest:
        raise ValueError(f"{_shown(text)} is too short: at least {format_duration(shortest)}")
    if seconds > longest:
        raise ValueError(f"{_shown(text)} is too long: at most {format_duration(longest)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write `seconds` that reads back as the same: 90.0 is `1m30s`."""
    left = round(seconds * 1000)
    parts = []
    for unit in ("h", "m", "s", "ms"):
        number, left = divmod(left, _MILLISECONDS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """The bytes that `text` means (`64Mi`, `1.5G`, `4096`), rounded up to a whole one.

    It takes Kubernetes' quantities with decimal and binary suffixes. Raises ValueError, which
    says what to write instead.
    """
    match = _SIZE.fullmatch(text) if len(text) <= LONGEST_TEXT else None
    if match is None:
        raise ValueError(
            f"{_shown(text)} is not a size: write bytes, or a number with Ki, Mi, Gi, k, M or G, "
            "such as 64Mi"
        )
    number, unit = match.groups()
    size = Decimal(number) * _BYTES[unit]
    if size > LARGEST:
        raise ValueError(f"{_shown(text)} is too large: at most {format_size(LARGEST)}")
    whole = int(size)
    return whole if whole == size else whole + 1


def format_size(size: int) -> str:
    """A short way to write `size` bytes that reads back as the same: 67108864 is `64Mi`."""
    for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def _shown(text: str) -> str:
    """`text` in quotes, cut to what fits in a message."""
    return f'"{text}"' if len(text) <= 40 else f'"{text[:40]}..."'
