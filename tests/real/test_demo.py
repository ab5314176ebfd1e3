"""`./dev demo`: what a newcomer runs works, and leaves nothing running, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.kubernetes_parts.building import NotHere
from tests.real.kubernetes_parts.building import program as built
from tests.real.processes import wait_until
from tests.real.programs import program

SECONDS = 240


@pytest.fixture(autouse=True)
def programs() -> None:
    """Skipped, with a line that says how to get them, where the programs are not there."""
    program("redis-server")
    program("openssl")
    try:
        built("kube-apiserver")
    except NotHere as reason:
        pytest.skip(str(reason))


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The demo in a session of its own, by which all that it starts can be found."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.demo", *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "TMPDIR": str(log.parent)},
        )  # fmt: skip


def left_of(session: int) -> list[str]:
    """The commands of the processes of that session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(fields[3]) == session and command:
            found.append(command)
    return found


def test_the_demo_shows_the_whole_loop_once_and_ends_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    demo = start(log, "--once")
    assert demo.wait(SECONDS) == 0, log.read_text()
    printed = log.read_text()
    assert re.search(r"shop +redis +True +3/3", printed), printed
    assert printed.count("answered 201") == 3
    assert "the edited pool is in force in every sidecar" in printed
    assert "reached every sidecar; the old password is gone" in printed
    wait_until(lambda: not left_of(demo.pid), 10, "nothing it started is left")
    assert not list(tmp_path.glob("pannier-demo-*"))


@pytest.mark.parametrize("when", ["starting", "running"])
def test_ctrl_c_ends_all_of_it_at_any_moment(tmp_path: Path, when: str) -> None:
    log = tmp_path / "demo.log"
    demo = start(log)
    said = "starting a Redis" if when == "starting" else "Ctrl-C ends all of it"

    def has_said() -> bool:
        assert demo.poll() is None, log.read_text()
        return said in log.read_text()

    wait_until(has_said, SECONDS, f"the demo says: {said}")
    if when == "running":
        assert "export KUBECONFIG=" in log.read_text()
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    wait_until(lambda: not left_of(demo.pid), 10, "nothing it started is left")
    assert not list(tmp_path.glob("pannier-demo-*"))
