"""Grafana's dashboard JSON as a few functions: only what our two dashboards use. Pure.

The words are those of Grafana's dashboard schema 39 (Grafana 11); older and newer ones read it.
Plain dicts, because grafana-foundation-sdk is alpha, has an epoch of its own for each release of
Grafana in its version, and writes empty `refId`s and `options: null`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from typing import Any, Final

Json = dict[str, Any]

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
"""Columns of Grafana's grid."""

GOOD, WARN, BAD, QUIET = "green", "orange", "red", "text"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how its series are named."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, laid out from left to right; a full line begins the next."""

    title: str
    panels: tuple[Json, ...]
    collapsed: bool = False


# Panels -------------------------------------------------------------------------------------------


def timeseries(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    height: int = 8,
    stacked: bool = False,
    highest: float | None = None,
    limit: float | None = None,
    overrides: tuple[Json, ...] = (),
) -> Json:
    """Lines over time; `limit` draws a threshold, `highest` fixes the axis' end."""
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if limit is not None else "off"},
    }
    defaults: Json = {"unit": unit, "min": 0, "custom": custom}
    if highest is not None:
        defaults["max"] = highest
    if limit is not None:
        defaults["thresholds"] = thresholds((None, "transparent"), (limit, BAD))
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel(
        "timeseries", title, description, queries, width, height,
        fieldConfig={"defaults": defaults, "overrides": list(overrides)}, options=options,
    )  # fmt: skip


def stat(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str = "short",
    steps: tuple[tuple[float | None, str], ...] = ((None, QUIET),),
    words: dict[str, tuple[str, str]] | None = None,
    width: int = 4,
    height: int = 4,
) -> Json:
    """The newest value as a number; `words` says values in a word and a colour."""
    mappings = [
        {
            "type": "value",
            "options": {
                value: {"text": text, "color": color, "index": index}
                for index, (value, (text, color)) in enumerate((words or {}).items())
            },
        }
    ]
    defaults: Json = {"unit": unit, "thresholds": thresholds(*steps)}
    if words:
        defaults["mappings"] = mappings
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return panel(
        "stat", title, description, (query,), width, height,
        fieldConfig={"defaults": defaults, "overrides": []}, options=options,
    )  # fmt: skip


def heatmap(title: str, description: str, query: Query, *, width: int = 12) -> Json:
    """How many observations fell into which bucket of seconds, over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5,
                  "steps": 64, "fill": "dark-orange", "reverse": False},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"unit": "s", "axisPlacement": "left"},
    }  # fmt: skip
    made = panel(
        "heatmap", title, description, (query,), width, 8,
        fieldConfig={"defaults": {"custom": {"scaleDistribution": {"type": "linear"}}},
                     "overrides": []},
        options=options,
    )  # fmt: skip
    for target in made["targets"]:
        target["format"] = "heatmap"
    return made


def text(title: str, markdown: str, *, height: int = 5) -> Json:
    """Words, over the whole width."""
    options = {"mode": "markdown", "content": markdown}
    return panel("text", title, "", (), WIDTH, height, options=options)


def dashed(name: str) -> Json:
    """An override: the series of this name is a dashed line, not part of a stack."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
            {"id": "custom.stacking", "value": {"group": "none", "mode": "none"}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": BAD}},
        ],
    }


def on_the_right(name: str, unit: str) -> Json:
    """An override: the series of this name has an axis of its own, at the right."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "custom.axisPlacement", "value": "right"},
            {"id": "custom.drawStyle", "value": "bars"},
            {"id": "custom.fillOpacity", "value": 40},
            {"id": "unit", "value": unit},
        ],
    }


def thresholds(*steps: tuple[float | None, str]) -> Json:
    """The colours from each value on; the first step has no value."""
    return {
        "mode": "absolute",
        "steps": [{"value": value, "color": color} for value, color in steps],
    }


def panel(
    kind: str,
    title: str,
    description: str,
    queries: tuple[Query, ...],
    width: int,
    height: int,
    **more: Any,
) -> Json:
    """What every panel has; its place and its id come from `dashboard`."""
    made: Json = {"type": kind, "title": title, "gridPos": {"w": width, "h": height}, **more}
    if description:
        made["description"] = description
    if queries:
        made["datasource"] = DATASOURCE
        made["targets"] = [
            {
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
                "refId": ascii_uppercase[place],
            }
            for place, query in enumerate(queries)
        ]
    return made


# The whole ----------------------------------------------------------------------------------------


def choice(name: str, label: str, query: str, *, several: bool) -> Json:
    """A variable whose values Prometheus knows; `several` may be chosen at once, at first all."""
    made: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
    }
    if several:
        made |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
    return made


def dashboard(*, uid: str, title: str, variables: tuple[Json, ...], rows: tuple[Row, ...]) -> Json:
    """The dashboard as Grafana imports it, with its panels placed and numbered."""
    datasource = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
    }
    return {
        "uid": uid,
        "title": title,
        "tags": ["pannier"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Pannier",
                "tags": ["pannier"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": [datasource, *variables]},
        "panels": list(placed(rows)),
    }


def placed(rows: tuple[Row, ...]) -> Iterator[Json]:
    """Each row and its panels with their places; a collapsed row holds its panels itself."""
    numbers = count(1)
    y = 0
    for row in rows:
        heading: Json = {
            "type": "row",
            "id": next(numbers),
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        y += 1
        panels = []
        x = height = 0
        for each in row.panels:
            grid = each["gridPos"]
            if x + grid["w"] > WIDTH:
                x, y, height = 0, y + height, 0
            panels.append({**each, "id": next(numbers), "gridPos": {"x": x, "y": y, **grid}})
            x += grid["w"]
            height = max(height, grid["h"])
        y += height
        if row.collapsed:
            heading["panels"] = panels
            yield heading
        else:
            yield heading
            yield from panels
