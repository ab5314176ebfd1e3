"""Whether a pod gets a sidecar, and the JSON patch (RFC 6902) that puts it there. Pure.

It can be asked again of a pod it has patched already (reinvocation): then nothing is changed, but
that the sidecar is put first again where another webhook came before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pannier_operator.injection.container import (
    ADMIN_PORT,
    NAME,
    RECORD_PORT,
    SidecarTemplate,
    container,
    volumes,
)

OPT_OUT: Final = "pannier.dev/inject"
"""The pod's label; "false" leaves it alone. A label, so that the API server need not even ask."""

Result = Literal["injected", "present", "skipped"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one pod."""

    result: Result
    patch: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    """Shown to whoever creates the pod."""


def decide(
    pod: Mapping[str, Any],
    namespace: str,
    template: SidecarTemplate,
    *,
    never_in: frozenset[str] = frozenset({"kube-system"}),
) -> Decision:
    """What becomes of a pod that is created in `namespace`.

    The selectors of the webhook's configuration say the same of namespaces and labels; here it
    holds too if somebody edits them.
    """
    metadata, spec = _part(pod, "metadata"), _part(pod, "spec")
    if namespace in never_in or _part(metadata, "labels").get(OPT_OUT) == "false":
        return Decision("skipped")
    inits = _parts(spec, "initContainers")
    places = [
        place
        for place, each in enumerate(inits)
        if each.get("name") == NAME and each.get("restartPolicy") == "Always"
    ]
    if places:
        return Decision("present", _to_the_front(places))
    reason = _why_not(spec)
    if reason:
        return Decision("skipped", warnings=(f"Pannier's sidecar is not injected: {reason}",))
    return Decision("injected", tuple(_insertions(spec, inits, template)))


def _why_not(spec: Mapping[str, Any]) -> str:
    """Why the sidecar cannot serve in this pod; "" if it can."""
    if spec.get("hostNetwork"):
        return (
            "the pod uses the node's network, where every process of the node could reach its "
            "stores. Remove hostNetwork, or label the pod pannier.dev/inject=false."
        )
    selector = _part(spec, "nodeSelector")
    named = (
        _part(spec, "os").get("name"),
        selector.get("kubernetes.io/os"),
        selector.get("beta.kubernetes.io/os"),
    )
    if "windows" in named or _wants_windows(spec):
        return "it does not run on Windows. Label the pod pannier.dev/inject=false."
    containers = (*_parts(spec, "initContainers"), *_parts(spec, "containers"))
    if any(each.get("name") == NAME for each in containers):
        return f"a container of the pod is called {NAME}, and is no sidecar. Rename it."
    own = [each["name"] for each in volumes()]
    mounts = [mount for each in containers for mount in _parts(each, "volumeMounts")]
    if any(each.get("name") in own for each in (*_parts(spec, "volumes"), *mounts)):
        # They hold the pod's token and the credentials of its stores: nobody else mounts them.
        return f"the pod names a volume {' or '.join(own)}, which are the sidecar's. Rename it."
    taken = [  # lists, as what stands there may be anything
        port.get("containerPort") for each in containers for port in _parts(each, "ports")
    ]
    for port in (RECORD_PORT, ADMIN_PORT):
        if port in taken:
            return (
                f"a container of the pod declares port {port}, which is the sidecar's. Move it to "
                "another port, or label the pod pannier.dev/inject=false."
            )
    return ""


def _wants_windows(spec: Mapping[str, Any]) -> bool:
    """Whether the pod's required node affinity asks for Windows."""
    affinity = _part(_part(spec, "affinity"), "nodeAffinity")
    required = _part(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    return any(
        term.get("key") == "kubernetes.io/os"
        and term.get("operator") == "In"
        and term.get("values") == ["windows"]
        for terms in _parts(required, "nodeSelectorTerms")
        for term in _parts(terms, "matchExpressions")
    )


def _insertions(
    spec: Mapping[str, Any], inits: list[Mapping[str, Any]], template: SidecarTemplate
) -> list[dict[str, Any]]:
    sidecar = container(template)
    patch: list[dict[str, Any]] = []
    if inits:
        patch.append({"op": "add", "path": "/spec/initContainers/0", "value": sidecar})
    else:
        patch.append({"op": "add", "path": "/spec/initContainers", "value": [sidecar]})
    if _parts(spec, "volumes"):
        patch += [{"op": "add", "path": "/spec/volumes/-", "value": each} for each in volumes()]
    else:
        patch.append({"op": "add", "path": "/spec/volumes", "value": volumes()})
    return patch


def _to_the_front(places: list[int]) -> tuple[dict[str, Any], ...]:
    """The sidecar starts before the init containers of others, so that they can use it too."""
    if not places or places[0] == 0:
        return ()
    source = f"/spec/initContainers/{places[0]}"
    return ({"op": "move", "from": source, "path": "/spec/initContainers/0"},)


def _part(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that holds fields; empty where it is missing, null or something else."""
    found = owner.get(name)
    return found if isinstance(found, Mapping) else {}


def _parts(owner: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A member that holds a list of fields; the same."""
    found = owner.get(name)
    if not isinstance(found, list):
        return []
    return [each if isinstance(each, Mapping) else {} for each in found]
