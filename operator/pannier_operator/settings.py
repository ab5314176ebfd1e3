"""The operator's settings, one field for each flag of `pannier operator`. Pure.

A field `a_b` is the flag `--a-b` and the variable `PANNIER_OPERATOR_A_B`. Durations are seconds.
No field is called `port`, `host` or `service_...`: Kubernetes sets variables of such names by
itself for a Service that is called `pannier-operator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Which part of a cluster one operator serves, where it listens, and how it ends."""

    watch_namespace: tuple[str, ...] = ()
    """Only StoreBackends of these namespaces are served, with rights in no other; none: the whole
    cluster."""

    namespace: str = "pannier-system"
    """The namespace the operator itself runs in: of its Lease, its certificates and its pod."""

    pod_name: str = ""
    """The operator's own pod, which is labelled while it leads; "" for an operator outside the
    cluster, which labels nothing."""

    kubeconfig: Path | None = None
    """How the API server is reached; None: as a pod does, by its service account."""

    listen: str = "0.0.0.0:8443"
    """Where sidecars dial the stream, with TLS."""

    admin_listen: str = "0.0.0.0:3901"
    """Where health and metrics are served, read-only, without TLS."""

    stream_service: str = "pannier-stream"
    """The Service that leads to the leader's stream: its DNS names are in the certificate."""

    stream_name: tuple[str, ...] = ()
    """More DNS names or addresses by which sidecars dial, for the certificate."""

    stream_max_age: float = 30 * 60.0
    """Seconds after which (give or take a fifth) a stream is closed, so that the sidecar
    authenticates anew."""

    sidecar_image: str = ""
    """What injected sidecars run; "": nothing is injected and no webhook is served."""

    sidecar_operator_url: str = ""
    """Where injected sidecars dial; "": port 8443 of the stream's Service."""

    sidecar_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node pulls the image of injected sidecars."""

    sidecar_cpu_request: str = "50m"
    """What injected sidecars request of the CPU, without a limit."""

    sidecar_memory_request: str = "64Mi"
    """What they request of the memory."""

    sidecar_memory_limit: str = "256Mi"
    """How much of the memory they may use."""

    sidecar_log_format: Literal["text", "json"] = "json"
    """How their log lines look."""

    webhook_listen: str = "0.0.0.0:9443"
    """Where the API server asks for each new pod, with TLS, of every replica; "": nowhere."""

    webhook_service: str = "pannier-webhook"
    """The Service that leads to the webhooks: its DNS names are in the certificate."""

    webhook_configuration: str = ""
    """The MutatingWebhookConfiguration whose `caBundle` is kept; "": none, somebody else does."""

    lease_duration: float = 15.0
    """Seconds after which others may take the Lease of a leader that has not renewed it."""

    lease_renew: float = 5.0
    """Seconds between renewals; a leader that could not renew for two thirds of `lease_duration`
    stops leading."""

    relist_every: float = 300.0
    """Seconds between complete lists of everything watched: what a watch lost is found then."""

    workers: int = 8
    """Resources that are reconciled at once."""

    drain_delay: float = 5.0
    """Seconds to serve on as before after SIGTERM, unready, while endpoints take notice."""

    drain_spread: float = 5.0
    """Seconds over which streams are then closed, so that sidecars do not dial all at once."""

    log_format: Literal["text", "json"] = "text"
    """Lines for a person, or one JSON object a line for a machine."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""

    @property
    def injects(self) -> bool:
        """Whether the webhook is served."""
        return bool(self.sidecar_image and self.webhook_listen)

    @property
    def clusterwide(self) -> bool:
        """Whether every namespace is served."""
        return not self.watch_namespace


def host_and_port(value: str) -> tuple[str, int]:
    """The two parts of `HOST:PORT`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(value)
    return host, int(port)
