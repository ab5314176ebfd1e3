"""Lines, stacks and heat maps as SVG: only as much as the pictures of the dashboards need. Pure.

Colours follow the reader's light or dark scheme by a style sheet inside the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import isnan
from typing import Final

Points = Sequence[tuple[float, float]]
"""Seconds since the picture's left edge, value."""

WIDTH, HEIGHT, GAP = 344, 214, 20
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 30, 46
"""The margins of a panel around what it draws."""

STYLE: Final = """
text{font:11px system-ui,sans-serif;fill:#6f675c}.title{font-size:13px;font-weight:600;fill:#2b2620}
.panel{fill:#fffdf8;stroke:#e2d8c6}.paper{fill:#f6f1e7}.grid{stroke:#e2d8c6}.mark{stroke:#b3261e;
stroke-dasharray:2 4}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.dash{stroke-dasharray:
7 5}.area{fill-opacity:.35;stroke:none}
.c0{stroke:#b4532a;fill:#b4532a}.c1{stroke:#3f7d4e;fill:#3f7d4e}.c2{stroke:#9a6b00;fill:#9a6b00}
.c3{stroke:#4a6a8a;fill:#4a6a8a}.c4{stroke:#7d5a8c;fill:#7d5a8c}.line{fill:none}.cell{fill:#b4532a}
@media(prefers-color-scheme:dark){text{fill:#b3a897}.title{fill:#f1e9dc}.panel{fill:#26221d;
stroke:#3c352c}.paper{fill:#1b1815}.grid{stroke:#3c352c}.c0,.cell{stroke:#e08a5b;fill:#e08a5b}
.c1{stroke:#86c795;fill:#86c795}.c2{stroke:#e6b85c;fill:#e6b85c}.c3{stroke:#8fb4d9;fill:#8fb4d9}
.c4{stroke:#c39fd3;fill:#c39fd3}.line{fill:none}.cell{stroke:none}}
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """One panel's data, whatever it is drawn as."""

    title: str
    series: Sequence[tuple[str, Points]]
    unit: str
    stacked: Sequence[str] = ()
    """Names of series that are drawn on top of each other; the others are dashed lines."""
    heat: bool = False
    """Each series is a bucket, named by its upper bound."""


def picture(charts: Sequence[Chart], span: float, marks: dict[str, float], columns: int) -> str:
    """An SVG of panels from left to right; `marks` are moments drawn into each of them."""
    rows = -(-len(charts) // columns)
    width = columns * (WIDTH + GAP) + GAP
    height = rows * (HEIGHT + GAP) + GAP
    panels = ""
    for place, chart in enumerate(charts):
        x = GAP + place % columns * (WIDTH + GAP)
        y = GAP + place // columns * (HEIGHT + GAP)
        panels += f'<g transform="translate({x} {y})">{panel(chart, span, marks)}</g>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="paper" width="{width}" height="{height}"/>\n{panels}</svg>\n'
    )


def panel(chart: Chart, span: float, marks: dict[str, float]) -> str:
    """One chart in its frame."""
    high = top_of(chart)
    right, low = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(seconds: float) -> float:
        return round(LEFT + (right - LEFT) * seconds / span, 1)

    def y(value: float) -> float:
        return round(low - (low - TOP) * min(1.0, value / high), 1)

    drawn = (
        f'<rect class="panel" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text class="title" x="14" y="20">{escape(chart.title)}</text>'
    )
    if chart.heat:
        drawn += heat_map(chart, x, low)
    else:
        for part in (0.0, 0.5, 1.0):
            level = y(high * part)
            drawn += f'<path class="grid" d="M{LEFT} {level}H{right}"/>'
            drawn += text(LEFT - 6, level + 4, spoken(high * part, chart.unit), "end")
        drawn += lines(chart, x, y)
    for words, moment in marks.items():
        drawn += f'<path class="mark" d="M{x(moment)} {TOP}V{low}"/>'
        drawn += text(x(moment), low + 14, words, "middle")
    return drawn + legend(chart)


def lines(chart: Chart, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Each series as a line, the stacked ones as areas on top of each other."""
    drawn, below = "", dict[float, float]()
    for color, (name, points) in enumerate(chart.series):
        if name in chart.stacked:
            floor = [(at, below.get(at, 0.0)) for at, _ in points]
            points = [(at, value + below.get(at, 0.0)) for at, value in points]
            below |= dict(points)
            edge = [*points, *reversed(floor)]
            path = "L".join(f"{x(at)} {y(value)}" for at, value in edge)
            drawn += f'<path class="area c{color}" d="M{path}Z"/>'
        dash = " dash" if chart.stacked and name not in chart.stacked else ""
        path, pen = "", "M"
        for at, value in points:
            if isnan(value):
                pen = "M"
                continue
            path += f"{pen}{x(at)} {y(value)}"
            pen = "L"
        drawn += f'<path class="line c{color}{dash}" d="{path}"/>'
    return drawn


def heat_map(chart: Chart, x: Callable[[float], float], low: int) -> str:
    """Each bucket as a row of cells, the fuller the darker."""
    most = max((value for _, points in chart.series for _, value in points), default=1) or 1
    tall = (low - TOP) / len(chart.series)
    drawn = ""
    for row, (bound, points) in enumerate(chart.series):
        above = low - (row + 1) * tall
        if row % 2 == 0:
            words = "more" if bound == "+Inf" else spoken(float(bound), "s")
            drawn += text(LEFT - 6, above + tall / 2 + 4, words, "end")
        for (at, value), (after, _) in zip(points, [*points[1:], points[-1]], strict=True):
            if value > most / 1000:
                shade = (value / most) ** 0.5
                drawn += (
                    f'<rect class="cell" x="{x(at)}" y="{above:.1f}" fill-opacity="{shade:.2f}" '
                    f'width="{x(after) - x(at):.1f}" height="{tall - 1:.1f}"/>'
                )
    return drawn


def legend(chart: Chart) -> str:
    """The names of the series, in their colours."""
    if chart.heat:
        return ""
    drawn, at = "", 14.0
    for color, (name, _) in enumerate(chart.series):
        drawn += f'<rect class="c{color}" x="{at:.0f}" y="{HEIGHT - 18}" width="9" height="9"/>'
        drawn += text(at + 14, HEIGHT - 10, name, "start")
        at += 26 + 6.1 * len(name)
    return drawn


def text(x: float, y: float, words: str, anchor: str) -> str:
    """A text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def top_of(chart: Chart) -> float:
    """A round number above everything that is drawn."""
    sums = dict[float, float]()
    for name, points in chart.series:
        if name in chart.stacked:
            for at, value in points:
                sums[at] = sums.get(at, 0.0) + value
    single = [value for _, points in chart.series for _, value in points if not isnan(value)]
    most = max([*sums.values(), *single, 1e-6])
    return next(
        step * 10.0**power
        for power in range(-6, 9)
        for step in (1, 2, 4, 6, 8)
        if step * 10.0**power >= most
    )


def spoken(value: float, unit: str) -> str:
    """A value with its unit, short."""
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:g} ms" if value >= 0.001 else f"{value * 1e6:g} µs"
    return f"{value:g} s" if unit == "s" else f"{value:g}"
