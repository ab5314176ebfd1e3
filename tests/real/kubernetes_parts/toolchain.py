"""The Go that builds the control plane: the machine's, or a newer one by way of it.

Kubernetes wants a newer Go than Debian 12 has (1.19). Go's releases are modules too
(golang.org/toolchain), with checksums in Go's public log as those of every module, so any Go can
fetch another. A Go of 1.21 or later would do that by itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEAST: Final = (1, 26)
FETCHED: Final = "1.26.8"
"""The release that is fetched where the machine's is older than LEAST."""

STEP_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Go:
    """One Go: the path of its command, and what it calls itself and its platform."""

    path: str
    version: str

    @property
    def environment(self) -> dict[str, str]:
        """What it is to be started with: the user's settings, but for those of another Go."""
        kept = {name: value for name, value in os.environ.items() if name != "GOROOT"}
        return kept | {"GOWORK": "off", "GOTOOLCHAIN": "local"}


def new_enough(cache: Path) -> Go | None:
    """A Go that can build: the machine's, or the one that was fetched into `cache`."""
    for path in (shutil.which("go"), str(cache / f"go-{FETCHED}" / "bin" / "go")):
        if path is None or not Path(path).exists():
            continue
        version = version_of(path)
        found = re.match(r"go(\d+)\.(\d+)", version)
        if found and tuple(map(int, found.groups())) >= LEAST:
            return Go(path, version)
    return None


def version_of(go: str) -> str:
    """Its version, system and architecture, such as "go1.26.8 linux amd64"."""
    done = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], env=Go(go, "").environment, cwd="/",
        capture_output=True, text=True, check=False, timeout=STEP_SECONDS,
    )  # fmt: skip
    return " ".join(done.stdout.split()) if done.returncode == 0 else ""


def fetch(cache: Path, say: Callable[[str], None]) -> None:
    """Let the machine's old Go fetch FETCHED into `cache`, as a module; the caller holds the lock.

    Raises RuntimeError with what it printed.
    """
    if new_enough(cache) is not None:
        return
    go = shutil.which("go")
    assert go is not None
    version, system, architecture = version_of(go).split()
    say(f"fetching Go {FETCHED} (80 MB), since {version} is too old for Kubernetes")
    module = f"golang.org/toolchain@v0.0.1-go{FETCHED}.{system}-{architecture}"
    done = subprocess.run(
        [go, "mod", "download", "-json", module], env=Go(go, version).environment, cwd=cache,
        capture_output=True, text=True, check=False, timeout=STEP_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"Go {FETCHED} could not be fetched: {done.stdout}{done.stderr}")
    partial = Path(tempfile.mkdtemp(prefix="kubernetes-partial-", dir=cache))
    try:
        made = partial / "go"
        shutil.copytree(json.loads(done.stdout)["Dir"], made)
        make_usable(made)
        made.rename(cache / f"go-{FETCHED}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_usable(toolchain: Path) -> None:
    """What the go command does with such a module: modules hold neither modes nor a go.mod inside.

    Source: cmd/go/internal/toolchain, `Exec`.
    """
    for folder, _, files in os.walk(toolchain):
        here = Path(folder)
        here.chmod(0o755)
        runs = here == toolchain / "bin" or here.is_relative_to(toolchain / "pkg" / "tool")
        for name in files:
            (here / name).chmod(0o755 if runs else 0o644)
    inner = toolchain / "src" / "_go.mod"
    if inner.exists():
        inner.rename(toolchain / "src" / "go.mod")
