"""What the tools that generate files share: write them, or with `--check` compare them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(
    wanted: Mapping[Path, str], *, present: Iterable[Path], description: str | None, differs: str
) -> int:
    """The exit code of a tool that generates the texts `wanted`, by their files.

    `present` are the files that are there; those that are not wanted are removed. With `--check`
    nothing is written: what differs is printed, `differs` after it, and the code is 1.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file differs"
    )
    check = parser.parse_args().check
    failed = False
    for path in sorted({*wanted, *present}):
        text = wanted.get(path)
        held = path.read_text() if path.exists() else None
        if text == held:
            continue
        name = str(path.relative_to(ROOT))
        if check:
            failed = True
            before, after = (held or "").splitlines(), (text or "").splitlines()
            print(*difflib.unified_diff(before, after, name, "generated", lineterm=""), sep="\n")
        elif text is None:
            path.unlink()
            print(f"removed: {name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {name}")
    if failed:
        print(differs)
    return int(failed)
