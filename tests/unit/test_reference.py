"""The pages of docs/reference: everything that can be met is there, and each row says something."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pannier import errors
from pannier.cli.commands import COMMANDS
from pannier.cli.sidecar import sidecar_command
from pannier.errors import PannierError
from pannier.server import refusals
from pannier.server.settings import SidecarSettings
from pannier_operator import conditions, resolving
from pannier_operator.main import operator_command
from pannier_operator.metrics import Counts, families
from pannier_operator.settings import OperatorSettings
from tests.unit.test_metrics import CONTRACT
from tests.unit.test_operator_conditions import CASES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
PAGES = {path.name: path.read_text() for path in FOLDER.glob("*.md")}


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table; code without its marks."""
    lines = [line for line in PAGES[page].splitlines() if line.startswith("| ")]
    cells = [re.split(r" (?<!\\)\| ", line[2:].removesuffix(" |") + " ") for line in lines]
    return [[cell.strip().replace("**", "") for cell in row] for row in cells]


def section(page: str, heading: str) -> str:
    return PAGES[page].split(f"\n{heading}\n")[1].split("\n## ")[0]


def errors_of_http() -> Iterator[type[PannierError]]:
    for module in (errors, refusals):
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, PannierError):
                yield each


@pytest.mark.parametrize(
    ("name", "command", "settings"),
    [
        ("sidecar", sidecar_command, SidecarSettings),
        ("operator", operator_command, OperatorSettings),
    ],
)
def test_every_flag_of_a_server_is_there_with_its_variable(
    name: str, command: Any, settings: type
) -> None:
    text = section("commands.md", f"## pannier {name}")
    fields = {each.name for each in dataclasses.fields(settings)}
    assert len(command.params) == len(fields), "a setting has no flag"
    for option in command.params:
        pattern = rf"^\| `{option.opts[0]}`[^|]* \| `{option.envvar}` \| [^|]*\| \S.+ \|$"
        assert len(re.findall(pattern, text, re.MULTILINE)) == 1, option.opts
    assert len(re.findall(r"^\| `--", text, re.MULTILINE)) == len(command.params)


def test_every_command_is_there() -> None:
    assert set(re.findall(r"^## pannier (\S+)$", PAGES["commands.md"], re.MULTILINE)) == set(
        COMMANDS
    )


def test_every_field_of_a_storebackend_is_there_once_in_its_section() -> None:
    text = (ROOT / "helm" / "pannier" / "crd" / "storebackends.yaml").read_text()
    version = yaml.safe_load(text)["spec"]["versions"][0]
    checked = 0

    def look(path: str, schema: dict[str, Any]) -> None:
        nonlocal checked
        shown = section("storebackend.md", f"## {path}")
        names = re.findall(r"^\| \*{0,2}`(\w+)`", shown, re.MULTILINE)
        assert sorted(names) == sorted(schema["properties"])
        for name, each in schema["properties"].items():
            checked += 1
            if each.get("type") == "object" and set(each["properties"]) != {"name", "key"}:
                look(f"{path}.{name}", each)

    look("spec", version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    assert checked > 40


def test_every_problem_code_is_there_with_each_of_its_statuses() -> None:
    wanted: dict[str, set[str]] = {}
    for error in errors_of_http():
        wanted.setdefault(error.code, set()).add(str(error.status))
    shown = {row[0].strip("`"): row for row in rows("problems.md") if len(row) == 4}
    assert set(wanted) == set(shown) - {"code", "---"}
    for code, statuses in wanted.items():
        assert statuses <= set(shown[code][1].split(", ")), code
        assert shown[code][2]
        assert shown[code][3]


def test_every_metric_is_there_with_its_type_and_labels() -> None:
    shown = {
        row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2])))
        for row in rows("metrics.md")
        if row[0].startswith("`pannier_")
    }
    wanted = dict(CONTRACT)
    for family in families(Counts()):
        labelled: Any = family
        name = family.name + ("_total" if family.type == "counter" else "")
        wanted[name] = family.type, set(labelled._labelnames)
    assert shown == wanted


def test_every_reason_is_there_in_the_section_of_its_condition() -> None:
    assert re.findall(r"^### (\w+)$", PAGES["status.md"], re.MULTILINE) == list(
        conditions.CONDITIONS
    )
    accepted = section("status.md", "### Accepted").split("###")[0]
    for reason in get_args(resolving.Reason):
        assert f"| `{reason}` | False |" in accepted
    # What the operator can be brought to say, as its own tests bring it about.
    for _, _, said in CASES.values():
        for condition, holds_and_reason in zip(conditions.CONDITIONS, said):
            holds, reason = holds_and_reason.split()
            if condition == "Ready" and holds == "False":
                continue  # it repeats another's
            text = section("status.md", f"### {condition}").split("\n### ")[0]
            assert f"| `{reason}` | {holds} |" in text


def test_every_value_of_the_chart_is_there_with_its_default() -> None:
    values = yaml.safe_load((ROOT / "helm" / "pannier" / "values.yaml").read_text())

    def leaves(path: str, value: Any) -> Iterator[str]:
        if isinstance(value, dict) and value:
            for name, each in value.items():
                yield from leaves(f"{path}.{name}" if path else name, each)
        else:
            yield path

    shown = {row[0].strip("`"): row for row in rows("chart.md")}
    for path in leaves("", values):
        assert shown[path][1], path
        above = [path.rsplit(".", count)[0] for count in range(path.count(".") + 1)]
        assert any(shown[each][2] for each in above if each in shown), path
