"""What each reason of each condition of a StoreBackend means, and what to do about it."""

from __future__ import annotations

from typing import Final

NOTHING: Final = "Nothing."

REASONS: Final[dict[tuple[str, str, str], tuple[str, str]]] = {
    ("Ready", "True", "Ready"): (
        "Every connected sidecar serves this generation, and reaches the backend.",
        NOTHING,
    ),
    ("Ready", "True", "NoSidecars"): (
        "It is accepted, and no sidecar is connected that is to have it.",
        "Nothing, if there are no such pods yet. Otherwise see Synced.",
    ),
    ("Accepted", "True", "Accepted"): (
        "The spec is valid and every Secret it names is found.",
        NOTHING,
    ),
    ("Accepted", "True", "SharedPrefix"): (
        ("Another StoreBackend has its records on the same server, database and prefix: each reads "
        "and overwrites the other's."),
        ("If that is not wanted: a StoreBackend of another name with a `keyPrefix` of its own, and "
        "`pannier export | pannier import`."),
    ),
    ("Accepted", "False", "InvalidSpec"): (
        ("The spec breaks a rule that the API server did not check: the resource is older than the "
        "definition, or newer than the operator."),
        "Correct what the message names; `pannier check` says the same of a file.",
    ),
    ("Accepted", "False", "SecretNotFound"): (
        "A Secret that the spec names is not in the namespace.",
        "Create it, with the label `pannier.dev/credentials: \"true\"`.",
    ),
    ("Accepted", "False", "SecretNotLabelled"): (
        "The Secret is there, and does not say that sidecars may have it.",
        "`kubectl label secret NAME pannier.dev/credentials=true`",
    ),
    ("Accepted", "False", "SecretKeyMissing"): (
        "The Secret has no entry of the name that the spec gives; the message lists those it has.",
        "Add the entry, or correct `key`.",
    ),
    ("Accepted", "False", "SecretMalformed"): (
        ("The entry is empty, too large, no text, or no certificate or key where one is wanted; or "
        "certificate and key do not belong together."),
        "Write the entry anew as the message says.",
    ),
    ("Synced", "True", "Synced"): ("Every connected sidecar runs this generation.", NOTHING),
    ("Synced", "True", "NoSidecars"): (
        "No sidecar that is to have it is connected; it is pushed to each that connects.",
        ("Pods that should be here: do they have a sidecar? What does its log say? Does "
        "`serviceAccounts` name their ServiceAccount?"),
    ),
    ("Synced", "False", "NotAccepted"): (
        "Nothing is pushed; sidecars keep what they run.",
        "See Accepted.",
    ),
    ("Synced", "False", "Reconnecting"): (
        "The operator that leads began less than 20 s ago, and sidecars have yet to dial it.",
        "Wait.",
    ),
    ("Synced", "False", "Rejected"): (
        "Sidecars refused the configuration, and serve on with the one before.",
        ("Correct the spec as the message says. A change of `type`, `keyPrefix` or `hashBuckets` "
        "needs a StoreBackend of another name."),
    ),
    ("Synced", "False", "Pending"): (
        "Sidecars have not put it in force yet.",
        "Wait. If it lasts, look into the log of the pod that the message names.",
    ),
    ("Synced", "False", "BackendUnreachable"): (
        ("Sidecars cannot reach the backend of the new configuration; where they served an earlier "
        "one, they serve on with it. They try again by themselves."),
        "Is the backend up, its address right, and no NetworkPolicy between?",
    ),
    ("Reachable", "True", "Reachable"): (
        "The sidecars that spoke of it reach the backend.",
        NOTHING,
    ),
    ("Reachable", "False", "BackendUnreachable"): (
        "No connected sidecar reaches the backend.",
        "Is the backend up, and no NetworkPolicy between?",
    ),
    ("Reachable", "False", "PartlyUnreachable"): (
        "Some sidecars do not reach the backend.",
        "Look at the nodes and NetworkPolicies of those pods.",
    ),
    ("Reachable", "Unknown", "NoSidecars"): (
        "No sidecar is connected that could say it.",
        NOTHING,
    ),
    ("Reachable", "Unknown", "NotReported"): (
        "No sidecar has said yet whether the backend answers.",
        "Wait.",
    ),
}  # fmt: skip
"""(condition, status, reason) -> what it means, and what to do."""
