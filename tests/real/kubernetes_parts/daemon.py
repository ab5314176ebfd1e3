"""One process of the control plane: started, killed, paused, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.real.processes import die_with_parent


class Daemon:
    """A program that runs until it is killed, with a log of its own."""

    def __init__(self, name: str, command: Sequence[str], home: Path) -> None:
        self.name = name
        self.command = list(command)
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The pid of the running process; 0 where it does not run."""
        return self.process.pid if self.process and self.process.poll() is None else 0

    def start(self) -> None:
        """Start it; it is not ready yet when this returns."""
        assert not self.pid, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                preexec_fn=die_with_parent, process_group=0,  # Ctrl-C is for the tests alone
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL; the process is gone when this returns. A dead one may be killed again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def last_words(self) -> str:
        """The end of its log, for a failure's message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name} ---\n{text[-2000:]}"
