"""The sidecar's settings, one field for each flag of `pannier sidecar`. Pure.

A field `a_b` is the flag `--a-b` and the variable `PANNIER_A_B`. Durations are seconds, sizes
bytes; the command line reads them in the words of the configuration ("2s", "64Mi").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarSettings:
    """How one sidecar listens, what it lets in, and how it ends."""

    listen: str = "localhost:3900"
    """Where records are served, `HOST:PORT`. "localhost" means 127.0.0.1 and, where it exists,
    [::1]; port 0 takes a free one (the same for both)."""

    admin_listen: str = "localhost:3901"
    """Where health, metrics and the status page are served, read-only. Injected sidecars use
    0.0.0.0, so that the kubelet and Prometheus reach it."""

    unix_socket: Path | None = None
    """Serve records on this unix socket too, mode 0660. A socket file left by a dead sidecar is
    replaced; one that still answers is a busy port."""

    allow_host: tuple[str, ...] = ()
    """More names that a `Host` header may hold, beside localhost, 127.0.0.1 and [::1]; "*" allows
    all. The check keeps web pages away that have their own name resolve to 127.0.0.1."""

    allow_origin: tuple[str, ...] = ()
    """Web origins (`https://app.example`) whose pages may call, and read the answers; "*" allows
    all. Otherwise any request with an `Origin` header is refused: a browser sends it, an
    application does not."""

    api_token_file: Path | None = None
    """A file with the token that every request must bring (`Authorization: Bearer`); read again
    when it changes. A missing file is an error at start. None: no token is asked for."""

    config: Path | None = None
    """The file of StoreBackend documents. None (and no operator): one memory store, `default`."""

    secrets_dir: Path | None = None
    """Where secret references of `config` are read, as `DIR/<name>/<key>`."""

    operator: str | None = None
    """The operator's stream to take the configuration from, `wss://host:port`."""

    operator_token_file: Path = Path("/var/run/secrets/pannier/token")
    """The service account's projected token, audience `pannier`, read at every dial: it rotates.
    Until it is there the dial is tried again."""

    operator_ca_file: Path = Path("/var/run/secrets/pannier/ca.crt")
    """The certificates (PEM) of which one must have signed the operator's, read at every dial."""

    last_good_file: Path | None = None
    """Where the operator's last good configuration is kept, with its credentials, across a restart
    of the container: in a volume in memory that nothing else mounts. None: it is not kept."""

    last_good_max_age: float = 24 * 3600.0
    """Seconds that a configuration kept across a restart may be served without the operator."""

    leak_threshold: float | None = None
    """Seconds after which a connection that an operation still holds is logged and counted. None:
    never."""

    max_record_bytes: int = 1024 * 1024
    """The largest record, and the largest body that is not a batch's."""

    max_body_bytes: int = 16 * 1024 * 1024
    """The largest body, and the largest answer, of a batch."""

    max_inflight_bytes: int = 64 * 1024 * 1024
    """Bodies being received and answers not yet taken by their clients, together; the request that
    would pass it is refused as `overloaded`."""

    max_clients: int = 4096
    """Open connections on the record port; one more is answered `overloaded` and closed. Lowered
    at start where the process may not open that many files."""

    client_timeout: float = 30.0
    """Seconds a client may take to send a request's head, then its body, and to take a part of its
    answer. Being idle between requests is not limited by it."""

    fast_lane: bool = True
    """Answer requests for one record on the fast lane (`--no-fast-lane` turns it off). Both lanes
    give the same bytes."""

    drain_delay: float = 0.0
    """Seconds to serve on as before after SIGTERM, while load balancers take notice."""

    drain_timeout: float = 20.0
    """Seconds that requests already taken may then need to finish."""

    startup_wait: float = 30.0
    """Seconds after which `/readyz?startup` says yes although no configuration has come."""

    log_format: Literal["text", "json"] = "text"
    """Lines for a person, or one JSON object a line for a machine."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""
