"""The script that writes the sync side: what it exchanges, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tools import async_to_sync

CASES = [
    ("async def f() -> int:\n    return await g()\n", "def f() -> int:\n    return g()\n"),
    ("async with a.b() as c, d:\n    pass\n", "with a.b() as c, d:\n    pass\n"),
    ("x = [a async for a in b]\n", "x = [a for a in b]\n"),
    ("async def __aenter__(self): ...\n", "def __enter__(self): ...\n"),
    ("from pannier.aio.stores import base\n", "from pannier.sync.stores import base\n"),
    ('"""Of `pannier.aio`, to await."""\n', '"""Of `pannier.sync`, to await."""\n'),
    ("# see pannier.aio.http_wire\n", "# see pannier.sync.http_wire\n"),
    ("f: Callable[[X], Awaitable[T]]\n", "f: Callable[[X], T]\n"),
    ("f: Awaitable[dict[str, list[int]]]\n", "f: dict[str, list[int]]\n"),
    ("it: AsyncIterator[R] = await anext(w)\n", "it: Iterator[R] = next(w)\n"),
    ("await self.aclose()\n", "self.close()\n"),
    ('s = "await async aio"\n', 's = "await async aio"\n'),
    ("awaited = asynchronous = 1\n", "awaited = asynchronous = 1\n"),
    ("(await a)[0]; {await b: [await c]}\n", "(a)[0]; {b: [c]}\n"),
]


@pytest.mark.parametrize(("source", "result"), CASES)
def test_the_words_of_asynchrony_are_taken_out(source: str, result: str) -> None:
    assert async_to_sync.without_async(source) == result


def test_the_committed_sync_side_is_what_the_script_writes() -> None:
    script = Path(async_to_sync.__file__)
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_difference_or_a_file_without_a_source_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same, other, stale = (async_to_sync.ROOT / name for name in ("LICENSE", "README.md", "x.py"))

    assert async_to_sync.compared({same: same.read_text()}, []) == 0
    assert async_to_sync.compared({other: "something else\n"}, []) == 1
    assert "+something else" in capsys.readouterr().out
    assert async_to_sync.compared({}, [stale]) == 1
