"""`./dev bench push`: from the API server's answer to an edit until every sidecar runs it.

The operator is one process on a core of its own, under the chart's rights, with a real API server,
real TokenReviews of tokens that are bound to real pods, and TLS. The sidecars are one process of
real WebSocket clients on the other core, which they share with the API server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from pannier_operator.streams.authenticating import PER_SECOND
from tests.bench.processes import (
    LOAD_CORE,
    SERVER_CORE,
    CannotMeasure,
    cpu_seconds,
    memory,
    running,
)
from tests.bench.rows import Row
from tests.real.kubernetes import install_operator_rbac
from tests.real.kubernetes_parts.building import NotHere
from tests.real.kubernetes_parts.control_plane import POD, ControlPlane
from tests.real.programs import free_port

TARGETS = {1_000: 1.0, 5_000: 3.0}
"""p99 in seconds by sidecars; a quick run has the first one's."""
BURST_TARGET = 2.0
"""Seconds from the last edit of a burst until it is applied everywhere."""
BURST = (40, 0.05)
"""Edits, and the seconds between them."""
SYSTEM = "pannier-system"
RESOURCE = "/apis/pannier.dev/v1alpha1/namespaces/{}/storebackends"
PATCH = "application/merge-patch+json"


def run(options: argparse.Namespace) -> list[Row]:
    """Measure with each number of sidecars."""
    sizes = [200] if options.quick else [1_000, 5_000]
    rounds = 3 if options.quick else options.rounds * 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < sizes[-1] + 500:
        raise CannotMeasure(f"{sizes[-1]} streams need more file descriptors than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the processes, too
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-push-") as name:
        directory = Path(name)
        with cluster(directory) as plane:
            bench = Bench(plane, directory)
            bench.prepare(sizes[-1])
            for size in sizes:
                rows += bench.measure(size, rounds, quick=options.quick)
    return rows


@contextmanager
def cluster(directory: Path) -> Iterator[ControlPlane]:
    """A control plane on the load's core."""
    home = directory / "kubernetes"
    home.mkdir()
    try:
        plane = ControlPlane(home)
    except NotHere as reason:
        raise CannotMeasure(str(reason)) from None
    plane.start()
    try:
        for daemon in plane.daemons():
            command = ["taskset", "--all-tasks", "--cpu-list", "--pid", LOAD_CORE, str(daemon.pid)]
            subprocess.run(command, check=True, capture_output=True)
        yield plane
    finally:
        plane.stop()


class Bench:
    """One cluster, its pods and their tokens, and what is measured with them."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self.plane = plane
        self.directory = directory
        self.namespace = plane.namespace()
        self.port = free_port()
        self.edits = 0
        self.tokens = directory / "tokens"

    # Before -------------------------------------------------------------------------------------

    def prepare(self, pods: int) -> None:
        """The namespaces, the rights, the resource, the pods and their tokens."""
        plane = self.plane
        plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
        self.kubeconfig = install_operator_rbac(plane, SYSTEM)
        secret = {
            "metadata": {"name": "redis", "labels": {"pannier.dev/credentials": "true"}},
            "stringData": {"password": "p" * 32},
        }
        plane.api.call("POST", f"/api/v1/namespaces/{self.namespace}/secrets", secret)
        backend = {
            "apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
            "metadata": {"name": "bench"},
            "spec": {
                "type": "redis",
                "redis": {
                    "host": "redis.shop.svc",
                    "passwordSecretRef": {"name": "redis", "key": "password"},
                },
            },
        }  # fmt: skip
        plane.api.call("POST", RESOURCE.format(self.namespace), backend)
        began = time.monotonic()
        tokens = asyncio.run(self._tokens(pods))
        self.tokens.write_text("\n".join(tokens))
        say(f"{pods} pods and their tokens took {time.monotonic() - began:.0f} s")

    async def _tokens(self, pods: int) -> list[str]:
        """A token for each of so many new pods."""
        context = self.plane.api._context
        headers = {"Authorization": f"Bearer {self.plane.admin_token}"}
        room = asyncio.Semaphore(16)
        base = f"{self.plane.url}/api/v1/namespaces/{self.namespace}"

        async def token(client: aiohttp.ClientSession, number: int) -> str:
            async with room:
                pod = {"metadata": {"name": f"pod-{number}"}, "spec": POD}
                made = await call(client, f"{base}/pods", pod)
                bound = {
                    "apiVersion": "v1", "kind": "Pod", "name": f"pod-{number}",
                    "uid": made["metadata"]["uid"],
                }  # fmt: skip
                spec = {"audiences": ["pannier"], "expirationSeconds": 36_000,
                        "boundObjectRef": bound}  # fmt: skip
                answer = await call(client, f"{base}/serviceaccounts/default/token", {"spec": spec})
                return str(answer["status"]["token"])

        connector = aiohttp.TCPConnector(ssl=context, limit=16)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            return await asyncio.gather(*(token(client, number) for number in range(pods)))

    @contextmanager
    def operator(self) -> Iterator[subprocess.Popen[bytes]]:
        """The real operator on the server's core, until the block ends."""
        command = [
            str(Path(sys.executable).with_name("pannier")), "operator",
            "--kubeconfig", str(self.kubeconfig), "--namespace", SYSTEM,
            "--listen", f"127.0.0.1:{self.port}", "--stream-name", "127.0.0.1",
            "--admin-listen", f"127.0.0.1:{free_port()}",
            "--drain-delay", "0", "--drain-spread", "5s",
        ]  # fmt: skip
        with running(SERVER_CORE, command, self.directory / "operator.log", port=self.port) as it:
            yield it

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        """The sidecars' process on the load's core, until the block ends."""
        command = [
            "taskset", "--cpu-list", LOAD_CORE, sys.executable, "-m", "tests.bench.push_clients",
            str(self.port), str(self._ca()), str(self.tokens),
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            yield Clients(process)
        finally:
            process.kill()
            process.communicate()

    def _ca(self) -> Path:
        """The authority that the operator made, as a pod of the namespace would find it."""
        path = self.directory / "ca.crt"
        deadline = time.monotonic() + 60
        while True:
            try:
                found = self.plane.api.call(
                    "GET", f"/api/v1/namespaces/{self.namespace}/configmaps/pannier-ca"
                )
                path.write_text(found["data"]["ca.crt"])
                return path
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # Measuring ----------------------------------------------------------------------------------

    def measure(self, size: int, rounds: int, *, quick: bool) -> list[Row]:
        """Everything with so many sidecars."""
        target = TARGETS.get(size, TARGETS[1_000])
        rows: list[Row] = []
        with self.operator() as operator, self.clients() as clients:
            time.sleep(2)
            empty = memory(operator.pid, "VmRSS")
            dialed, here, there = self._cpu(
                operator.pid, lambda: clients.ask(do="dial", count=size, seconds=300)
            )
            text = f"{dialed['seconds']:.1f} s; CPU {here / size * 1e3:.2f} ms each here, "
            text += f"{there / size * 1e3:.2f} in the API server; refused {refusals(dialed)}"
            rows.append(row("first dial of all", size, text))
            self.edit(clients)  # the first push of all, and status for the first time
            time.sleep(2)
            idle = self._idle(operator.pid, 5 if quick else 20)
            held = memory(operator.pid, "VmRSS")
            each = (held - empty) / size
            text = f"{each * 1024:.0f} KiB each ({held:.0f} MB in all); "
            text += f"{idle * 100:.1f} % of a core at rest"
            rows.append(row("holding the streams", size, text))
            edits, push = self._pushes(operator.pid, clients, size, rounds, target, idle)
            rows += [edits, self._burst(clients, size)]
            rows.append(self._storm(operator, clients, size))
        if size >= 5_000:
            text = f"{push * 10_000:.1f} s of a core an edit, {empty + each * 10_000:.0f} MB, "
            text += f"{10_000 / PER_SECOND:.0f} s of TokenReviews after a restart"
            rows.append(row("on paper", 10_000, text))
        return rows

    def _pushes(
        self, pid: int, clients: Clients, size: int, rounds: int, target: float, idle: float
    ) -> tuple[Row, float]:
        """Edits one by one; also the CPU seconds of one push."""
        latencies: list[float] = []
        before, began = cpu_seconds(pid), time.monotonic()
        for _ in range(rounds):
            latencies += self.edit(clients)
            time.sleep(1)
        spent = cpu_seconds(pid) - before - idle * (time.monotonic() - began)
        latencies.sort()
        p99 = percentile(latencies, 0.99)
        edits = Row(
            subject="operator",
            operation="an edit until applied everywhere",
            concurrency=size,
            p50_ms=percentile(latencies, 0.5) * 1e3,
            p99_ms=p99 * 1e3,
            measured=f"max {latencies[-1] * 1e3:.0f} ms; "
            f"{spent / rounds / size * 1e6:.0f} us of CPU a push",
            target=f"p99 <= {target:g} s",
            ratio=target / p99,
        )
        return edits, spent / rounds / size

    def _burst(self, clients: Clients, size: int) -> Row:
        edits, pause = BURST
        pushes = clients.ask(do="figures")["pushes"]
        for _ in range(edits):
            answered = self.patch()
            time.sleep(pause)
        said = clients.ask(do="expect", edit=self.edits)
        took = max(said["times"]) - answered
        return Row(
            subject="operator",
            operation=f"a burst of {edits} edits, from the last",
            concurrency=size,
            measured=f"{took:.2f} s; {(said['pushes'] - pushes) / size:.1f} pushes each",
            target=f"<= {BURST_TARGET:g} s",
            ratio=BURST_TARGET / took,
        )

    def _storm(self, operator: subprocess.Popen[bytes], clients: Clients, size: int) -> Row:
        """The operator is ended and started anew: all dial again, and none is pushed to."""
        pushes = clients.ask(do="figures")["pushes"]
        peak = memory(operator.pid, "VmHWM")
        operator.terminate()
        operator.wait(60)
        began = time.monotonic()
        with self.operator() as again:
            back, _, there = self._cpu(
                again.pid, lambda: clients.ask(do="back", count=size, seconds=300)
            )
            here = cpu_seconds(again.pid)
            time.sleep(3)
            pushed = clients.ask(do="figures")["pushes"] - pushes
            held = memory(again.pid, "VmRSS")
        text = f"{back['now'] - began:.1f} s, the first after {back['first'] - began:.1f} s; "
        text += f"CPU {here:.1f} s here, {there:.1f} s in the API server; "
        text += f"{pushed} needless pushes; refused {refusals(back)}; "
        text += f"{held:.0f} MB (peak of the first {peak:.0f})"
        return row("an operator's restart, until all are back", size, text)

    def _cpu(
        self, pid: int, act: Callable[[], dict[str, Any]]
    ) -> tuple[dict[str, Any], float, float]:
        """What `act` says, and the CPU seconds it cost the operator and the API server."""
        here, there = cpu_seconds(pid), cpu_seconds(self.plane.apiserver.pid)
        said = act()
        return said, cpu_seconds(pid) - here, cpu_seconds(self.plane.apiserver.pid) - there

    def edit(self, clients: Clients) -> list[float]:
        """One edit: seconds until each sidecar's answer was read."""
        answered = self.patch()
        said = clients.ask(do="expect", edit=self.edits)
        return [at - answered for at in said["times"]]

    def patch(self) -> float:
        """Change the resource; when the API server had answered."""
        self.edits += 1
        path = RESOURCE.format(self.namespace) + "/bench"
        spec = {"spec": {"pool": {"maxConnections": self.edits}}}
        self.plane.api.call("PATCH", path, spec, content_type=PATCH)
        return time.monotonic()

    def _idle(self, pid: int, seconds: float) -> float:
        """CPU seconds a second with nothing to do but pings."""
        before, began = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(pid) - before) / (time.monotonic() - began)


class Clients:
    """The process of the sidecars."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **order: Any) -> dict[str, Any]:
        """Have it do something; what came of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise CannotMeasure(f"the sidecars' process ended at {order}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("late"):
            raise CannotMeasure(f"not in time: {order}, {answer}")
        return answer


async def call(client: aiohttp.ClientSession, url: str, body: Any) -> Any:
    """One POST that must succeed."""
    async with client.post(url, json=body) as answer:
        if answer.status >= 300:
            raise CannotMeasure(f"{url}: {await answer.text()}")
        return await answer.json()


def row(operation: str, size: int, measured: str) -> Row:
    """A figure without a target."""
    return Row(subject="operator", operation=operation, concurrency=size, measured=measured)


def refusals(said: dict[str, Any]) -> str:
    """How many dials were answered with what; 0 stands for none."""
    return ", ".join(f"{code}: {n}" for code, n in sorted(said["refusals"].items())) or "none"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of the ordered ones does not pass."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
