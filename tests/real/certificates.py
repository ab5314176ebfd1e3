"""A small certificate authority, made by the openssl command, for servers that speak TLS."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.real.programs import program


@dataclass(frozen=True)
class Certificates:
    """PEM files. The server's certificate is for localhost, 127.0.0.1 and redis.test."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path
    other_ca: Path
    """A CA that signed none of them."""
    expired_ca: Path
    """The CA that signed them, as it would be if its time were over since yesterday."""


def make_certificates(directory: Path, authority: str = "ca") -> Certificates:
    """Make them all, valid for two days, with EC keys (0.1 s altogether).

    `authority` is the CA's name: two of one name cannot be trusted at once.
    """
    _authority(directory, "ca", authority)
    _authority(directory, "other-ca", "other-ca")
    _expired(directory, authority)
    _signed(directory, "server", "DNS:localhost,DNS:redis.test,IP:127.0.0.1")
    _signed(directory, "client", "DNS:client.test")
    return Certificates(
        ca=directory / "ca.crt",
        server_cert=directory / "server.crt",
        server_key=directory / "server.key",
        client_cert=directory / "client.crt",
        client_key=directory / "client.key",
        other_ca=directory / "other-ca.crt",
        expired_ca=directory / "expired-ca.crt",
    )


def _authority(directory: Path, name: str, subject: str) -> None:
    _openssl(
        directory,
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.crt",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip


def _expired(directory: Path, subject: str) -> None:
    """The CA once more, with the same key, ended."""
    extensions = directory / "expired-ca.cnf"
    extensions.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
    _openssl(
        directory,
        "req", "-new", "-key", "ca.key", "-subj", f"/CN={subject}", "-out", "expired-ca.csr",
    )  # fmt: skip
    _openssl(
        directory,
        "x509", "-req", "-in", "expired-ca.csr", "-signkey", "ca.key", "-days", "-1",
        "-extfile", str(extensions), "-out", "expired-ca.crt",
    )  # fmt: skip


def _signed(directory: Path, name: str, alternatives: str) -> None:
    _openssl(
        directory,
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt",
        "-CA", "ca.crt", "-CAkey", "ca.key", "-addext", f"subjectAltName={alternatives}",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        [program("openssl"), *arguments], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
