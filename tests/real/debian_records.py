"""Real records that nobody here made up: what Debian's package system knows on this machine.

Three kinds, each a schema: `packages` (a stanza of the package lists), `descriptions` (a stanza of
their translations) and `files` (an installed file and its MD5 sum). Only the first two stand on a
fresh machine's lists; `./dev test` fetches those where they are missing.

`python -m tests.real.debian_records SCHEMA` prints one schema as NDJSON for `pannier import`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LISTS = Path("/var/lib/apt/lists")
INSTALLED = Path("/var/lib/dpkg/info")
APT_HELPER = "/usr/lib/apt/apt-helper"

NUMBERS = frozenset({"Size", "Installed-Size"})
COMMA_LISTS = frozenset({"Depends", "Pre-Depends", "Recommends", "Suggests", "Tag"})


def real_records(schema: str) -> dict[str, bytes]:
    """Key -> JSON bytes of every record of one schema, in the order of its source.

    Skips the test where this is no Debian system.
    """
    if not Path(APT_HELPER).exists():
        pytest.skip("this is no Debian system: its package lists are the real data")
    source = {"packages": packages, "descriptions": descriptions, "files": installed_files}[schema]
    return dict(source())


def packages() -> Iterator[tuple[str, bytes]]:
    """One record for each package and version in the lists: numbers and lists as such."""
    for stanza in stanzas("*_Packages*"):
        record: dict[str, object] = dict(stanza)
        for name in NUMBERS & record.keys():
            record[name] = int(stanza[name])
        for name in COMMA_LISTS & record.keys():
            record[name] = [item.strip() for item in stanza[name].split(",")]
        yield "{Package}/{Version}/{Architecture}".format(**stanza), as_json(record)


def descriptions() -> Iterator[tuple[str, bytes]]:
    """One record for each English description that came with the lists."""
    for stanza in stanzas("*_Translation-en*"):
        yield stanza["Package"] + "/" + stanza["Description-md5"], as_json(stanza)


def installed_files() -> Iterator[tuple[str, bytes]]:
    """One record for each installed file whose MD5 sum its package gives."""
    for sums in sorted(INSTALLED.glob("*.md5sums")):
        for line in sums.read_text().splitlines():
            digest, _, path = line.partition("  ")
            if len(path.encode()) <= 512:
                yield path, as_json({"path": path, "md5": digest, "package": sums.stem})


def stanzas(pattern: str) -> Iterator[dict[str, str]]:
    """The stanzas of all matching lists, decompressed by apt itself, whatever form they are in."""
    for path in sorted(LISTS.glob(pattern)):
        listing = subprocess.run([APT_HELPER, "cat-file", path], check=True, capture_output=True)
        for stanza in listing.stdout.decode().split("\n\n"):
            fields: dict[str, str] = {}
            name = ""
            for line in stanza.splitlines():
                if line[:1].isspace():
                    fields[name] += "\n" + line[1:]
                elif line:
                    name, _, value = line.partition(":")
                    fields[name] = value.strip()
            if fields:
                yield fields


def as_json(record: object) -> bytes:
    """One record as it is stored: UTF-8, not escaped, so that real text goes through as text."""
    return json.dumps(record, ensure_ascii=False).encode()


def main() -> None:
    for key, record in real_records(sys.argv[1]).items():
        sys.stdout.buffer.write(b'{"key":%s,"record":%s}\n' % (as_json(key), record))


if __name__ == "__main__":
    main()
