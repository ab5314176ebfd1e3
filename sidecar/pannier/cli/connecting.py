"""The options by which a command finds its sidecar, the same for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from pannier.cli.client import Client, Endpoint, parse_url
from pannier.cli.endings import REFUSED, Ending
from pannier.flags import duration

P = ParamSpec("P")

DEFAULT_URL = "http://127.0.0.1:3900"


def with_client(command: Callable[Concatenate[Client, P], int]) -> Callable[..., int]:
    """Give `command` a client made from the options; it is closed at the end."""

    @click.option(
        "--url",
        envvar="PANNIER_URL",
        metavar="URL",
        help=f"The sidecar, http://host:port or unix:/path.  [default: {DEFAULT_URL}]",
    )
    @click.option("--host", metavar="HOST", help="The sidecar's host, in place of --url.")
    @click.option("--port", type=click.IntRange(1, 65535), help="The sidecar's port.")
    @click.option("--unix-socket", type=click.Path(path_type=Path), help="The sidecar's socket.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        envvar="PANNIER_TOKEN_FILE",
        help="A file with the token the sidecar demands.",
    )
    @click.option(
        "--timeout",
        type=duration,
        default=60.0,
        show_default="1m",
        help="How long to wait for an answer, or the next part of one.",
    )
    @wraps(command)
    def run(
        *args: Any,
        url: str | None,
        host: str | None,
        port: int | None,
        unix_socket: Path | None,
        token_file: Path | None,
        timeout: float,
        **options: Any,
    ) -> int:
        endpoint = endpoint_of(url, host, port, unix_socket)
        endpoint = dataclasses.replace(endpoint, token=read_token(token_file), timeout=timeout)
        client = Client(endpoint)
        try:
            return command(client, *args, **options)
        finally:
            client.close()

    return run  # fmt: skip


def endpoint_of(
    url: str | None, host: str | None, port: int | None, unix_socket: Path | None
) -> Endpoint:
    """Where the sidecar is; host, port and socket win over the URL, which may be a variable."""
    if unix_socket is not None:
        if host is not None or port is not None:
            raise click.UsageError("--unix-socket stands in place of --host and --port.")
        return Endpoint(unix_socket=unix_socket)
    if host is not None or port is not None:
        return Endpoint(host=host or "127.0.0.1", port=port or 3900)
    try:
        return parse_url(url or DEFAULT_URL)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--url") from None


def read_token(path: Path | None) -> str | None:
    """The token in the file, without the white space around it."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Ending(REFUSED, f"the token file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Ending(REFUSED, f"the token file {path} does not hold a token") from None


store_option = click.option(
    "--store",
    envvar="PANNIER_STORE",
    default="default",
    show_default=True,
    metavar="NAME",
    help="The store, where the target does not name it.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
