"""What `pip install .` installs: the whole package, the command, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "sidecar", ROOT / "operator")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source archive, built without the network."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", directory],
                   cwd=ROOT, check=True, capture_output=True)  # fmt: skip
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_the_wheel_holds_every_source_file_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {str(path.relative_to(one)) for one in SOURCES for path in one.rglob("*.py")}
    assert held == sources | {"pannier/py.typed", "pannier_operator/py.typed"}


def test_the_wheel_brings_its_license(wheel: Path) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_source_archive_holds_what_its_tests_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"dev", "constraints.txt", "LICENSE", "README.md", "tests/conftest.py"} <= held
    assert {"docs/dashboards.md", "helm/pannier/alerts/pannier.yaml"} <= held
    assert not any(name.startswith((".venv", ".git/")) for name in held)


def test_the_installed_command_runs(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
                    "--ignore-installed",  # else pip would uninstall the one that is tested
                    "--no-warn-script-location", "--prefix", tmp_path, wheel],
                   check=True)  # fmt: skip
    [packages] = tmp_path.glob("lib/python*/site-packages")
    # The dependencies are this environment's; the package itself is found here first.
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(
        [tmp_path / "bin" / "pannier", "--version"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    where = subprocess.run(
        [sys.executable, "-c", "import pannier; print(pannier.__file__)"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "0.1.0" in done.stdout
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
