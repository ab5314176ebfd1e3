"""`pannier operator`: there where the operator is installed."""

from __future__ import annotations

import importlib.util
from typing import Final

import click

from pannier.cli.endings import REFUSED, Ending

NEEDED: Final = ("pannier_operator", "cryptography", "kopf", "kubernetes")
"""The operator's package, and those of others that it runs with (pannier[operator])."""


@click.command(
    "operator",
    # Even --help is the operator's own: its flags are not known here.
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def operator_command(arguments: tuple[str, ...]) -> int:
    """Run the Kubernetes operator.

    It runs with packages that sidecars do not need: pip install 'pannier[operator]'.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Ending(
            REFUSED,
            f"the operator is not installed here: {' and '.join(missing)} missing; "
            "pip install 'pannier[operator]' brings it.",
        )
    main = importlib.import_module("pannier_operator.main").main
    code: int = main(arguments)
    return code
