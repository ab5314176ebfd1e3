"""A real sidecar process, started by the `pannier` command as a user starts it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.programs import free_port

PANNIER = Path(sys.executable).with_name("pannier")
"""The command as `pip install` put it beside this Python."""

START_SECONDS = 20.0
STOP_SECONDS = 30.0


@dataclass
class Sidecar:
    """A running sidecar and where it listens on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path
    """Everything it prints."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send `sign` if it still runs, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def sidecar(
    directory: Path, *arguments: str, wait: bool = True, command: Path = PANNIER
) -> Iterator[Sidecar]:
    """Start `pannier sidecar ARGUMENTS` on free ports; stop it at the end.

    Returns once it is ready (`wait=False`: once it was started). Its log is in `directory`.
    `command` is what to run for `pannier`.
    """
    port, admin_port = free_port(), free_port()
    log = directory / f"sidecar-{port}.log"
    line = [str(command), "sidecar", "--listen", f"127.0.0.1:{port}",
            "--admin-listen", f"127.0.0.1:{admin_port}", *arguments]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if "PANNIER" not in name}
    with log.open("wb") as output:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            process_group=0,  # Ctrl-C is for the tests alone
        )  # fmt: skip
    running = Sidecar(process, port, admin_port, log)
    try:
        if wait:
            wait_until_ready(running)
        yield running
    finally:
        try:
            running.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_until_ready(running: Sidecar) -> None:
    """Return once every store of the sidecar is ready; raise with its log if it never is."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the sidecar did not become ready:\n{running.log.read_text()}")
        connection = http.client.HTTPConnection("127.0.0.1", running.admin_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            with connection.getresponse() as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(0.02)
