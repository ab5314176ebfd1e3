"""Kubernetes' grammar for the names a StoreBackend document holds. Pure.

Sources: kubernetes.io "Object Names and IDs" (DNS subdomain, RFC 1123), and the rules for keys of
Secrets and ConfigMaps (`IsConfigMapKey` in k8s.io/apimachinery). A store's own name is a DNS
label: `pannier.keys.is_store_name`.
"""

from __future__ import annotations

import re

_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def is_subdomain(name: str) -> bool:
    """Whether `name` is a DNS subdomain, as Secrets and ServiceAccounts are named."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def is_secret_key(key: str) -> bool:
    """Whether `key` may be a key of a Secret: A-Z a-z 0-9 - _ . and nothing that is a path."""
    return _KEY.fullmatch(key) is not None and key != "." and not key.startswith("..")
