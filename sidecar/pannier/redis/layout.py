"""Where records live in Redis: the names of hashes, and the layout record that guards them. Pure.

A schema is one hash, `<key_prefix><schema>`, or with buckets `<key_prefix><schema>:<bucket>`, the
bucket being crc32 of the key modulo their number: so one schema can span a cluster. No schema
name holds a colon, so names of the two kinds, and the layout record's, never collide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

from pannier.errors import BackendRefused

LAYOUT = 1
MAX_BUCKETS = 16384

_PREFIX = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_SCHEMA = r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})"
_PLAIN = re.compile(_SCHEMA)
_BUCKETED = re.compile(_SCHEMA + r":(0|[1-9][0-9]{0,4})")


class RedisLayout:
    """The names under one key prefix with one number of buckets; neither can change later."""

    __slots__ = ("buckets", "prefix", "record")

    def __init__(self, prefix: str, buckets: int) -> None:
        """Raises ValueError for a prefix or a number of buckets that breaks the rules."""
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"key_prefix has 1 to 64 of A-Z a-z 0-9 _ . : / -, which {prefix!r} has not."
            )
        if not 1 <= buckets <= MAX_BUCKETS:
            raise ValueError(f"hash_buckets is from 1 to {MAX_BUCKETS}, not {buckets}.")
        self.prefix = prefix
        self.buckets = buckets
        self.record = f"{prefix}:layout"
        """The hash that says how this prefix is laid out: `layout` 1, `buckets` N."""

    def hash_of(self, schema: str, key: str) -> str:
        """The hash in which the record is."""
        if self.buckets == 1:
            return self.prefix + schema
        return f"{self.prefix}{schema}:{crc32(key.encode()) % self.buckets}"

    def place_of(self, schema: str, key: str) -> str:
        """A record as an error names it: by its own names and by its key in Redis."""
        return f"{schema}/{key} (Redis key {self.hash_of(schema, key)})"

    def hash_at(self, schema: str, bucket: int) -> str:
        """The hash of one bucket, from 0 on."""
        return self.prefix + schema if self.buckets == 1 else f"{self.prefix}{schema}:{bucket}"

    def hashes_of(self, schema: str) -> list[str]:
        """All hashes of a schema, in the order of their buckets."""
        return [self.hash_at(schema, bucket) for bucket in range(self.buckets)]

    def owner_of(self, name: str) -> tuple[str, int] | None:
        """The schema and bucket of a hash; None where it is not one of ours."""
        if not name.startswith(self.prefix):
            return None
        pattern = _PLAIN if self.buckets == 1 else _BUCKETED
        match = pattern.fullmatch(name, len(self.prefix))
        if match is None:
            return None
        bucket = int(match[2]) if self.buckets > 1 else 0
        return (match[1], bucket) if bucket < self.buckets else None

    @property
    def pattern(self) -> str:
        """A glob for SCAN that every hash of ours matches (no prefix holds a glob's character)."""
        return self.prefix + "*"

    def check(self, found: Sequence[bytes | None]) -> bool:
        """Whether the layout record, read as [layout, buckets], is there.

        Raises BackendRefused where it says that the data is laid out otherwise: reading it with
        another number of buckets would look for most records in the wrong hash.
        """
        version, buckets = found
        if version is None or buckets is None:
            return False
        if version != str(LAYOUT).encode():
            raise BackendRefused(
                f"{self.record} says layout {_text(version)}, and this version of Pannier reads "
                f"layout {LAYOUT}: use the version that wrote it."
            )
        if buckets != str(self.buckets).encode():
            raise BackendRefused(
                f"The data under {self.prefix!r} was written with hash_buckets={_text(buckets)} "
                f"(see {self.record}), not {self.buckets}: set hash_buckets to "
                f"{_text(buckets)}, or use another key_prefix."
            )
        return True


def _text(value: bytes) -> str:
    return value[:20].decode("ascii", "replace")
