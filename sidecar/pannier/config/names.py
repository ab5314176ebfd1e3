"""Kubernetes' grammar for the names a StoreBackend document holds. Pure.

Sources: kubernetes.io "Object Names and IDs" (DNS subdomain, RFC 1123), and the rules for keys of
Secrets and ConfigMaps (`IsConfigMapKey` in k8s.io/apimachinery). A store's own name is a DNS
label: `pannier.keys.is_store_name`.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_NAME: Final = 253
"""Characters of a subdomain or of a Secret's key, at most."""

SUBDOMAIN: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
ENTRY_KEY: Final = r"\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*"
"""Both are regular expressions of RE2 too, in which the StoreBackend resource has them."""

_SUBDOMAIN = re.compile(SUBDOMAIN)
_KEY = re.compile(ENTRY_KEY)


def is_subdomain(name: str) -> bool:
    """Whether `name` is a DNS subdomain, as Secrets and ServiceAccounts are named."""
    return len(name) <= LONGEST_NAME and _SUBDOMAIN.fullmatch(name) is not None


def is_secret_key(key: str) -> bool:
    """Whether `key` may be a key of a Secret: A-Z a-z 0-9 - _ . and nothing that is a path."""
    return len(key) <= LONGEST_NAME and _KEY.fullmatch(key) is not None
