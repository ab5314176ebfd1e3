"""The programs the real parts are made of: where they are, or a skip that says how to get them.

`./dev test` installs all of them where it may; so a skip from here is only seen without it.
"""

from __future__ import annotations

import shutil
import socket

import pytest

DEBIAN_PACKAGES = {
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "redis-sentinel": "redis-sentinel",
    "curl": "curl",
    "krb5kdc": "krb5-kdc",
    "kdb5_util": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
    "openssl": "openssl",
    "chromium": "chromium",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "podman": "podman",
    "runc": "runc",
    "catatonit": "catatonit",
    "debootstrap": "debootstrap",
    "java": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "webdis": "webdis",
    "wrk": "wrk",
}
"""Program -> the Debian package that brings it. `dev` holds the same packages."""


def program(name: str) -> str:
    """The path of an installed program; skips the test, saying how to get it, where it is not."""
    path = shutil.which(name)
    if path is None:
        package = DEBIAN_PACKAGES[name]
        pytest.skip(
            f"{name} is not installed: ./dev test installs it as root (apt-get install {package})"
        )
    return path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now.

    The kernel does not give the same port again soon, so two tests at once do not collide.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
