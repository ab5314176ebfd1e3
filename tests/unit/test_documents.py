"""What the documents name is there: files, headings, metrics, flags, alerts, reasons, codes."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from pannier.cli.commands import COMMANDS, pannier
from pannier_operator.main import operator_command
from pannier_operator.metrics import Counts, families
from tests.unit.test_metrics import CONTRACT

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
TEXTS = {name: (ROOT / name).read_text() for name in DOCUMENTS}
by_document = pytest.mark.parametrize("name", DOCUMENTS)

OF_OTHERS = {
    "--type", "--timeout", "--for", "--replicas", "--dry-run", "--values", "--set", "--once",
    "--rounds", "--no-skips", "--check", "--target",
}  # fmt: skip
"""Flags of kubectl, helm, docker, ./dev, pytest and the tools."""


def metrics() -> set[str]:
    own = {each.name + ("_total" if each.type == "counter" else "") for each in families(Counts())}
    series = own | set(CONTRACT)
    return series | {f"{each}_{part}" for each in series for part in ("bucket", "sum", "count")}


def flags() -> set[str]:
    context = click.Context(pannier)
    commands = [pannier.get_command(context, name) for name in COMMANDS] + [operator_command]
    return {flag for each in commands if each for option in each.params for flag in option.opts}


def headings(path: Path) -> set[str]:
    """The fragments that lead to the headings of a document, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


@by_document
def test_every_link_leads_somewhere(name: str) -> None:
    here = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        file, _, fragment = target.partition("#")
        path = (here.parent / file) if file else here
        assert path.exists(), target
        assert not fragment or fragment in headings(path), target


@by_document
def test_every_metric_exists(name: str) -> None:
    named = set(re.findall(r"\bpannier_[a-z_]+[a-z]\b(?![./*])", TEXTS[name]))
    assert named - {"pannier_operator"} <= metrics()


@by_document
def test_every_flag_exists(name: str) -> None:
    named = set(re.findall(r"`(--[a-z][a-z-]+)\b", TEXTS[name]))
    assert named <= flags() | OF_OTHERS


@by_document
def test_every_alert_exists(name: str) -> None:
    rules = yaml.safe_load((ROOT / "helm" / "pannier" / "alerts" / "pannier.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(re.findall(r"\bPannier[A-Z]\w+", TEXTS[name])) - {"PannierError"} <= alerts


@by_document
def test_every_setting_of_a_storebackend_exists(name: str) -> None:
    reference = TEXTS["docs/reference/storebackend.md"]
    known = {
        f"{section}.{field}"
        for section, text in re.findall(
            r"^## (spec[\w.]*)\n(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL
        )
        for field in re.findall(r"^\| \*{0,2}`(\w+)`", text, re.MULTILINE)
    }
    assert known
    named = set(re.findall(r"`(spec(?:\.\w+)+)`", TEXTS[name]))
    assert named <= known | {"spec.ignoreErrors"}, "the last is Dapr's"
