"""The shipped dashboards and alerts as a test evaluates them, with Grafana's variables filled in.

A test has seconds where a dashboard has minutes, so windows are shortened; nothing else is changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[3] / "helm" / "pannier"

RATE_WINDOW = "4s"
"""For $__rate_interval: Grafana makes it four scrapes or more; here it is eight."""
ALERT_WINDOWS = {"15m": "60s", "5m": "4s"}
"""The alerts' windows in the rules -> in a test."""
HOLDS = "count_over_time(({})[3s:500ms]) >= 6"
"""What `for:` becomes: it holds at each of six scrapes."""

VARIABLES = {"namespace": "shop", "pod": ".*", "store": ".*", "__rate_interval": RATE_WINDOW}


@dataclass(frozen=True, slots=True)
class Expression:
    """One query of one panel."""

    panel: str
    legend: str
    promql: str

    def __str__(self) -> str:
        return f"{self.panel} ({self.legend})"


def filled_in(text: str, **chosen: str) -> str:
    """An expression without Grafana's variables, of which some may be chosen otherwise."""
    values = VARIABLES | chosen
    made = re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], text)
    assert "$" not in made
    return made


def board(uid: str) -> dict[str, Any]:
    """A dashboard as the chart ships it."""
    loaded: dict[str, Any] = json.loads((CHART / "dashboards" / f"{uid}.json").read_text())
    return loaded


def panels(uid: str) -> list[dict[str, Any]]:
    """The panels that ask Prometheus, those in collapsed rows too."""
    rows = board(uid)["panels"]
    return [
        panel
        for one in rows
        for panel in (one, *one.get("panels", ()))
        if panel.get("targets")
    ]  # fmt: skip


def expressions(uid: str) -> list[Expression]:
    """Every query of every panel, ready for Prometheus."""
    return [
        Expression(panel["title"], target["legendFormat"], filled_in(target["expr"]))
        for panel in panels(uid)
        for target in panel["targets"]
    ]


def variables(uid: str) -> dict[str, tuple[str, str]]:
    """The variables that Prometheus fills: name -> (selector, label)."""
    found = {}
    for variable in board(uid)["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert asked
            found[variable["name"]] = (filled_in(asked[1]), asked[2])
    return found


def alerts() -> dict[str, str]:
    """The alerts' expressions by name; where a rule waits, they must hold for three seconds."""
    rules = yaml.safe_load((CHART / "alerts" / "pannier.yaml").read_text())
    found = {}
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        windows = re.compile("|".join(ALERT_WINDOWS))
        short = windows.sub(lambda window: ALERT_WINDOWS[window[0]], rule["expr"])
        found[rule["alert"]] = HOLDS.format(short) if "for" in rule else short
    return found
