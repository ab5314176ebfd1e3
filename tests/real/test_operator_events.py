"""Events at a real API server: posted beside the work, counted when repeated, bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pannier_operator import events as room
from pannier_operator.events import Events, News
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator_api import api_client

REFUSED = News("Warning", "Rejected", "pod carts-7 says invalid-config: no.")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def operator(shared_control_plane: ControlPlane) -> Path:
    """What acts with the rights that the chart gives an operator."""
    return install_operator_rbac(shared_control_plane, shared_control_plane.namespace())


@pytest.fixture
async def events(
    control_plane: ControlPlane, operator: Path, clock: Clock
) -> AsyncIterator[Events]:
    async with api_client(control_plane, operator) as client:
        made = Events(client, instance="pannier-operator-0", clock=clock)
        task = asyncio.create_task(made.run())
        yield made
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def resource(namespace: str, uid: str = "4b0d0b5e-0000-4000-8000-000000000001") -> dict[str, Any]:
    return {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"namespace": namespace, "name": "shop", "uid": uid, "resourceVersion": "5"},
    }


def posted(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    return list(plane.api.call("GET", path)["items"])


async def test_kubectl_shows_an_event_at_its_resource(
    events: Events, crd: ControlPlane, control_plane: ControlPlane, namespace: str
) -> None:
    events.post(resource(namespace), REFUSED)
    await events.settled()
    shown = control_plane.kubectl("events", "--namespace", namespace, "--for", "storebackend/shop")
    assert "Warning" in shown and "Rejected" in shown
    assert "StoreBackend/shop" in shown
    assert "pod carts-7 says invalid-config: no." in shown
    (event,) = posted(control_plane, namespace)
    assert event["reportingController"] == "pannier.dev/operator"
    assert event["reportingInstance"] == "pannier-operator-0"
    assert event["regarding"]["uid"] == resource(namespace)["metadata"]["uid"]


async def test_the_same_news_is_counted_in_one_event(
    events: Events, control_plane: ControlPlane, namespace: str, clock: Clock
) -> None:
    for _ in range(3):
        events.post(resource(namespace), REFUSED)
    await events.settled()
    (event,) = posted(control_plane, namespace)
    assert event["series"]["count"] == 3
    clock.now += room.SAME_WITHIN + 1
    events.post(resource(namespace), REFUSED)
    await events.settled()
    assert len(posted(control_plane, namespace)) == 2


async def test_an_event_that_was_deleted_is_posted_anew(
    events: Events, control_plane: ControlPlane, namespace: str
) -> None:
    events.post(resource(namespace), REFUSED)
    await events.settled()
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    control_plane.api.call("DELETE", path)
    events.post(resource(namespace), REFUSED)
    await events.settled()
    assert len(posted(control_plane, namespace)) == 1


async def test_a_resource_that_flaps_is_bounded_and_others_are_not_held_up(
    events: Events,
    control_plane: ControlPlane,
    namespace: str,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(30):
        events.post(resource(namespace), News("Normal", "Ready", f"{number}"))
    other = resource(namespace, "4b0d0b5e-0000-4000-8000-000000000002")
    events.post(other, REFUSED)
    await events.settled()
    assert len(posted(control_plane, namespace)) == room.BURST + 1
    assert "were not posted" in caplog.text
    clock.now += room.ANOTHER_EVERY
    events.post(resource(namespace), News("Normal", "Ready", "later"))
    await events.settled()
    assert len(posted(control_plane, namespace)) == room.BURST + 2


async def test_a_refused_event_is_logged_and_the_next_one_is_posted(
    events: Events,
    control_plane: ControlPlane,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    events.post(resource("no-such-namespace"), REFUSED)
    events.post(resource(namespace), REFUSED)
    await events.settled()
    assert "no Event for Rejected of StoreBackend no-such-namespace/shop: 404" in caplog.text
    assert len(posted(control_plane, namespace)) == 1


async def test_what_cannot_wait_is_dropped_not_waited_for(
    control_plane: ControlPlane, operator: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_client(control_plane, operator) as client:
        idle = Events(client, instance="o")
        for _ in range(room.WAITING + 5):
            idle.post(resource("x"), REFUSED)
    assert "1 Events were not posted: too many are waiting" in caplog.text
