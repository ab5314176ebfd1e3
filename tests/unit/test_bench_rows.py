"""The benchmark's verdicts: what counts as missed, and what is written down."""

from __future__ import annotations

import pytest

from tests.bench import cluster
from tests.bench.load import Load
from tests.bench.rows import Row, missed, table
from tests.bench.sidecar import LANE, PIPELINE, WEBDIS, Cell, row_of, times_faster


def load(per_cpu_second: float, p50_ms: float = 1.0, p99_ms: float = 2.0) -> Load:
    return Load(int(per_cpu_second), 1.0, p50_ms, p99_ms)


@pytest.mark.parametrize(
    ("ratio", "miss"), [(None, False), (1.2, False), (0.9, False), (0.89, True)]
)
def test_a_target_is_missed_by_more_than_10_percent(ratio: float | None, miss: bool) -> None:
    row = Row(subject="a", operation="b", ratio=ratio)
    assert bool(missed([row])) is miss
    assert ("MISSED" in table([row])) is miss


def test_a_row_has_the_members_that_were_promised() -> None:
    assert set(Row(subject="a", operation="b").document()) >= {
        "subject", "operation", "concurrency", "requests_per_cpu_second", "p50_ms", "p99_ms",
        "target", "ratio",
    }  # fmt: skip


def test_each_round_is_compared_with_itself() -> None:
    ours = [load(30), load(3), load(33)]  # a round in which the machine was busy
    theirs = [load(20), load(2), load(20)]
    assert times_faster(ours, theirs) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("operation", "concurrency", "ours", "theirs", "ratio"),
    [
        ("GET", 32, load(150), load(100), 1.0),
        ("PUT", 256, load(130), load(100), 1.0),
        ("GET", 1, load(10, 1.0, 4.0), load(99, 2.0, 2.0), 0.5),
    ],
)
def test_targets_are_those_of_the_design(
    operation: str, concurrency: int, ours: Load, theirs: Load, ratio: float
) -> None:
    cell: Cell = (LANE, operation, concurrency)
    row = row_of(cell, {cell: [ours], (WEBDIS, operation, concurrency): [theirs]})
    assert row.ratio == pytest.approx(ratio)


def test_a_batch_is_compared_with_the_pipeline_by_record() -> None:
    cell: Cell = (LANE, "batchGet", 8)
    row = row_of(cell, {cell: [load(80)], (PIPELINE, "batchGet", 1): [load(100)]})
    assert row.ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ours", "one", "driver", "ratio"),
    [(30_000, 30_000, 10_000, 1.25), (30_000, 30_000, 40_000, 0.5), (20_000, 50_000, 5_000, 0.5)],
)
def test_on_a_cluster_the_harder_of_two_targets_counts(
    ours: float, one: float, driver: float, ratio: float
) -> None:
    loads: dict[Cell, list[Load]] = {
        (cluster.LANE, "GET", 32): [load(ours)],
        (cluster.ONE, "GET", 32): [load(one)],
        (cluster.DRIVER, "GET", 32): [load(driver)],
    }
    row = cluster.row_of((cluster.LANE, "GET", 32), loads)
    assert row.ratio == pytest.approx(ratio)
    assert row.measured == f"{ours / one:.2f}x one Redis"
    assert cluster.row_of((cluster.DRIVER, "GET", 32), loads).ratio is None
