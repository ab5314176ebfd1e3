"""The rights that the chart gives: enough for the operator, and nothing besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real.kubernetes import CHART, CRD, install_operator_rbac, render_chart
from tests.real.kubernetes_parts.auditing import Right, rights_in, unused
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane
from tests.real.processes import wait_until


def may(
    plane: ControlPlane,
    who: str,
    verb: str,
    what: str,
    *,
    namespace: str = "",
    name: str = "",
) -> bool:
    """Whether RBAC lets `who` (namespace:account, or a person's name) do it."""
    path, _, group = what.partition(".")
    resource, _, subresource = path.partition("/")
    attributes = {
        "verb": verb, "group": group, "resource": resource, "subresource": subresource,
        "namespace": namespace, "name": name,
    }  # fmt: skip
    user = f"system:serviceaccount:{who}" if ":" in who else who
    body = {"spec": {"user": user, "resourceAttributes": attributes}}
    answer = plane.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


SERVED = [
    ("list", "storebackends.pannier.dev", ""),
    ("watch", "storebackends.pannier.dev", ""),
    ("get", "storebackends.pannier.dev", ""),
    ("patch", "storebackends/status.pannier.dev", ""),
    ("list", "secrets", ""),
    ("watch", "secrets", ""),
    ("create", "configmaps", ""),
    ("list", "configmaps", "pannier-ca"),
    ("patch", "configmaps", "pannier-ca"),
    ("create", "events.events.k8s.io", ""),
]
"""What it may do in the namespaces it serves."""

NEVER = [
    ("patch", "storebackends.pannier.dev", ""),
    ("update", "storebackends.pannier.dev", ""),
    ("delete", "storebackends.pannier.dev", ""),
    ("create", "secrets", ""),
    ("patch", "secrets", ""),
    ("delete", "secrets", ""),
    ("list", "configmaps", ""),
    ("get", "configmaps", "another"),
    ("patch", "configmaps", "another"),
    ("list", "pods", ""),
    ("create", "pods", ""),
    ("create", "pods/exec", ""),
    ("create", "serviceaccounts/token", ""),
    ("create", "rolebindings.rbac.authorization.k8s.io", ""),
    ("impersonate", "serviceaccounts", ""),
]
"""What it may do in no namespace but its own."""

OWN = [
    ("create", "leases.coordination.k8s.io", ""),
    ("get", "leases.coordination.k8s.io", "pannier-operator"),
    ("update", "leases.coordination.k8s.io", "pannier-operator"),
    ("list", "pods", ""),
    ("patch", "pods", ""),
    ("create", "secrets", ""),
    ("patch", "secrets", "pannier-ca"),
]
"""What it may do in its own."""

NOT_EVEN_THERE = [
    ("update", "leases.coordination.k8s.io", "another"),
    ("patch", "secrets", "another"),
    ("delete", "pods", ""),
    ("create", "pods", ""),
]


def test_an_operator_of_the_whole_cluster_may_serve_each_namespace_and_no_more(
    control_plane: ControlPlane, namespace: str
) -> None:
    install_operator_rbac(control_plane, namespace)
    other = control_plane.namespace()
    who = f"{namespace}:pannier-operator"
    for verb, what, name in SERVED:
        assert may(control_plane, who, verb, what, namespace=other, name=name), (verb, what)
    for verb, what, name in NEVER:
        assert not may(control_plane, who, verb, what, namespace=other, name=name), (verb, what)
    for verb, what, name in OWN:
        assert may(control_plane, who, verb, what, namespace=namespace, name=name), (verb, what)
    for verb, what, name in NOT_EVEN_THERE:
        assert not may(control_plane, who, verb, what, namespace=namespace, name=name), (verb, what)
    assert may(control_plane, who, "create", "tokenreviews.authentication.k8s.io")
    assert may(control_plane, who, "watch", "namespaces")
    tells_of_its_own_webhook_alone(control_plane, who, f"pannier-operator-{namespace}")
    assert may(control_plane, who, "list", "secrets")  # of all namespaces at once


def test_an_operator_of_some_namespaces_may_nothing_in_others(
    control_plane: ControlPlane, namespace: str
) -> None:
    served = [control_plane.namespace() for _ in range(2)]
    other = control_plane.namespace()
    install_operator_rbac(control_plane, namespace, watch=served)
    who = f"{namespace}:pannier-operator"
    for verb, what, name in SERVED:
        for each in served:
            assert may(control_plane, who, verb, what, namespace=each, name=name), (verb, what)
        assert not may(control_plane, who, verb, what, namespace=other, name=name), (verb, what)
    for verb, what, name in NEVER:
        assert not may(control_plane, who, verb, what, namespace=served[0], name=name), (verb, what)
    for verb, what, name in OWN:
        assert may(control_plane, who, verb, what, namespace=namespace, name=name), (verb, what)
    assert not may(control_plane, who, "list", "secrets", namespace=namespace)
    assert not may(control_plane, who, "list", "secrets")
    assert not may(control_plane, who, "list", "namespaces")
    tells_of_its_own_webhook_alone(control_plane, who, f"pannier-operator-{namespace}")
    assert may(control_plane, who, "create", "tokenreviews.authentication.k8s.io")


def tells_of_its_own_webhook_alone(plane: ControlPlane, who: str, own: str) -> None:
    """Whoever may change another's could have it ask a server of their own for every pod."""
    what = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
    assert may(plane, who, "get", what, name=own) and may(plane, who, "patch", what, name=own)
    assert not may(plane, who, "patch", what, name="another")
    assert not any(
        may(plane, who, verb, what, name=own) for verb in ("list", "create", "update", "delete")
    )


def test_the_operators_kubeconfig_acts_under_these_rights(
    control_plane: ControlPlane, namespace: str
) -> None:
    served = control_plane.namespace()
    operator = install_operator_rbac(control_plane, namespace, watch=[served])
    control_plane.kubectl("get", "sb", "--namespace", served, kubeconfig=operator)
    with pytest.raises(CommandFailed, match="cannot list resource"):
        control_plane.kubectl("get", "sb", "--all-namespaces", kubeconfig=operator)


def test_what_a_right_was_used_for_is_seen_in_the_audit_log(own_control_plane: Any) -> None:
    plane = own_control_plane(audit=True)
    served, system = plane.namespace(), plane.namespace()
    operator = install_operator_rbac(plane, system, watch=[served])
    rights = rights_in(render_chart(plane, system, f"watchNamespaces={{{served}}}"),
                       "pannier-operator")  # fmt: skip
    listed = Right(f"pannier-operator-{system}", served, "list", "pannier.dev",
                   "storebackends", "")  # fmt: skip
    assert listed in rights
    assert listed in unused(rights, plane.requests_of(system, "pannier-operator"))
    plane.kubectl("get", "sb", "--namespace", served, kubeconfig=operator)
    with pytest.raises(CommandFailed, match="cannot list"):
        plane.kubectl("get", "configmaps", "--namespace", served, kubeconfig=operator)
    requests = plane.requests_of(system, "pannier-operator")
    left = unused(rights, requests)
    assert listed not in left
    assert len(left) == len(rights) - 1
    forbidden = [each for each in requests if each.forbidden]
    assert [(each.verb, each.resource, each.namespace) for each in forbidden] == [
        ("list", "configmaps", served)
    ]


def test_people_get_their_rights_with_kubernetes_own_roles(
    control_plane: ControlPlane, namespace: str
) -> None:
    install_operator_rbac(control_plane, namespace)
    for role in ("admin", "edit", "view"):
        control_plane.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-{namespace}",
            "--namespace", namespace,
        )  # fmt: skip

    def can(role: str, verb: str, what: str = "storebackends.pannier.dev") -> bool:
        return may(control_plane, f"{role}-{namespace}", verb, what, namespace=namespace)

    # The controller manager adds them a moment later.
    wait_until(lambda: can("view", "list") and can("admin", "create"), 60, "roles aggregate")
    for role in ("admin", "edit"):
        assert all(can(role, verb) for verb in ("get", "watch", "create", "update", "delete"))
        assert not can(role, "patch", "storebackends/status.pannier.dev")
    assert can("view", "get")
    assert not any(can("view", verb) for verb in ("create", "update", "patch", "delete"))


class TestRendering:
    def test_lint_finds_nothing(self, control_plane: ControlPlane) -> None:
        said = control_plane.helm("lint", "--strict", str(CHART))
        assert "0 chart(s) failed" in said and "[WARNING]" not in said

    def test_the_definition_in_the_chart_is_the_generated_one(
        self, control_plane: ControlPlane
    ) -> None:
        found = definition_in(render_chart(control_plane, "sys"))
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        generated = yaml.safe_load(CRD.read_text())
        assert found["spec"] == generated["spec"]
        assert found["metadata"]["name"] == generated["metadata"]["name"]

    def test_the_definition_can_go_with_the_release(self, control_plane: ControlPlane) -> None:
        text = render_chart(control_plane, "sys", "crds.keep=false", "commonLabels.team=a")
        found = definition_in(text)
        assert "annotations" not in found["metadata"]
        assert found["metadata"]["labels"]["team"] == "a"

    def test_a_second_release_brings_nothing_that_the_first_has(
        self, control_plane: ControlPlane
    ) -> None:
        first = names_in(render_chart(control_plane, "one", "watchNamespaces={shop}"))
        second = names_in(
            render_chart(control_plane, "two", "watchNamespaces={shop}", "crds.enabled=false")
        )
        assert ("CustomResourceDefinition", None, "storebackends.pannier.dev") in first
        assert not first & second

    @pytest.mark.parametrize(
        ("setting", "complaint"),
        [
            ("watchNamespace={a}", "watchNamespace' not allowed"),
            ("replicas=two", "replicas"),
            ("injection.failurePolicy=fail", "injection.failurePolicy"),
            ("crds.enable=true", "enable' not allowed"),
            ("crds.enabled=perhaps", "got string, want boolean"),
            ("watchNamespaces={A}", "does not match pattern"),
            ("watchNamespaces=a", "got string, want array"),
            ("rbac.created=true", "created' not allowed"),
            ("serviceAccount.names=a", "names' not allowed"),
        ],
    )
    def test_a_value_that_means_nothing_is_refused(
        self, control_plane: ControlPlane, setting: str, complaint: str
    ) -> None:
        with pytest.raises(CommandFailed, match=complaint):
            render_chart(control_plane, "sys", setting)

    def test_the_schema_knows_every_value_and_no_other(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = yaml.safe_load((CHART / "values.schema.json").read_text())

        def check(part: Any, said: dict[str, Any], path: str) -> None:
            said = schema["definitions"].get(said.get("$ref", "").rpartition("/")[2], said)
            if not isinstance(part, dict) or not part or "properties" not in said:
                return
            assert said["additionalProperties"] is False, path
            assert set(part) == set(said["properties"]) - {"global"}, path
            for name, inner in part.items():
                check(inner, said["properties"][name], f"{path}.{name}")

        check(values, schema, "")

    def test_a_cluster_that_is_too_old_is_refused(self, control_plane: ControlPlane) -> None:
        with pytest.raises(CommandFailed, match=r"requires kubeVersion: >=1\.33\.0-0"):
            control_plane.helm("template", "pannier", str(CHART), "--kube-version", "1.32.9")
        for version in ("1.33.0", "v1.33.4-gke.100"):
            control_plane.helm("template", "pannier", str(CHART), "--kube-version", version)

    def test_installed_by_helm_it_keeps_the_resources_when_it_goes(
        self, own_control_plane: Any, tmp_path: Path
    ) -> None:
        plane = own_control_plane()
        where = ("--namespace", "pannier-system")
        plane.helm("install", "pannier", str(CHART), *where, "--create-namespace")
        shop = {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
                "metadata": {"name": "shop"}, "spec": {"type": "memory", "memory": {}}}  # fmt: skip
        plane.apply(shop, namespace="default")
        plane.helm("upgrade", "pannier", str(CHART), *where, "--set", "watchNamespaces={default}")
        assert plane.get("roles", "--namespace", "default")["items"]
        plane.helm("rollback", "pannier", "1", *where)
        assert not plane.get("roles", "--namespace", "default")["items"]
        plane.helm("uninstall", "pannier", *where)
        assert plane.get("sb", "shop", "--namespace", "default")["metadata"]["name"] == "shop"
        assert not plane.get("serviceaccounts", *where)["items"][1:]


def definition_in(text: str) -> dict[str, Any]:
    (found,) = [
        each
        for each in yaml.safe_load_all(text)
        if each and each["kind"] == "CustomResourceDefinition"
    ]
    return dict(found)


def names_in(text: str) -> set[tuple[str, str | None, str]]:
    """Kind, namespace and name of everything rendered."""
    return {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in yaml.safe_load_all(text)
        if each
    }
