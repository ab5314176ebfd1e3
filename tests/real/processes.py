"""What every process of a test needs: to die with the run, and somebody who waits for it."""

from __future__ import annotations

import ctypes
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In the child: be killed when the test run is (prctl(2)), so that nothing outlives it."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(
    holds: Callable[[], object], seconds: float, what: str, *, interval: float = 0.05
) -> None:
    """Return once `holds()` is true; AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(interval)


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
