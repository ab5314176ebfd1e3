"""UUIDs of version 7 (RFC 9562 section 5.7): the keys of records inserted without one."""

from __future__ import annotations

import os
import time
import uuid


def uuid7() -> str:
    """A new UUID whose first 48 bits are the milliseconds since the epoch, the rest random."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
