"""A directory of secrets, `DIR/<name>/<key>`, as Kubernetes mounts them. Reads files; no asyncio.

Kubernetes makes `<key>` a symbolic link through `..data`, which it swaps when the Secret changes:
links are followed, but never out of DIR. An error names the reference, never a byte of what the
file holds.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from pannier.config.documents import SecretRef
from pannier.config.names import is_secret_key, is_subdomain

MAX_BYTES: Final = 1024 * 1024
"""The largest value: as much as a Secret can hold."""

Stamp = tuple[int, int, int, int] | None
"""What tells one state of a file from the next without reading it; None: it is not there."""


class SecretUnusable(ValueError):
    """A reference that cannot be resolved; the text says why and never what the file holds."""


def read_secret(directory: Path | None, ref: SecretRef) -> str:
    """The text behind `ref`, without its last line end. Raises SecretUnusable."""
    path = _path(directory, ref)
    try:
        # Without O_NONBLOCK a named pipe in the directory would hang the sidecar.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SecretUnusable(f"the secret {ref} is missing: there is no file {path}") from None
    except OSError as error:
        raise SecretUnusable(f"the secret {ref} cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SecretUnusable(f"the secret {ref} is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SecretUnusable(f"the secret {ref} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return _text(content, ref)


def stamp_of(path: Path) -> Stamp:
    """The present state of a file, links followed; None where it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def stamp_of_secret(directory: Path | None, ref: SecretRef) -> Stamp:
    """The present state of the file behind `ref`."""
    return stamp_of(directory / ref.name / ref.key) if directory is not None else None


def _path(directory: Path | None, ref: SecretRef) -> Path:
    """The file behind `ref`, links resolved and inside `directory`."""
    if directory is None:
        raise SecretUnusable(f"the secret {ref} is asked for: say where it is with --secrets-dir")
    # The grammar has no separator and no "..", so only links could lead out.
    if not (is_subdomain(ref.name) and is_secret_key(ref.key)):
        raise SecretUnusable("the reference breaks the grammar of secret names")
    try:
        root = Path(os.path.realpath(directory, strict=True))
    except OSError as error:
        raise SecretUnusable(
            f"the secret {ref} cannot be read: the directory {directory}: {error.strerror}"
        ) from None
    try:
        path = Path(os.path.realpath(root / ref.name / ref.key))
    except OSError as error:
        raise SecretUnusable(f"the secret {ref} cannot be read: {error.strerror}") from None
    if not path.is_relative_to(root):
        raise SecretUnusable(f"the secret {ref} is a link that leads out of {directory}")
    return path


def _text(content: bytes, ref: SecretRef) -> str:
    if len(content) > MAX_BYTES:
        raise SecretUnusable(f"the secret {ref} is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretUnusable(f"the secret {ref} is not text in UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        raise SecretUnusable(f"the secret {ref} is empty")
    if "\x00" in text:
        raise SecretUnusable(f"the secret {ref} holds a NUL character")
    return text
