"""The dashboard `Pannier / Sidecars`: is it the pool, the network or the backend?"""

from __future__ import annotations

from typing import Final

from dashboards.parts import (
    BAD,
    GOOD,
    QUIET,
    WARN,
    Json,
    Query,
    Row,
    choice,
    dashboard,
    dashed,
    heatmap,
    on_the_right,
    stat,
    text,
    timeseries,
)

POD: Final = 'namespace=~"$namespace", pod=~"$pod"'
STORE: Final = f'{POD}, store=~"$store"'
WINDOW: Final = "[$__rate_interval]"

EXPECTED: Final = "ok|record-not-found|record-exists|etag-mismatch"
"""Outcomes that are answers, not failures."""

HOW_TO_READ: Final = """\
Three times, from left to right, say where an operation's time goes; the longest one is the answer.

- **The pool**: operations *wait* while connections come back as fast as ever. Raise \
`spec.pool.maxConnections`, or find who asks so much.
- **The network**: *dialing* takes long, or connections are closed as `broken`. Look at DNS, TLS, \
a proxy or the limit of connections of the server. Too many dials at all: raise `minIdle` or \
`idleTimeout`.
- **The backend**: connections are *used* for longer than ever, or the backend is down. A larger \
pool makes that worse. What waits then waits because of it.
- **None of them**, and the application is slow: compare *HTTP time*. If that is short, the time \
is spent before the sidecar.
"""


def seconds(metric: str, by: str = "", where: str = STORE) -> tuple[Query, ...]:
    """The median and the slowest hundredth of a histogram of seconds."""
    legend = f"{{{{{by}}}}} " if by else ""
    labels = f"le, {by}" if by else "le"
    return tuple(
        Query(
            f"histogram_quantile({quantile}, "
            f"sum by ({labels}) (rate({metric}_bucket{{{where}}}{WINDOW})))",
            f"{legend}{name}",
        )
        for quantile, name in ((0.5, "p50"), (0.99, "p99"))
    )


def a_minute(metric: str, by: str, where: str = STORE) -> str:
    """How often a counter counted, a minute."""
    return f"60 * sum by ({by}) (rate({metric}{{{where}}}{WINDOW}))"


def a_second(metric: str, by: str, where: str = STORE) -> str:
    """How often a counter counted, a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}{WINDOW}))"


IN_USE: Final = (
    f'max by (store) (pannier_pool_connections{{{STORE}, state="in_use"}}'
    f" / ignoring (state) (pannier_pool_connections_max{{{STORE}}} > 0))"
)
"""Of the sidecar whose pool is fullest; a store without a pool has none."""


SIDECAR: Final = "pannier_config_stream_connected"
"""The one series that each sidecar has, and nobody else."""


def of_a_sidecar(series: str) -> str:
    """What others expose too, of sidecars alone."""
    return f"{series} and on (instance) {SIDECAR}"


def sidecars() -> Json:
    """The dashboard."""
    return dashboard(
        uid="pannier-sidecars",
        title="Pannier / Sidecars",
        variables=(
            choice(
                "namespace",
                "Namespace",
                f"label_values({SIDECAR}, namespace)",
                several=False,
            ),
            choice(
                "pod",
                "Pod",
                f'label_values({SIDECAR}{{namespace=~"$namespace"}}, pod)',
                several=True,
            ),
            choice(
                "store", "Store", f"label_values(pannier_store_up{{{POD}}}, store)", several=True
            ),
        ),
        rows=(at_a_glance(), pool(), times(), operations(), http(), configuration(), process()),
    )


def at_a_glance() -> Row:
    """The answer, before any detail."""
    return Row(
        "Is it the pool, the network or the backend?",
        (
            text("How to read this", HOW_TO_READ, height=6),
            stat(
                "Sidecars",
                "Sidecars that Prometheus reaches.",
                Query(f"count({SIDECAR}{{{POD}}})"),
            ),
            stat(
                "Backends up",
                "The worst of the chosen stores, over all chosen sidecars.",
                Query(f"min(pannier_store_up{{{STORE}}})"),
                words={"1": ("up", GOOD), "0": ("down", BAD)},
            ),
            stat(
                "Pool in use",
                "Connections in use of those allowed, in the sidecar where it is most.",
                Query(f"max({IN_USE})"),
                unit="percentunit",
                steps=((None, GOOD), (0.7, WARN), (0.9, BAD)),
            ),
            stat(
                "Waiting",
                "Operations that wait for a connection now.",
                Query(f"sum(pannier_pool_pending_requests{{{STORE}}})"),
                steps=((None, GOOD), (1, WARN), (50, BAD)),
            ),
            stat(
                "Failures a second",
                "Operations that ended in an error; a missing record is none.",
                Query(
                    "sum(rate(pannier_store_operations_total"
                    f'{{{STORE}, outcome!~"{EXPECTED}"}}{WINDOW}))'
                ),
                unit="ops",
                steps=((None, GOOD), (0.001, WARN), (1, BAD)),
            ),
            stat(
                "Streams up",
                "Sidecars whose stream to the operator is connected. 0 where none is configured "
                "from a cluster.",
                Query(f"sum(pannier_config_stream_connected{{{POD}}})"),
                steps=((None, QUIET),),
            ),
            timeseries(
                "The pool: wait for a connection",
                "From an operation's arrival until it had a connection. Long here and short on "
                "the right: the pool is too small (maxConnections).",
                *seconds("pannier_pool_acquire_seconds"),
                unit="s",
            ),
            timeseries(
                "The network: dialing",
                "From the start of a dial until the connection stood, login and TLS included. No "
                "line: nothing was dialed.",
                *seconds("pannier_pool_create_seconds"),
                unit="s",
            ),
            timeseries(
                "The backend: use of a connection",
                "From a connection's grant until it came back: sending, the backend's own time, "
                "and reading.",
                *seconds("pannier_pool_use_seconds"),
                unit="s",
            ),
        ),
    )


def pool() -> Row:
    """The pool's figures, idle cleanup among them."""
    return Row(
        "The pool",
        (
            timeseries(
                "Connections",
                "Of all chosen sidecars and stores together, against the most they may have.",
                Query(
                    f"sum by (state) (pannier_pool_connections{{{STORE}}})",
                    "{{state}}",
                ),
                Query(f"sum(pannier_pool_connections_max{{{STORE}}})", "max"),
                unit="short",
                stacked=True,
                overrides=(dashed("max"),),
            ),
            timeseries(
                "In use, fullest sidecar",
                "Connections in use of those allowed, by store. Above the line operations begin "
                "to wait.",
                Query(IN_USE, "{{store}}"),
                unit="percentunit",
                highest=1,
                limit=0.9,
            ),
            timeseries(
                "Operations waiting",
                "For a connection, at the moment of the scrape.",
                Query(
                    f"sum by (store) (pannier_pool_pending_requests{{{STORE}}})",
                    "{{store}}",
                ),
                unit="short",
            ),
            timeseries(
                "Connections closed, by reason",
                "idle: cleaned up after idleTimeout; lifetime: maxLifetime; broken: found dead or "
                "cut off; drain: the store was changed or stopped; shrink: maxConnections was "
                "lowered.",
                Query(a_minute("pannier_pool_closed_total", "reason"), "{{reason}}"),
                unit="cpm",
                stacked=True,
            ),
            timeseries(
                "Idle cleanup",
                "Idle connections fall to minIdle once idleTimeout is over; as bars, how often the "
                "reaper passed and what it closed, a minute.",
                Query(f'sum(pannier_pool_connections{{{STORE}, state="idle"}})', "idle"),
                Query(f"sum(pannier_pool_connections_idle_min{{{STORE}}})", "minIdle"),
                Query(
                    "60 * sum(rate(pannier_pool_closed_total"
                    f'{{{STORE}, reason=~"idle|lifetime"}}{WINDOW}))',
                    "closed a minute",
                ),
                Query(
                    f"60 * sum(rate(pannier_pool_reaper_runs_total{{{STORE}}}{WINDOW}))",
                    "reaper passes a minute",
                ),
                unit="short",
                overrides=(
                    on_the_right("closed a minute", "cpm"),
                    on_the_right("reaper passes a minute", "cpm"),
                ),
            ),
            timeseries(
                "Refused by the pool",
                "timed out: waited connectionTimeout (503 pool-exhausted); turned away: maxWaiting "
                "waited already; leaked: held longer than the leak threshold.",
                Query(
                    f"sum(rate(pannier_pool_timeouts_total{{{STORE}}}{WINDOW}))",
                    "timed out",
                ),
                Query(
                    f"sum(rate(pannier_pool_rejected_total{{{STORE}}}{WINDOW}))",
                    "turned away",
                ),
                Query(
                    f"sum(rate(pannier_pool_leaks_total{{{STORE}}}{WINDOW}))",
                    "leaked",
                ),
                unit="ops",
            ),
        ),
    )


def times() -> Row:
    """The same times as on top, by store, and every bucket of them."""
    return Row(
        "Where the time goes",
        (
            heatmap(
                "Wait for a connection",
                "Operations by how long they waited.",
                Query(a_second("pannier_pool_acquire_seconds_bucket", "le"), "{{le}}"),
            ),
            heatmap(
                "Use of a connection",
                "Uses by how long they took.",
                Query(a_second("pannier_pool_use_seconds_bucket", "le"), "{{le}}"),
            ),
            timeseries(
                "Wait, by store",
                "Median and slowest hundredth.",
                *seconds("pannier_pool_acquire_seconds", "store"),
                unit="s",
            ),
            timeseries(
                "Use, by store",
                "Median and slowest hundredth.",
                *seconds("pannier_pool_use_seconds", "store"),
                unit="s",
            ),
            timeseries(
                "Reaper",
                "How long a pass over the idle connections takes.",
                *seconds("pannier_pool_reaper_seconds"),
                unit="s",
            ),
        ),
    )


def operations() -> Row:
    """What is asked of the stores."""
    return Row(
        "Operations",
        (
            timeseries(
                "Operations",
                "A HEAD is a get; a batch is one operation.",
                Query(a_second("pannier_store_operations_total", "operation"), "{{operation}}"),
                unit="ops",
                stacked=True,
            ),
            timeseries(
                "Operation time",
                "From its start to its answer, waiting included.",
                *seconds("pannier_store_operation_seconds", "operation"),
                unit="s",
            ),
            timeseries(
                "Errors, by code",
                "pool-exhausted is the pool; backend-unavailable, timeout and outcome-unknown are "
                "network or backend; invalid is the application.",
                Query(
                    a_second(
                        "pannier_store_operations_total",
                        "outcome",
                        f'{STORE}, outcome!~"{EXPECTED}"',
                    )
                    + " > 0",
                    "{{outcome}}",
                ),
                unit="ops",
            ),
            timeseries(
                "Missing records and failed conditions",
                "Answers to the application, and no errors.",
                Query(
                    a_second(
                        "pannier_store_operations_total",
                        "outcome",
                        f'{STORE}, outcome=~"record-not-found|record-exists|etag-mismatch"',
                    ),
                    "{{outcome}}",
                ),
                unit="ops",
            ),
            timeseries(
                "Operations sent together",
                "How many operations share a round trip: more under load, 1 without.",
                Query(
                    f"sum by (store) (rate(pannier_store_batch_size_sum{{{STORE}}}{WINDOW}))"
                    f" / sum by (store) (rate(pannier_store_batch_size_count{{{STORE}}}{WINDOW}))",
                    "{{store}}",
                ),
                unit="short",
            ),
            timeseries(
                "Backends up",
                "Of the chosen sidecars, the share that reaches the backend.",
                Query(f"avg by (store) (pannier_store_up{{{STORE}}})", "{{store}}"),
                unit="percentunit",
                highest=1,
            ),
        ),
    )


def http() -> Row:
    """What the application sees."""
    return Row(
        "HTTP",
        (
            timeseries(
                "Answers, by status",
                "Of the record port, all methods and routes.",
                Query(a_second("pannier_http_requests_total", "status", POD), "{{status}}"),
                unit="reqps",
                width=12,
                stacked=True,
            ),
            timeseries(
                "HTTP time, by route",
                "From a whole request head to its answer.",
                *seconds("pannier_http_request_seconds", "route", POD),
                unit="s",
                width=12,
            ),
        ),
    )


def configuration() -> Row:
    """Who runs what."""
    return Row(
        "Configuration",
        (
            timeseries(
                "Configurations that run",
                "Sidecars by the version they run. Two for longer than a moment: some have not "
                "taken the new one.",
                Query(
                    f"count by (source, version) (pannier_config_version_info{{{POD}}})",
                    "{{source}} {{version}}",
                ),
                unit="short",
            ),
            timeseries(
                "What became of configurations",
                "Store configurations a minute. rejected: the document is bad and the last good "
                "one serves on; pending: its backend is not reached.",
                Query(a_minute("pannier_config_applies_total", "result", POD), "{{result}}"),
                unit="cpm",
            ),
            timeseries(
                "Streams to the operator",
                "Connected, of the sidecars that are configured from a cluster.",
                Query(f"sum(pannier_config_stream_connected{{{POD}}})", "connected"),
                Query(
                    f'count(pannier_config_version_info{{{POD}, source="stream"}}) or vector(0)',
                    "configured from a cluster",
                ),
                unit="short",
            ),
        ),
    )


def process() -> Row:
    """What the sidecars cost."""
    return Row(
        "The sidecars themselves",
        (
            timeseries(
                "CPU",
                "Cores, each sidecar.",
                Query(of_a_sidecar(f"rate(process_cpu_seconds_total{{{POD}}}{WINDOW})"), "{{pod}}"),
                unit="short",
            ),
            timeseries(
                "Memory",
                "Resident, each sidecar.",
                Query(of_a_sidecar(f"process_resident_memory_bytes{{{POD}}}"), "{{pod}}"),
                unit="bytes",
            ),
            timeseries(
                "Open files",
                "Connections of clients and backends; against the limit, new clients are refused.",
                Query(of_a_sidecar(f"process_open_fds{{{POD}}}"), "{{pod}}"),
                unit="short",
            ),
            timeseries(
                "Builds",
                "Sidecars by the version of their build.",
                Query(
                    f"count by (version) ({of_a_sidecar(f'pannier_build_info{{{POD}}}')})",
                    "{{version}}",
                ),
                unit="short",
            ),
        ),
        collapsed=True,
    )
