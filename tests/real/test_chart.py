"""What the chart renders, for many values: held to a real API server and to the operator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pannier_operator import main as command
from pannier_operator.settings import OperatorSettings
from tests.real.kubernetes import CHART, install_crd, render_chart, start_control_plane
from tests.real.kubernetes_parts.building import program
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane

DIGEST = "sha256:" + "0f" * 32
RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}
APART = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
MONITORING = ("podMonitors.enabled=true", "prometheusRule.enabled=true")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of this file's own: it is told of the Prometheus Operator's resources on the way."""
    started = start_control_plane(tmp_path_factory)
    try:
        install_crd(started)
        yield started
    finally:
        started.stop()


@pytest.fixture
def where(plane: ControlPlane) -> str:
    """A namespace that refuses and warns of pods that are not `restricted`."""
    return plane.namespace(labels=RESTRICTED)


def rendered(plane: ControlPlane, namespace: str, *settings: str) -> list[dict[str, Any]]:
    text = render_chart(plane, namespace, *settings)
    return [each for each in yaml.safe_load_all(text) if each]


def one(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    [found] = [each for each in objects
               if each["kind"] == kind and name in ("", each["metadata"]["name"])]  # fmt: skip
    return found


def dry_run(plane: ControlPlane, objects: list[dict[str, Any]]) -> str:
    """What kubectl says of the objects, after the API server has looked at each of them."""
    done = subprocess.run(
        [program("kubectl"), "apply", "--server-side", "--force-conflicts", "--dry-run=server",
         "--filename", "-"],
        input="\n---\n".join(map(json.dumps, objects)), capture_output=True, text=True,
        check=False, timeout=120, env=plane.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


MATRIX: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "one replica": ("replicas=1",),
    "none": ("replicas=0", "injection.failurePolicy=Fail"),
    "many": ("replicas=7", "injection.failurePolicy=Ignore", "podDisruptionBudget.enabled=false"),
    "without injection": ("injection.enabled=false",),
    "some namespaces": ("watchNamespaces={default,kube-public}",),
    "bare": (
        "crds.enabled=false", "rbac.create=false", "serviceAccount.create=false",
        "injection.enabled=false", "podDisruptionBudget.enabled=false",
        "networkPolicy.enabled=false", "dashboards.enabled=false",
    ),
    "images": (
        "imageRegistry=registry.example:5000/team/", "image.tag=1.2.3-rc.1",
        f"sidecar.image.digest={DIGEST}", "image.pullPolicy=Always",
        "imagePullSecrets[0].name=pull",
    ),
    "sizes": (
        "sidecar.cpuRequest=1", "sidecar.memoryLimit=1Gi", "sidecar.memoryRequest=128M",
        "resources.limits.cpu=2", "resources.requests.memory=1Gi", "resources.limits.memory=2Gi",
    ),
    "labels": (
        "commonLabels.team=a", "podLabels.team=b", "podAnnotations.note=x",
        r"commonLabels.app\.kubernetes\.io/name=mine", r"podLabels.pannier\.dev/inject=enabled",
        r"serviceAccount.annotations.example\.com/role=x",
    ),
    "placing": (
        r"nodeSelector.kubernetes\.io/os=linux", "tolerations[0].operator=Exists",
        "priorityClassName=system-cluster-critical",
        f"{APART}.topologyKey=kubernetes.io/hostname", f"{APART}.labelSelector.matchLabels.a=b",
    ),
    "closed": (
        r"networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "networkPolicy.egress[0].ports[0].port=6443",
        "networkPolicy.egress[0].ports[1].port=53", "networkPolicy.egress[0].ports[1].protocol=UDP",
    ),
    "dashboards": (
        "dashboards.annotations.grafana_folder=Pannier", "dashboards.labels.more=x",
    ),
}  # fmt: skip


class TestValues:
    @pytest.mark.parametrize("name", MATRIX)
    def test_the_api_server_takes_what_is_rendered_without_a_warning(
        self, plane: ControlPlane, where: str, name: str
    ) -> None:
        said = dry_run(plane, rendered(plane, where, *MATRIX[name]))
        assert "Warning" not in said
        assert "deployment.apps/pannier-operator" in said

    @pytest.mark.parametrize("name", MATRIX)
    def test_no_key_is_written_twice(self, plane: ControlPlane, name: str) -> None:
        for text in render_chart(plane, "sys", *MATRIX[name]).split("\n---\n"):
            yaml.load(text, Loader=NoKeyTwice)

    @pytest.mark.parametrize(
        ("setting", "complaint"),
        [
            ("replica=3", "replica' not allowed"),
            ("image.name=x", "name' not allowed"),
            ("image.digest=sha256:abc", "image/digest|image.digest"),
            ("image.pullPolicy=Sometimes", "pullPolicy"),
            ("sidecar.memory=1Gi", "memory' not allowed"),
            ("sidecar.memoryLimit=lots", "memoryLimit"),
            ("resources.limit.cpu=1", "limit' not allowed"),
            ("log.level=loud", "level"),
            ("injection.enabled=maybe", "want boolean"),
            ("podMonitors.interval=often", "interval"),
            ("networkPolicy.egress=all", "want array"),
            ("dashboards.labels=x", "want object"),
            ("imagePullSecrets={pull}", "want object"),
            ("sidecar=null", "missing propert"),
            ("injection=null", "missing propert"),
        ],
    )
    def test_what_means_nothing_is_refused(
        self, plane: ControlPlane, setting: str, complaint: str
    ) -> None:
        with pytest.raises(CommandFailed, match=complaint):
            render_chart(plane, "sys", setting)


class NoKeyTwice(yaml.SafeLoader):
    """A later key of the same name would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        assert len(keys) == len(set(keys)), sorted(keys)
        return super().construct_mapping(node, deep)


class TestTheOperator:
    def settings(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, *values: str
    ) -> OperatorSettings:
        """What the operator makes of the Deployment's arguments and variables."""
        container = self.container(rendered(plane, "sys", *values))
        seen: list[OperatorSettings] = []

        async def live(settings: OperatorSettings) -> None:
            seen.append(settings)

        monkeypatch.setattr("pannier_operator.life.live", live)
        monkeypatch.setattr("pannier.logs.configure", lambda form, level: None)
        monkeypatch.setattr(command, "quieten", lambda level: None)
        fields = {"metadata.namespace": "sys", "metadata.name": "pannier-operator-0"}
        for each in container["env"]:
            value = fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            monkeypatch.setenv(each["name"], value)
        assert container["args"][0] == "operator"
        assert command.main(container["args"][1:]) == 0
        return seen[0]

    def container(self, objects: list[dict[str, Any]]) -> dict[str, Any]:
        [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        return dict(container)

    def test_by_default_it_is_told_where_it_is_and_what_to_inject(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.settings(plane, monkeypatch) == OperatorSettings(
            namespace="sys", pod_name="pannier-operator-0", log_format="json",
            sidecar_image="pannier-sidecar:0.1.0",
            webhook_configuration="pannier-operator-sys",
        )  # fmt: skip

    def test_each_value_reaches_its_flag(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = self.settings(
            plane, monkeypatch, "watchNamespaces={a,b}", "log.format=text", "log.level=debug",
            "imageRegistry=registry.example/team", f"sidecar.image.digest={DIGEST}",
            "sidecar.image.pullPolicy=Never", "sidecar.cpuRequest=1", "sidecar.memoryRequest=1Gi",
            "sidecar.memoryLimit=2Gi", "sidecar.logFormat=text",
        )  # fmt: skip
        assert made == OperatorSettings(
            namespace="sys", pod_name="pannier-operator-0", watch_namespace=("a", "b"),
            log_format="text", log_level="debug", webhook_configuration="pannier-operator-sys",
            sidecar_image=f"registry.example/team/pannier-sidecar@{DIGEST}",
            sidecar_image_pull_policy="Never", sidecar_cpu_request="1",
            sidecar_memory_request="1Gi", sidecar_memory_limit="2Gi", sidecar_log_format="text",
        )  # fmt: skip

    def test_without_injection_it_injects_nothing(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not self.settings(plane, monkeypatch, "injection.enabled=false").injects
        objects = rendered(plane, "sys", "injection.enabled=false")
        kinds = {each["kind"] for each in objects}
        assert "MutatingWebhookConfiguration" not in kinds
        assert "pannier-webhook" not in {each["metadata"]["name"] for each in objects}
        assert "admissionregistration" not in json.dumps(objects)

    def test_its_ports_are_those_it_listens_on_and_services_lead_to(
        self, plane: ControlPlane
    ) -> None:
        objects = rendered(plane, "sys")
        ports = {each["name"]: each["containerPort"] for each in self.container(objects)["ports"]}
        own = OperatorSettings()
        listens = {"stream": own.listen, "webhook": own.webhook_listen, "admin": own.admin_listen}
        assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == listens
        template = one(objects, "Deployment")["spec"]["template"]
        for name, port in (("pannier-stream", 8443), ("pannier-webhook", 443),
                           ("pannier-operator", 3901)):  # fmt: skip
            service = one(objects, "Service", name)["spec"]
            [led] = service["ports"]
            assert led["port"] == port and led["targetPort"] in ports
            labels = {**template["metadata"]["labels"], "pannier.dev/leader": "true"}
            assert service["selector"].items() <= labels.items()
        leads = one(objects, "Service", "pannier-stream")["spec"]["selector"]
        assert leads["pannier.dev/leader"] == "true"
        assert own.stream_service == "pannier-stream" and own.webhook_service == "pannier-webhook"

    def test_it_has_time_to_end(self, plane: ControlPlane) -> None:
        pod = one(rendered(plane, "sys"), "Deployment")["spec"]["template"]["spec"]
        own = OperatorSettings()
        drains = own.drain_delay + own.drain_spread
        assert pod["terminationGracePeriodSeconds"] >= 2 * drains + 20

    @pytest.mark.parametrize(
        ("settings", "policy"),
        [
            ((), "Fail"), (("replicas=1",), "Ignore"),
            (("replicas=1", "injection.failurePolicy=Fail"), "Fail"),
            (("injection.failurePolicy=Ignore",), "Ignore"),
        ],
    )  # fmt: skip
    def test_pods_are_refused_without_it_only_where_two_answer(
        self, plane: ControlPlane, settings: tuple[str, ...], policy: str
    ) -> None:
        [webhook] = one(rendered(plane, "sys", *settings), "MutatingWebhookConfiguration")[
            "webhooks"
        ]
        assert webhook["failurePolicy"] == policy
        assert webhook["timeoutSeconds"] == 5 and webhook["sideEffects"] == "None"

    def test_where_some_namespaces_are_served_others_are_not_asked_about(
        self, plane: ControlPlane
    ) -> None:
        objects = rendered(plane, "sys", "watchNamespaces={a,b}")
        [webhook] = one(objects, "MutatingWebhookConfiguration")["webhooks"]
        expressions = webhook["namespaceSelector"]["matchExpressions"]
        assert [(each["operator"], each["values"]) for each in expressions] == [
            ("NotIn", ["kube-system", "sys"]), ("In", ["a", "b"]),
        ]  # fmt: skip

    def test_no_role_of_the_whole_cluster_reads_secrets_where_some_namespaces_are_served(
        self, plane: ControlPlane
    ) -> None:
        for each in rendered(plane, "sys", "watchNamespaces={a}", "crds.enabled=false"):
            if each["kind"] == "ClusterRole":
                resources = {name for rule in each["rules"] for name in rule["resources"]}
                assert resources == {"tokenreviews", "mutatingwebhookconfigurations"}


class TestMonitoring:
    """The Prometheus Operator's resources: it is not there at first, as in many clusters."""

    def test_without_it_the_chart_installs_and_asking_for_it_says_what_is_missing(
        self, plane: ControlPlane, where: str
    ) -> None:
        kinds = {each["kind"] for each in rendered(plane, where)}
        assert not kinds & {"PodMonitor", "PrometheusRule"}
        with pytest.raises(CommandFailed, match='no matches for kind "PodMonitor"'):
            plane.helm("install", "pannier", str(CHART), "--namespace", where,
                       "--set", "crds.enabled=false", "--set", MONITORING[0])  # fmt: skip

    def test_with_it_the_api_server_takes_them(self, plane: ControlPlane, where: str) -> None:
        # Its definitions are 600 KB; these let everything pass, so that only the form is checked.
        for plural, kind in (("podmonitors", "PodMonitor"), ("prometheusrules", "PrometheusRule")):
            plane.apply(anything_goes(plural, kind))
            plane.kubectl("wait", "--for=condition=Established",
                          f"crd/{plural}.monitoring.coreos.com", "--timeout=50s")  # fmt: skip
        objects = rendered(
            plane, where, *MONITORING, "podMonitors.labels.release=prometheus",
            "podMonitors.interval=15s", "prometheusRule.labels.release=prometheus",
        )  # fmt: skip
        assert "Warning" not in dry_run(plane, objects)

    def test_the_alerts_are_those_that_promtool_tests(self, plane: ControlPlane) -> None:
        rule = one(rendered(plane, "sys", *MONITORING), "PrometheusRule")
        assert rule["spec"] == yaml.safe_load((CHART / "alerts" / "pannier.yaml").read_text())

    def test_monitors_choose_the_ports_that_are_there(self, plane: ControlPlane) -> None:
        objects = rendered(plane, "sys", *MONITORING, "podMonitors.interval=15s")
        operator = one(objects, "PodMonitor", "pannier-operator")["spec"]
        template = one(objects, "Deployment")["spec"]["template"]
        assert operator["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        [endpoint] = operator["podMetricsEndpoints"]
        assert endpoint == {"port": "admin", "path": "/metrics", "interval": "15s"}
        sidecars = one(objects, "PodMonitor", "pannier-sidecars")["spec"]
        assert sidecars["podMetricsEndpoints"][0]["port"] == "pannier-admin"
        assert sidecars["namespaceSelector"] == {"any": True}
        some = rendered(plane, "sys", *MONITORING, "watchNamespaces={a}")
        chosen = one(some, "PodMonitor", "pannier-sidecars")["spec"]["namespaceSelector"]
        assert chosen == {"matchNames": ["a"]}

    def test_the_dashboards_are_whole_in_their_config_maps(self, plane: ControlPlane) -> None:
        found = {}
        for each in rendered(plane, "sys"):
            if each["kind"] == "ConfigMap":
                assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
                found |= each["data"]
        files = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
        assert {name: json.loads(text) for name, text in found.items()} == {
            name: json.loads(text) for name, text in files.items()
        }


def anything_goes(plural: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True,
                          "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip


def test_every_value_is_described() -> None:
    for paragraph in (CHART / "values.yaml").read_text().strip().split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        assert any(line.startswith("#") for line in lines), paragraph


def test_the_packaged_chart_holds_what_it_needs(plane: ControlPlane, tmp_path: Path) -> None:
    plane.helm("package", str(CHART), "--destination", str(tmp_path))
    [package] = tmp_path.glob("pannier-*.tgz")
    text = plane.helm("template", "pannier", str(package), "--kube-version", "1.37.0")
    kinds = {each["kind"] for each in yaml.safe_load_all(text) if each}
    assert {"CustomResourceDefinition", "ConfigMap", "Deployment"} <= kinds
