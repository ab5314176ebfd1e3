"""The page of metrics, from the families that the two processes expose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.core import Metric

from pannier.config.served import ServedStore, StoreTable
from pannier.counting import BATCH_BOUNDS, HttpCounts
from pannier.histograms import BOUNDS
from pannier.metrics import http_families, pool_families, sidecar_families, store_families
from pannier_operator.metrics import Counts, families
from reference.markdown import code, page, sentence, table

HEAD: Final = ("metric", "type", "labels", "meaning")
OPEN: Final = {
    "store": "the store's name",
    "method": "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS or other",
    "route": "which kind of path, never the path",
    "status": "the HTTP status",
    "version": "which one; no credential goes into it",
    "source": "default, file or stream",
    "type": "memory, redis or hdfs",
    "ready": "true, false or unknown",
}
"""Labels whose values are not all known beforehand."""


def metrics_page() -> str:
    """The page."""
    stores = [ServedStore("shop", "redis")]
    sidecar = [
        *pool_families(stores),
        *store_families(stores),
        *http_families(HttpCounts()),
        *sidecar_families(StoreTable()),
    ]
    operator = list(families(Counts()))
    return page(
        "Metrics",
        "Both processes serve `/metrics` on their admin port, 3901, in Prometheus' text format. "
        "Seconds and bytes throughout. No label holds a key, a schema or a credential. "
        f"Histograms of seconds have the bounds {bounds(BOUNDS)}; "
        f"`pannier_store_batch_size` has {bounds(BATCH_BOUNDS)}. What they mean together is in "
        "[the dashboards](../dashboards.md).",
        "## The sidecar",
        table(HEAD, rows(sidecar)),
        "## The operator",
        table(HEAD, rows(operator)),
        "## Values of labels",
        table(("label", "of", "values"), values((*sidecar, *operator))),
        "Beside these there are the process's own, `process_cpu_seconds_total`, "
        "`process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, "
        "`process_virtual_memory_bytes` and `process_start_time_seconds`.",
    )


def bounds(numbers: Iterable[float]) -> str:
    return ", ".join(f"{each:g}" for each in numbers)


def shown(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def labels_of(family: Metric) -> tuple[str, ...]:
    labelled: Any = family
    return tuple(labelled._labelnames)


def rows(found: Iterable[Metric]) -> list[list[str]]:
    return [
        [
            code(shown(each)),
            each.type,
            ", ".join(code(label) for label in labels_of(each)),
            sentence(each.documentation),
        ]
        for each in found
    ]


def values(found: Iterable[Metric]) -> list[list[str]]:
    """What each label may hold: those known from the start, else what they are."""
    made: dict[tuple[str, str], list[str]] = {}
    for family in found:
        for label in labels_of(family):
            if label in OPEN:
                said = OPEN[label]
            else:
                seen = dict.fromkeys(sample.labels[label] for sample in family.samples)
                assert seen, f"{family.name}: no values of {label}"
                said = ", ".join(code(each) for each in seen)
            of = made.setdefault((label, said), [])
            if shown(family) not in of:
                of.append(shown(family))
    return [
        [code(label), "several" if len(of) > 2 else ", ".join(map(code, of)), said]
        for (label, said), of in sorted(made.items())
    ]
