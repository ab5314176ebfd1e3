"""The dashboard `Pannier / Operator`: do the sidecars get what was written, and how soon?"""

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
    heatmap,
    stat,
    text,
    timeseries,
)

POD: Final = 'namespace=~"$namespace", pod=~"$pod"'
WINDOW: Final = "[$__rate_interval]"

HOW_TO_READ: Final = """\
A change of a `StoreBackend` or its Secret is **reconciled**, **pushed** to each sidecar of the \
namespace, and **acknowledged** by it. *Push time* is the whole way, from the change seen to the \
change applied. A long queue with a short reconcile time: changes come faster than they are worked \
off. No leader: nobody serves streams, sidecars run on with what they have. Rejected pushes: \
`kubectl get storebackends` names the resource, its status the pods and the reason.
"""


def quantiles(metric: str) -> tuple[Query, ...]:
    """The median and the slowest hundredth of a histogram of seconds."""
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket{{{POD}}}{WINDOW})))",
            name,
        )
        for quantile, name in ((0.5, "p50"), (0.99, "p99"))
    )


def a_second(metric: str) -> str:
    """How often a counter counted, a second, by result."""
    return f"sum by (result) (rate({metric}{{{POD}}}{WINDOW}))"


def operator_board() -> Json:
    """The dashboard."""
    return dashboard(
        uid="pannier-operator",
        title="Pannier / Operator",
        variables=(
            choice(
                "namespace",
                "Namespace",
                "label_values(pannier_operator_leader, namespace)",
                several=False,
            ),
            choice(
                "pod",
                "Pod",
                'label_values(pannier_operator_leader{namespace=~"$namespace"}, pod)',
                several=True,
            ),
        ),
        rows=(at_a_glance(), pushes(), reconciles()),
    )


def at_a_glance() -> Row:
    """Whether it does its work."""
    return Row(
        "At a glance",
        (
            text("How to read this", HOW_TO_READ, height=4),
            stat(
                "Leaders",
                "The leader serves streams and writes status; there is one.",
                Query(f"sum(pannier_operator_leader{{{POD}}})"),
                steps=((None, BAD), (1, GOOD), (2, BAD)),
            ),
            stat(
                "Streams",
                "Sidecars that are connected.",
                Query(f"sum(pannier_operator_streams{{{POD}}})"),
                steps=((None, QUIET),),
            ),
            stat(
                "Store backends",
                "Resources the operator knows.",
                Query(
                    f"sum(max by (type, ready) (pannier_operator_storebackends{{{POD}}}))"
                    " or vector(0)"
                ),
                steps=((None, QUIET),),
            ),
            stat(
                "Not ready",
                "Resources that some connected sidecar does not serve as they are written.",
                Query(
                    "sum(max by (type, ready) (pannier_operator_storebackends"
                    f'{{{POD}, ready!="true"}})) or vector(0)'
                ),
                steps=((None, GOOD), (1, BAD)),
            ),
            stat(
                "Queue",
                "Resources that wait to be reconciled.",
                Query(f"sum(pannier_operator_queue_depth{{{POD}}})"),
                steps=((None, GOOD), (100, WARN), (1000, BAD)),
            ),
            stat(
                "Push time, p99",
                "From a change seen to the change applied. The target is a second.",
                quantiles("pannier_operator_push_seconds")[1],
                unit="s",
                steps=((None, GOOD), (1, WARN), (3, BAD)),
            ),
        ),
    )


def pushes() -> Row:
    """The way to the sidecars."""
    return Row(
        "Streams and pushes",
        (
            timeseries(
                "Streams",
                "Connected sidecars, by the operator's pod.",
                Query(f"sum by (pod) (pannier_operator_streams{{{POD}}})", "{{pod}}"),
                unit="short",
            ),
            timeseries(
                "Pushes, by result",
                "Snapshots a second, by what the sidecars made of them.",
                Query(a_second("pannier_operator_pushes_total"), "{{result}}"),
                unit="ops",
                stacked=True,
            ),
            timeseries(
                "Push time",
                "From a change seen to the change applied in a sidecar.",
                *quantiles("pannier_operator_push_seconds"),
                unit="s",
                limit=1,
            ),
            timeseries(
                "Streams refused, by reason",
                "Dials a second that got no stream. token-refused, wrong-audience and not-a-pod "
                "are the sidecar's token; later and not-ready are this operator's own affair.",
                Query(
                    "sum by (reason) (rate(pannier_operator_stream_refusals_total"
                    f"{{{POD}}}{WINDOW}))",
                    "{{reason}}",
                ),
                unit="ops",
                width=12,
            ),
            heatmap(
                "Push time",
                "Pushes by how long they took.",
                Query(
                    f"sum by (le) (rate(pannier_operator_push_seconds_bucket{{{POD}}}{WINDOW}))",
                    "{{le}}",
                ),
            ),
            timeseries(
                "Store backends, by readiness",
                "Ready: every connected sidecar serves the newest generation.",
                Query(
                    f"sum by (ready) (max by (type, ready) "
                    f"(pannier_operator_storebackends{{{POD}}}))",
                    "ready: {{ready}}",
                ),
                unit="short",
                width=24,
                height=6,
                stacked=True,
            ),
        ),
    )


def reconciles() -> Row:
    """The operator's own work."""
    return Row(
        "The operator's work",
        (
            timeseries(
                "Reconciles, by result",
                "Resources worked on, a second.",
                Query(a_second("pannier_operator_reconciles_total"), "{{result}}"),
                unit="ops",
                stacked=True,
            ),
            timeseries(
                "Reconcile time",
                "One resource, from the queue to its status.",
                *quantiles("pannier_operator_reconcile_seconds"),
                unit="s",
            ),
            timeseries(
                "Queue depth",
                "Resources that wait to be reconciled.",
                Query(f"sum by (pod) (pannier_operator_queue_depth{{{POD}}})", "{{pod}}"),
                unit="short",
            ),
            timeseries(
                "Leader",
                "1: this pod serves streams and writes status.",
                Query(f"max by (pod) (pannier_operator_leader{{{POD}}})", "{{pod}}"),
                unit="short",
            ),
            timeseries(
                "Injections, by result",
                "Admission reviews of pods, a second.",
                Query(a_second("pannier_operator_injections_total"), "{{result}}"),
                unit="ops",
                stacked=True,
            ),
            timeseries(
                "Memory",
                "Resident, each of the operator's pods.",
                Query(
                    f"process_resident_memory_bytes{{{POD}}}"
                    " and on (instance) pannier_operator_leader",
                    "{{pod}}",
                ),
                unit="bytes",
            ),
        ),
    )
