"""Which pods get a sidecar, and that the patch puts it where it belongs and nowhere else."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_operator.injection.container import IDENTITY, KEPT, NAME, SidecarTemplate
from pannier_operator.injection.patching import Decision, decide

TEMPLATE = SidecarTemplate(
    image="registry.example/pannier:1", operator_url="wss://pannier-stream.pannier-system.svc:8443"
)

APP = {"name": "app", "image": "shop"}
WINDOWS = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}
                    ]
                }
            ]
        }
    }
}


def pod(*, labels: Any = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": [APP], **spec}}


def patched(before: dict[str, Any], decision: Decision) -> dict[str, Any]:
    result: dict[str, Any] = jsonpatch.apply_patch(copy.deepcopy(before), list(decision.patch))
    return result


INIT_CONTAINERS: list[Any] = [None, [], [{"name": "migrate"}], [{"name": "one"}, {"name": "two"}]]
VOLUMES: list[Any] = [None, [], [{"name": "data", "emptyDir": {}}]]


@pytest.mark.parametrize("inits", INIT_CONTAINERS)
@pytest.mark.parametrize("volumes", VOLUMES)
def test_the_sidecar_is_the_first_init_container_and_all_else_stays(
    inits: Any, volumes: Any
) -> None:
    spec = {"initContainers": inits, "volumes": volumes}
    before = pod(**{name: value for name, value in spec.items() if value is not None})
    decision = decide(before, "shop", TEMPLATE)
    after = patched(before, decision)["spec"]
    assert decision.result == "injected"
    assert after["initContainers"][0]["name"] == NAME
    assert after["initContainers"][0]["restartPolicy"] == "Always"
    assert after["initContainers"][1:] == (inits or [])
    assert after["containers"] == [APP]
    assert after["volumes"][: len(volumes or [])] == (volumes or [])


def test_the_token_is_mounted_into_the_sidecar_alone() -> None:
    before = pod(initContainers=[{"name": "other"}])
    after = patched(before, decide(before, "shop", TEMPLATE))["spec"]
    mounting = [
        each["name"]
        for each in (*after["initContainers"], *after["containers"])
        if any(mount["name"] == IDENTITY for mount in each.get("volumeMounts", []))
    ]
    assert mounting == [NAME]


def test_asked_again_it_changes_nothing() -> None:
    once = patched(pod(), decide(pod(), "shop", TEMPLATE))
    again = decide(once, "shop", TEMPLATE)
    assert (again.result, again.patch) == ("present", ())


def test_asked_again_it_goes_before_the_init_containers_of_others() -> None:
    once = patched(pod(), decide(pod(), "shop", TEMPLATE))
    once["spec"]["initContainers"].insert(0, {"name": "mesh"})
    after = patched(once, decide(once, "shop", TEMPLATE))
    assert [each["name"] for each in after["spec"]["initContainers"]] == [NAME, "mesh"]


def test_a_sidecar_written_by_hand_stays_as_it_is() -> None:
    by_hand = {"name": NAME, "image": "mine", "restartPolicy": "Always"}
    decision = decide(pod(initContainers=[by_hand]), "shop", TEMPLATE)
    assert (decision.result, decision.patch) == ("present", ())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"os": {"name": "windows"}}, "Windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, "Windows"),
        ({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}, "Windows"),
        ({"affinity": WINDOWS}, "Windows"),
        ({"containers": [{"name": NAME}]}, "called pannier"),
        ({"initContainers": [{"name": NAME}]}, "called pannier"),
        ({"volumes": [{"name": IDENTITY, "emptyDir": {}}]}, IDENTITY),
        ({"containers": [{**APP, "volumeMounts": [{"name": KEPT, "mountPath": "/x"}]}]}, KEPT),
        ({"containers": [{**APP, "ports": [{"containerPort": 3900}]}]}, "3900"),
        ({"initContainers": [{"name": "x", "ports": [{"containerPort": 3901}]}]}, "3901"),
    ],
)
def test_a_pod_it_cannot_serve_in_is_left_alone_with_a_warning(
    spec: dict[str, Any], said: str
) -> None:
    decision = decide(pod(**spec), "shop", TEMPLATE)
    assert (decision.result, decision.patch) == ("skipped", ())
    [warning] = decision.warnings
    assert said in warning


def test_who_opts_out_and_excluded_namespaces_are_left_alone_in_silence() -> None:
    labels = {"pannier.dev/inject": "false"}
    assert decide(pod(labels=labels), "shop", TEMPLATE) == Decision("skipped")
    assert decide(pod(), "kube-system", TEMPLATE) == Decision("skipped")
    own = decide(pod(), "pannier-system", TEMPLATE, never_in=frozenset({"pannier-system"}))
    assert own == Decision("skipped")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["metadata", "labels", "spec", "initContainers", "containers", "volumes", "name",
             "ports", "os", "nodeSelector"]
        ),
        inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), anything))
def test_no_pod_is_too_odd_to_decide_on(odd: dict[str, Any]) -> None:
    assert decide(odd, "shop", TEMPLATE).result in ("injected", "present", "skipped")
