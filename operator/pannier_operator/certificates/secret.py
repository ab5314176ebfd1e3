"""The Secret that holds the CAs, in the operator's own namespace.

All replicas read it and any may make it: of two that do so at once one is refused, and takes the
other's. What cannot be read is never overwritten: sidecars trust what is in it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.certificates.issuing import (
    Issuer,
    Unreadable,
    pem_of,
    read_certificates,
    read_issuer,
)
from pannier_operator.certificates.planning import Authorities
from pannier_operator.cluster import call

NAME: Final = "pannier-ca"
ENTRIES: Final = (
    "ca.crt",
    "ca.key",
    "ca.since",
    "next.crt",
    "next.key",
    "next.published",
    "previous.crt",
)
LABELS: Final = {
    "app.kubernetes.io/name": "pannier",
    "app.kubernetes.io/component": "operator",
    "app.kubernetes.io/managed-by": "pannier-operator",
}


class CertificateSecret:
    """Reads and writes the CAs. Every method raises what `cluster.call` raises."""

    def __init__(self, api_client: ApiClient, *, namespace: str) -> None:
        self._api = api_client
        self._namespace = namespace
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._version = ""

    def __str__(self) -> str:
        return f"{self._namespace}/{NAME}"

    async def read(self) -> Authorities | None:
        """The CAs as they are; None where there is no Secret. Raises Unreadable."""
        try:
            found = await call(self._api, "GET", f"{self._collection}/{NAME}")
        except ApiException as error:
            if error.status != 404:
                raise
            self._version = ""
            return None
        self._version = found["metadata"]["resourceVersion"]
        return authorities_of(found.get("data") or {})

    async def write(self, authorities: Authorities) -> bool:
        """Make the Secret, or change what was read last. False: somebody else was first."""
        data = data_of(authorities)
        try:
            if self._version:
                answer = await call(
                    self._api,
                    "PATCH",
                    f"{self._collection}/{NAME}",
                    query={"fieldManager": "pannier-operator"},
                    body={
                        "metadata": {"resourceVersion": self._version, "labels": LABELS},
                        "data": {entry: data.get(entry) for entry in ENTRIES},
                    },
                    content_type="application/merge-patch+json",
                )
            else:
                answer = await call(
                    self._api,
                    "POST",
                    self._collection,
                    query={"fieldManager": "pannier-operator"},
                    body={
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "type": "Opaque",
                        "metadata": {"name": NAME, "labels": LABELS},
                        "data": data,
                    },
                )
        except ApiException as error:
            if error.status in (404, 409):
                return False
            raise
        self._version = answer["metadata"]["resourceVersion"]
        return True


# What is in it ------------------------------------------------------------------------------------


def data_of(authorities: Authorities) -> dict[str, str]:
    """The entries of the Secret."""
    texts = {
        "ca.crt": authorities.current.certificate_pem(),
        "ca.key": authorities.current.key_pem(),
        "ca.since": authorities.since.isoformat(),
        "previous.crt": "".join(pem_of(each) for each in authorities.previous),
    }
    if authorities.following is not None:
        texts["next.crt"] = authorities.following.certificate_pem()
        texts["next.key"] = authorities.following.key_pem()
        if authorities.published is not None:
            texts["next.published"] = authorities.published.isoformat()
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def authorities_of(data: Mapping[str, str]) -> Authorities:
    """What the entries say. Raises Unreadable, naming the entry."""
    current = _issuer(data, "ca")
    following = _issuer(data, "next") if "next.crt" in data or "next.key" in data else None
    try:
        previous = read_certificates(_entry(data, "previous.crt"))
    except Unreadable as error:
        raise Unreadable(f"previous.crt: {error}") from None
    return Authorities(
        current,
        _time(data, "ca.since") or current.made_at,
        following,
        _time(data, "next.published") if following is not None else None,
        previous,
    )


def _issuer(data: Mapping[str, str], name: str) -> Issuer:
    for entry in (f"{name}.crt", f"{name}.key"):
        if not data.get(entry):
            raise Unreadable(f"{entry} is missing")
    try:
        return read_issuer(_entry(data, f"{name}.crt"), _entry(data, f"{name}.key"))
    except Unreadable as error:
        raise Unreadable(f"{name}.crt and {name}.key: {error}") from None


def _entry(data: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(data.get(name) or "", validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable(f"{name} is not base64") from None


def _time(data: Mapping[str, str], name: str) -> datetime | None:
    if not data.get(name):
        return None
    try:
        found = datetime.fromisoformat(_entry(data, name).decode("ascii"))
    except ValueError:
        raise Unreadable(f"{name} is no time") from None
    if found.tzinfo is None:
        raise Unreadable(f"{name} names no time zone")
    return found
