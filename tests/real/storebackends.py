"""What a StoreBackend's status says, read as a user reads it."""

from __future__ import annotations

import time
from typing import Any, Final

from tests.real.kubernetes_parts.control_plane import ControlPlane

SECONDS: Final = 60.0
"""What a change may take on a busy machine."""


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a resource's status; empty where it is not there."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def conditions(resource: dict[str, Any]) -> dict[str, str]:
    """Type -> `status reason` of each condition."""
    found = resource.get("status", {}).get("conditions", [])
    return {each["type"]: f"{each['status']} {each['reason']}" for each in found}


def wait_for_condition(
    plane: ControlPlane, namespace: str, name: str, kind: str, status: str, reason: str = ""
) -> dict[str, Any]:
    """The StoreBackend once its condition is so for its newest generation."""
    path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends/{name}"
    deadline = time.monotonic() + SECONDS
    while True:
        resource = dict(plane.api.call("GET", path))
        found = condition(resource, kind)
        if (
            found.get("status") == status
            and found.get("observedGeneration") == resource["metadata"]["generation"]
            and (not reason or found.get("reason") == reason)
        ):
            return resource
        assert time.monotonic() < deadline, (
            f"{namespace}/{name} is not {kind}={status} {reason}: {resource.get('status')}"
        )
        time.sleep(0.05)
