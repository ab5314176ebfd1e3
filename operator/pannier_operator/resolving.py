"""A StoreBackend joined with its Secrets: what sidecars get, or why they keep what they run. Pure.

Nothing here shows a credential: reasons name Secrets, entries and fields. The fingerprint is over
uids, generations and resourceVersions, so it can be shown anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pannier.config.documents import SecretRef, StoreBackend, secret_refs
from pannier.config.placed import placed
from pannier.config.reading import read_objects
from pannier.config.stream.messages import Credential, StoreEntry
from pannier_operator import pem
from pannier_operator.cache import Seen
from pannier_operator.conditions import Unresolved
from pannier_operator.wanted import WantedStore

LABEL: Final = "pannier.dev/credentials"
"""Only Secrets that carry it as "true" are watched and sent to sidecars."""

MAX_SECRET_BYTES: Final = 1024 * 1024
"""The largest value of an entry: as much as a Secret can hold."""

Reason = Literal[
    "InvalidSpec",
    "SecretNotFound",
    "SecretNotLabelled",
    "SecretKeyMissing",
    "SecretMalformed",
]

FindSecret = Callable[[str, str], Seen | None]
"""(namespace, name) -> the labelled Secret of that name."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one StoreBackend came to."""

    wanted: WantedStore
    document: StoreBackend | None
    """None where the spec is invalid."""
    secrets: frozenset[str]
    """The names of the Secrets it refers to: a change of one of them changes it."""
    unresolved: Unresolved | None = None
    """Why it cannot be sent; None where it can."""
    missing: str = ""
    """The Secret that is not among the labelled ones, where that is why."""


def resolve(backend: Seen, find_secret: FindSecret, *, unlabelled: frozenset[str]) -> Resolved:
    """What sidecars are to get for `backend`.

    `unlabelled` names Secrets of its namespace that are known to exist without the label.
    """
    resource = backend.content
    reading = read_objects([placed(readable(resource))])
    document = reading.documents.get(backend.key.name)
    if document is None:
        message = "; ".join(str(problem) for problem in reading.problems) or "It cannot be read."
        return _kept(backend, None, frozenset(), Unresolved("InvalidSpec", message))
    names = frozenset(ref.name for _, ref in secret_refs(document))
    try:
        values, versions = _read_secrets(backend, document, find_secret, unlabelled)
        _check_tls(document, values)
    except _Unusable as found:
        return _kept(backend, document, names, found.unresolved, found.secret)
    entry = StoreEntry(
        name=backend.key.name,
        uid=backend.uid,
        document=entry_document(resource),
        credentials=[
            Credential(name=ref.name, key=ref.key, value=value) for ref, value in values.items()
        ],
    )
    return Resolved(_wanted(backend, document, entry, versions), document, names)


def readable(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the resource that are a document."""
    return {name: resource[name] for name in ("apiVersion", "kind", "metadata", "spec")
            if name in resource}  # fmt: skip


def entry_document(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The document that is sent: of the metadata only what names the store."""
    metadata = resource["metadata"]
    return {
        "apiVersion": resource["apiVersion"],
        "kind": resource["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": resource["spec"],
    }


# Secrets ------------------------------------------------------------------------------------------


class _Unusable(Exception):
    """What stands between a document and its secrets."""

    def __init__(self, reason: Reason, message: str, secret: str = "") -> None:
        super().__init__(reason)
        self.unresolved = Unresolved(reason, message)
        self.secret = secret
        """The Secret that is missing, where that is why."""


def _read_secrets(
    backend: Seen, document: StoreBackend, find_secret: FindSecret, unlabelled: frozenset[str]
) -> tuple[dict[SecretRef, str], list[str]]:
    """What each reference holds, and the state of each Secret, for the fingerprint."""
    values: dict[SecretRef, str] = {}
    versions: dict[str, str] = {}
    namespace = backend.key.namespace
    for path, ref in secret_refs(document):
        secret = find_secret(namespace, ref.name)
        # The API server selects by the label; that it does is not taken on trust.
        if secret is None or secret.content["labels"].get(LABEL) != "true":
            is_there = secret is not None or ref.name in unlabelled
            raise _not_there(path, namespace, ref.name, is_there)
        versions[ref.name] = f"{ref.name} {secret.uid} {secret.resource_version}"
        values[ref] = _value(path, ref, secret)
    return values, [versions[name] for name in sorted(versions)]


def _not_there(path: str, namespace: str, name: str, is_there: bool) -> _Unusable:
    if is_there:
        return _Unusable(
            "SecretNotLabelled",
            f"{path}: the Secret {name} is not marked as one that sidecars may have: "
            f"kubectl label secret -n {namespace} {name} {LABEL}=true",
            name,
        )
    return _Unusable(
        "SecretNotFound",
        f"{path}: there is no Secret {name} in the namespace {namespace}: create it, with the "
        f"label {LABEL}=true",
        name,
    )


def _value(path: str, ref: SecretRef, secret: Seen) -> str:
    data = secret.content["data"]
    if ref.key not in data:
        held = ", ".join(sorted(data)[:5]) or "nothing"
        raise _Unusable(
            "SecretKeyMissing",
            f"{path}: the Secret {ref.name} has no entry {ref.key}; it has: {held}",
        )
    try:
        content = base64.b64decode(data[ref.key], validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _malformed(path, ref, "is not base64") from None
    if len(content) > MAX_SECRET_BYTES:
        raise _malformed(path, ref, f"is larger than {MAX_SECRET_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _malformed(path, ref, "is not text in UTF-8") from None
    # As in files: what an editor or `echo` put at the end is not meant.
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        raise _malformed(path, ref, "is empty")
    if "\x00" in text:
        raise _malformed(path, ref, "holds a NUL character")
    return text


def _malformed(path: str, ref: SecretRef, what: str) -> _Unusable:
    return _Unusable(
        "SecretMalformed", f"{path}: the entry {ref.key} of the Secret {ref.name} {what}"
    )


def _check_tls(document: StoreBackend, values: Mapping[SecretRef, str]) -> None:
    redis = document.spec.redis
    if redis is None or redis.tls is None:
        return
    tls, path = redis.tls, "spec.redis.tls"
    if tls.ca_secret_ref is not None:
        try:
            pem.check_ca(values[tls.ca_secret_ref])
        except ValueError as error:
            what = f"cannot be used as CA certificates: {error}"
            raise _malformed(f"{path}.caSecretRef", tls.ca_secret_ref, what) from None
    if tls.cert_secret_ref is not None and tls.key_secret_ref is not None:
        try:
            pem.check_pair(values[tls.cert_secret_ref], values[tls.key_secret_ref])
        except ValueError as error:
            what = f"cannot be used as a certificate with the key {tls.key_secret_ref}: {error}"
            raise _malformed(f"{path}.certSecretRef", tls.cert_secret_ref, what) from None


# What goes out ------------------------------------------------------------------------------------


def _kept(
    backend: Seen,
    document: StoreBackend | None,
    names: frozenset[str],
    why: Unresolved,
    missing: str = "",
) -> Resolved:
    reason = f"{why.reason}: {why.message}"
    entry = StoreEntry(name=backend.key.name, keep=True, reason=reason)
    wanted = _wanted(backend, document, entry, ["kept", reason])
    return Resolved(wanted, document, names, why, missing)


def _wanted(
    backend: Seen, document: StoreBackend | None, entry: StoreEntry, states: list[str]
) -> WantedStore:
    generation = generation_of(backend)
    digest = hashlib.sha256("\n".join([backend.uid, str(generation), *states]).encode())
    return WantedStore(
        name=backend.key.name,
        uid=backend.uid,
        generation=generation,
        fingerprint=digest.hexdigest()[:16],
        entry=entry,
        service_accounts=service_accounts(backend.content, document),
    )


def generation_of(backend: Seen) -> int:
    """The generation of a StoreBackend."""
    return int(backend.content["metadata"].get("generation", 1))


def service_accounts(
    resource: Mapping[str, Any], document: StoreBackend | None
) -> frozenset[str] | None:
    """Whose sidecars get it. Of an invalid spec only what is surely meant: never more than it says.

    A spec that cannot be read may have named ServiceAccounts: their stores are kept, and nobody
    else learns of it.
    """
    if document is not None:
        named = document.spec.service_accounts
        return None if named is None else frozenset(named)
    spec = resource.get("spec")
    listed = spec.get("serviceAccounts") if isinstance(spec, dict) else None
    if listed is None:
        return None
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(name for name in listed if isinstance(name, str))
