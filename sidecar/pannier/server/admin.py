"""The admin port: health, readiness, metrics and status. It reads, and changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec

from pannier.errors import PannierError
from pannier.metrics import CONTENT_TYPE, Metrics
from pannier.server import stores, targets
from pannier.server.admission import Admission
from pannier.server.answers import JSON, Answer
from pannier.server.budget import Budget
from pannier.server.exchange import Exchange, Reply
from pannier.server.lane import answer_safely
from pannier.server.lean_aiohttp import BaseRequest
from pannier.server.refusals import MethodNotAllowed, NotFound, NotReady
from pannier.server.serving import Serving
from pannier.version import installed_version

PATHS = (b"/", b"/healthz", b"/metrics", b"/readyz", b"/v1/status")
READS = ("GET", "HEAD")


class Admin:
    """Answers the requests of the admin port."""

    def __init__(self, serving: Serving, admission: Admission | None) -> None:
        self._serving = serving
        self._admission = admission
        """None where the port is open to other machines: probes come by the pod's address."""
        self._metrics = Metrics(serving.table, serving.http)
        self._budget = Budget(serving.budget.limit)
        self._began = monotonic()

    async def handle(self, request: BaseRequest) -> Reply:
        """Answer one request."""
        return await self._carry_out(request, None)

    async def refuse(self, request: BaseRequest, error: PannierError) -> Reply:
        """Answer what is no HTTP."""
        return await self._carry_out(request, error)

    async def _carry_out(self, request: BaseRequest, broken: PannierError | None) -> Reply:
        exchange = Exchange(request, self._budget, self._serving.settings.client_timeout)
        try:
            answer = await answer_safely(exchange, lambda: self._answer(exchange, broken))
            if answer is not None:
                await exchange.send(answer)
        finally:
            reply = exchange.reply()
        return reply

    async def _answer(self, exchange: Exchange, broken: PannierError | None) -> Answer:
        if broken is not None:
            raise broken
        authority, path, query = targets.split(exchange.target)
        if self._admission is not None:
            host = authority if authority is not None else exchange.raw_header("Host")
            refusal = self._admission.refusal(host, exchange.raw_header("Origin"), None)
            if refusal is not None:
                raise refusal
        if path not in PATHS:
            raise NotFound("The admin port has / /healthz /readyz /metrics and /v1/status.")
        if exchange.method not in READS:
            raise MethodNotAllowed("The admin port is read-only.", allow=READS)
        if path == b"/healthz":
            return Answer(200, JSON, b'{"status":"ok"}')
        if path == b"/readyz":
            return self._readiness("startup" in dict(targets.parse_query(query)))
        if path == b"/metrics":
            content_type = f"Content-Type: {CONTENT_TYPE}\r\n".encode()
            return Answer(200, content_type, self._metrics.text())
        if path == b"/v1/status":
            return Answer(200, JSON, msgspec.json.encode(status(self._serving)))
        from pannier.server import status_page

        return status_page.answer(
            status(self._serving),
            self._serving.table,
            follows_operator=self._serving.settings.operator is not None,
        )

    def _readiness(self, startup: bool) -> Answer:
        reasons = self._startup_reasons() if startup else self._reasons()
        if reasons:
            detail = "; ".join(reason.rstrip(".") for reason in reasons)
            raise NotReady(f"Not ready: {detail}.", reasons=reasons)
        return Answer(200, JSON, b'{"ready":true,"reasons":[]}')

    def _startup_reasons(self) -> list[str]:
        serving = self._serving
        waited = monotonic() - self._began >= serving.settings.startup_wait
        return [] if serving.configured or waited else ["no configuration has come yet"]

    def _reasons(self) -> list[str]:
        serving = self._serving
        reasons: list[str] = []
        if serving.draining or serving.leaving:
            reasons.append("the sidecar is being stopped")
        if not serving.configured:
            reasons.append("no configuration has come yet")
        for served in serving.table.stores.values():
            if served.state != "ready":
                why = f": {served.error}" if served.error else ""
                reasons.append(f"store {served.name} is {served.state}{why}")
        return reasons


def status(serving: Serving) -> dict[str, Any]:
    """The document of /v1/status."""
    table = serving.table
    applied = table.applied_at
    return {
        "version": installed_version(),
        "config": {
            "version": table.version,
            "source": table.source,
            "appliedAt": (
                datetime.fromtimestamp(applied, UTC).isoformat(timespec="milliseconds")
                if applied is not None
                else None
            ),
            "error": table.error,
        },
        "stores": [
            {
                **stores.summary(served),
                "error": served.error,
                "pool": stores.pool_figures(served),
            }
            for served in table.stores.values()
        ],
    }
