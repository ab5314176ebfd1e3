"""`pannier operator`: there where the operator is installed."""

from __future__ import annotations

import importlib.util

import click

from pannier.cli.endings import REFUSED, Ending


@click.command(
    "operator",
    # Even --help is the operator's own: its flags are not known here.
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def operator_command(arguments: tuple[str, ...]) -> int:
    """Run the Kubernetes operator.

    It comes with its own package, which sidecars do not need.
    """
    if importlib.util.find_spec("pannier_operator") is None:
        raise Ending(
            REFUSED,
            "the operator is not installed here: its package, pannier_operator, is missing.",
        )
    main = importlib.import_module("pannier_operator.main").main
    code: int = main(arguments)
    return code
