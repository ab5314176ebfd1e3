"""The programs of a real control plane, built once by Go into the user's cache and kept there.

`./dev test` builds before pytest starts (`python -m tests.real.kubernetes_parts`): it takes longer
than a test may. A test only looks where they are, and is skipped, with a line that says how to get
them, where they are not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.real.kubernetes_parts.toolchain import Go, fetch, new_enough

MODULE: Final = Path(__file__).parent
"""The Go module of no own code that names the programs and pins all they are made of."""

PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")

BUILT_AS: Final = {"server": "etcd"}
"""Go names a program by the last part of its package's path: etcd's is go.etcd.io/etcd/server."""

HOW_TO_GET: Final = (
    "Go is not here: as root, ./dev test installs it (apt-get install golang-go), and what it "
    "needs is built with it, once; or set KUBEBUILDER_ASSETS to a folder with etcd, "
    "kube-apiserver, kube-controller-manager, kubectl and helm"
)

NOT_BUILT: Final = "the control plane is not built yet: ./dev test does that, once (7 minutes)"
STEP_SECONDS: Final = 3600


class NotHere(Exception):
    """A program is not there, and why; the text says how to get it."""


def program(name: str) -> str:
    """The path of one of PROGRAMS; raises NotHere. It never builds."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).exists():
        return str(Path(assets) / name)
    path = folder_of(MODULE, cache()) / name
    if not path.exists():
        raise NotHere(NOT_BUILT)
    return str(path)


def missing() -> list[str]:
    """Which of PROGRAMS KUBEBUILDER_ASSETS does not bring."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    return [name for name in PROGRAMS if not assets or not (Path(assets) / name).exists()]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pannier-tests"


def folder_of(module: Path, cache: Path) -> Path:
    """Where the programs of a module are once they are built; its name holds all that makes them.

    Raises NotHere where there is no Go that can build them.
    """
    digest = hashlib.sha256()
    for part in (module / "go.mod", module / "go.sum"):
        digest.update(part.read_bytes() if part.exists() else b"")
    digest.update(f"{flags(module)} {go_of(cache).version}".encode())
    return cache / f"kubernetes-{digest.hexdigest()[:16]}"


def go_of(cache: Path) -> Go:
    """The Go that builds; raises NotHere where none can, or none is fetched yet."""
    found = new_enough(cache)
    if found is None:
        raise NotHere(HOW_TO_GET if shutil.which("go") is None else NOT_BUILT)
    return found


def flags(module: Path) -> list[str]:
    """What `go build` is told. Charts with a kubeVersion ask for the version written in here."""
    linked = "-s -w"
    found = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)", (module / "go.mod").read_text())
    if found:
        version, major, minor = found.groups()
        name = "k8s.io/component-base/version"
        linked += f" -X {name}.gitVersion=v{version}"
        linked += f" -X {name}.gitMajor={major} -X {name}.gitMinor={minor}"
    return ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", linked]


def build(module: Path, cache: Path, say: Callable[[str], None]) -> Path:
    """The folder with the module's programs; builds them where it is not there.

    Two builds at once build once: the second waits for the first. A build goes into a folder of
    another name and is renamed when it is whole, so that one that was interrupted leaves nothing
    half; the compiler's own cache (3 GB) is kept until then, so that the next goes on from there.
    """
    cache.mkdir(parents=True, exist_ok=True)
    if new_enough(cache) is None and shutil.which("go"):
        with locked(cache / "kubernetes.lock", say):
            fetch(cache, say)
    folder = folder_of(module, cache)
    if folder.is_dir():
        return folder
    with locked(cache / "kubernetes.lock", say):
        if folder.is_dir():
            return folder
        for left in cache.glob("kubernetes-partial-*"):
            shutil.rmtree(left, ignore_errors=True)  # nobody else builds: we hold the lock
        say("building etcd, kube-apiserver, kube-controller-manager, kubectl and helm: "
            "7 minutes on two cores, this once")  # fmt: skip
        partial = Path(tempfile.mkdtemp(prefix="kubernetes-partial-", dir=cache))
        compiled = cache / "kubernetes-compiled"
        go = go_of(cache)
        # The compiler collects its garbage less often: a quarter less CPU for a quarter more memory
        # (54 against 41 s, 360 against 460 MB, for k8s.io/apimachinery and k8s.io/api/apps).
        defaults = {"GOCACHE": str(compiled), "GOGC": "400"}
        environment = {**defaults, **go.environment, "CGO_ENABLED": "0"}
        done = subprocess.run(
            [go.path, "build", *flags(module), "-o", f"{partial}/", "tool"], cwd=module,
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=STEP_SECONDS,
        )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise RuntimeError(f"the control plane could not be built: {done.stderr[-3000:]}")
        for built, name in BUILT_AS.items():
            if (partial / built).exists():
                (partial / built).rename(partial / name)
        partial.chmod(0o755)
        partial.rename(folder)
        shutil.rmtree(compiled, ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of that file; says so where another holds it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that builds the control plane")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
