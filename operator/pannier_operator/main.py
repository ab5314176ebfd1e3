"""`pannier operator`: the operator's settings as flags and as variables, and its process.

A flag `--a-b` is also the variable `PANNIER_OPERATOR_A_B`. A value that means nothing is wrong
usage (exit 2), what is found out later (a busy port, no cluster) a refusal (exit 1).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from pannier import logs
from pannier.config.names import is_subdomain
from pannier.flags import duration, pause, setting_option
from pannier_operator.settings import OperatorSettings, host_and_port

OWN_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod reads the namespace it runs in."""

QUANTITY: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,3})?([mkMGT]|[KMGT]i)?")
"""What is written of the quantities of Kubernetes (apimachinery, resource.Quantity)."""


def namespace_name(value: str) -> str:
    """The name of a namespace."""
    if not is_subdomain(value) or "." in value or len(value) > 63:
        raise click.BadParameter(f"{value!r} is not the name of a namespace.")
    return value


def address(value: str) -> str:
    """`HOST:PORT` to listen on, unchanged."""
    try:
        host_and_port(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no address to listen on: write 0.0.0.0:8443 or [::]:8443."
        ) from None
    return value


def address_or_none(value: str) -> str:
    """The same, or nothing at all."""
    return value and address(value)


def quantity(value: str) -> str:
    """An amount as Kubernetes writes it (`50m`, `0.5`, `64Mi`), unchanged."""
    if not QUANTITY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no quantity: write 50m, 0.5 or 64Mi.")
    return value


FLAGS: Final = {
    "watch_namespace": (
        "NAME",
        namespace_name,
        "Serve this namespace alone; may be repeated. Without it: the whole cluster.",
    ),
    "namespace": ("NAME", namespace_name, "The namespace the operator itself runs in."),
    "pod_name": ("NAME", None, "The operator's own pod."),
    "kubeconfig": (None, click.Path(path_type=Path), "How the API server is reached from outside."),
    "listen": ("HOST:PORT", address, "Where sidecars dial the stream."),
    "admin_listen": ("HOST:PORT", address, "Where health and metrics are served."),
    "stream_service": ("NAME", None, "The Service that leads to the leader's stream."),
    "stream_name": ("NAME", None, "One more name by which sidecars dial; may be repeated."),
    "stream_max_age": (None, duration, "When a stream is closed, to authenticate anew."),
    "sidecar_image": ("IMAGE", None, "What injected sidecars run; without it nothing is injected."),
    "sidecar_operator_url": ("URL", None, "Where they dial, if not the stream's Service."),
    "sidecar_image_pull_policy": (
        None,
        click.Choice(["Always", "IfNotPresent", "Never"]),
        "When nodes pull their image.",
    ),
    "sidecar_cpu_request": ("QUANTITY", quantity, "What they request of the CPU."),
    "sidecar_memory_request": ("QUANTITY", quantity, "What they request of the memory."),
    "sidecar_memory_limit": ("QUANTITY", quantity, "How much of the memory they may use."),
    "sidecar_log_format": (None, click.Choice(["text", "json"]), "How their log lines look."),
    "webhook_listen": (
        "HOST:PORT",
        address_or_none,
        'Where the API server asks for each new pod; "" is nowhere.',
    ),
    "webhook_service": ("NAME", None, "The Service that leads to the webhooks."),
    "webhook_configuration": (
        "NAME",
        None,
        "The MutatingWebhookConfiguration that is told of the CA.",
    ),
    "lease_duration": (None, duration, "How long a leader that is silent keeps the Lease."),
    "lease_renew": (None, duration, "How often the leader renews the Lease."),
    "relist_every": (None, duration, "How often everything watched is listed anew."),
    "workers": (None, click.IntRange(1, 100), "Resources that are reconciled at once."),
    "drain_delay": (None, pause, "How long to serve on as before after SIGTERM."),
    "drain_spread": (None, pause, "Over how long streams are then closed."),
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
    return [one_option(field) for field in dataclasses.fields(OperatorSettings)]


def one_option(field: dataclasses.Field[Any]) -> click.Option:
    """The option of one setting."""
    metavar, kind, text = FLAGS[field.name]
    own: dict[str, Any] = {}
    if field.name in OWN:
        own = {"default": OWN[field.name], "show_default": "its pod's"}
    return setting_option(
        field, kind=kind, metavar=metavar, text=text, prefix="PANNIER_OPERATOR_", **own
    )


def own_namespace() -> str:
    """The namespace of the pod this runs in; outside a cluster, where the chart puts it."""
    try:
        return OWN_NAMESPACE_FILE.read_text().strip()
    except OSError:
        return OperatorSettings().namespace


def own_pod() -> str:
    """The name of the pod this runs in, which is its host name; "" outside a cluster."""
    return os.environ.get("HOSTNAME", "") if OWN_NAMESPACE_FILE.exists() else ""


OWN: Final = {"namespace": own_namespace, "pod_name": own_pod}
"""Field of the settings -> what its default is asked of, when the operator starts."""


def run(**values: Any) -> int:
    """Serve until a signal ends it."""
    settings = OperatorSettings(**values)
    if settings.lease_renew * 2 > settings.lease_duration:
        raise click.UsageError("--lease-renew must be at most half of --lease-duration.")
    import uvloop

    from pannier_operator.life import live

    logs.configure(settings.log_format, settings.log_level)
    quieten(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live(settings))
    return 0


def quieten(level: str) -> None:
    """Hear of the libraries what is wrong; of kopf, which tells of each event, all at debug."""
    logging.getLogger("aiohttp_retry").setLevel(logging.WARNING)
    if level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)


operator_command = click.Command(
    "operator",
    params=list(options()),
    callback=run,
    help="Run the Kubernetes operator: push the StoreBackends of a cluster to its sidecars.\n\n"
    "Every flag --a-b is also the variable PANNIER_OPERATOR_A_B.",
)


def main(arguments: Sequence[str]) -> int:
    """Run `pannier operator ARGUMENTS` and return the exit code.

    Raises click's errors for wrong usage and PannierError for a refusal: `pannier.cli` says them.
    """
    code = operator_command.main(
        list(arguments), prog_name="pannier operator", standalone_mode=False
    )
    return code if isinstance(code, int) else 0
