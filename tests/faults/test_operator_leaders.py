"""Two operators, and the one that leads is killed, stopped or ended: what a StoreBackend says."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pannier.config.stream.messages import SUBPROTOCOL, Hello, Snapshot
from pannier_operator.conditions import condition
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator import Operator, operator
from tests.real.operator_api import until
from tests.unit.stream_world import Sidecar

ONE_RUNS_IT = {
    "connected": 1,
    "synced": 1,
    "pending": 0,
    "rejected": 0,
    "reachable": 1,
    "lost": 0,
}
SHORT = ("--lease-duration", "3s", "--lease-renew", "500ms")


class Scene:
    """Two operators of one namespace, and a StoreBackend in another."""

    def __init__(self, plane: ControlPlane, served: str, operators: list[Operator]) -> None:
        self.plane = plane
        self.served = served
        self.operators = operators
        self.path = f"/apis/pannier.dev/v1alpha1/namespaces/{served}/storebackends"
        pod = plane.pod(served, "app-0")
        self.token = plane.service_account_token(served, audience="pannier", pod=pod)

    def apply(self, size: str) -> None:
        self.plane.apply(
            {
                "apiVersion": "pannier.dev/v1alpha1",
                "kind": "StoreBackend",
                "metadata": {"name": "shop"},
                "spec": {"type": "memory", "memory": {"maxBytes": size}},
            },
            namespace=self.served,
        )

    def status(self) -> dict[str, Any]:
        return dict(self.plane.api.call("GET", f"{self.path}/shop").get("status") or {})

    def ready(self, generation: int) -> bool:
        said = condition(self.status(), "Ready")
        return said.get("status") == "True" and said["observedGeneration"] == generation

    def leading(self) -> list[Operator]:
        alive = (each for each in self.operators if each.process.poll() is None)
        return [each for each in alive if each.leads()]

    async def leader(self) -> Operator:
        await until(lambda: len(self.leading()) == 1, what="one of them leads")
        return self.leading()[0]

    @asynccontextmanager
    async def sidecar(self, leader: Operator) -> AsyncIterator[tuple[Sidecar, Snapshot]]:
        """A sidecar that has dialed, and applied what it was sent."""
        known = f"/api/v1/namespaces/{self.served}/configmaps/pannier-ca"
        bundle = self.plane.api.call("GET", known)["data"]["ca.crt"]
        trust = ssl.create_default_context(cadata=bundle)
        async with aiohttp.ClientSession() as client:
            socket = await client.ws_connect(
                f"https://127.0.0.1:{leader.port}/v1/stream",
                ssl=trust,
                protocols=(SUBPROTOCOL,),
                headers={"Authorization": f"Bearer {self.token}"},
            )
            made = Sidecar(socket)
            await made.say(Hello(build="test"))
            yield made, await made.follow()


@pytest.fixture
def scene(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    kubeconfig = install_operator_rbac(control_plane, namespace)
    served = control_plane.namespace()
    settings: dict[str, Any] = {"namespace": namespace, "kubeconfig": kubeconfig}
    with operator(control_plane, tmp_path, *SHORT, **settings) as first:
        with operator(control_plane, tmp_path, *SHORT, **settings) as second:
            yield Scene(control_plane, served, [first, second])


async def test_a_killed_leader_is_followed_and_nobody_is_told_a_store_is_ready_that_is_not(
    scene: Scene,
) -> None:
    await asyncio.to_thread(scene.apply, "1Mi")
    first = await scene.leader()
    await until(lambda: scene.ready(1), what="it is ready without a sidecar")
    async with scene.sidecar(first) as (_, snapshot):
        await until(lambda: scene.status()["sidecars"] == ONE_RUNS_IT)
        before, epoch = scene.status(), snapshot.epoch
        await asyncio.to_thread(first.stop, signal.SIGKILL)
    second = await scene.leader()
    assert second is not first
    # Its sidecar has not dialed the new one yet: that is no news of the store...
    await until(lambda: second.metric("pannier_operator_queue_depth") == 0)
    assert scene.status() == before
    # ... but an edit is not in force before it has.
    await asyncio.to_thread(scene.apply, "2Mi")
    await until(lambda: scene.status()["observedGeneration"] == 2)
    said = condition(scene.status(), "Ready")
    assert (said["status"], said["reason"]) == ("False", "Reconnecting")
    async with scene.sidecar(second) as (_, snapshot):
        assert snapshot.epoch > epoch
        await until(lambda: scene.ready(2))
        await until(lambda: scene.status()["sidecars"] == ONE_RUNS_IT)


async def test_a_leader_that_was_stopped_for_a_while_changes_nothing_when_it_goes_on(
    scene: Scene,
) -> None:
    await asyncio.to_thread(scene.apply, "1Mi")
    first = await scene.leader()
    await until(lambda: scene.ready(1))
    with stopped(first):
        (second,) = (each for each in scene.operators if each is not first)
        await until(second.leads)
        await asyncio.to_thread(scene.apply, "2Mi")
        async with scene.sidecar(second):
            await until(lambda: scene.ready(2))
            before = scene.status()
            first.process.send_signal(signal.SIGCONT)
            await until(lambda: "leading no more" in first.text)
            await until(lambda: first.metric("pannier_operator_queue_depth") == 0)
            assert second.leads() and not first.leads()
            assert scene.status() == before


async def test_a_leader_that_ends_hands_over_at_once_and_leaves_the_status_as_it_is(
    scene: Scene,
) -> None:
    await asyncio.to_thread(scene.apply, "1Mi")
    first = await scene.leader()
    await until(lambda: scene.ready(1))
    async with scene.sidecar(first) as (sidecar, _):
        await until(lambda: scene.status()["sidecars"] == ONE_RUNS_IT)
        before = scene.status()
        ending = asyncio.create_task(asyncio.to_thread(first.stop))
        code, _ = await sidecar.closed()
        assert code == 1001
    assert await ending == 0
    second = await scene.leader()
    assert second is not first
    assert scene.status() == before


@contextmanager
def stopped(leader: Operator) -> Iterator[None]:
    leader.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        leader.process.send_signal(signal.SIGCONT)
