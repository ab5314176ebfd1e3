"""Leading by a Lease of a real API server: one at a time, whatever happens to it or to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from pannier_operator.leader_label import LABEL, LeaderLabel
from pannier_operator.leading import LEASE, Leader, identity_of, steady
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator_api import api_client, until

DURATION = 3.0
RENEW_EVERY = 0.5


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with api_client(control_plane) as made:
        yield made


class Candidate:
    """One operator's Leader, with what it was told, and a clock that a test can move."""

    def __init__(self, client: ApiClient, namespace: str, name: str, watch: Watch) -> None:
        self.name = name
        self.told: list[str] = []
        self.ahead = 0.0
        self.wall = timedelta()
        self.leader = Leader(
            client,
            namespace=namespace,
            identity=identity_of(name),
            elected=lambda epoch: self.told.append(f"elected {epoch}"),
            lost=lambda: self.told.append("lost"),
            duration=DURATION,
            renew_every=RENEW_EVERY,
            clock=lambda: steady() + self.ahead,
            wall=lambda: datetime.now(UTC) + self.wall,
        )
        self.task = asyncio.create_task(self.leader.run())
        watch.candidates.append(self)

    async def kill(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Watch:
    """Looks all the time that no two lead."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.faults: list[str] = []
        self.task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            leading = [each.name for each in self.candidates if each.leader.leads()]
            if len(leading) > 1:
                self.faults.append(f"{leading} lead at once")
            await asyncio.sleep(0.005)

    def leading(self) -> Candidate | None:
        return next((each for each in self.candidates if each.leader.leads()), None)

    async def close(self) -> None:
        self.task.cancel()
        for each in self.candidates:
            await each.kill()
        assert not self.faults


Start = Callable[[str], Candidate]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    made = Watch()
    yield made
    await made.close()


@pytest.fixture
def start(client: ApiClient, namespace: str, watch: Watch) -> Start:
    return lambda name: Candidate(client, namespace, name, watch)


class SeenLease:
    """The Lease as an administrator sees it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}"

    def spec(self) -> dict[str, Any]:
        return dict(self.plane.api.call("GET", self.path)["spec"])

    def delete(self) -> None:
        self.plane.api.call("DELETE", self.path)

    def is_there(self) -> bool:
        with contextlib.suppress(ApiError):
            return bool(self.spec())
        return False


@pytest.fixture
def lease(control_plane: ControlPlane, namespace: str) -> SeenLease:
    return SeenLease(control_plane, namespace)


async def test_one_of_many_that_start_at_once_leads(
    start: Start, watch: Watch, lease: SeenLease
) -> None:
    candidates = [start(f"p{number}") for number in range(5)]
    await until(watch.leading)
    first = watch.leading()
    assert first is not None
    spec = lease.spec()
    assert spec["holderIdentity"].startswith(f"{first.name}_")
    assert spec["leaseDurationSeconds"] == DURATION
    assert first.told == [f"elected {spec['leaseTransitions']}"]
    assert [each for each in candidates if each.told] == [first]
    renewed = spec["renewTime"]
    await until(lambda: lease.spec()["renewTime"] > renewed, what="it is renewed")
    assert lease.spec()["leaseTransitions"] == spec["leaseTransitions"]
    assert lease.spec()["acquireTime"] == spec["acquireTime"]


async def test_a_killed_leader_is_followed_within_the_lease_duration(
    start: Start, watch: Watch
) -> None:
    first = start("first")
    await until(first.leader.leads)
    second = start("second")
    await until(lambda: second.leader.holder != "", what="the second has seen the first")
    epoch = first.leader.epoch
    await first.kill()
    killed = time.monotonic()
    assert not first.leader.leads()
    assert first.told[-1] == "lost"
    await until(second.leader.leads)
    assert time.monotonic() - killed < DURATION * 3, "generous: the machine may be busy"
    assert second.leader.epoch == epoch + 1


async def test_a_released_lease_is_taken_without_waiting(
    start: Start, watch: Watch, lease: SeenLease
) -> None:
    first = start("first")
    await until(first.leader.leads)
    await first.kill()
    assert lease.spec()["holderIdentity"].startswith("first_"), "held while streams drain"
    await first.leader.release()
    assert lease.spec().get("holderIdentity", "") == ""
    second = start("second")
    await until(second.leader.leads)
    assert second.leader.epoch == first.leader.epoch + 1
    await first.leader.release()
    assert second.leader.leads(), "who does not hold it releases nothing"
    assert lease.spec()["holderIdentity"].startswith("second_")


@contextlib.contextmanager
def paused(plane: ControlPlane) -> Iterator[None]:
    plane.pause()
    try:
        yield
    finally:
        plane.resume()


async def test_a_leader_without_the_api_server_steps_down_and_takes_it_again(
    start: Start, watch: Watch, control_plane: ControlPlane
) -> None:
    first = start("first")
    await until(first.leader.leads)
    second = start("second")
    await until(lambda: second.leader.holder != "")
    with paused(control_plane):
        await until(lambda: first.told[-1] == "lost")
        assert watch.leading() is None
    await until(watch.leading)
    assert len(first.told) + len(second.told) == 3


async def test_a_leader_that_was_stopped_for_long_does_not_lead_when_it_goes_on(
    start: Start, watch: Watch
) -> None:
    first = start("first")
    await until(first.leader.leads)
    first.ahead = DURATION
    assert not first.leader.leads(), "before it has noticed"
    await until(first.leader.leads, what="nobody took it meanwhile")
    assert [each.split()[0] for each in first.told] == ["elected", "lost", "elected"]
    assert first.told[0] == first.told[2], "nobody else led: the epoch is the same"


@pytest.mark.parametrize("hours", [-100, 100])
async def test_a_step_of_the_wall_clock_changes_nothing(
    start: Start, watch: Watch, lease: SeenLease, hours: int
) -> None:
    first = start("first")
    await until(first.leader.leads)
    second = start("second")
    await until(lambda: second.leader.holder != "")
    first.wall = second.wall = timedelta(hours=hours)
    day = f"{datetime.now(UTC) + first.wall:%Y-%m-%d}"
    await until(lambda: lease.spec()["renewTime"].startswith(day))
    before = lease.spec()["renewTime"]
    await until(lambda: lease.spec()["renewTime"] != before)
    assert first.leader.leads()
    assert second.told == []


async def test_a_deleted_lease_stays_with_its_holder(
    start: Start, watch: Watch, lease: SeenLease
) -> None:
    first = start("first")
    await until(first.leader.leads)
    second = start("second")
    await until(lambda: second.leader.holder != "")
    epoch = first.leader.epoch
    lease.delete()
    await until(lease.is_there)
    assert lease.spec()["holderIdentity"].startswith("first_")
    assert lease.spec()["leaseTransitions"] == first.leader.epoch >= epoch
    assert second.told == []


async def test_the_chart_gives_the_rights_for_it(
    control_plane: ControlPlane, namespace: str, watch: Watch, lease: SeenLease
) -> None:
    kubeconfig = install_operator_rbac(control_plane, namespace)
    pods = Pods(control_plane, namespace, {LABEL: "true"}, {})
    async with api_client(control_plane, kubeconfig) as client:
        first = Candidate(client, namespace, "first", watch)
        async with labelling(client, namespace, "operator-1", first.leader.leads):
            await until(lambda: pods.leading() == ["operator-1"])
        renewed = lease.spec()["renewTime"]
        await until(lambda: lease.spec()["renewTime"] > renewed)
        await first.kill()
        await first.leader.release()
        assert lease.spec().get("holderIdentity", "") == ""


# The label ----------------------------------------------------------------------------------------


class Pods:
    """The operator's pods, as an administrator sees them."""

    def __init__(self, plane: ControlPlane, namespace: str, *labels: dict[str, str]) -> None:
        self.plane, self.namespace = plane, namespace
        for number, each in enumerate(labels):
            plane.pod(namespace, f"operator-{number}", labels={"app": "o", **each})

    def leading(self) -> list[str]:
        path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={LABEL}%3Dtrue"
        return [each["metadata"]["name"] for each in self.plane.api.call("GET", path)["items"]]

    def patch(self, number: int, value: str | None) -> None:
        self.plane.api.call(
            "PATCH",
            f"/api/v1/namespaces/{self.namespace}/pods/operator-{number}",
            {"metadata": {"labels": {LABEL: value}}},
            content_type="application/merge-patch+json",
        )


@contextlib.asynccontextmanager
async def labelling(
    client: ApiClient, namespace: str, pod_name: str, leads: Callable[[], bool]
) -> AsyncIterator[LeaderLabel]:
    label = LeaderLabel(client, namespace=namespace, pod_name=pod_name, leads=leads, look_every=0.2)
    task = asyncio.create_task(label.run())
    try:
        yield label
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_leader_is_labelled_and_the_dead_one_is_not(
    client: ApiClient, control_plane: ControlPlane, namespace: str
) -> None:
    dead = {LABEL: "true"}
    pods = Pods(control_plane, namespace, dead, {})
    leads = True
    async with labelling(client, namespace, "operator-1", lambda: leads) as label:
        await until(lambda: pods.leading() == ["operator-1"])
        pods.patch(1, None)
        await until(lambda: pods.leading() == ["operator-1"], what="it is put back")
        pods.patch(0, "true")
        await until(lambda: pods.leading() == ["operator-1"], what="a stranger's is taken off")
        leads = False
        label.changed()
        await until(lambda: pods.leading() == [])


async def test_a_container_that_is_started_again_takes_off_its_earlier_label(
    client: ApiClient, control_plane: ControlPlane, namespace: str
) -> None:
    pods = Pods(control_plane, namespace, {LABEL: "true"}, {LABEL: "true"})
    async with labelling(client, namespace, "operator-0", lambda: False):
        await until(lambda: pods.leading() == ["operator-1"])


async def test_the_label_is_taken_off_at_the_end(
    client: ApiClient, control_plane: ControlPlane, namespace: str
) -> None:
    pods = Pods(control_plane, namespace, {})
    async with labelling(client, namespace, "operator-0", lambda: True) as label:
        await until(lambda: pods.leading() == ["operator-0"])
    await label.remove()
    assert pods.leading() == []


async def test_an_operator_outside_the_cluster_labels_nothing(
    client: ApiClient, namespace: str
) -> None:
    label = LeaderLabel(client, namespace=namespace, pod_name="", leads=lambda: True)
    await label.run()
    await label.remove()


async def test_a_pod_that_is_gone_is_told_and_tried_again(
    client: ApiClient,
    control_plane: ControlPlane,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with labelling(client, namespace, "operator-0", lambda: True):
        await until(lambda: "could not be put right: 404" in caplog.text)
        pods = Pods(control_plane, namespace, {})
        await until(lambda: pods.leading() == ["operator-0"])


def test_no_two_lives_of_a_pod_are_one_candidate() -> None:
    assert identity_of("operator-0") != identity_of("operator-0")
    assert len(identity_of("x" * 300)) <= 128
