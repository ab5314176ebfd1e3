"""What a sidecar brings to a dial: its token, and whom it trusts. Reads files; no asyncio.

Both files change while the sidecar runs (the token rotates hourly, the CA before it expires), so
they are read at every dial. An error names the file, never a byte of what it holds.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from pathlib import Path
from typing import Final

MAX_TOKEN_BYTES: Final = 64 * 1024
MAX_CA_BYTES: Final = 1024 * 1024
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+")
"""What an Authorization header can carry: visible ASCII, no line end (RFC 9110 5.5)."""


class CredentialUnusable(ValueError):
    """A file that a dial cannot do with; the text says which and why."""


def read_token(path: Path) -> str:
    """The service account's token. Raises CredentialUnusable."""
    content = _read(path, MAX_TOKEN_BYTES, "token").strip()
    if _TOKEN.fullmatch(content) is None:
        raise CredentialUnusable(f"the token file {path} holds no token")
    return content.decode("ascii")


def trusting(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts the certificates of `ca_file` alone, and checks the server's name.

    Raises CredentialUnusable.
    """
    content = _read(ca_file, MAX_CA_BYTES, "CA")
    try:
        return ssl.create_default_context(cadata=content.decode("ascii"))
    except (ValueError, ssl.SSLError):
        raise CredentialUnusable(f"the CA file {ca_file} holds no certificate (PEM)") from None


def _read(path: Path, most: int, what: str) -> bytes:
    try:
        # Without O_NONBLOCK a named pipe would hang the sidecar.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialUnusable(
            f"the {what} file {path} cannot be read: {error.strerror}"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CredentialUnusable(f"the {what} file {path} is not a file")
        content = file.read(most + 1)
    if len(content) > most:
        raise CredentialUnusable(f"the {what} file {path} is larger than {most} bytes")
    return content
