"""The jars of a real HDFS, fetched once by Maven into the user's cache and kept there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.real.programs import program

POM = Path(__file__).with_name("pom.xml")
FETCH_SECONDS = 540


def hadoop_classpath() -> str:
    """The classpath of Hadoop's jars; fetches them (65 MB) where the cache lacks them.

    The folder's name holds the pom's hash, so that a changed pom fetches anew. It is filled under
    another name and renamed when complete, under a lock: two test runs at once fetch once.
    Skips the test, with a line that says how to get it, where there is no JDK or no Maven.
    """
    program("java")
    maven = program("mvn")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pannier-tests"
    cache.mkdir(parents=True, exist_ok=True)
    jars = cache / f"hadoop-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"
    with (cache / "hadoop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            fetch(maven, jars)
    return str(jars / "*")


def fetch(maven: str, jars: Path) -> None:
    """Let Maven copy the pom's dependencies into `jars`."""
    partial = Path(tempfile.mkdtemp(prefix="hadoop-partial-", dir=jars.parent))
    command = [
        maven, "-B", "-ntp", "-q", "-f", str(POM), "dependency:copy-dependencies",
        "-DincludeScope=runtime", f"-DoutputDirectory={partial}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"Maven could not fetch Hadoop: {done.stdout[-2000:]}")
        partial.rename(jars)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
