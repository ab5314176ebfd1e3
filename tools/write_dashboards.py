"""Write the chart's Grafana dashboards from `tools/dashboards`, or (`--check`) compare."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path

from dashboards.operator_board import operator_board
from dashboards.sidecars import sidecars

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "helm" / "pannier" / "dashboards"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file differs"
    )
    check = parser.parse_args().check
    wanted = {
        FOLDER / f"{board['uid']}.json": json.dumps(board, indent=2) + "\n"
        for board in (sidecars(), operator_board())
    }
    failed = False
    for path in sorted({*wanted, *FOLDER.glob("*.json")}):
        text = wanted.get(path)
        present = path.read_text() if path.exists() else None
        if text == present:
            continue
        name = str(path.relative_to(ROOT))
        if check:
            failed = True
            before, after = (present or "").splitlines(), (text or "").splitlines()
            print(*difflib.unified_diff(before, after, name, "generated", lineterm=""), sep="\n")
        elif text is None:
            path.unlink()
            print(f"removed: {name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {name}")
    if failed:
        print("The dashboards are not what tools/write_dashboards.py would write.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
