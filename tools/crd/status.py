"""The schema of a StoreBackend's `status`, and the columns of `kubectl get`.

What it says is made by `pannier_operator.conditions`, whose bounds these are.
"""

from __future__ import annotations

from typing import Any, Final

from pannier_operator.conditions import CONDITIONS, MAX_DETAIL, MAX_MESSAGE, MAX_REJECTIONS


def count(description: str) -> dict[str, Any]:
    return {"description": description, "type": "integer", "format": "int32", "minimum": 0}


def text(description: str, longest: int, **more: Any) -> dict[str, Any]:
    return {"description": description, "type": "string", "maxLength": longest, **more}


def generation(description: str) -> dict[str, Any]:
    return {"description": description, "type": "integer", "format": "int64", "minimum": 0}


CONDITION: Final = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": text(
            "Ready: every connected sidecar serves this generation. Accepted: the spec is valid "
            "and its Secrets resolve. Synced: every connected sidecar runs this generation. "
            "Reachable: the sidecars reach the backend.",
            316,
            minLength=1,
        ),
        "status": {
            "description": "Whether it holds.",
            "type": "string",
            "enum": ["True", "False", "Unknown"],
        },
        "observedGeneration": generation("The metadata.generation this was said of."),
        "lastTransitionTime": {
            "description": "Since when the status is as it is.",
            "type": "string",
            "format": "date-time",
        },
        "reason": text(
            "Why, in one CamelCase word.",
            1024,
            minLength=1,
            pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
        "message": text("Why, in a sentence, and what to do.", 32768),
    },
}
assert CONDITION["properties"]["message"]["maxLength"] >= MAX_MESSAGE  # type: ignore[index]

REJECTION: Final = {
    "type": "object",
    "required": ["pod", "code", "message"],
    "properties": {
        "pod": text("The pod of the sidecar.", 253),
        "code": text("What it says in one word, such as backend-refused.", 64),
        "message": text("What it says in a sentence.", MAX_DETAIL),
    },
}

STATUS: Final = {
    "description": "What the operator saw of it last; it alone writes this.",
    "type": "object",
    "properties": {
        "observedGeneration": generation("The metadata.generation this status speaks of."),
        "conditions": {
            "description": f"What holds of it: {', '.join(CONDITIONS)}.",
            "type": "array",
            "maxItems": 8,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": CONDITION,
        },
        "synced": text("Sidecars that run this generation, of those connected, as 12/12.", 32),
        "sidecars": {
            "description": "How many sidecars there are that are to have it, and how they fare.",
            "type": "object",
            "properties": {
                "connected": count("Sidecars with a stream to the operator."),
                "synced": count("Of those, that run this generation."),
                "pending": count("Of those, that have not put it in force yet."),
                "rejected": count("Of those, that refused it and serve what they had."),
                "reachable": count("Of those, whose backend answers."),
                "lost": count("Sidecars that went without a bye in the last 15 minutes."),
            },
        },
        "rejections": {
            "description": "What sidecars that refused it say; at most five of them.",
            "type": "array",
            "maxItems": MAX_REJECTIONS,
            "x-kubernetes-list-type": "atomic",
            "items": REJECTION,
        },
    },
}

READY: Final = '.status.conditions[?(@.type=="Ready")]'

COLUMNS: Final = [
    {"name": "Type", "type": "string", "jsonPath": ".spec.type",
     "description": "What the store is: memory, redis or hdfs."},
    {"name": "Ready", "type": "string", "jsonPath": f"{READY}.status",
     "description": "Whether every connected sidecar serves this generation."},
    {"name": "Synced", "type": "string", "jsonPath": ".status.synced",
     "description": "Sidecars that run this generation, of those connected."},
    {"name": "Reason", "type": "string", "jsonPath": f"{READY}.reason", "priority": 1,
     "description": "Why it is ready or not, in one word."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]  # fmt: skip
