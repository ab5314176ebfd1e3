"""Write the chart's Grafana dashboards from `tools/dashboards`, or (`--check`) compare."""

from __future__ import annotations

import json
import sys

from dashboards.operator_board import operator_board
from dashboards.sidecars import sidecars
from written_files import ROOT, write_or_check

FOLDER = ROOT / "helm" / "pannier" / "dashboards"


def main() -> int:
    return write_or_check(
        {
            FOLDER / f"{board['uid']}.json": json.dumps(board, indent=2) + "\n"
            for board in (sidecars(), operator_board())
        },
        present=FOLDER.glob("*.json"),
        description=__doc__,
        differs="The dashboards are not what tools/write_dashboards.py would write.",
    )


if __name__ == "__main__":
    sys.exit(main())
