"""A real Kubernetes control plane for a whole test run, and own ones for tests that harm theirs.

The shared one is started when the first test asks for it (3 to 5 s, 450 MB) and killed at the end
of the run by the pids that were started. A test works in a namespace of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.real.kubernetes_parts.building import NotHere
from tests.real.kubernetes_parts.control_plane import ControlPlane

CHART: Final = Path(__file__).resolve().parents[2] / "helm" / "pannier"
CRD: Final = CHART / "crd" / "storebackends.yaml"
OF_RIGHTS: Final = frozenset(
    {
        "CustomResourceDefinition", "ServiceAccount", "Role", "RoleBinding", "ClusterRole",
        "ClusterRoleBinding",
    }
)  # fmt: skip
"""What of the chart is no pod and leads to none."""


def start_control_plane(factory: pytest.TempPathFactory, **settings: Any) -> ControlPlane:
    """Start one; skips the test, saying how to get it, where its programs are not there."""
    try:
        plane = ControlPlane(factory.mktemp("kubernetes"), **settings)
    except NotHere as reason:
        pytest.skip(str(reason))
    plane.start()
    return plane


@pytest.fixture(scope="session")
def shared_control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = start_control_plane(tmp_path_factory)
    yield plane
    plane.stop()


@pytest.fixture
def control_plane(shared_control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane of this run, in good order; what a test breaks is healed after it."""
    yield shared_control_plane
    if not all(daemon.pid for daemon in shared_control_plane.daemons()):
        shared_control_plane.heal()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A namespace of the test's own in the shared control plane."""
    return control_plane.namespace()


def install_crd(plane: ControlPlane) -> None:
    """Let the cluster know StoreBackends."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(CRD))
    plane.kubectl("wait", "--for=condition=Established", "--filename", str(CRD), "--timeout=60s")


def render_chart(plane: ControlPlane, namespace: str, *settings: str) -> str:
    """What `helm template` makes of the chart, as YAML; `settings` are `--set` ones."""
    version = plane.api.call("GET", "/version")["gitVersion"]
    chosen = [part for setting in settings for part in ("--set", setting)]
    return plane.helm(
        "template", "pannier", str(CHART), "--namespace", namespace, "--kube-version", version,
        *chosen,
    )  # fmt: skip


def install_operator_rbac(
    plane: ControlPlane, namespace: str, *, watch: Sequence[str] = ()
) -> Path:
    """Give an operator in `namespace` the rights that the chart gives it, and those alone.

    It serves the namespaces `watch`, or without any the whole cluster. The result is a kubeconfig
    that acts as its ServiceAccount; the cluster knows StoreBackends afterwards.
    """
    settings = [f"watchNamespaces={{{','.join(watch)}}}"] if watch else []
    objects = yaml.safe_load_all(render_chart(plane, namespace, *settings))
    # Its pods are processes of the test, and nothing answers for a webhook of the whole cluster.
    plane.apply(*(each for each in objects if each and each["kind"] in OF_RIGHTS))
    plane.kubectl("wait", "--for=condition=Established", "--filename", str(CRD), "--timeout=60s")
    return plane.kubeconfig_for(namespace, "pannier-operator")


@pytest.fixture(scope="session")
def shared_crd(shared_control_plane: ControlPlane) -> ControlPlane:
    install_crd(shared_control_plane)
    return shared_control_plane


@pytest.fixture
def crd(shared_crd: ControlPlane, control_plane: ControlPlane) -> ControlPlane:
    """The control plane of this run, which knows StoreBackends."""
    return control_plane


@pytest.fixture
def own_control_plane(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ControlPlane]]:
    """`own_control_plane()` starts one of the test's own; all are killed at its end.

    `controller_manager=False` spares 115 MB: namespaces then lack their default ServiceAccount,
    and no namespace that holds something can be deleted.
    """
    started: list[ControlPlane] = []

    def start(**settings: Any) -> ControlPlane:
        plane = start_control_plane(tmp_path_factory, **settings)
        started.append(plane)
        return plane

    yield start
    for plane in started:
        plane.stop()
