"""A configuration from a file of documents and a directory of secrets. Reads files; no asyncio."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pannier.config.configuration import Configuration
from pannier.config.documents import SecretRef, StoreBackend, secret_refs
from pannier.config.problems import ConfigurationRefused, Problem, listing
from pannier.config.reading import Reading, read_text
from pannier.config.resolving import all_refs, resolve
from pannier.config.secrets import Stamp, stamp_of, stamp_of_secret
from pannier.config.yaml_documents import MAX_BYTES


@dataclass(slots=True)
class FileSource:
    """The documents of `path`, with their secrets in `secrets_dir`."""

    path: Path
    secrets_dir: Path | None = None
    _refs: set[SecretRef] = field(default_factory=set)
    _running: dict[str, bytes] = field(default_factory=dict)
    """A digest of the last good document of each store."""
    problems: list[Problem] = field(default_factory=list)
    """What was wrong at the last reading."""
    state_read: tuple[Stamp, ...] = ()
    """The state that the last reading began with: a later one means that there is news."""

    def state(self) -> tuple[Stamp, ...]:
        """The present state of the file and of every secret it refers to."""
        secrets = sorted(self._refs, key=str)
        return (
            stamp_of(self.path),
            *(stamp_of_secret(self.secrets_dir, ref) for ref in secrets),
        )

    def read(self) -> Configuration:
        """Read everything anew. Raises ConfigurationRefused where not even a name can be told."""
        before = stamp_of(self.path)
        self.state_read = (before,)
        reading = read_text(read_file(self.path))
        self._refs = all_refs(reading.documents)
        self.state_read = (before, *self.state()[1:])
        stores = resolve(reading, self.secrets_dir)
        self.problems = reading.problems
        if not stores and not reading.refused:
            raise ConfigurationRefused(str(self.path), reading.problems)
        named = stores.keys() | reading.refused
        kept = self._running if not reading.complete else {}
        self._running = {
            **kept,
            **{name: digest for name, digest in self._running.items() if name in named},
            **{name: self._digest(store.document) for name, store in stores.items()},
        }
        return Configuration(
            version=self._version(),
            source="file",
            stores=stores,
            refused={name: reading.refusal_of(name) for name in sorted(reading.refused)},
            refused_types={
                name: kind for name, kind in reading.types.items() if name in reading.refused
            },
            complete=reading.complete,
            error=self._error(reading),
        )

    def _error(self, reading: Reading) -> str | None:
        return "\n".join(listing(self.path.name, reading.problems)) or None

    def _digest(self, document: StoreBackend) -> bytes:
        """A digest over the document and the state of its secrets' files.

        Never over what they hold: a version is shown, and a password could be guessed from it.
        """
        digest = hashlib.sha256(msgspec.json.encode(document))
        for _, ref in secret_refs(document):
            stamp = stamp_of_secret(self.secrets_dir, ref)
            device, inode, modified, _ = stamp if stamp is not None else (0, 0, 0, 0)
            digest.update(f"{ref} {device} {inode} {modified}\n".encode())
        return digest.digest()

    def _version(self) -> str:
        digest = hashlib.sha256()
        for name, document in sorted(self._running.items()):
            digest.update(name.encode() + b"\x00" + document)
        return digest.hexdigest()[:16]


def read_file(path: Path) -> bytes:
    """What the file holds, up to a little more than it may. Raises ConfigurationRefused."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(line=None, field="", message=f"the file cannot be read: {reason}")
        raise ConfigurationRefused(str(path), [problem]) from None
