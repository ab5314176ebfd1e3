"""The webhook of one operator: what it reviews by, where it listens, and who trusts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from kubernetes.aio.client import ApiClient

from pannier_operator.certificates.keeping import Certificates
from pannier_operator.injection.container import SidecarTemplate
from pannier_operator.injection.reviewing import Reviewed, review
from pannier_operator.injection.serving import InjectionServer
from pannier_operator.injection.trusting import WebhookTrust
from pannier_operator.settings import OperatorSettings, host_and_port

STREAM_PORT = 8443
"""Of the stream's Service, whatever port its pods listen on."""


class Webhook:
    """Serves reviews for as long as `run` runs, whether this operator leads or not."""

    def __init__(
        self,
        api_client: ApiClient,
        settings: OperatorSettings,
        certificates: Certificates,
        *,
        serves: Callable[[str], bool],
        may_write: Callable[[], bool],
        leaving: Callable[[], bool],
        results: MutableMapping[str, int],
    ) -> None:
        """`serves` says whether the sidecars of a namespace are let in; `may_write` whether this
        operator leads; `leaving` whether it is to end."""
        self._settings = settings
        self._certificates = certificates
        self._serves = serves
        self._template = template_of(settings)
        # A pod of the operator must not need the operator to be created.
        self._never_in = frozenset({"kube-system", settings.namespace})
        self.server = InjectionServer(self._review, results=results, leaving=leaving)
        self.trust = WebhookTrust(
            api_client,
            name=settings.webhook_configuration,
            bundle=lambda: certificates.bundle,
            may_write=may_write,
        )

    def reasons(self) -> Iterator[str]:
        """Why pods that are created now would get no sidecar."""
        if self._settings.injects:
            if not self.server.listens:
                yield "the webhook is not served yet"
            yield from self.trust.reasons()

    async def start(self) -> None:
        """Listen, once there is a certificate. Raises OSError."""
        await self._certificates.ready.wait()
        address = host_and_port(self._settings.webhook_listen)
        await self.server.start(*address, self._certificates.context)

    def _review(self, body: bytes) -> Reviewed:
        return review(body, self._template, serves=self._serves, never_in=self._never_in)


def template_of(settings: OperatorSettings) -> SidecarTemplate:
    """What is put into pods, as the settings say it."""
    service = f"{settings.stream_service}.{settings.namespace}.svc"
    return SidecarTemplate(
        image=settings.sidecar_image,
        operator_url=settings.sidecar_operator_url or f"wss://{service}:{STREAM_PORT}",
        image_pull_policy=settings.sidecar_image_pull_policy,
        cpu_request=settings.sidecar_cpu_request,
        memory_request=settings.sidecar_memory_request,
        memory_limit=settings.sidecar_memory_limit,
        log_format=settings.sidecar_log_format,
    )
