"""The operator's smaller parts: flags, the admin port, served namespaces, credentials in a pod."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import click
import kopf
import kopf._cogs.clients.watching as kopfs
import pytest
from kubernetes.aio.client import ApiException

from pannier_operator import main as command
from pannier_operator.cache import Cache, Key, read
from pannier_operator.cluster import CannotReach, connect, said
from pannier_operator.health import Health
from pannier_operator.metrics import Counts, page_of
from pannier_operator.namespaces import Namespaces
from pannier_operator.reconciling import backend_counts
from pannier_operator.served import Scope, scopes_of
from pannier_operator.settings import OperatorSettings, host_and_port
from pannier_operator.snapshots import Snapshots
from pannier_operator.watching import Watching
from tests.unit.test_operator_resolving import backend


class TestFlags:
    def parsed(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> OperatorSettings:
        seen: list[OperatorSettings] = []

        async def live(settings: OperatorSettings) -> None:
            seen.append(settings)

        monkeypatch.setattr("pannier_operator.life.live", live)
        monkeypatch.setattr("pannier.logs.configure", lambda form, level: None)
        monkeypatch.setattr(command, "quieten", lambda level: None)
        assert command.main(arguments) == 0
        return seen[0]

    def test_every_setting_is_a_flag_with_the_same_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.parsed(monkeypatch) == OperatorSettings()
        assert {field.name for field in dataclasses.fields(OperatorSettings)} == set(command.FLAGS)

    def test_flags_and_variables_set_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PANNIER_OPERATOR_WATCH_NAMESPACE", "shop,checkout")
        monkeypatch.setenv("PANNIER_OPERATOR_LEASE_DURATION", "30s")
        monkeypatch.setenv("PANNIER_OPERATOR_PORT", "tcp://10.0.0.1:8443")  # Kubernetes' own
        settings = self.parsed(monkeypatch, "--drain-delay", "0", "--workers", "3")
        assert settings.watch_namespace == ("shop", "checkout") and not settings.clusterwide
        assert (settings.lease_duration, settings.drain_delay, settings.workers) == (30.0, 0.0, 3)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--listen", "8443"], ["--listen", "0.0.0.0:70000"], ["--watch-namespace", "a.b"],
            ["--watch-namespace", "A"], ["--lease-duration", "5"], ["--workers", "0"],
            ["--lease-duration", "6s", "--lease-renew", "5s"], ["--nonsense"], ["stray"],
        ],
    )  # fmt: skip
    def test_what_means_nothing_is_wrong_usage(self, arguments: list[str]) -> None:
        with pytest.raises(click.UsageError):
            command.main(arguments)

    def test_no_variable_is_one_that_kubernetes_sets_for_a_service(self) -> None:
        names = [option.envvar for option in command.options()]
        assert all(str(name).startswith("PANNIER_OPERATOR_") for name in names)
        for name in names:
            rest = str(name).removeprefix("PANNIER_OPERATOR_")
            assert rest != "PORT" and not rest.startswith(("PORT_", "SERVICE_"))

    def test_its_own_namespace_and_pod_are_its_pods(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert (command.own_namespace(), command.own_pod()) == ("pannier-system", "")
        file = tmp_path / "namespace"
        file.write_text("elsewhere\n")
        monkeypatch.setattr(command, "OWN_NAMESPACE_FILE", file)
        monkeypatch.setenv("HOSTNAME", "pannier-operator-0")
        assert (command.own_namespace(), command.own_pod()) == ("elsewhere", "pannier-operator-0")

    @pytest.mark.parametrize(
        ("address", "parts"),
        [("0.0.0.0:8443", ("0.0.0.0", 8443)), ("[::]:1", ("::", 1)), ("a:0", ("a", 0))],
    )
    def test_addresses(self, address: str, parts: tuple[str, int]) -> None:
        assert host_and_port(address) == parts

    def test_kopf_is_heard_in_full_at_debug_alone(self) -> None:
        kopf, retry = logging.getLogger("kopf"), logging.getLogger("aiohttp_retry")
        levels = kopf.level, retry.level
        try:
            command.quieten("info")
            assert not logging.getLogger("kopf.objects").isEnabledFor(logging.INFO)
            assert not retry.isEnabledFor(logging.DEBUG)
        finally:
            kopf.setLevel(levels[0])
            retry.setLevel(levels[1])


class TestTheAdminPort:
    async def ask(self, health: Health, path: str) -> tuple[int, str]:
        port = await health.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, await answer.text()
        finally:
            await health.close()

    async def test_it_is_ready_while_nothing_speaks_against_it(self) -> None:
        health = Health(lambda: b"")
        assert await self.ask(health, "/readyz") == (200, '{"status": "ready"}')

    async def test_it_says_every_reason_why_it_is_not(self) -> None:
        health = Health(lambda: b"")
        health.demand(lambda: ["secrets not listed yet"])
        health.demand(list)
        health.demand(lambda: ["it is stopping"])
        status, text = await self.ask(health, "/readyz")
        assert status == 503
        assert '["secrets not listed yet", "it is stopping"]' in text
        assert await self.ask(health, "/healthz") == (200, '{"status": "ok"}')

    async def test_the_page_has_every_family_of_the_contract(self) -> None:
        counts = Counts()
        counts.storebackends = lambda: {("redis", "true"): 2}
        counts.leader = lambda: True
        status, text = await self.ask(Health(page_of(counts)), "/metrics")
        assert status == 200
        for line in (
            "pannier_operator_streams 0.0",
            'pannier_operator_pushes_total{result="applied"} 0.0',
            "pannier_operator_push_seconds_count 0.0",
            'pannier_operator_reconciles_total{result="ok"} 0.0',
            'pannier_operator_reconciles_total{result="error"} 0.0',
            "pannier_operator_reconcile_seconds_count 0.0",
            "pannier_operator_queue_depth 0.0",
            'pannier_operator_storebackends{ready="true",type="redis"} 2.0',
            'pannier_operator_injections_total{result="injected"} 0.0',
            "pannier_operator_leader 1.0",
        ):
            assert f"\n{line}\n" in text, line
        assert "_created" not in text
        assert text.count("pannier_operator_push_seconds_bucket") == 13, "12 and infinity"
        assert 'le="0.0001"' in text and 'le="10.0"' in text


class TestNamespaces:
    def made(self, *named: str) -> tuple[Cache, Namespaces, list[str]]:
        cache = Cache()
        snapshots = Snapshots(cache)
        namespaces = Namespaces(cache, snapshots, named)
        told: list[str] = []

        def changed(kind: Any, key: Key) -> None:
            list(snapshots.changed(kind, key))
            if namespaces.changed(kind, key):
                told.append(str(key))

        cache.changed = changed
        return cache, namespaces, told

    def namespace(
        self, name: str, version: int, *, phase: str = "Active", inject: str = ""
    ) -> dict[str, Any]:
        labels = {"pannier.dev/inject": inject} if inject else {}
        metadata = {"name": name, "uid": name, "resourceVersion": str(version), "labels": labels}
        return {"metadata": metadata, "status": {"phase": phase}}

    def test_of_the_whole_cluster_those_with_stores_or_injection_are_served(self) -> None:
        cache, namespaces, told = self.made()
        cache.put("namespaces", self.namespace("default", 1))
        cache.put("namespaces", self.namespace("bare", 2))
        assert namespaces.served() == [] and not told
        cache.put("storebackends", backend("one", type="memory", memory={}))
        cache.put("namespaces", self.namespace("bare", 3, inject="enabled"))
        assert namespaces.served() == ["bare", "default"]
        cache.put("storebackends", backend("two", type="memory", memory={}))
        assert told == ["default/one", "bare"], "a second store changes nothing"
        for name in ("one", "two"):
            cache.drop("storebackends", backend(name) | {"metadata": self.gone(name)})
        assert namespaces.served() == ["bare"]
        assert namespaces.may_dial("default") and namespaces.may_dial("another")

    def gone(self, name: str) -> dict[str, Any]:
        return {**backend(name)["metadata"], "resourceVersion": "99"}

    def test_one_that_goes_is_served_no_more(self) -> None:
        cache, namespaces, _ = self.made()
        cache.put("namespaces", self.namespace("bare", 1, inject="enabled"))
        cache.put("namespaces", self.namespace("bare", 2, inject="enabled", phase="Terminating"))
        assert namespaces.served() == []

    def test_named_ones_are_served_whatever_is_in_them(self) -> None:
        cache, namespaces, told = self.made("shop", "checkout")
        cache.put("storebackends", backend("one", type="memory", memory={}))
        assert namespaces.served() == ["checkout", "shop"] and not told
        assert namespaces.may_dial("shop") and not namespaces.may_dial("default")

    def test_what_is_watched_is_no_more_than_is_served(self) -> None:
        assert scopes_of(OperatorSettings()) == (
            Scope("storebackends"), Scope("secrets"), Scope("namespaces"),
        )  # fmt: skip
        named = scopes_of(OperatorSettings(watch_namespace=("a", "b", "a")))
        assert [str(scope) for scope in named] == [
            "storebackends of a", "secrets of a", "storebackends of b", "secrets of b",
        ]  # fmt: skip
        assert named[1].path == "/api/v1/namespaces/a/secrets"
        assert Scope("storebackends").path == "/apis/pannier.dev/v1alpha1/storebackends"


class TestTheCluster:
    async def test_outside_a_cluster_it_says_what_to_give(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(CannotReach, match="--kubeconfig"):
            async with connect(OperatorSettings()):
                pass

    @pytest.mark.parametrize("text", ["just: [a", "hello", "[]", "clusters: 3"])
    async def test_a_file_that_is_no_kubeconfig_is_named(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "kubeconfig"
        file.write_text(text)
        with pytest.raises(CannotReach, match="kubeconfig does not say"):
            async with connect(OperatorSettings(kubeconfig=file)):
                pass

    def test_an_errors_text_repeats_no_body_and_no_header(self) -> None:
        error = ApiException(status=403, reason="forbidden")
        error.body, error.headers = "hunter2", {"Authorization": "hunter2"}
        assert said(error) == "403 forbidden"
        assert said(TimeoutError()) == "no answer in time"
        assert said(aiohttp.ClientError("lost\nhunter2")) == "ClientError: lost"


async def test_kopf_quotes_no_object_that_it_does_not_understand(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd(**_: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "RENAMED", "object": {"data": {"password": "hunter2"}}}
        stopped.set_result(None)

    async def nothing(**_: Any) -> AsyncIterator[Any]:
        yield [], "1"

    Watching(
        cast(Any, None),
        OperatorSettings(),
        (),
        Cache(),
        probe=cast(Any, None),
        began=lambda _: None,
    )
    monkeypatch.setattr(kopfs, "watch_objs", odd)
    monkeypatch.setattr(kopfs.fetching, "fetch_objs", nothing)
    stopped: asyncio.Future[None] = asyncio.Future()
    events = kopfs.continuous_watch(
        settings=kopf.OperatorSettings(), resource=cast(Any, "secrets"), namespace=None,
        operator_pause_waiter=cast(Any, stopped),
    )  # fmt: skip
    assert await anext(events) is kopfs.Bookmark.LISTED
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(events), 10)
    assert "an event of an unknown type" in caplog.text
    assert "hunter2" not in caplog.text


def test_storebackends_are_counted_by_type_and_readiness() -> None:
    ready = backend("a") | {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    odd = backend("c") | {"spec": {"type": "x" * 1000}}
    seen = [read("storebackends", each) for each in (ready, backend("b"), odd)]
    assert backend_counts(seen) == {
        ("redis", "true"): 1, ("redis", "unknown"): 1, ("unknown", "unknown"): 1,
    }  # fmt: skip
