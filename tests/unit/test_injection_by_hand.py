"""The sidecar that `docs/manual-sidecar.yaml` shows is the one that is injected."""

from __future__ import annotations

from pathlib import Path

import yaml

from pannier_operator.injection.container import SidecarTemplate, container, volumes
from pannier_operator.injection.patching import decide
from pannier_operator.injection.webhook import template_of
from pannier_operator.settings import OperatorSettings

ROOT = Path(__file__).parents[2]


def test_the_manual_pod_is_what_injection_makes_of_the_same_pod() -> None:
    pod = yaml.safe_load((ROOT / "docs" / "manual-sidecar.yaml").read_text())
    chart = yaml.safe_load((ROOT / "helm" / "pannier" / "Chart.yaml").read_text())
    values = yaml.safe_load((ROOT / "helm" / "pannier" / "values.yaml").read_text())
    image = f"{values['sidecar']['image']['repository']}:{chart['appVersion']}"
    template: SidecarTemplate = template_of(OperatorSettings(sidecar_image=image))
    assert pod["spec"]["initContainers"] == [container(template)]
    assert pod["spec"]["volumes"] == volumes()
    assert decide(pod, "shop", template).result == "present"


def test_the_chart_and_the_settings_have_the_same_defaults() -> None:
    values = yaml.safe_load((ROOT / "helm" / "pannier" / "values.yaml").read_text())
    sidecar, settings = values["sidecar"], OperatorSettings()
    assert sidecar["cpuRequest"] == settings.sidecar_cpu_request
    assert sidecar["memoryRequest"] == settings.sidecar_memory_request
    assert sidecar["memoryLimit"] == settings.sidecar_memory_limit
    assert sidecar["logFormat"] == settings.sidecar_log_format
    assert sidecar["image"]["pullPolicy"] == settings.sidecar_image_pull_policy
