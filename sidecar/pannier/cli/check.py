"""`pannier check`: everything that is wrong with a file of StoreBackends, without running it."""

from __future__ import annotations

from pathlib import Path

import click

from pannier.cli.connecting import json_option
from pannier.cli.endings import REFUSED
from pannier.cli.records import say, write
from pannier.config.checking import Checked, check_file
from pannier.config.problems import Problem, listing


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--secrets-dir",
    type=click.Path(path_type=Path),
    help="Check the secret references too: each must be in DIR/<name>/<key>.",
)
@json_option
def check_command(file: Path, secrets_dir: Path | None, as_json: bool) -> int:
    """Say all that is wrong with a file of StoreBackends: line, field and fix.

    Nothing is run and nothing is connected to. Exit code 1 if anything is wrong.
    """
    checked = check_file(file, secrets_dir)
    if as_json:
        say(
            {
                "file": str(file),
                "ok": not checked.problems,
                "stores": [{"name": name, "type": kind} for name, kind in checked.stores],
                "secretsUnchecked": checked.unchecked,
                "problems": [as_document(problem) for problem in checked.problems],
            }
        )
    else:
        write(report(file, checked).encode())
    return REFUSED if checked.problems else 0  # fmt: skip


def report(file: Path, checked: Checked) -> str:
    """What was found, for a person."""
    lines = listing(str(file), checked.problems)
    if lines:
        count = len(lines)
        lines.append(f"{count} problem{'s' if count > 1 else ''} in {file}")
    else:
        stores = ", ".join(f"{name} ({kind})" for name, kind in checked.stores)
        lines.append(f"{file}: nothing is wrong; it serves {stores}")
    if checked.unchecked:
        count = checked.unchecked
        lines.append(
            f"{count} secret{'s were' if count > 1 else ' was'} not looked for: give --secrets-dir"
        )
    return "\n".join(lines) + "\n"


def as_document(problem: Problem) -> dict[str, object]:
    """One problem as JSON."""
    return {
        "store": problem.store,
        "line": problem.line,
        "field": problem.field or None,
        "message": problem.message,
        "fix": problem.fix or None,
    }
