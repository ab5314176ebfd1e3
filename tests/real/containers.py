"""The images of the Dockerfile, built by podman, and pods to run them in.

The base image comes from Debian's packages, for no registry of images is asked; the packages come
from a folder of wheels, so that a build needs no network and is the same every time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from tests.real.container_parts.making import (
    CACHE,
    ROOT,
    STEP_SECONDS,
    base_image,
    locked,
    wheels,
)
from tests.real.container_parts.podman import Pod, Podman
from tests.real.programs import program

OFFLINE: Final = "[global]\nno-index = true\nfind-links = /wheels\n"
"""pip's configuration inside a build: the wheels are there, the network is not."""


class Images:
    """The images of the Dockerfile, built as a user builds them, but for where pip fetches from."""

    def __init__(self, podman: Podman) -> None:
        self.podman = podman
        self.base = base_image(podman)
        self.wheels = wheels()

    def build(self, target: str) -> str:
        """Build a target of the Dockerfile; the image's id.

        The stages it takes layers from are named too, so that `forget_old` lets them be.
        """
        for stage in ("dependencies", f"{target}-environment"):
            self._build(stage)
        return self._build(target)

    def build_anew(self, target: str) -> str:
        """The same without anything that was built before."""
        return self._build(target, "--no-cache")

    def _build(self, target: str, *options: str) -> str:
        """Times are fixed, and there is no network."""
        pip = self.podman.home / "pip.conf"
        pip.write_text(OFFLINE)
        identity = self.podman(
            "build", "--quiet", "--layers", "--target", target, "--timestamp", "0",
            "--network", "none", "--tag", f"pannier-{target}", "--build-arg", f"BASE={self.base}",
            "--secret", f"id=pip,src={pip}", "--volume", f"{self.wheels}:/wheels:ro",
            *options, str(ROOT), seconds=STEP_SECONDS,
        )  # fmt: skip
        return identity.splitlines()[-1]

    def size(self, image: str) -> int:
        """Bytes of its files, the base's included."""
        found: int = self.podman.inspect("image", image)["Size"]
        return found

    def forget_old(self) -> None:
        """Remove what an older Dockerfile or source left, unless another run may need it."""
        with locked("containers-use.lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            if alone:
                self.podman("image", "prune", "--force", seconds=STEP_SECONDS)


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """What builds the Dockerfile's images; skips the test, saying why, where it cannot."""
    for name in ("podman", "runc", "debootstrap", "catatonit"):
        program(name)
    if os.geteuid() != 0:
        pytest.skip("containers are run as root, as ./dev test installs what they need")
    with locked("containers-use.lock", fcntl.LOCK_SH):
        made = Images(Podman(CACHE / "containers"))
        yield made
    with contextlib.suppress(subprocess.TimeoutExpired):
        made.forget_old()


@pytest.fixture
def pod(images: Images) -> Iterator[Pod]:
    """A pod of the test's own; all its containers are removed at the end."""
    made = Pod(images.podman)
    yield made
    made.remove()
