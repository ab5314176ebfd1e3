"""The file that keeps the last good configuration across a restart of the container.

It holds credentials, so it is for a volume in memory that the sidecar alone mounts: mode 0600,
replaced in one step, and read only if it is a plain file of this user that nobody else may read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from pathlib import Path
from typing import Final

from pannier.config.stream.last_good import Kept, Moment, Unusable, decode, encode
from pannier.config.stream.messages import MAX_SNAPSHOT_BYTES

log = logging.getLogger("pannier.config")

MAX_BYTES: Final = 2 * MAX_SNAPSHOT_BYTES
"""The largest file that is read: a snapshot, with older entries of some stores."""
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class LastGoodFile:
    """Reads, writes and drops one file; a fault of it is logged and never stops the sidecar."""

    def __init__(self, path: Path, *, operator: str, max_age: float) -> None:
        self._path = path
        self._operator = operator
        self._max_age = max_age

    def read(self) -> Kept | None:
        """What it holds, if that may be used now. What may not is left for the next writing."""
        try:
            content = self._content()
            if content is None:
                return None
            return decode(content, operator=self._operator, now=now(), max_age=self._max_age)
        except (Unusable, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            log.warning("the kept configuration %s is not used: %s", self._path, reason)
            return None

    def write(self, kept: Kept) -> bool:
        """Replace it in one step; False, and a line in the log, where that cannot be done."""
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
                file.write(encode(kept))
            # Not synced: it is to survive this process, not the machine.
            os.replace(fresh, self._path)
        except OSError as error:
            log.warning("the configuration cannot be kept in %s: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                fresh.unlink()
            return False
        return True

    def drop(self) -> None:
        """Remove it, if it is there."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("the kept configuration %s cannot be removed: %s", self._path, error.strerror)
            return
        log.warning("the kept configuration %s was removed", self._path)

    def _content(self) -> bytes | None:
        """Its bytes; None where there is none. Raises Unusable and OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Unusable("it is not a file")
            if found.st_uid != os.geteuid():
                raise Unusable("it belongs to another user")
            if found.st_mode & 0o077:
                raise Unusable("others may read it, so they may have written it")
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Unusable(f"it is larger than {MAX_BYTES} bytes")
        return content


def now() -> Moment:
    """This moment by both clocks."""
    try:
        boot = BOOT_ID.read_text().strip()
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):  # not Linux
        boot, up = "", 0.0
    return Moment(wall=time.time(), boot=boot, up=up)
