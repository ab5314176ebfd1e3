"""The list of commands. Each is imported when it is called, or when its help is asked for."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from pannier.version import installed_version

COMMANDS: Final = {
    "sidecar": ("pannier.cli.sidecar", "Serve stores on localhost, beside an application."),
    "operator": ("pannier.cli.operator", "Run the Kubernetes operator."),
    "check": ("pannier.cli.check", "Say all that is wrong with a file of StoreBackends."),
    "status": ("pannier.cli.status", "Show a sidecar's stores and their pools."),
    "get": ("pannier.cli.records", "Print a record."),
    "put": ("pannier.cli.records", "Store a record."),
    "delete": ("pannier.cli.records", "Delete a record."),
    "list": ("pannier.cli.records", "Print the records of a schema, one a line."),
    "count": ("pannier.cli.records", "Count the records of a schema."),
    "export": ("pannier.cli.exporting", "Write records as NDJSON."),
    "import": ("pannier.cli.importing", "Store the records of an NDJSON file."),
}
"""Name -> the module that has it as `<name>_command`, and its line in the list."""


class Commands(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone: no module is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """`--version`: what is installed."""
    if value and not ctx.resilient_parsing:
        click.echo(f"pannier {installed_version()}")
        ctx.exit()


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=print_version,
    help="Print the version and end.",
)
def pannier() -> None:
    """A key-value store beside every application.

    `pannier sidecar` serves a store in memory on localhost:3900. Exit codes: 0 done, 1 refused,
    2 wrong usage, 3 unreachable.
    """
