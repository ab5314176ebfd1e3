"""Draw the dashboards' main panels and the status page, from real sidecars in real trouble.

It tells the story of `tests/real/prometheus_parts/story.py`, a little slower, asks its Prometheus
what the shipped panels ask, and takes a picture of the status page in a real Chromium meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pictures.charts import Chart, Points, picture  # noqa: E402
from tests.real.chromium import chromium  # noqa: E402
from tests.real.prometheus import Prometheus  # noqa: E402
from tests.real.prometheus_parts import boards  # noqa: E402
from tests.real.prometheus_parts.story import told  # noqa: E402
from tests.real.sidecar import Sidecar  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
STEP = 0.5
DWELL = 6.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A panel of `Pannier / Sidecars`, drawn for one of the story's stores."""

    panel: str
    store: str
    unit: str
    only: tuple[str, ...] = ()
    """The series to draw; all where it is empty."""
    stacked: tuple[str, ...] = ()
    heat: bool = False


WANTED = (
    Wanted("The pool: wait for a connection", "slow", "s"),
    Wanted("The network: dialing", "slow|carts", "s"),
    Wanted("The backend: use of a connection", "slow", "s"),
    Wanted("Connections", "carts", "", stacked=("idle", "in_use", "opening")),
    Wanted("Idle cleanup", "carts", "", only=("idle", "minIdle")),
    Wanted("Connections closed, by reason", "carts", "", only=("idle", "broken", "lifetime")),
    Wanted("Use of a connection", "slow|carts", "s", heat=True),
    Wanted("Operations waiting", "slow|carts", ""),
    Wanted("Errors, by code", "slow|doomed", ""),
)


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with told(directory, dwell=DWELL, look=lambda one: photograph(one, directory)) as story:
            start, end = story.begun + 4, story.rested + 1
            charts = [chart(story.prometheus, wanted, start, end) for wanted in WANTED]
            marks = {"backend slow": story.healthy + DWELL - start}
    (FOLDER / "sidecars.svg").write_text(picture(charts, end - start, marks, columns=3))
    return 0


def chart(prometheus: Prometheus, wanted: Wanted, start: float, end: float) -> Chart:
    """What Prometheus knows for one panel."""
    kind = "heatmap" if wanted.heat else "timeseries"
    (panel,) = (
        each for each in boards.panels("pannier-sidecars")
        if (each["title"], each["type"]) == (wanted.panel, kind)
    )  # fmt: skip
    series: list[tuple[str, Points]] = []
    for target in panel["targets"]:
        promql = boards.filled_in(target["expr"], pod="cart-1", store=wanted.store)
        for labels, samples in prometheus.range(promql, start, end, STEP):
            legend = target["legendFormat"]
            for label, value in labels.items():
                legend = legend.replace(f"{{{{{label}}}}}", value)
            if not wanted.only or legend in wanted.only:
                series.append((legend, [(at - start, value) for at, value in samples]))
    if wanted.heat:
        series = not_cumulative(series)
    title = f"{wanted.panel} ({wanted.store.replace('|', ', ')})"
    return Chart(title, series, wanted.unit, wanted.stacked, wanted.heat)


def not_cumulative(buckets: list[tuple[str, Points]]) -> list[tuple[str, Points]]:
    """Each bucket without those below it, as Grafana draws them."""
    ordered = sorted(buckets, key=lambda bucket: float(bucket[0]))
    below = dict[float, float]()
    found: list[tuple[str, Points]] = []
    for bound, points in ordered:
        found.append((bound, [(at, value - below.get(at, 0)) for at, value in points]))
        below = dict(points)
    return found


def photograph(running: Sidecar, directory: Path) -> None:
    """Take a picture of the status page."""

    async def take() -> None:
        async with chromium(directory / "profile") as page:
            await page.show(running.admin_url, width=1280, height=760)
            tall = await page.evaluate("document.documentElement.scrollHeight")
            await page.resize(1280, tall)
            (FOLDER / "status-page.png").write_bytes(await page.screenshot())

    asyncio.run(take())


if __name__ == "__main__":
    sys.exit(main())
