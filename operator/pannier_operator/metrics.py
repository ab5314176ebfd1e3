"""The operator's metrics page: counted in plain attributes, made into families when asked for.

The families and their labels are those that dashboards rely on. No label holds a credential, a
resource's name or a version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from pannier.histograms import Histogram
from pannier.metrics import CONTENT_TYPE, add_seconds, histogram_family
from pannier.version import installed_version
from pannier_operator.streams.figures import StreamFigures

RECONCILE_RESULTS: Final = ("ok", "error")
INJECTION_RESULTS: Final = ("injected", "present", "skipped", "failed")
"""What an admission review came to; counted from 0 on, so that a rate has a beginning."""

__all__ = ["CONTENT_TYPE", "Counts", "page_of"]


class Counts(StreamFigures):
    """What the operator counts. Whoever does something adds to it; only the page reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.reconciles = dict.fromkeys(RECONCILE_RESULTS, 0)
        self.reconcile_seconds = Histogram()
        self.injections = dict.fromkeys(INJECTION_RESULTS, 0)
        self.streams: Callable[[], int] = lambda: 0
        """How many streams are open now."""
        self.queue_depth: Callable[[], int] = lambda: 0
        """How many resources wait to be reconciled."""
        self.leader: Callable[[], bool] = lambda: False
        self.storebackends: Callable[[], Mapping[tuple[str, str], int]] = dict
        """(type, ready as `true|false|unknown`) -> how many StoreBackends."""


def page_of(counts: Counts) -> Callable[[], bytes]:
    """What gives the page in Prometheus' text format, of CONTENT_TYPE."""

    class Operator(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families(counts)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Operator())
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def families(counts: Counts) -> Iterator[Metric]:
    """Every family, also those that are at zero."""
    yield GaugeMetricFamily(
        "pannier_operator_streams", "Sidecars connected to this operator.", counts.streams()
    )
    yield counter("pushes", "Snapshots sent, by what became of them.", counts.pushes)
    yield counter(
        "stream_refusals", "Streams that were not opened, by reason.", counts.refusals, "reason"
    )
    yield seconds("push", "From a change being seen until a sidecar runs it.", counts.push_seconds)
    yield counter("reconciles", "Resources reconciled, by result.", counts.reconciles)
    yield seconds("reconcile", "Reconciling one resource once.", counts.reconcile_seconds)
    yield GaugeMetricFamily(
        "pannier_operator_queue_depth",
        "Resources that wait to be reconciled.",
        counts.queue_depth(),
    )
    backends = GaugeMetricFamily(
        "pannier_operator_storebackends",
        "StoreBackends by type and readiness.",
        labels=("type", "ready"),
    )
    for labels, number in sorted(counts.storebackends().items()):
        backends.add_metric(labels, number)
    yield backends
    yield counter("injections", "Pods looked at for injection, by result.", counts.injections)
    yield GaugeMetricFamily(
        "pannier_operator_leader", "Whether this operator leads.", counts.leader()
    )
    build = GaugeMetricFamily("pannier_build_info", "The build that runs.", labels=("version",))
    build.add_metric((installed_version(),), 1)
    yield build


def counter(name: str, text: str, results: Mapping[str, int], label: str = "result") -> Metric:
    """The family of one counter by result."""
    family = CounterMetricFamily(f"pannier_operator_{name}", text, labels=(label,))
    for result, count in results.items():
        family.add_metric((result,), count)
    return family


def seconds(name: str, text: str, histogram: Histogram) -> Any:
    """The family of one histogram."""
    family = histogram_family(f"pannier_operator_{name}_seconds", text, ())
    add_seconds(family, (), histogram)
    return family
