"""An AdmissionReview (admission.k8s.io/v1) read, and its answer. Pure.

What comes in is anybody's until it is read: the port is open to the cluster, and nothing tells the
API server from another. So the answer holds nothing that is not in the chart and in the pod.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from pannier_operator.injection.container import SidecarTemplate
from pannier_operator.injection.patching import Result, decide
from pannier_operator.streams.hearsay import printable

VERSION: Final = "admission.k8s.io/v1"
MOST_OF_A_NAME: Final = 253
"""Characters of a name in a log line."""


class NotAReview(ValueError):
    """The text says why, and holds nothing of what was read but printable characters."""


class _Kind(msgspec.Struct):
    kind: str
    group: str = ""


class _Request(msgspec.Struct, rename="camel"):
    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    kind: _Kind
    operation: str
    namespace: str = ""
    name: str = ""
    object: dict[str, Any] | None = None
    dry_run: bool | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: _Request


_decode: Final = msgspec.json.Decoder(_Review).decode


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What is answered, and what is to be said of it."""

    result: Result
    answer: bytes
    pod: str
    """Namespace and name, or what its name will begin with: `shop/checkout-6d5f*`."""
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


def review(
    body: bytes,
    template: SidecarTemplate,
    *,
    serves: Callable[[str], bool],
    never_in: frozenset[str],
) -> Reviewed:
    """What becomes of the pod in a review. Raises NotAReview.

    `serves` says whether sidecars of a namespace would be let in by this operator; in the
    namespaces of `never_in` nothing is injected whatever the webhook's configuration says.
    """
    request = _read(body).request
    is_new_pod = (request.kind.group, request.kind.kind, request.operation) == ("", "Pod", "CREATE")
    if is_new_pod and request.object is None:
        raise NotAReview("request.object is missing: a pod that is created has one")
    if not is_new_pod or request.object is None:
        # Somebody's configuration asks about more than the chart's.
        return _reviewed(request, "skipped")
    if not serves(request.namespace):
        told = (
            f"Pannier's sidecar is not injected: the namespace {request.namespace} is not among "
            "those this operator serves (watchNamespaces)"
        )
        return _reviewed(request, "skipped", warnings=(printable(told),))
    decision = decide(request.object, request.namespace, template, never_in=never_in)
    return _reviewed(request, decision.result, decision.patch, decision.warnings)


def _read(body: bytes) -> _Review:
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise NotAReview(printable(str(error))) from None
    except UnicodeDecodeError:
        raise NotAReview("it is not UTF-8") from None
    except RecursionError:
        raise NotAReview("it is nested too deeply") from None


def _reviewed(
    request: _Request,
    result: Result,
    patch: tuple[dict[str, Any], ...] = (),
    warnings: tuple[str, ...] = (),
) -> Reviewed:
    response: dict[str, Any] = {"uid": request.uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(patch)).decode()
    if warnings:
        response["warnings"] = warnings
    answer = {"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}
    return Reviewed(
        result, msgspec.json.encode(answer), _name_of(request), warnings, bool(request.dry_run)
    )


def _name_of(request: _Request) -> str:
    """A pod of a Deployment has no name yet: it is called by what its name will begin with."""
    metadata = (request.object or {}).get("metadata")
    begins = metadata.get("generateName") if isinstance(metadata, dict) else None
    name = request.name
    if not name and isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
        name = metadata["name"]
    if not name and isinstance(begins, str):
        name = f"{begins}*"
    return printable(f"{request.namespace}/{name}", MOST_OF_A_NAME)
