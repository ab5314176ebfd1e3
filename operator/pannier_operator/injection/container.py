"""The sidecar's container and volumes, as they are put into a pod. Pure.

It is a native sidecar: an init container that is always restarted (stable since Kubernetes 1.33).
It is up before the application's containers, goes after them, and does not keep a Job from ending.
It passes the `restricted` Pod Security level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pannier.config.stream.messages import AUDIENCE

NAME: Final = "pannier"
"""The container's name."""
RECORD_PORT: Final = 3900
ADMIN_PORT: Final = 3901
ADMIN_PORT_NAME: Final = "pannier-admin"
"""What the chart's PodMonitor scrapes by."""
CA_CONFIG_MAP: Final = "pannier-ca"
IDENTITY: Final = "pannier-identity"
"""The volume with the pod's token for the operator, and the CA that the operator is checked by."""
IDENTITY_PATH: Final = "/var/run/secrets/pannier"
KEPT: Final = "pannier-kept"
"""The volume in memory where the last good configuration outlives the container, not the pod."""
KEPT_PATH: Final = "/run/pannier"
TOKEN_SECONDS: Final = 3600
"""How long a projected token holds; the kubelet renews it at four fifths of that."""
STARTUP_WAIT: Final = 30
"""Seconds after which the application is started though no configuration has come."""
USER: Final = 65532
"""The image's user, which is nobody's on the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarTemplate:
    """What the chart says of the sidecars that are put into pods."""

    image: str
    operator_url: str
    """Where the sidecar dials the stream, wss://pannier-stream.pannier-system.svc:8443."""
    image_pull_policy: str = "IfNotPresent"
    cpu_request: str = "50m"
    memory_request: str = "64Mi"
    memory_limit: str = "256Mi"
    """Without a limit of the CPU: throttling would show as waiting in the application."""
    log_format: str = "json"


def container(template: SidecarTemplate) -> dict[str, Any]:
    """The sidecar's container, to be the first of a pod's init containers."""
    return {
        "name": NAME,
        "image": template.image,
        "imagePullPolicy": template.image_pull_policy,
        "args": ["sidecar"],
        "restartPolicy": "Always",
        "env": [
            {"name": "PANNIER_OPERATOR", "value": template.operator_url},
            {"name": "PANNIER_OPERATOR_TOKEN_FILE", "value": f"{IDENTITY_PATH}/token"},
            {"name": "PANNIER_OPERATOR_CA_FILE", "value": f"{IDENTITY_PATH}/ca.crt"},
            {"name": "PANNIER_LAST_GOOD_FILE", "value": f"{KEPT_PATH}/last-good"},
            {"name": "PANNIER_ADMIN_LISTEN", "value": f"0.0.0.0:{ADMIN_PORT}"},
            {"name": "PANNIER_STARTUP_WAIT", "value": f"{STARTUP_WAIT}s"},
            {"name": "PANNIER_LOG_FORMAT", "value": template.log_format},
        ],
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        # A store that is down must never take the pod out of its Service: no readinessProbe.
        "startupProbe": {
            "httpGet": {"path": "/readyz?startup", "port": ADMIN_PORT},
            "periodSeconds": 1,
            "failureThreshold": 2 * STARTUP_WAIT,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": ADMIN_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": {
            "requests": {"cpu": template.cpu_request, "memory": template.memory_request},
            "limits": {"memory": template.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": IDENTITY, "mountPath": IDENTITY_PATH, "readOnly": True},
            {"name": KEPT, "mountPath": KEPT_PATH},
        ],
    }


def volumes() -> list[dict[str, Any]]:
    """What the container mounts, and no other container of the pod does."""
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    # Optional: the ConfigMap of a new namespace may come a moment after its first pod.
    authority = {
        "name": CA_CONFIG_MAP,
        "optional": True,
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    return [
        {
            "name": IDENTITY,
            "projected": {
                "sources": [{"serviceAccountToken": token}, {"configMap": authority}],
            },
        },
        {"name": KEPT, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
    ]
