"""`pannier sidecar`: the server's settings as flags and as variables.

A flag `--a-b` is also the variable `PANNIER_A_B`. No flag's variable has a name that Kubernetes
sets by itself for a Service called `pannier` or `pannier-operator` (`PANNIER_PORT`,
`PANNIER_OPERATOR_PORT`, `..._SERVICE_...`), and a variable that is no flag's is ignored.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Final

import click

from pannier.cli.endings import REFUSED, Ending, drop_output
from pannier.cli.parameters import host_name, listen_address, origin, stream_url
from pannier.flags import duration, pause, setting_option, size
from pannier.server.settings import SidecarSettings

PATH: Final = click.Path(path_type=Path)
HELP: Final = {
    "listen": ("HOST:PORT", listen_address, "Where records are served; port 0 takes a free one."),
    "admin_listen": (
        "HOST:PORT",
        listen_address,
        "Where health, metrics and the status page are served.",
    ),
    "unix_socket": (None, PATH, "Serve records on this unix socket too (mode 0660)."),
    "allow_host": ("NAME", host_name, "Let requests in whose Host is NAME; may be repeated."),
    "allow_origin": ("ORIGIN", origin, "Let web pages of ORIGIN in; may be repeated."),
    "api_token_file": (None, PATH, "Demand the token in this file from every request."),
    "config": (None, PATH, "Serve the StoreBackends of this file, and follow its changes."),
    "secrets_dir": (None, PATH, "Where the file's secrets are, DIR/<name>/<key>."),
    "operator": (
        "URL",
        stream_url,
        "Take the configuration from the operator, wss://host:port.",
    ),
    "operator_token_file": (None, PATH, "The service account's token for the operator."),
    "operator_ca_file": (None, PATH, "The CA that signs the operator's certificate (PEM)."),
    "last_good_file": (None, PATH, "Keep the operator's configuration here across a restart."),
    "last_good_max_age": (None, pause, "How long a kept configuration may be served."),
    "leak_threshold": (None, duration, "Log a connection that is held for longer."),
    "max_record_bytes": (None, size, "The largest record."),
    "max_body_bytes": (None, size, "The largest body, and the largest answer, of a batch."),
    "max_inflight_bytes": (None, size, "Bodies and answers held at once."),
    "max_clients": (None, click.IntRange(1), "Open connections."),
    "client_timeout": (None, duration, "How long a client may take for a part of its request."),
    "drain_delay": (None, pause, "How long to serve on as before after SIGTERM."),
    "drain_timeout": (None, pause, "How long requests may then take to finish."),
    "startup_wait": (None, pause, "When /readyz?startup says yes without a configuration."),
    "log_format": (None, click.Choice(["text", "json"]), "How log lines look."),
    "log_level": (
        None,
        click.Choice(["debug", "info", "warning", "error"]),
        "The least severe log line that is written.",
    ),
}
"""Field of the settings -> how its value is called, what it is, and what it does."""


def options() -> list[click.Option]:
    """One option for each of the settings."""
    made = [
        one_option(field) for field in dataclasses.fields(SidecarSettings) if field.name in HELP
    ]
    made.append(
        click.Option(
            ["--no-fast-lane"],
            is_flag=True,
            envvar="PANNIER_NO_FAST_LANE",
            help="Answer every request on the general lane (for comparison).",
        )
    )
    return made


def one_option(field: dataclasses.Field[Any]) -> click.Option:
    """The option of one setting."""
    metavar, kind, text = HELP[field.name]
    return setting_option(field, kind=kind, metavar=metavar, text=text, prefix="PANNIER_")


def run(no_fast_lane: bool, **values: Any) -> int:
    """Serve until a signal ends it."""
    if values["config"] is not None and values["operator"] is not None:
        raise click.UsageError(
            "--config and --operator exclude each other: the stores come from one of them."
        )
    from pannier.config.problems import ConfigurationRefused
    from pannier.server.run import serve

    settings = SidecarSettings(fast_lane=not no_fast_lane, **values)
    try:
        return serve(settings, announce=lambda urls, admin: announce(settings, urls, admin))
    except ConfigurationRefused as refused:
        raise Ending(REFUSED, f"no store can be served:\n{refused}") from None
    except OSError as error:
        raise Ending(REFUSED, f"the sidecar cannot start: {error}") from None


def announce(settings: SidecarSettings, urls: list[str], admin_url: str) -> None:
    """One line for the person who started it: where it serves, and what to try."""
    where = urls[0]
    if settings.operator is not None:
        line = (
            f"Pannier takes its stores from {settings.operator} and serves them on {where}, "
            f"their status on {admin_url}. Try: curl {where}/v1"
        )
    elif settings.config is None:
        line = (
            f"Pannier serves the store default (in memory) on {where}, its status on {admin_url}. "
            f"Try: curl -X PUT {where}/v1/default/Cart/42 -d '{{\"total\": 3}}'"
        )
    else:
        line = (
            f"Pannier serves the stores of {os.path.basename(settings.config)} on {where}, "
            f"their status on {admin_url}. Try: curl {where}/v1"
        )
    try:
        print(line, flush=True)
    except OSError:
        drop_output()
        return


sidecar_command = click.Command(
    "sidecar",
    params=list(options()),
    callback=run,
    short_help="Serve stores on localhost, beside an application.",
    help="Serve stores on localhost, beside an application.\n\nWithout --config and --operator it "
    "serves one store in memory, named default. Every flag --a-b is also the variable PANNIER_A_B.",
)
