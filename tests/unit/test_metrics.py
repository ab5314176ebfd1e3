"""The metrics page: every series of the contract, there from the start, with exactly its labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend
from pannier.aio.stores.redis import RedisStoreBackend
from pannier.config.served import Generation, ServedStore, StoreTable
from pannier.counting import OPERATIONS, OUTCOMES, HttpCounts, outcome_of
from pannier.errors import (
    BackendUnavailable,
    InvalidRecord,
    ObjectDoesNotExist,
    OutcomeUnknown,
    PannierError,
    TooLarge,
)
from pannier.histograms import BOUNDS
from pannier.metrics import Metrics

STORE = {"store"}
CONTRACT: dict[str, tuple[str, set[str]]] = {
    "pannier_pool_connections": ("gauge", STORE | {"state"}),
    "pannier_pool_connections_max": ("gauge", STORE),
    "pannier_pool_connections_idle_min": ("gauge", STORE),
    "pannier_pool_pending_requests": ("gauge", STORE),
    "pannier_pool_acquire_seconds": ("histogram", STORE),
    "pannier_pool_use_seconds": ("histogram", STORE),
    "pannier_pool_create_seconds": ("histogram", STORE),
    "pannier_pool_timeouts_total": ("counter", STORE),
    "pannier_pool_rejected_total": ("counter", STORE),
    "pannier_pool_closed_total": ("counter", STORE | {"reason"}),
    "pannier_pool_leaks_total": ("counter", STORE),
    "pannier_pool_reaper_runs_total": ("counter", STORE),
    "pannier_pool_reaper_seconds": ("histogram", STORE),
    "pannier_store_up": ("gauge", STORE),
    "pannier_store_operations_total": ("counter", STORE | {"operation", "outcome"}),
    "pannier_store_operation_seconds": ("histogram", STORE | {"operation"}),
    "pannier_store_batch_size": ("histogram", STORE),
    "pannier_http_requests_total": ("counter", {"method", "route", "status"}),
    "pannier_http_request_seconds": ("histogram", {"method", "route"}),
    "pannier_config_applies_total": ("counter", {"result"}),
    "pannier_config_version_info": ("gauge", {"version", "source"}),
    "pannier_config_stream_connected": ("gauge", set()),
    "pannier_build_info": ("gauge", {"version"}),
}


@pytest.fixture
def table() -> StoreTable:
    """A memory store, a Redis store that nobody has used yet, and one never opened."""
    memory = Generation(InMemoryKeyValueStoreBackend())
    redis = Generation(RedisStoreBackend(port=1, max_connections=7, min_idle=0))
    return StoreTable(
        stores={
            "memory": ServedStore("memory", "memory", "ready", generation=memory),
            "shop": ServedStore("shop", "redis", "unavailable", generation=redis),
            "new": ServedStore("new", "redis"),
        },
        version="v1",
        source="file",
    )


def page(table: StoreTable, http: HttpCounts | None = None) -> dict[str, list[Sample]]:
    """The samples of each family, by the name that the contract gives it."""
    text = Metrics(table, http or HttpCounts()).text().decode()
    families = text_string_to_metric_families(text)
    return {
        family.name + ("_total" if family.type == "counter" else ""): list(family.samples)
        for family in families
    }


def value(samples: Iterable[Sample], **labels: str) -> float:
    """The value of the one sample with these labels."""
    (found,) = [one.value for one in samples if labels.items() <= one.labels.items()]
    return found


def types(table: StoreTable) -> dict[str, str]:
    text = Metrics(table, HttpCounts()).text().decode()
    return {family.name: family.type for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_series_is_there_from_the_start_with_exactly_its_labels(
    table: StoreTable, name: str
) -> None:
    kind, labels = CONTRACT[name]
    samples = page(table)[name]
    assert samples, "a family without a sample says nothing"
    assert {frozenset(set(one.labels) - {"le"}) for one in samples} == {frozenset(labels)}
    assert types(table)[name.removesuffix("_total")] == kind
    if "store" in labels:
        assert {one.labels["store"] for one in samples} == {"memory", "shop", "new"}


def test_there_is_nothing_else_of_ours_and_no_creation_times(table: StoreTable) -> None:
    ours = {name for name in page(table) if name.startswith("pannier_")}
    assert ours == set(CONTRACT)
    assert b"_created" not in Metrics(table, HttpCounts()).text()


def test_states_reasons_and_results_start_at_zero(table: StoreTable) -> None:
    found = page(table)
    for family, label, wanted in (
        ("pannier_pool_connections", "state", {"in_use", "idle", "opening"}),
        ("pannier_pool_closed_total", "reason", {"idle", "lifetime", "broken", "drain", "shrink"}),
        ("pannier_config_applies_total", "result", {"applied", "pending", "rejected"}),
        ("pannier_store_operations_total", "operation", set(OPERATIONS)),
    ):
        assert {one.labels[label] for one in found[family]} == wanted
        assert {one.value for one in found[family]} == {0.0}


def test_the_gauges_say_what_is_configured(table: StoreTable) -> None:
    found = page(table)
    assert value(found["pannier_pool_connections_max"], store="shop") == 7
    assert value(found["pannier_pool_connections_max"], store="memory") == 0
    assert value(found["pannier_store_up"], store="memory") == 1
    assert value(found["pannier_store_up"], store="shop") == 0
    assert value(found["pannier_config_version_info"], version="v1", source="file") == 1


async def test_what_a_pool_counted_goes_on_when_another_takes_its_place(table: StoreTable) -> None:
    served = table.stores["shop"]
    assert served.generation is not None
    backend = served.generation.backend
    (pool,) = backend.pools()
    pool.counters.timeouts += 2
    pool.counters.closed["idle"] += 3
    pool.timings.acquire.observe(0.5)

    def counted() -> tuple[float, ...]:
        found = page(table)
        closed, acquired = found["pannier_pool_closed_total"], found["pannier_pool_acquire_seconds"]
        return (
            value(found["pannier_pool_timeouts_total"], store="shop"),
            value(closed, store="shop", reason="idle"),
            value(closed, store="shop", reason="drain"),
            value([one for one in acquired if one.name.endswith("_count")], store="shop"),
        )

    assert counted() == (2, 3, 0, 1)
    past = served.counts.past_pools
    past.keep([pool])
    served.generation = Generation(RedisStoreBackend(port=1, max_connections=7, min_idle=0))
    assert counted() == (2, 3, 0, 1)
    pool.counters.closed["drain"] += 4
    assert counted() == (2, 3, 4, 1)
    await backend.close()
    past.close([pool])
    past.close([pool])
    assert counted() == (2, 3, 4, 1)


async def test_the_connections_of_a_backend_that_drains_are_in_the_gauges(
    table: StoreTable,
) -> None:
    served = table.stores["shop"]
    assert served.generation is not None
    backend = served.generation.backend

    def gauges() -> tuple[float, ...]:
        found = page(table)
        connections = found["pannier_pool_connections"]
        return (
            value(connections, store="shop", state="in_use"),
            value(found["pannier_pool_connections_max"], store="shop"),
        )

    (pool,) = backend.pools()
    pool.stats = lambda: {"max": 7, "in_use": 3, "idle": 0, "opening": 0, "pending": 0}  # type: ignore[method-assign]
    assert gauges() == (3, 7)
    past = served.counts.past_pools
    past.keep([pool])
    served.generation = Generation(RedisStoreBackend(port=1, max_connections=2, min_idle=0))
    assert gauges() == (3, 9)
    served.generation = None
    assert gauges() == (3, 7)
    await backend.close()
    past.close([pool])
    assert gauges() == (0, 0)


def test_histograms_have_12_buckets_from_100_us_to_10_s_and_add_up(table: StoreTable) -> None:
    served = table.stores["shop"]
    for seconds in (0.00005, 0.0002, 0.5, 11.0):
        served.counts.count("get", "ok", seconds)
    samples = page(table)["pannier_store_operation_seconds"]
    mine = [s for s in samples if s.labels.items() >= {"store": "shop", "operation": "get"}.items()]
    buckets = [(s.labels["le"], s.value) for s in mine if s.name.endswith("_bucket")]
    assert [float(bound) for bound, _ in buckets] == [*BOUNDS, float("inf")]
    assert len(BOUNDS) == 12
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == 4
    assert next(s.value for s in mine if s.name.endswith("_count")) == 4
    assert next(s.value for s in mine if s.name.endswith("_sum")) == pytest.approx(11.50025)


def test_http_answers_are_counted_by_method_route_and_status(table: StoreTable) -> None:
    http = HttpCounts()
    http.count("GET", "record", 200, 0.001)
    http.count("BREW", "unknown", 405, 0.001)
    samples = page(table, http)["pannier_http_requests_total"]
    assert value(samples, method="GET", route="record", status="200") == 1
    assert value(samples, method="other", route="unknown", status="405") == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ObjectDoesNotExist(), "record-not-found"),
        (BackendUnavailable(), "backend-unavailable"),
        (OutcomeUnknown(), "outcome-unknown"),
        (TooLarge(), "invalid"),
        (InvalidRecord(), "invalid"),
        (RuntimeError(), "internal"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_outcomes_are_a_small_closed_set(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome
    assert any(outcome in outcomes for outcomes in OUTCOMES.values())


def subclasses(kind: type[Any]) -> Iterable[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_no_error_makes_an_outcome_of_its_own() -> None:
    allowed = {outcome for outcomes in OUTCOMES.values() for outcome in outcomes}
    assert {outcome_of(kind.__new__(kind)) for kind in subclasses(PannierError)} <= allowed
