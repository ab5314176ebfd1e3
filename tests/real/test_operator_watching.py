"""What the operator knows of a real cluster: all of it, soon, and still after every fault."""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiException
from kubernetes.aio.config import incluster_config

from pannier_operator import listing
from pannier_operator.cache import Cache, Key
from pannier_operator.cluster import call, connect
from pannier_operator.listing import Lister
from pannier_operator.served import Scope, scopes_of
from pannier_operator.settings import OperatorSettings
from pannier_operator.watch_requests import WatchRequests
from pannier_operator.watching import Watching
from tests.real.kubernetes import install_crd
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.proxy import Proxy, proxy

PASSWORD = "hunter2-is-nowhere"
LABEL = "pannier.dev/credentials"


@pytest.fixture
def plane(control_plane: ControlPlane) -> ControlPlane:
    install_crd(control_plane)
    return control_plane


@pytest.fixture
def between(plane: ControlPlane) -> Iterator[Proxy]:
    """A proxy before the API server, so that it can be away for the operator alone."""
    with proxy(plane.port) as running:
        yield running


class Shops:
    """StoreBackends and Secrets of one namespace, as an administrator makes them."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.api = plane.api
        self.namespace = namespace
        self.backends = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends"
        self.secrets = f"/api/v1/namespaces/{namespace}/secrets"

    def backend(self, name: str = "shop") -> dict[str, Any]:
        return dict(
            self.api.call(
                "POST",
                self.backends,
                {
                    "apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
                    "metadata": {"name": name}, "spec": {"type": "memory", "memory": {}},
                },
            )
        )  # fmt: skip

    def secret(self, name: str = "shop-redis", *, labelled: bool = True) -> None:
        metadata = {"name": name, "labels": {LABEL: "true"} if labelled else {}}
        self.api.call(
            "POST", self.secrets, {"metadata": metadata, "stringData": {"password": PASSWORD}}
        )

    def label(self, name: str, value: str | None) -> None:
        self.patch(f"{self.secrets}/{name}", {"metadata": {"labels": {LABEL: value}}})

    def edit(self, name: str = "shop", size: str = "1Mi") -> None:
        self.patch(f"{self.backends}/{name}", {"spec": {"memory": {"maxBytes": size}}})

    def patch(self, path: str, body: Any) -> None:
        self.api.call("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> None:
        self.api.call("DELETE", path)

    def get(self, name: str = "shop") -> dict[str, Any]:
        return dict(self.api.call("GET", f"{self.backends}/{name}"))


@pytest.fixture
def shops(plane: ControlPlane, namespace: str) -> Shops:
    return Shops(plane, namespace)


class Following:
    """The parts that know the cluster, running."""

    def __init__(self, namespace: str, cache: Cache, lister: Lister, watching: Watching) -> None:
        self.namespace = namespace
        self.cache = cache
        self.lister = lister
        self.watching = watching
        self.began: list[Scope] = []

    def names(self, kind: Any = "storebackends") -> list[str]:
        return sorted(
            seen.key.name for seen in self.cache.all(kind) if seen.key.namespace == self.namespace
        )

    def generation(self, name: str = "shop") -> int:
        seen = self.cache.get("storebackends", self.namespace, name)
        return seen.content["metadata"]["generation"] if seen is not None else 0

    def reasons(self) -> list[str]:
        return [*self.lister.reasons(), *self.watching.reasons()]

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            await self.lister.completed()


@asynccontextmanager
async def following(
    kubeconfig: Path,
    namespace: str,
    *,
    every: float = 300,
    hopeless: float = 60,
    **settings: Any,
) -> AsyncIterator[Following]:
    made = OperatorSettings(kubeconfig=kubeconfig, **settings)
    scopes = scopes_of(made)
    async with connect(made) as api:
        cache = Cache()
        lister = Lister(api, cache, scopes, every=every)

        def began(scope: Scope) -> None:
            running.began.append(scope)
            lister.ask(scope)

        watching = Watching(
            api, made, scopes, cache, probe=lister.probe, began=began, hopeless=hopeless
        )
        running = Following(namespace, cache, lister, watching)

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(watching.run())
                group.create_task(lister.run())

        task = asyncio.create_task(run())
        try:
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def soon(holds: Callable[[], Any], seconds: float = 60) -> None:
    """Return once `holds()` is true; it is asked on the loop, which its answer belongs to."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def through(between: Proxy, plane: ControlPlane) -> Path:
    """A kubeconfig that goes by the proxy."""
    path = plane.home / f"kubeconfig-{between.port}"
    text = plane.kubeconfig.read_text()
    path.touch(mode=0o600)
    path.write_text(text.replace(f"127.0.0.1:{plane.port}", f"127.0.0.1:{between.port}"))
    return path


class TestNews:
    async def test_what_is_made_changed_and_deleted_is_known(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        shops.backend("before")
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            assert known.names() == ["before"] and not known.reasons()
            assert known.cache.get("namespaces", "", namespace) is not None
            shops.backend("shop")
            await soon(lambda: known.names() == ["before", "shop"])
            shops.edit()
            await soon(lambda: known.generation() == 2)
            shops.delete(f"{shops.backends}/before")
            await soon(lambda: known.names() == ["shop"])

    async def test_only_labelled_secrets_ever_reach_the_operator(
        self, plane: ControlPlane, shops: Shops, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: set[str] = set()
        put = Cache.put

        def spy(self: Cache, kind: Any, thing: Any, **more: Any) -> bool:
            told.add(f"{kind} {thing['metadata']['name']}")
            return put(self, kind, thing, **more)

        monkeypatch.setattr(Cache, "put", spy)
        shops.secret("private-before", labelled=False)
        shops.secret("given-before")
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            shops.secret("private", labelled=False)
            shops.secret("given")
            await soon(lambda: known.names("secrets") == ["given", "given-before"])
            shops.label("given", None)
            await soon(lambda: known.names("secrets") == ["given-before"])
            shops.label("given", "false")
            shops.label("given", "true")
            await soon(lambda: known.names("secrets") == ["given", "given-before"])
            shops.label("private", "true")
            await soon(lambda: "private" in known.names("secrets"))
            shops.delete(f"{shops.secrets}/given-before")
            await soon(lambda: known.names("secrets") == ["given", "private"])
        assert "secrets private-before" not in told
        assert "secrets given-before" in told

    async def test_nothing_is_written_on_what_is_watched(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        before = shops.backend()
        shops.secret()
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            await soon(lambda: known.names() == ["shop"])
            shops.backend("last")
            await soon(lambda: known.names() == ["last", "shop"])
        after = shops.get()
        assert after == before, "no annotation, no finalizer, not even another resourceVersion"
        secret = plane.api.call("GET", f"{shops.secrets}/shop-redis")["metadata"]
        assert "annotations" not in secret and "finalizers" not in secret
        events = plane.api.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        assert not events

    async def test_no_credential_is_in_any_log_however_much_is_logged(
        self, plane: ControlPlane, shops: Shops, namespace: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        shops.secret("before")
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            shops.secret()
            await soon(lambda: "shop-redis" in known.names("secrets"))
            shops.label("shop-redis", None)
            await soon(lambda: known.names("secrets") == ["before"])
            await known.lister.list_once(Scope("secrets"))
            known.watching.restart("to see what is logged then")
            await soon(lambda: len(known.began) > 5)
        text = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
        assert "secrets" in text, "kopf's own words were captured"
        for hidden in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode()):
            assert hidden not in text

    async def test_watches_that_are_started_anew_know_everything_and_kill_nobody(
        self, plane: ControlPlane, shops: Shops, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """kopf arranges for its process to be killed some time after it ended."""
        loop = asyncio.get_running_loop()
        call_later, arranged = loop.call_later, []

        def spy(delay: float, callback: Any, *arguments: Any, **more: Any) -> Any:
            arranged.append(callback)
            return call_later(delay, callback, *arguments, **more)

        monkeypatch.setattr(loop, "call_later", spy)
        shops.backend("gone")
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            await soon(lambda: known.names() == ["gone"])
            known.watching.restart("to see that all goes on")
            shops.delete(f"{shops.backends}/gone")
            shops.backend()
            await soon(lambda: known.names() == ["shop"] and not known.reasons())
            await soon(lambda: len(known.began) >= 6)
            shops.edit()
            await soon(lambda: known.generation() == 2)
        assert arranged and signal.pthread_kill not in arranged


class TestRights:
    async def test_named_namespaces_need_rights_in_no_other(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        rules = [
            {"apiGroups": ["pannier.dev"], "resources": ["storebackends"],
             "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch", "get"]},
        ]  # fmt: skip
        plane.apply(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "watch"}, "rules": rules},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "watch"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watch"},
             "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]},
            namespace=namespace,
        )  # fmt: skip
        elsewhere = Shops(plane, plane.namespace())
        elsewhere.backend("not-ours")
        kubeconfig = plane.kubeconfig_for(namespace)
        async with following(kubeconfig, namespace, watch_namespace=(namespace,)) as known:
            shops.backend()
            shops.secret()
            await known.ready()
            await soon(lambda: known.names() == ["shop"] and known.names("secrets"))
            shops.delete(f"{shops.backends}/shop")
            await soon(lambda: known.names() == [])
            assert not known.reasons()
            assert known.cache.get("storebackends", elsewhere.namespace, "not-ours") is None

    async def test_without_rights_it_says_so_and_is_not_ready(
        self, plane: ControlPlane, namespace: str
    ) -> None:
        kubeconfig = plane.kubeconfig_for(namespace)
        async with following(kubeconfig, namespace) as known:
            await soon(lambda: any("403" in reason for reason in known.reasons()))
            assert not known.lister.is_complete
            assert "storebackends not watched yet" in known.reasons()

    async def test_before_its_resource_is_defined_and_defined_again_it_waits_for_it(
        self, own_control_plane: Callable[..., ControlPlane]
    ) -> None:
        plane = own_control_plane(controller_manager=False)
        async with following(plane.kubeconfig, "default", hopeless=3) as known:
            await soon(lambda: any("CustomResourceDefinition" in each for each in known.reasons()))
            install_crd(plane)
            shops = Shops(plane, "default")
            shops.backend()
            await known.ready()
            await soon(lambda: known.names() == ["shop"])
            plane.kubectl("delete", "crd", "storebackends.pannier.dev")
            await soon(lambda: known.names() == [])
            install_crd(plane)
            shops.backend("again")
            await soon(lambda: known.names() == ["again"])
            shops.edit("again")
            await soon(lambda: known.generation("again") == 2)

    async def test_in_a_pod_its_rotated_token_is_used_from_the_next_request_on(
        self, plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kubernetes replaces a pod's token; the file is read again when a minute has passed."""
        token = tmp_path / "token"
        token.write_text(plane.service_account_token(namespace))
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(plane.ca))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(plane.port))
        reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

        async with connect(OperatorSettings()) as api:
            watched = WatchRequests((), lambda scope: None)

            async def who() -> set[str]:
                """As whom a call of ours and one of kopf's are seen."""
                own = await call(api, "POST", reviews, body=review)
                async with watched.session(api) as session:
                    url = f"{api.configuration.host}{reviews}"
                    async with session.post(url, json=review) as answer:
                        kopfs = await answer.json()
                return {each["status"]["userInfo"]["username"] for each in (own, kopfs)}

            assert await who() == {f"system:serviceaccount:{namespace}:default"}
            plane.service_account(namespace, "other")
            token.write_text(plane.service_account_token(namespace, "other"))
            a_minute_passes(api.configuration.refresh_api_key_hook)
            assert await who() == {f"system:serviceaccount:{namespace}:other"}


def a_minute_passes(hook: Any) -> None:
    """Have the client library take its token for old."""
    for cell in hook.__closure__:
        if hasattr(cell.cell_contents, "token_expires_at"):
            loader = cell.cell_contents
            loader.token_expires_at = loader.token_expires_at.replace(year=2000)
            return
    raise AssertionError("the client library keeps its token elsewhere now")


class TestTheApiServerAway:
    async def test_killed_and_back_it_loses_nothing(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        shops.backend()
        shops.secret()
        async with following(plane.kubeconfig, namespace) as known:
            await known.ready()
            await soon(lambda: known.names() == ["shop"] and known.names("secrets"))
            plane.kill()
            await soon(lambda: bool(list(known.watching._requests.down())))
            assert known.names() == ["shop"] and known.names("secrets") == ["shop-redis"]
            plane.start()
            shops.edit()
            shops.backend("after")
            await soon(lambda: known.names() == ["after", "shop"] and known.generation() == 2)
            assert known.names("secrets") == ["shop-redis"]
            await soon(lambda: not list(known.watching._requests.down()))

    async def test_what_was_deleted_out_of_sight_is_dropped(
        self, plane: ControlPlane, shops: Shops, between: Proxy, namespace: str
    ) -> None:
        """The watch is down while things are deleted, and cannot go on where it was (410)."""
        for name in ("gone", "stays"):
            shops.backend(name)
            shops.secret(name)
        async with following(through(between, plane), namespace) as known:
            await known.ready()
            await soon(lambda: known.names() == ["gone", "stays"] == known.names("secrets"))
            begun = len(known.began)
            away(between, plane)
            shops.delete(f"{shops.backends}/gone")
            shops.delete(f"{shops.secrets}/gone")
            shops.backend("came")
            # A restarted API server remembers no events: whoever was away is told 410.
            plane.kill()
            plane.start()
            back(between, plane)
            await soon(lambda: known.names() == ["came", "stays"])
            await soon(lambda: known.names("secrets") == ["stays"])
            assert len(known.began) > begun, "the gap was noticed by kopf's list"

    async def test_everything_deleted_out_of_sight_is_dropped_too(
        self, plane: ControlPlane, shops: Shops, between: Proxy, namespace: str
    ) -> None:
        """kopf's list is empty then: it tells of nothing at all."""
        shops.backend()
        kubeconfig = through(between, plane)
        async with following(kubeconfig, namespace, watch_namespace=(namespace,)) as known:
            await known.ready()
            await soon(lambda: known.names() == ["shop"])
            away(between, plane)
            shops.delete(f"{shops.backends}/shop")
            plane.kill()
            plane.start()
            back(between, plane)
            await soon(lambda: known.names() == [])

    async def test_a_namesake_made_out_of_sight_takes_the_place(
        self, plane: ControlPlane, shops: Shops, between: Proxy, namespace: str
    ) -> None:
        shops.backend()
        async with following(through(between, plane), namespace) as known:
            await known.ready()
            await soon(lambda: known.names() == ["shop"])
            away(between, plane)
            shops.delete(f"{shops.backends}/shop")
            uid = shops.backend()["metadata"]["uid"]
            back(between, plane)

            def is_new() -> bool:
                seen = known.cache.get("storebackends", namespace, "shop")
                return seen is not None and seen.uid == uid

            await soon(is_new)

    async def test_a_paused_api_server_changes_nothing(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        shops.backend()
        async with following(plane.kubeconfig, namespace, every=0.5) as known:
            await known.ready()
            await soon(lambda: known.names() == ["shop"])
            plane.pause()
            await asyncio.sleep(1.5)  # lists are asked for, and not answered
            assert known.names() == ["shop"]
            plane.resume()
            shops.edit()
            await soon(lambda: known.generation() == 2)


def away(between: Proxy, plane: ControlPlane) -> None:
    """The API server is not reached by the proxy any more."""
    between._target = 1
    between.cut_all()


def back(between: Proxy, plane: ControlPlane) -> None:
    between._target = plane.port


class TestLists:
    async def test_a_list_of_many_pages_is_one(
        self,
        plane: ControlPlane,
        shops: Shops,
        namespace: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(listing, "PAGE", 2)
        for number in range(5):
            shops.backend(f"shop-{number}")
        async with lister_of(plane, namespace) as (_, lister):
            found = await lister.list_once(Scope("storebackends", namespace))
            assert len(found.changed) == 5
            shops.delete(f"{shops.backends}/shop-3")
            found = await lister.list_once(Scope("storebackends", namespace))
            assert found.gone == [Key(namespace, "shop-3")] and not found.changed

    async def test_a_list_whose_second_page_fails_changes_nothing(
        self,
        plane: ControlPlane,
        shops: Shops,
        namespace: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(listing, "PAGE", 2)
        for number in range(3):
            shops.backend(f"shop-{number}")
        scope = Scope("storebackends", namespace)
        async with lister_of(plane, namespace) as (cache, lister):
            await lister.list_once(scope)
            shops.delete(f"{shops.backends}/shop-2")
            shops.backend("shop-9")
            call = listing.call

            async def fails(*arguments: Any, **more: Any) -> Any:
                if "continue" in more["query"]:
                    raise ApiException(status=410, reason="the continue parameter is too old")
                return await call(*arguments, **more)

            monkeypatch.setattr(listing, "call", fails)
            with pytest.raises(ApiException):
                await lister.list_once(scope)
            assert cache.count("storebackends") == 3
            assert cache.get("storebackends", namespace, "shop-2") is not None
            assert cache.get("storebackends", namespace, "shop-9") is None
            monkeypatch.setattr(listing, "call", call)
            await lister.list_once(scope)
            assert cache.get("storebackends", namespace, "shop-9") is not None
            assert cache.get("storebackends", namespace, "shop-2") is None

    async def test_what_no_watch_tells_is_found_in_time_and_the_watch_called_deaf(
        self, plane: ControlPlane, shops: Shops, namespace: str
    ) -> None:
        deaf: list[tuple[Scope, list[Key]]] = []
        async with lister_of(plane, namespace, every=0.1, deaf=deaf) as (cache, lister):
            running = asyncio.create_task(lister.run())
            scope = Scope("storebackends", namespace)
            lister.ask(scope)
            await soon(lambda: not any("storebackends" in each for each in lister.reasons()))
            shops.backend()
            await soon(lambda: cache.get("storebackends", namespace, "shop") is not None)
            await soon(lambda: deaf == [(scope, [Key(namespace, "shop")])])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def lister_of(
    plane: ControlPlane,
    namespace: str,
    *,
    every: float = 300,
    deaf: list[tuple[Scope, list[Key]]] | None = None,
) -> AsyncIterator[tuple[Cache, Lister]]:
    """A lister without a watch beside it."""
    settings = OperatorSettings(kubeconfig=plane.kubeconfig, watch_namespace=(namespace,))
    said = [] if deaf is None else deaf
    async with connect(settings) as api:
        cache = Cache()
        yield (
            cache,
            Lister(
                api, cache, scopes_of(settings), every=every, heard_within=0.1,
                deaf=lambda scope, keys: said.append((scope, list(keys))),
            ),
        )  # fmt: skip
