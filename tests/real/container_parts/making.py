"""What images are made of: a base with Python, and the pinned packages as wheels.

Both are fetched once, as apt and pip are set up on this machine, and kept in the user's cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.real.container_parts.podman import Podman
from tests.real.programs import program

ROOT: Final = Path(__file__).resolve().parents[3]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pannier-tests"

BASE_PACKAGES: Final = "python3,python3-venv,ca-certificates"
PYTHON: Final = "/usr/bin/python3"
"""Debian's, the same as in the base image: wheels made with it fit there."""

STEP_SECONDS: Final = 900
"""For a step that fetches or builds, on a slow and busy machine."""


@contextmanager
def locked(name: str, how: int) -> Iterator[bool]:
    """Hold a lock of the cache; False where `how` says not to wait and another holds it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / name).open("w") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            yield False
        else:
            yield True


def base_image(podman: Podman) -> str:
    """The name of an image of this Debian release with Python, and nothing else asked for."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    digest = hashlib.sha256(f"{release} {BASE_PACKAGES}".encode()).hexdigest()
    name = f"localhost/pannier-tests-base:{release}-{digest[:8]}"
    with locked("containers-base.lock", fcntl.LOCK_EX):
        if podman.run("image", "exists", name).returncode != 0:
            rootfs = podman.home / "rootfs"
            shutil.rmtree(rootfs, ignore_errors=True)  # of a run that was interrupted
            try:
                bootstrap(release, rootfs)
                podman("import", str(tarred(rootfs)), name, seconds=STEP_SECONDS)
            finally:
                shutil.rmtree(rootfs, ignore_errors=True)
                rootfs.with_suffix(".tar").unlink(missing_ok=True)
    return name


def bootstrap(release: str, rootfs: Path) -> None:
    """Install the release into a folder, from where this machine has its own packages from."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages",
             f"Codename: {release}", "Component: main"]  # fmt: skip
    mirrors = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    command = [program("debootstrap"), "--variant=minbase", f"--include={BASE_PACKAGES}",
               release, str(rootfs), *mirrors[:1]]  # fmt: skip
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=STEP_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"debootstrap: {ended.stdout[-3000:]}"


def tarred(rootfs: Path) -> Path:
    """The folder as an archive, without the packages it was made of."""
    archive = rootfs.with_suffix(".tar")
    subprocess.run(
        ["tar", "--create", "--file", str(archive), "--directory", str(rootfs),
         "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "."],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return archive


def wheels() -> Path:
    """A folder with all that the images are made of, as wheels, fetched as pip is set up here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["operator"],
    ]
    pins = ROOT / "constraints.txt"
    digest = hashlib.sha256("\n".join([*wanted, pins.read_text()]).encode()).hexdigest()
    folder = CACHE / f"wheels-{digest[:16]}"
    with locked("containers-wheels.lock", fcntl.LOCK_EX):
        if not folder.exists():
            making = folder.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            for command in (
                [PYTHON, "-m", "venv", str(making / "venv")],
                [str(making / "venv/bin/pip"), "wheel", "--quiet", "--wheel-dir",
                 str(making / "wheels"), *wanted],
            ):  # fmt: skip
                subprocess.run(
                    command, check=True, timeout=STEP_SECONDS, stdin=subprocess.DEVNULL,
                    env={**os.environ, "PIP_CONSTRAINT": str(pins)},
                )  # fmt: skip
            (making / "wheels").rename(folder)
            shutil.rmtree(making)
    return folder
