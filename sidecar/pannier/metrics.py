"""The metrics page: what was counted, as Prometheus families, made when somebody asks.

The hot paths count in the plain lists of `pannier.counting` and `pannier.pool.timings`; nothing
is kept here, so no gauge can drift from what it measures. prometheus_client is imported at the
first scrape (2 MB resident). No label ever holds a key, a schema or a credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pannier.config.served import ServedStore, StoreTable
from pannier.counting import BATCH_BOUNDS, HttpCounts, SizeCounts
from pannier.histograms import BOUNDS, Histogram
from pannier.pool.counters import PoolCounters
from pannier.pool.slots import CLOSE_REASONS
from pannier.pool.timings import PoolTimings
from pannier.version import installed_version

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import CollectorRegistry

STATES = ("in_use", "idle", "opening")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The page of one sidecar."""

    def __init__(self, table: StoreTable, http: HttpCounts) -> None:
        self._table = table
        self._http = http

    def text(self) -> bytes:
        """The whole page in Prometheus' text format 0.0.4, of CONTENT_TYPE."""
        from prometheus_client.exposition import generate_latest

        return generate_latest(self._registry)

    @cached_property
    def _registry(self) -> CollectorRegistry:
        from prometheus_client.process_collector import ProcessCollector
        from prometheus_client.registry import Collector, CollectorRegistry

        table, http = self._table, self._http

        class Sidecar(Collector):
            def collect(self) -> Iterator[Metric]:
                stores = list(table.stores.values())
                yield from pool_families(stores)
                yield from store_families(stores)
                yield from http_families(http)
                yield from sidecar_families(table)

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Sidecar())
        ProcessCollector(registry=registry)
        return registry


# Pools --------------------------------------------------------------------------------------------


def pool_families(stores: Sequence[ServedStore]) -> Iterator[Metric]:
    """The pools of each store; one without a pool (memory) has the same series, at zero."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    figures = [(served.name, PoolFigures(served)) for served in stores]
    connections = GaugeMetricFamily(
        "pannier_pool_connections", "Connections by state.", labels=("store", "state")
    )
    for name, pool in figures:
        for state in STATES:
            connections.add_metric((name, state), pool.stats[state])
    yield connections
    for metric, help_text, value in (
        ("connections_max", "Connections the pool may have.", "max"),
        ("connections_idle_min", "Idle connections the pool keeps ready.", "min_idle"),
        ("pending_requests", "Operations that wait for a connection.", "pending"),
    ):
        gauge = GaugeMetricFamily(f"pannier_pool_{metric}", help_text, labels=("store",))
        for name, pool in figures:
            gauge.add_metric((name,), pool.stats[value])
        yield gauge
    for metric, help_text, value in (
        ("timeouts", "Operations refused after waiting connectionTimeout.", "timeouts"),
        ("rejected", "Operations refused because maxWaiting waited already.", "rejected"),
        ("leaks", "Connections held longer than the leak threshold.", "leaks"),
        ("reaper_runs", "Passes of the reaper over the idle connections.", "reaper_runs"),
    ):
        counter = CounterMetricFamily(f"pannier_pool_{metric}", help_text, labels=("store",))
        for name, pool in figures:
            counter.add_metric((name,), getattr(pool.counters, value))
        yield counter
    closed = CounterMetricFamily(
        "pannier_pool_closed", "Connections closed, by reason.", labels=("store", "reason")
    )
    for name, pool in figures:
        for reason in CLOSE_REASONS:
            closed.add_metric((name, reason), pool.counters.closed[reason])
    yield closed
    for metric, help_text, timing in (
        ("acquire", "From an operation's arrival until it was granted a connection.", "acquire"),
        ("use", "From the grant of a connection until it came back.", "use"),
        ("create", "Dialing, of connections that came to stand.", "create"),
        ("reaper", "One pass of the reaper over the idle connections.", "reaper"),
    ):
        histogram = histogram_family(f"pannier_pool_{metric}_seconds", help_text, ("store",))
        for name, pool in figures:
            add_seconds(histogram, (name,), getattr(pool.timings, timing))
        yield histogram


def pools_of(served: ServedStore) -> Sequence[Any]:
    """The pools of the backend that serves now: none, one, or one a node of a cluster."""
    generation = served.generation
    return generation.backend.pools() if generation is not None else ()


class PoolFigures:
    """The sums over all pools of one store.

    Gauges are of the backend that serves now and of those that still finish their operations: each
    with its own maximum, so that in use never passes it. What counts goes on over all before.
    """

    def __init__(self, served: ServedStore) -> None:
        self.counters = PoolCounters()
        self.timings = PoolTimings()
        self.stats = dict.fromkeys(("max", "min_idle", "in_use", "idle", "opening", "pending"), 0)
        past = served.counts.past_pools
        pools = (*pools_of(served), *past.leaving)
        for pool in pools:
            for name, value in pool.stats().items():
                if name in self.stats:
                    self.stats[name] += value
            self.stats["min_idle"] += pool.settings.min_idle
        for counted in (*pools, past):
            self.counters.add(counted.counters)
            self.timings.add(counted.timings)


# Stores -------------------------------------------------------------------------------------------


def store_families(stores: Sequence[ServedStore]) -> Iterator[Metric]:
    """What was asked of each store, and whether it serves."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    up = GaugeMetricFamily("pannier_store_up", "Whether the store serves.", labels=("store",))
    operations = CounterMetricFamily(
        "pannier_store_operations",
        "Operations by outcome: ok, or the code of the error they ended in.",
        labels=("store", "operation", "outcome"),
    )
    seconds = histogram_family(
        "pannier_store_operation_seconds",
        "From the start of an operation to its answer, waiting included.",
        ("store", "operation"),
    )
    sizes = histogram_family(
        "pannier_store_batch_size", "Operations sent to the backend together.", ("store",)
    )
    for served in stores:
        name = served.name
        up.add_metric((name,), served.state == "ready")
        for operation, counts in served.counts.operations.items():
            for outcome, count in counts.outcomes.items():
                operations.add_metric((name, operation, outcome), count)
            add_seconds(seconds, (name, operation), counts)
        add_sizes(sizes, (name,), served.counts.batch_sizes)
    yield up
    yield operations
    yield seconds
    yield sizes


def http_families(http: HttpCounts) -> Iterator[Metric]:
    """All answers of the record port."""
    from prometheus_client.core import CounterMetricFamily

    requests = CounterMetricFamily(
        "pannier_http_requests",
        "Answers by method, route and status.",
        labels=("method", "route", "status"),
    )
    seconds = histogram_family(
        "pannier_http_request_seconds", "From a whole head to its answer.", ("method", "route")
    )
    for (method, route), counts in list(http.routes.items()):
        for status, count in counts.statuses.items():
            requests.add_metric((method, route, str(status)), count)
        add_seconds(seconds, (method, route), counts)
    yield requests
    yield seconds


def sidecar_families(table: StoreTable) -> Iterator[Metric]:
    """The configuration that runs, and the build that runs it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    applies = CounterMetricFamily(
        "pannier_config_applies", "Store configurations, by what came of them.", labels=("result",)
    )
    for result, count in table.applies.items():
        applies.add_metric((result,), count)
    yield applies
    version = GaugeMetricFamily(
        "pannier_config_version_info", "The configuration that runs.", labels=("version", "source")
    )
    version.add_metric((table.version, table.source), 1)
    yield version
    yield GaugeMetricFamily(
        "pannier_config_stream_connected",
        "Whether the operator's stream is connected.",
        table.stream_connected,
    )
    build = GaugeMetricFamily("pannier_build_info", "The build that runs.", labels=("version",))
    build.add_metric((installed_version(),), 1)
    yield build


# Histograms ---------------------------------------------------------------------------------------


def histogram_family(name: str, help_text: str, labels: Sequence[str]) -> Any:
    """An empty histogram family."""
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(name, help_text, labels=labels)


def add_seconds(family: Any, labels: Sequence[str], histogram: Histogram) -> None:
    """Add one series."""
    add_buckets(family, labels, BOUNDS, histogram.counts, histogram.sum)


def add_sizes(family: Any, labels: Sequence[str], sizes: SizeCounts) -> None:
    """Add one series of batch sizes."""
    add_buckets(family, labels, BATCH_BOUNDS, sizes.counts, sizes.sum)


def add_buckets(
    family: Any,
    labels: Sequence[str],
    bounds: Sequence[float],
    counts: Sequence[int],
    total: float,
) -> None:
    """Add one series from counts by bucket; Prometheus' own buckets are cumulative."""
    buckets: list[tuple[str, int]] = []
    below = 0
    for place, bound in enumerate((*bounds, float("inf"))):
        below += counts[place]
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
    family.add_metric(labels, buckets, total)
