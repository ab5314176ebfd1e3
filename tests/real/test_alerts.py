"""The alerts by promtool: valid, each fires in its fault and not otherwise, each explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real.programs import program

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "helm" / "pannier" / "alerts" / "pannier.yaml"
CASES = Path(__file__).with_name("prometheus_parts") / "alerts_test.yaml"
DOCUMENT = ROOT / "docs" / "dashboards.md"

ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
by_name = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def promtool(*arguments: str) -> None:
    """Run promtool; fail with what it says if it fails."""
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", str(RULES))


def test_each_alert_fires_in_its_fault_and_not_otherwise() -> None:
    promtool("test", "rules", str(CASES))


@by_name
def test_each_alert_has_a_case_that_fires_and_one_that_does_not(alert: dict[str, Any]) -> None:
    cases = [
        bool(case.get("exp_alerts"))
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert["alert"]
    ]
    assert cases.count(True) >= 1
    assert cases.count(False) >= 2


@by_name
def test_each_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert "$labels.pod" in alert["annotations"]["description"]


@by_name
def test_each_alert_has_its_runbook(alert: dict[str, Any]) -> None:
    path, anchor = alert["annotations"]["runbook_url"].split("#")
    assert ROOT / path == DOCUMENT
    headings = re.findall(r"^### (\w+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert alert["alert"] in headings
    assert anchor == alert["alert"].lower()
