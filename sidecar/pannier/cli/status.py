"""`pannier status`: a sidecar's stores and pools, as its admin port tells them."""

from __future__ import annotations

from typing import Any

import click

from pannier.cli.client import Client, Refusal, Reply, parse_url
from pannier.cli.connecting import json_option
from pannier.cli.endings import REFUSED, Ending
from pannier.cli.records import write

DEFAULT_URL = "http://127.0.0.1:3901"
HEADINGS = ("STORE", "TYPE", "STATE", "IN USE", "IDLE", "OPENING", "PENDING", "MAX", "ERROR")

OF_RECORDS = ("store-not-found", "unauthorized", "not-ready", "draining")
"""Refusals of the data port that the admin port has no use for."""


@click.command("status")
@click.option(
    "--admin-url",
    "--url",
    envvar="PANNIER_ADMIN_URL",
    metavar="URL",
    default=DEFAULT_URL,
    show_default=True,
    help="The sidecar's admin port.",
)
@json_option
def status_command(admin_url: str, as_json: bool) -> int:
    """Show a sidecar's stores and their pools."""
    try:
        client = Client(parse_url(admin_url))
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--admin-url") from None
    try:
        reply = ask(client)
    finally:
        client.close()
    write(reply.body.rstrip(b"\n") + b"\n" if as_json else report(reply.json).encode())
    return 0  # fmt: skip


def ask(client: Client) -> Reply:
    """The status. Raises Ending, which says so if this is the port for records."""
    try:
        reply = client.request("GET", "/v1/status")
        # A store may be called "status": then the port for records has an answer.
        for_records = "config" not in reply.json
    except Refusal as refusal:
        if refusal.problem_code not in OF_RECORDS:
            raise
        for_records = True
    if for_records:
        raise Ending(
            REFUSED,
            f"{client.endpoint} is the data port, where records are served; the status is on the "
            f"admin port: give its URL, by default {DEFAULT_URL}.",
        )
    return reply


def report(status: dict[str, Any]) -> str:
    """The status for a person: where the configuration is from, and a table of stores."""
    config = status["config"]
    version, applied = config["version"] or "-", config["appliedAt"] or "never"
    config_said = f"configuration {version} from {config['source']}, applied {applied}"
    lines = [f"pannier {status['version']}, {config_said}"]
    if config["error"]:
        lines.append(f"configuration error: {config['error']}")
    rows = [row(store) for store in status["stores"]]
    return "\n".join([*lines, *table([HEADINGS, *rows])]) + "\n"


def row(store: dict[str, Any]) -> tuple[str, ...]:
    """One store's line."""
    pool = store["pool"] or {}
    figures = (str(pool.get(name, "-")) for name in ("in_use", "idle", "opening", "pending", "max"))
    error = " ".join(str(store["error"] or "").split())
    return (store["name"], store["type"], store["state"], *figures, error)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below each other; figures to the right."""
    widths = [max(len(cells[place]) for cells in rows) for place in range(len(HEADINGS))]
    lines = []
    for cells in rows:
        padded = [
            cell.rjust(width) if 3 <= place < 8 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines
