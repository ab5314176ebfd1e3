"""Write `pannier/sync/{connectors,managers,stores}` from `pannier/aio`, or (`--check`) compare.

The async files are the source. A sync file is its source with the words of asynchrony taken out
(`await`, `async`), some names exchanged (SYNC_NAMES), `Awaitable[T]` become `T`, and `pannier.aio`
become `pannier.sync`; then ruff sorts its imports, drops the unused and lays it out. What differs
in more than words lives in hand-written modules that both sides have under the same names.
"""

from __future__ import annotations

import argparse
import difflib
import io
import subprocess
import sys
import tokenize
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sidecar" / "pannier"
FOLDERS = ("connectors", "managers", "stores")
AIO_ONLY = frozenset(f"stores/grouped_{name}.py" for name in ("cluster", "records", "redis"))
"""Files without a sync counterpart: the sidecar alone uses them."""

SYNC_NAMES = {
    "AsyncExitStack": "ExitStack",
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aclosing": "closing",
    "aio": "sync",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
}

Edit = tuple[int, int, str]
"""Replace the text from one offset to another."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file differs"
    )
    check = parser.parse_args().check
    with ThreadPoolExecutor() as pool:
        wanted = dict(zip(targets(), pool.map(generated, targets()), strict=True))
    stale = [path for path in committed() if path not in wanted]
    if check:
        return compared(wanted, stale)
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(ROOT)}")
    for path in stale:
        path.unlink()
        print(f"removed: {path.relative_to(ROOT)}")
    return 0


def compared(wanted: dict[Path, str], stale: list[Path]) -> int:
    """Print how the files at hand differ from `wanted`; the exit code."""
    failed = bool(stale)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: its source in pannier/aio is gone")
    for path, text in wanted.items():
        present = path.read_text() if path.exists() else ""
        name = str(path.relative_to(ROOT))
        lines = difflib.unified_diff(present.splitlines(), text.splitlines(), name, "generated")
        for line in lines:
            failed = True
            print(line)
    if failed:
        print("The sync side is not what ./dev sync would write.")
    return int(failed)


def targets() -> list[Path]:
    """The sync file of each async source."""
    sources = (
        path for folder in FOLDERS for path in sorted((PACKAGE / "aio" / folder).glob("*.py"))
    )
    names = (str(path.relative_to(PACKAGE / "aio")) for path in sources)
    return [PACKAGE / "sync" / name for name in names if name not in AIO_ONLY]


def committed() -> list[Path]:
    """The sync files that are there."""
    return [path for folder in FOLDERS for path in (PACKAGE / "sync" / folder).glob("*.py")]


def generated(target: Path) -> str:
    """The text of a sync file."""
    source = PACKAGE / "aio" / target.relative_to(PACKAGE / "sync")
    header = (
        f"# Generated from {source.relative_to(ROOT)} by tools/async_to_sync.py; do not edit.\n"
    )
    text = header + without_async(source.read_text())
    # C416: `[x async for x in y]` has become `[x for x in y]`, which is list(y).
    fixes = ("--fix-only", "--unsafe-fixes", "--select", "I,F401,C416")
    # Else ruff would sort by which files are there already.
    ours = ("--config", 'lint.isort.known-first-party = ["pannier"]')
    text = ruff(target, text, "check", *fixes, *ours)
    return ruff(target, text, "format")


def ruff(path: Path, text: str, *arguments: str) -> str:
    """What ruff makes of a text that stands for the file `path`."""
    command = ["ruff", *arguments, "--quiet", "--stdin-filename", str(path), "-"]
    command = [sys.executable, "-m", *command]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        sys.exit(f"ruff cannot read what {path.relative_to(ROOT)} would be:\n{done.stderr}")
    return done.stdout


def without_async(source: str) -> str:
    """A module's text with its asynchrony taken out."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    edits: list[Edit] = []
    brackets: list[bool] = []
    """For each open bracket, whether it is that of an `Awaitable[...]`, which goes with it."""
    for token, following in zip(tokens, tokens[1:] + tokens[-1:], strict=True):
        start = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        after = starts[following.start[0] - 1] + following.start[1]
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            edits.append((start, end, token.string.replace("pannier.aio", "pannier.sync")))
        elif token.type == tokenize.NAME and token.string in ("async", "await"):
            edits.append((start, after, ""))
        elif token.string == "Awaitable" and following.string == "[":
            edits.append((start, after + 1, ""))
            brackets.append(True)
        elif token.type == tokenize.NAME:
            edits.append((start, end, SYNC_NAMES.get(token.string, token.string)))
        elif token.string in ("(", "[", "{") and (not edits or edits[-1][1] != end):
            brackets.append(False)
        elif token.string in (")", "]", "}") and brackets.pop():
            edits.append((start, end, ""))
    for start, end, text in reversed(edits):
        source = source[:start] + text + source[end:]
    return source


if __name__ == "__main__":
    sys.exit(main())
