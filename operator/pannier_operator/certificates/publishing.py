"""The ConfigMap `pannier-ca` in each served namespace: which CAs sidecars are to trust.

It is made where it is missing and put right where it was changed. In a namespace that is not served
it is left alone; one that is being deleted is no error. Only the leader publishes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.certificates.secret import LABELS
from pannier_operator.cluster import API_ERRORS, METADATA_LIST, METADATA_ONLY, call, said

NAME: Final = "pannier-ca"
ENTRY: Final = "ca.crt"
CONCURRENCY: Final = 8
PAGE: Final = 500

log = logging.getLogger("pannier.operator")


class Publisher:
    """Brings one bundle to every served namespace."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        watched: Sequence[str] = (),
        may_write: Callable[[], bool],
    ) -> None:
        """`watched` are the namespaces in which there are rights; none: all."""
        self._api = api_client
        self._watched = tuple(watched)
        self._may_write = may_write
        self._good: dict[str, str] = {}
        """Namespace -> the resourceVersion of its ConfigMap with `self._bundle` in it."""
        self._bundle = ""

    async def publish(self, bundle: str, namespaces: Iterable[str]) -> bool:
        """Put every namespace right. True: all of them have the bundle now.

        A ConfigMap that did not change since it was put right is not touched, and what is in it is
        not asked for again. Raises what `cluster.call` raises where they cannot be listed.
        """
        if bundle != self._bundle:
            self._good.clear()
            self._bundle = bundle
        there = await self._versions()
        served = set(namespaces)
        for gone in self._good.keys() - served:
            del self._good[gone]
        wrong = [
            each for each in sorted(served)
            if each not in there or self._good.get(each) != there[each]
        ]  # fmt: skip
        slots = asyncio.Semaphore(CONCURRENCY)

        async def put_right(namespace: str) -> bool:
            async with slots:
                return await self._put_right(namespace, is_there=namespace in there)

        return all(await asyncio.gather(*(put_right(each) for each in wrong)))

    async def _versions(self) -> dict[str, str]:
        """Namespace -> resourceVersion of the ConfigMaps of that name, without their content."""
        found: dict[str, str] = {}
        roots = [f"/api/v1/namespaces/{each}" for each in self._watched] or ["/api/v1"]
        for root in roots:
            query: dict[str, str | int] = {"fieldSelector": f"metadata.name={NAME}", "limit": PAGE}
            while True:
                page = await call(
                    self._api,
                    "GET",
                    f"{root}/configmaps",
                    query=query,
                    accept=METADATA_LIST,
                )
                for each in page.get("items") or ():
                    metadata = each["metadata"]
                    found[metadata["namespace"]] = metadata["resourceVersion"]
                if not (rest := page["metadata"].get("continue")):
                    break
                query["continue"] = rest
        return found

    async def _put_right(self, namespace: str, *, is_there: bool) -> bool:
        if not self._may_write():
            return False
        try:
            written = await self._write(namespace, is_there=is_there)
        except ApiException as error:
            if error.status == 404 or "being terminated" in str(error.reason):
                return True  # The namespace goes: whatever was in it needs no CA.
            self._complain(namespace, error)
            return False
        except API_ERRORS as error:
            self._complain(namespace, error)
            return False
        self._good[namespace] = written["metadata"]["resourceVersion"]
        return True

    async def _write(self, namespace: str, *, is_there: bool) -> Any:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        content = {"metadata": {"name": NAME, "labels": LABELS}, "data": {ENTRY: self._bundle}}
        if not is_there:
            try:
                return await call(
                    self._api,
                    "POST",
                    path,
                    body={"apiVersion": "v1", "kind": "ConfigMap", **content},
                    accept=METADATA_ONLY,
                )
            except ApiException as error:
                if error.status != 409:
                    raise
        return await call(
            self._api,
            "PATCH",
            f"{path}/{NAME}",
            query={"fieldManager": "pannier-operator"},
            body=content,
            accept=METADATA_ONLY,
            content_type="application/merge-patch+json",
        )

    def _complain(self, namespace: str, error: Exception) -> None:
        log.warning(
            "the ConfigMap %s/%s could not be written: sidecars there may not trust this operator: "
            "%s",
            namespace,
            NAME,
            said(error),
        )
