"""Tells the API server by which CAs it knows the webhook: `caBundle` of the one configuration.

The chart makes that configuration without a `caBundle`, so that no upgrade by helm takes it away:
helm leaves alone what it does not say. What somebody edits is put right. The leader writes; every
replica looks, and is not ready until it was right once: a pod that is created as soon as the
operator is ready gets its sidecar.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from kubernetes.aio.client import ApiClient, ApiException

from pannier_operator.cluster import API_ERRORS, call, said

COLLECTION: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
LOOK_EVERY: Final = 10.0
"""Seconds between two looks: what somebody edits is put right within them."""
RETRY: Final = 1.0
"""Seconds until the next look while it is not right."""

log = logging.getLogger("pannier.operator")


class WebhookTrust:
    """Keeps the configuration `name` true for as long as `run` runs; "": there is none to keep."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        name: str,
        bundle: Callable[[], str],
        may_write: Callable[[], bool],
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`bundle` gives the CAs in PEM. `may_write` says whether this operator leads."""
        self._api = api_client
        self._name = name
        self._bundle = bundle
        self._may_write = may_write
        self._look_every = look_every
        self._changed = asyncio.Event()
        self._settled = not name
        self._trouble = ""

    def changed(self) -> None:
        """Who leads may have changed: look at once."""
        self._changed.set()

    def reasons(self) -> Iterator[str]:
        """Why pods that are created now would be refused, or get no sidecar."""
        if not self._settled:
            yield self._trouble or (
                f"the MutatingWebhookConfiguration {self._name} does not hold this operator's CA"
            )

    async def run(self) -> None:
        """Keep it until cancelled."""
        if not self._name:
            return
        while True:
            self._changed.clear()
            is_right = await self._turn()
            pause = self._look_every if is_right else min(RETRY, self._look_every)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                    await self._changed.wait()

    async def _turn(self) -> bool:
        """One look; it never raises. Whether nothing is to be done soon."""
        try:
            is_right = await self._put_right()
        except API_ERRORS as error:
            if getattr(error, "status", None) in (403, 404):
                # Its absence is somebody's wish or mistake, and no reason to serve no streams.
                self._settled = True
                self._complain(
                    f"the MutatingWebhookConfiguration {self._name} is not there or may not be "
                    f"changed: pods may get no sidecar ({said(error)})"
                )
                return True
            self._complain(
                f"the MutatingWebhookConfiguration {self._name} could not be put right: "
                f"{said(error)}"
            )
            return False
        if is_right:
            self._settled = True
            self._trouble = ""
        return is_right

    async def _put_right(self) -> bool:
        wanted = self._bundle()
        if not wanted:
            return False
        found = await call(self._api, "GET", f"{COLLECTION}/{self._name}")
        patch = repairs(found, base64.b64encode(wanted.encode()).decode())
        if not patch:
            return True
        if not self._may_write():
            return False
        try:
            await call(
                self._api,
                "PATCH",
                f"{COLLECTION}/{self._name}",
                query={"fieldManager": "pannier-operator"},
                body=patch,
                content_type="application/json-patch+json",
            )
        except ApiException as error:
            if error.status in (409, 422):
                return False  # it was changed in between: look again
            raise
        log.info("told the MutatingWebhookConfiguration %s of the CA", self._name)
        return True

    def _complain(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            log.warning("%s", text)


def repairs(configuration: dict[str, Any], bundle: str) -> list[dict[str, Any]]:
    """The JSON patch that gives every webhook of the configuration this `caBundle` (base64)."""
    patch: list[dict[str, Any]] = []
    for place, webhook in enumerate(configuration.get("webhooks") or ()):
        if webhook["clientConfig"].get("caBundle") == bundle:
            continue
        at = f"/webhooks/{place}"
        patch += [
            # Of the webhook that was seen, wherever others went in between.
            {"op": "test", "path": f"{at}/name", "value": webhook["name"]},
            {"op": "add", "path": f"{at}/clientConfig/caBundle", "value": bundle},
        ]
    return patch
