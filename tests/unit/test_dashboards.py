"""The dashboards as they ship: what Grafana needs of them, and no metric that does not exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pannier_operator.metrics import Counts, families
from tests.unit.test_metrics import CONTRACT

ROOT = Path(__file__).resolve().parents[2]
BOARDS = {
    path.stem: json.loads(path.read_text())
    for path in (ROOT / "helm" / "pannier" / "dashboards").glob("*.json")
}
by_board = pytest.mark.parametrize("name", ["pannier-operator", "pannier-sidecars"])

OPERATOR = {
    family.name + ("_total" if family.type == "counter" else "") for family in families(Counts())
} - {"pannier_build_info"}
"""Every metric of the operator's own."""
PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel, those in collapsed rows too; the rows themselves last."""
    flat = [panel for row in board["panels"] for panel in row.get("panels", [])]
    return [*flat, *board["panels"]]


def expressions(board: dict[str, Any]) -> list[str]:
    """Every expression, the variables' too."""
    found = [target["expr"] for panel in panels(board) for target in panel.get("targets", [])]
    variables = board["templating"]["list"]
    return [*found, *(each["definition"] for each in variables if each["type"] == "query")]


def test_there_are_two() -> None:
    assert {board["title"] for board in BOARDS.values()} == {
        "Pannier / Sidecars",
        "Pannier / Operator",
    }


@by_board
def test_every_panel_has_its_own_place_and_number(name: str) -> None:
    found = panels(BOARDS[name])
    numbers = [panel["id"] for panel in found]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


@by_board
def test_every_panel_says_what_it_shows(name: str) -> None:
    for panel in panels(BOARDS[name]):
        if panel["type"] not in ("row", "text"):
            assert panel["description"].endswith(".")
            assert panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@by_board
def test_no_panel_asks_for_a_metric_that_does_not_exist(name: str) -> None:
    known = {*CONTRACT, *OPERATOR, *PROCESS}
    for expression in expressions(BOARDS[name]):
        for metric in re.findall(r"\b(?:pannier|process)_[a-z_]+\b", expression):
            assert metric in known or re.sub(r"_(bucket|sum|count)$", "", metric) in known


def test_the_documents_pictures_are_there_small_and_need_nothing() -> None:
    document = ROOT / "docs" / "dashboards.md"
    pictures = re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", document.read_text(), re.MULTILINE)
    assert len(pictures) == 2
    for picture in pictures:
        held = (document.parent / picture).read_bytes()
        assert len(held) < 150_000
        if picture.endswith(".svg"):
            root = ElementTree.fromstring(held)
            names = {element.tag.partition("}")[2] for element in root.iter()}
            assert names <= {"svg", "style", "rect", "g", "text", "path"}


def test_every_metric_of_the_contract_is_on_its_dashboard() -> None:
    for name, metrics in (("pannier-sidecars", set(CONTRACT)), ("pannier-operator", OPERATOR)):
        asked = " ".join(expressions(BOARDS[name]))
        unseen = {metric for metric in metrics if metric not in asked}
        assert unseen == set(), name
