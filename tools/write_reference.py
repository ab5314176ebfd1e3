"""Write the pages of `docs/reference` from the code, or (`--check`) compare."""

from __future__ import annotations

import sys

from reference.chart import chart_page
from reference.fields import fields_page
from reference.flags import flags_page
from reference.markdown import page
from reference.metrics import metrics_page
from reference.problems import problems_page
from reference.status import status_page
from written_files import ROOT, write_or_check

FOLDER = ROOT / "docs" / "reference"
HEAD = "<!-- Written by tools/write_reference.py from the code; not to be edited. -->\n\n"

PAGES = {
    "storebackend.md": (fields_page, "every field of a StoreBackend"),
    "status.md": (status_page, "its status: columns, conditions, every reason and what to do"),
    "commands.md": (flags_page, "the commands, every flag with its variable and default"),
    "problems.md": (problems_page, "every problem code with its HTTP status and what to do"),
    "metrics.md": (metrics_page, "every metric with its labels"),
    "chart.md": (chart_page, "every value of the Helm chart"),
}
"""File -> what makes it, and its line in the list."""


def pages() -> dict[str, str]:
    """Every file of the folder, by name."""
    contents = "".join(f"- [{file}]({file}): {line}\n" for file, (_, line) in PAGES.items())
    made = {file: make() for file, (make, _) in PAGES.items()}
    made["README.md"] = page(
        "Reference",
        "These pages are written from the code, so they are true to it.",
        contents,
        "Every HTTP request is described by the sidecar itself: "
        "`http://localhost:3900/openapi.json` (OpenAPI 3.1).",
    )
    return {file: HEAD + text for file, text in made.items()}


def main() -> int:
    return write_or_check(
        {FOLDER / file: text for file, text in pages().items()},
        present=FOLDER.glob("*.md"),
        description=__doc__,
        differs="docs/reference is not what tools/write_reference.py would write.",
    )


if __name__ == "__main__":
    sys.exit(main())
