"""The operator's admin port: whether it lives, whether it is ready and why not, its metrics.

Plain HTTP, read-only, for the kubelet and Prometheus. It decides nothing: what is not ready is
asked of the parts that know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiohttp import web

from pannier_operator.metrics import CONTENT_TYPE

Check = Callable[[], Iterable[str]]
"""Gives the reasons, in words, why the operator is not ready; none where this part is."""


class Health:
    """`/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, page: Callable[[], bytes]) -> None:
        self._page = page
        self._checks: list[Check] = []
        self._runner: web.AppRunner | None = None

    def demand(self, check: Check) -> None:
        """Be ready only while `check` gives no reason against it."""
        self._checks.append(check)

    def reasons(self) -> Sequence[str]:
        """Why the operator is not ready now."""
        return [reason for check in self._checks for reason in check()]

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        reasons = self.reasons()
        if reasons:
            return web.json_response({"status": "not ready", "reasons": reasons}, status=503)
        return web.json_response({"status": "ready"})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._page(), headers={"Content-Type": CONTENT_TYPE})
