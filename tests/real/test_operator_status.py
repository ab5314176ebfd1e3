"""Writing a StoreBackend's status to a real API server: the last state, seldom, by one alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from pannier.config.stream.messages import StoreEntry
from pannier_operator.conditions import condition, status_of
from pannier_operator.status import StatusWriter
from pannier_operator.tally import Rejection, Tally
from pannier_operator.wanted import WantedStore
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator_api import api_client, until

pytestmark = pytest.mark.usefixtures("crd")

ALL_RUN_IT = Tally(connected=2, synced=2, reachable=2)
REFUSED = Tally(
    connected=2, synced=1, rejected=1, rejections=(Rejection("p", "invalid-config", "no"),)
)


@pytest.fixture(scope="module")
def operator(shared_control_plane: ControlPlane) -> Path:
    """What acts with the rights that the chart gives an operator."""
    return install_operator_rbac(shared_control_plane, shared_control_plane.namespace())


@pytest.fixture
async def client(control_plane: ControlPlane, operator: Path) -> AsyncIterator[ApiClient]:
    async with api_client(control_plane, operator) as made:
        yield made


class Shop:
    """One StoreBackend of a test, seen as an administrator sees it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.collection = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends"
        self.path = f"{self.collection}/shop"
        self.create()

    def create(self) -> dict[str, Any]:
        made = {
            "apiVersion": "pannier.dev/v1alpha1",
            "kind": "StoreBackend",
            "metadata": {"name": "shop"},
            "spec": {"type": "memory", "memory": {}},
        }
        return dict(self.plane.api.call("POST", self.collection, made))

    def read(self) -> dict[str, Any]:
        return dict(self.plane.api.call("GET", self.path))

    def delete(self) -> None:
        self.plane.api.call("DELETE", self.path)

    def edit(self, size: str) -> dict[str, Any]:
        return dict(
            self.plane.api.call(
                "PATCH",
                self.path,
                {"spec": {"memory": {"maxBytes": size}}},
                content_type="application/merge-patch+json",
            )
        )

    def ready(self) -> str:
        return str(condition(self.read().get("status"), "Ready").get("reason"))


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str, crd: ControlPlane) -> Shop:
    return Shop(control_plane, namespace)


def make(resource: dict[str, Any], tally: Tally) -> Callable[[Any], dict[str, Any]]:
    metadata = resource["metadata"]
    wanted = WantedStore(
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        fingerprint="f",
        entry=StoreEntry(name=metadata["name"], document={}),
    )
    return lambda before: status_of(resource, wanted, tally, now=datetime.now(UTC), before=before)


@pytest.fixture
async def writer(client: ApiClient) -> AsyncIterator[StatusWriter]:
    made = StatusWriter(client, may_write=lambda: True, every=0.2)
    yield made
    await made.close()


async def test_a_status_is_written_and_what_is_gone_from_it_is_removed(
    shop: Shop, writer: StatusWriter
) -> None:
    resource = shop.read()
    writer.changed(resource, make(resource, REFUSED))
    await until(lambda: shop.ready() == "Rejected")
    assert len(shop.read()["status"]["rejections"]) == 1
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    status = shop.read()["status"]
    assert status["rejections"] == []
    assert status["synced"] == "2/2"
    assert [each["type"] for each in status["conditions"]] == [
        "Ready",
        "Accepted",
        "Synced",
        "Reachable",
    ]
    # A field of an older operator's status.
    shop.plane.api.call(
        "PATCH",
        f"{shop.path}/status",
        {"status": {"observedGeneration": 77, "sidecars": {"connected": 77}}},
        content_type="application/merge-patch+json",
    )
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.read()["status"] == status)


async def test_what_is_there_already_is_not_written_again(shop: Shop, writer: StatusWriter) -> None:
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    written = shop.read()
    for _ in range(3):
        writer.changed(written, make(written, ALL_RUN_IT))
        # An older view of the cache does not bring the older status back.
        writer.changed(resource, make(resource, ALL_RUN_IT))
    await writer.settled()
    assert shop.read()["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]


async def test_many_changes_end_in_the_last_state_at_one_write_an_interval(
    shop: Shop, client: ApiClient
) -> None:
    writes: list[float] = []
    writer = StatusWriter(
        client,
        may_write=lambda: True,
        every=0.5,
        written=lambda *_: writes.append(time.monotonic()),
    )
    resource = shop.read()
    began = time.monotonic()
    for number in range(100):
        writer.changed(resource, make(resource, Tally(connected=200, synced=number)))
        await asyncio.sleep(0.01)
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    await writer.close()
    # Of the answers, each of which may come late: the gap before one that follows it is short.
    assert 2 <= len(writes) <= 1 + (writes[-1] - began) / 0.5


async def test_a_change_back_while_a_write_is_under_way_is_not_lost(
    shop: Shop, client: ApiClient
) -> None:
    writer = StatusWriter(client, may_write=lambda: True, every=0.05)
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    for turn in range(20):
        resource = shop.read()
        writer.changed(resource, make(resource, REFUSED))
        await asyncio.sleep(0.06 + turn * 0.001)
        writer.changed(resource, make(resource, ALL_RUN_IT))
        await until(lambda: shop.ready() == "Ready")
    await writer.close()
    assert shop.ready() == "Ready"


async def test_a_resource_edited_a_hundred_times_a_second_ends_in_its_last_generation(
    shop: Shop, writer: StatusWriter
) -> None:
    end = time.monotonic() + 2
    number = 0
    while time.monotonic() < end:
        number += 1
        resource = await asyncio.to_thread(shop.edit, f"{number}Mi")
        writer.changed(resource, make(resource, ALL_RUN_IT))
        await asyncio.sleep(0.005)
    last = resource["metadata"]["generation"]
    assert last > 20
    await until(lambda: shop.read()["status"]["observedGeneration"] == last)
    observed = {each["observedGeneration"] for each in shop.read()["status"]["conditions"]}
    assert observed == {last}


async def test_edits_by_others_between_reading_and_writing_only_delay_it(
    shop: Shop, writer: StatusWriter
) -> None:
    stale = shop.read()
    shop.edit("1Mi")
    shop.edit("2Mi")
    writer.changed(stale, make(stale, ALL_RUN_IT))
    await until(lambda: "status" in shop.read())
    # It says which generation it speaks of: kubectl wait goes on waiting.
    assert condition(shop.read()["status"], "Ready")["observedGeneration"] == 1
    assert shop.read()["metadata"]["generation"] == 3


async def test_kubectl_wait_does_not_return_on_the_generation_before(
    shop: Shop, writer: StatusWriter
) -> None:
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    edited = shop.edit("5Mi")
    namespace = resource["metadata"]["namespace"]
    waiting = asyncio.create_task(
        asyncio.to_thread(
            shop.plane.kubectl,
            *("wait", "--for=condition=Ready", "storebackend/shop", "--timeout=60s"),
            *("--namespace", namespace),
        )
    )
    done, _ = await asyncio.wait([waiting], timeout=1.5)
    assert not done, "it returned on the status of generation 1"
    writer.changed(edited, make(edited, ALL_RUN_IT))
    assert "condition met" in await waiting


async def test_only_who_leads_writes(shop: Shop, client: ApiClient) -> None:
    leads = False
    writer = StatusWriter(client, may_write=lambda: leads, every=0.2)
    resource = shop.read()
    writer.changed(resource, make(resource, ALL_RUN_IT))
    leads = True
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    writer.changed(shop.read(), make(resource, REFUSED))
    leads = False
    await writer.settled()
    assert shop.ready() == "Ready"


async def test_a_late_write_of_a_replaced_leader_changes_nothing(
    shop: Shop, client: ApiClient
) -> None:
    # Both know the same state, and the new leader's write arrives first. The old one leads, as far
    # as it knows, until its request was refused.
    asked = iter([True, True])
    old = StatusWriter(client, may_write=lambda: next(asked, False), every=0.2)
    new = StatusWriter(client, may_write=lambda: True, every=0.2)
    resource = shop.read()
    new.changed(resource, make(resource, ALL_RUN_IT))
    await new.settled()
    old.changed(resource, make(resource, REFUSED))
    await old.settled()
    assert next(asked, None) is None, "it did send its request"
    assert shop.ready() == "Ready"


async def test_a_deleted_resource_and_its_namesake_get_nothing_of_it(
    shop: Shop, writer: StatusWriter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    resource = shop.read()
    shop.delete()
    writer.changed(resource, make(resource, REFUSED))
    await writer.settled()
    again = shop.create()
    writer.changed(resource, make(resource, REFUSED))
    await writer.settled()
    assert "status" not in shop.read()
    writer.changed(again, make(again, ALL_RUN_IT))
    await until(lambda: shop.ready() == "Ready")
    assert not caplog.records


async def test_it_is_tried_again_until_the_api_server_is_back(
    shop: Shop, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    writer = StatusWriter(client, may_write=lambda: True, every=0.1, timeout=0.5)
    resource = shop.read()
    shop.plane.pause()
    try:
        writer.changed(resource, make(resource, REFUSED))
        await until(lambda: "could not be written" in caplog.text)
        writer.changed(resource, make(resource, ALL_RUN_IT))
    finally:
        shop.plane.resume()
    await until(lambda: shop.ready() == "Ready")
    assert "no answer in time" in caplog.text
    await writer.close()


async def test_many_resources_start_with_few_requests_at_once(
    control_plane: ControlPlane, namespace: str, client: ApiClient
) -> None:
    collection = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends"
    body = {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend"}
    spec = {"type": "memory", "memory": {}}
    resources = [
        control_plane.api.call(
            "POST", collection, {**body, "metadata": {"name": f"s{number}"}, "spec": spec}
        )
        for number in range(100)
    ]
    written: list[str] = []
    writer = StatusWriter(
        client,
        may_write=lambda: True,
        concurrency=4,
        written=lambda reference, *_: written.append(reference["metadata"]["name"]),
    )
    for resource in resources:
        writer.changed(resource, make(resource, ALL_RUN_IT))
    await until(lambda: len(written) == 100)
    await writer.close()
    assert len(set(written)) == 100


async def test_a_namespace_deleted_under_it_is_no_error(
    shop: Shop, writer: StatusWriter, caplog: pytest.LogCaptureFixture
) -> None:
    resource = shop.read()
    namespace = resource["metadata"]["namespace"]
    shop.plane.api.call("DELETE", f"/api/v1/namespaces/{namespace}")

    def gone() -> bool:
        try:
            shop.read()
        except ApiError as error:
            return error.status == 404
        return False

    await until(gone)
    writer.changed(resource, make(resource, ALL_RUN_IT))
    await writer.settled()
    assert not caplog.records
