"""What all tests share: skips that count as failures on demand, and no process left behind."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = [
    "tests.real.hdfs",
    "tests.real.kubernetes",
    "tests.real.redis",
    "tests.real.redis_cluster",
    "tests.real.redis_sentinel",
    "tests.real.containers",  # after redis, of which it imports
]
"""The fixtures of the real parts, one set for the whole run."""

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphaned grandchildren become our children, so that we see them at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped or expectedly failing test is a failure (what CI asks for)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell, as CI may be: what a test starts would inherit it,
        # and the tests of Ctrl-C would wait in vain.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("no_skips"):
        fail_a_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if collector.config.getoption("no_skips"):
        fail_a_skip(report)
    return report


def fail_a_skip(report: Any) -> None:
    """Make a skip of a test or of a whole module a failure with the skip's reason."""
    if report.outcome != "skipped":
        return
    reason = getattr(report, "wasxfail", None) or report.longrepr
    if isinstance(reason, tuple):
        path, line, reason = reason
        reason = f"{path}:{line}: {reason}"
    report.__dict__.pop("wasxfail", None)
    report.outcome = "failed"
    report.longrepr = f"no test may be skipped here (--no-skips): {reason}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if a process that a test started outlives it; stop that process."""
    left = children_alive()
    for pid, command in left:
        session.config.get_terminal_writer().line(f"\nleft running by a test: {pid} {command}")
        os.kill(pid, signal.SIGKILL)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def children_alive() -> list[tuple[int, str]]:
    """Our children that still run, but for the standard library's own resource tracker."""
    pids = [
        int(pid)
        for children in Path("/proc/self/task").glob("*/children")
        for pid in children.read_text().split()
    ]
    alive = []
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        # A zombie has no command line any more; it runs nothing.
        if command and "multiprocessing.resource_tracker" not in command:
            alive.append((pid, command.strip()))
    return alive
