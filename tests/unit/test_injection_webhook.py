"""The webhook over real TLS, asked by anybody: what is answered, refused, bounded and counted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_operator.injection.container import NAME, SidecarTemplate
from pannier_operator.injection.reviewing import NotAReview, Reviewed, review
from pannier_operator.injection.serving import MOST_BODY, InjectionServer
from pannier_operator.injection.trusting import repairs
from pannier_operator.injection.webhook import template_of
from pannier_operator.metrics import Counts
from pannier_operator.settings import OperatorSettings
from tests.real.certificates import Certificates, make_certificates

TEMPLATE = SidecarTemplate(image="pannier:1", operator_url="wss://pannier-stream.sys.svc:8443")
POD = {"metadata": {"generateName": "checkout-"}, "spec": {"containers": [{"name": "app"}]}}


def asked(pod: Any = POD, **more: Any) -> dict[str, Any]:
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE", "namespace": "shop", "object": pod, "dryRun": False,
        "userInfo": {"username": "somebody"}, "oldObject": None, **more,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def answer_to(body: bytes, serves: Callable[[str], bool] = lambda name: True) -> Reviewed:
    return review(body, TEMPLATE, serves=serves, never_in=frozenset({"kube-system", "sys"}))


def said(review: Reviewed) -> dict[str, Any]:
    return dict(json.loads(review.answer)["response"])


class TestReviews:
    def test_the_answer_carries_the_uid_and_the_patch(self) -> None:
        answered = answer_to(json.dumps(asked()).encode())
        whole = json.loads(answered.answer)
        assert (whole["apiVersion"], whole["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response = whole["response"]
        assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002" and response["allowed"]
        assert response["patchType"] == "JSONPatch"
        patch = json.loads(base64.b64decode(response["patch"]))
        assert patch[0]["value"][0]["name"] == NAME
        assert (answered.result, answered.pod) == ("injected", "shop/checkout-*")

    @pytest.mark.parametrize(
        "more",
        [
            {"operation": "UPDATE"}, {"operation": "DELETE", "object": None},
            {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
            {"kind": {"group": "", "version": "v1", "kind": "Namespace"}, "object": None},
            {"namespace": "sys"}, {"namespace": "kube-system"},
        ],
    )  # fmt: skip
    def test_what_is_no_new_pod_of_an_application_is_let_through(
        self, more: dict[str, Any]
    ) -> None:
        answered = answer_to(json.dumps(asked(**more)).encode())
        assert answered.result == "skipped"
        assert said(answered) == {"uid": asked()["request"]["uid"], "allowed": True}

    def test_a_namespace_whose_sidecars_would_be_refused_gets_none_and_a_warning(self) -> None:
        answered = answer_to(json.dumps(asked()).encode(), lambda name: name != "shop")
        assert answered.result == "skipped" and "patch" not in said(answered)
        [warning] = said(answered)["warnings"]
        assert "watchNamespaces" in warning

    def test_a_warning_is_as_short_as_the_api_server_shows_it(self) -> None:
        for spec in ({"hostNetwork": True}, {"os": {"name": "windows"}},
                     {"containers": [{"ports": [{"containerPort": 3900}]}]}):  # fmt: skip
            answered = answer_to(json.dumps(asked({"spec": spec})).encode())
            [warning] = said(answered)["warnings"]
            assert len(warning) <= 256 and warning.isascii()

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"{}", b'{"request": {}}',
            json.dumps({**asked(), "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
            json.dumps({**asked(), "kind": "Pod"}).encode(),
            json.dumps(asked(uid="")).encode(), json.dumps(asked(uid=7)).encode(),
            json.dumps(asked(uid="x" * 129)).encode(),
            json.dumps(asked(None)).encode(), json.dumps(asked([])).encode(),
            json.dumps(asked(namespace=None)).encode(), json.dumps(asked(kind="Pod")).encode(),
            json.dumps(asked()).encode()[:-1], json.dumps(asked()).encode() + b"x",
            json.dumps(asked()).encode().replace(b"checkout-", b"\xc3\x28"),
            b'{"a":' * 100_000, b"[" * 1_000_000,
            json.dumps(asked("@")).encode().replace(b'"@"', b'{"a":' * 5000 + b"1" + b"}" * 5000),
        ],
    )  # fmt: skip
    def test_what_is_no_review_is_none(self, body: bytes) -> None:
        with pytest.raises(NotAReview) as refused:
            answer_to(body)
        assert str(refused.value).isprintable() and len(str(refused.value)) <= 256

    anything = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "labels", "spec", "name", "generateName", "containers"]),
            inner, max_size=4,
        ),
        max_leaves=15,
    )  # fmt: skip

    @given(st.dictionaries(st.sampled_from(["metadata", "spec"]), anything), st.text())
    def test_every_object_has_an_answer_and_a_line_of_the_log(
        self, pod: dict[str, Any], namespace: str
    ) -> None:
        body = json.dumps(asked(pod, namespace=namespace.encode("utf-8", "replace").decode()))
        answered = answer_to(body.encode())
        assert said(answered)["allowed"] is True
        assert answered.pod.isprintable() and len(answered.pod) <= 253


@dataclass
class Served:
    """A webhook that listens, and who asks it."""

    server: InjectionServer
    results: dict[str, int]
    client: aiohttp.ClientSession
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}/inject"

    async def ask(
        self, body: Any = None, *, method: str = "POST", path: str = ""
    ) -> tuple[int, Any]:
        data = json.dumps(asked()) if body is None else body
        url = self.url.replace("/inject", path) if path else self.url
        async with self.client.request(method, url, data=data, ssl=self.context) as answer:
            return answer.status, await answer.text()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def served(
    certificates: Certificates, reviewing: Callable[[bytes], Reviewed] = answer_to, **more: Any
) -> AsyncIterator[Served]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificates.server_cert, certificates.server_key)
    asking = ssl.create_default_context(cafile=str(certificates.ca))
    results = Counts().injections
    server = InjectionServer(reviewing, results=results, **more)
    await server.start("127.0.0.1", 0, serving)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as client:
            yield Served(server, results, client, asking)
    finally:
        await server.close()


class TestThePort:
    async def test_a_review_is_answered_and_counted(self, certificates: Certificates) -> None:
        async with served(certificates) as webhook:
            status, text = await webhook.ask()
            assert status == 200 and json.loads(text)["response"]["allowed"]
            await webhook.ask(json.dumps(asked(namespace="sys")))
            assert webhook.results == {"injected": 1, "present": 0, "skipped": 1, "failed": 0}

    async def test_two_thousand_reviews_on_kept_connections(
        self, certificates: Certificates
    ) -> None:
        async with served(certificates) as webhook:
            slots = asyncio.Semaphore(32)

            async def one() -> int:
                async with slots:
                    return (await webhook.ask())[0]

            assert set(await asyncio.gather(*(one() for _ in range(2000)))) == {200}
            assert webhook.results["injected"] == 2000

    @pytest.mark.parametrize("body", [b"", b"{}", b"\x00" * 100, b"[" * 1_000_000])
    async def test_nonsense_is_a_bad_request_without_a_trace(
        self, certificates: Certificates, body: bytes
    ) -> None:
        async with served(certificates) as webhook:
            status, text = await webhook.ask(body)
            assert status == 400 and "Traceback" not in text
            assert text.startswith("This is no AdmissionReview: ")
            assert webhook.results["failed"] == 1

    async def test_other_paths_and_methods_are_refused(self, certificates: Certificates) -> None:
        async with served(certificates) as webhook:
            assert (await webhook.ask(path="/metrics"))[0] == 404
            assert (await webhook.ask(method="GET"))[0] == 405
            assert (await webhook.ask())[0] == 200

    async def test_too_large_a_body_is_refused_declared_or_not(
        self, certificates: Certificates
    ) -> None:
        async with served(certificates) as webhook:

            async def parts() -> AsyncIterator[bytes]:
                for _ in range(MOST_BODY // 65536 + 2):
                    yield b" " * 65536

            for body in (io.BytesIO(b" " * (MOST_BODY + 1)), parts()):
                try:
                    assert (await webhook.ask(body))[0] == 413
                except aiohttp.ClientConnectionError:
                    pass  # refused and closed while it was still sent
            assert webhook.results["failed"] == 2
            assert (await webhook.ask())[0] == 200

    async def test_a_body_that_does_not_come_is_given_up(self, certificates: Certificates) -> None:
        async with served(certificates, within=0.2) as webhook:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", webhook.server.port, ssl=webhook.context
            )
            writer.write(b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.startswith(b"HTTP/1.1 408 ")
            writer.close()
            assert webhook.results["failed"] == 1

    async def test_a_client_that_goes_away_in_its_body_harms_nobody(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with served(certificates) as webhook:
            for _ in range(20):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", webhook.server.port, ssl=webhook.context
                )
                writer.write(b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
                await writer.drain()
                writer.transport.abort()
            assert (await webhook.ask())[0] == 200
        assert "Traceback" not in caplog.text

    async def test_broken_http_is_a_bad_request(self, certificates: Certificates) -> None:
        async with served(certificates) as webhook:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", webhook.server.port, ssl=webhook.context
            )
            writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.split()[1] == b"400" and b"Traceback" not in answer
            writer.close()

    async def test_idle_connections_beyond_the_bound_are_hung_up_on(
        self, certificates: Certificates
    ) -> None:
        async with served(certificates, most_connections=5) as webhook:
            held = []
            for _ in range(5):
                held.append(
                    await asyncio.open_connection(
                        "127.0.0.1", webhook.server.port, ssl=webhook.context
                    )
                )
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", webhook.server.port, ssl=webhook.context
                )
                assert await asyncio.wait_for(reader.read(), 60) == b""
                writer.close()
            held.pop()[1].transport.abort()

            async def is_answered() -> bool:
                try:
                    return (await webhook.ask())[0] == 200
                except aiohttp.ClientConnectionError:
                    return False

            async with asyncio.timeout(60):
                # Nothing tells that the server has seen it go.
                while not await is_answered():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for _, writer in held:
                writer.transport.abort()

    async def test_a_fault_of_its_own_is_logged_and_answered_without_a_trace(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(body: bytes) -> Reviewed:
            raise KeyError("a fault")

        async with served(certificates, fails) as webhook:
            status, text = await webhook.ask()
            assert status == 500 and "KeyError" not in text and "Traceback" not in text
            assert webhook.results["failed"] == 1
        assert "a fault" in caplog.text

    async def test_while_leaving_each_answer_is_the_last_of_its_connection(
        self, certificates: Certificates
    ) -> None:
        leaving = False
        async with served(certificates, leaving=lambda: leaving) as webhook:
            async with webhook.client.post(
                webhook.url, json=asked(), ssl=webhook.context
            ) as answer:
                assert "Connection" not in answer.headers
            leaving = True
            async with webhook.client.post(
                webhook.url, json=asked(), ssl=webhook.context
            ) as answer:
                assert answer.status == 200 and answer.headers["Connection"] == "close"

    async def test_a_certificate_that_is_renewed_serves_the_next_handshake(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        other = make_certificates(tmp_path, "another-ca")
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificates.server_cert, certificates.server_key)
        server = InjectionServer(answer_to, results=Counts().injections)
        await server.start("127.0.0.1", 0, serving)
        try:
            async with aiohttp.ClientSession() as kept:
                first = Served(server, {}, kept,
                               ssl.create_default_context(cafile=str(certificates.ca)))  # fmt: skip
                assert (await first.ask())[0] == 200
                serving.load_cert_chain(other.server_cert, other.server_key)
                assert (await first.ask())[0] == 200, "an open connection keeps its own"
                async with aiohttp.ClientSession() as fresh:
                    context = ssl.create_default_context(cafile=str(other.ca))
                    assert (await Served(server, {}, fresh, context).ask())[0] == 200
        finally:
            await server.close()

    async def test_the_log_names_pods_and_shows_nothing_unprintable(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "pannier.operator")
        hostile = {"metadata": {"generateName": "a\nERROR forged\x1b[31m"}, "spec": {}}
        async with served(certificates) as webhook:
            await webhook.ask()
            await webhook.ask(json.dumps(asked(dryRun=True, name="cart")))
            await webhook.ask(json.dumps(asked(hostile)))
            await webhook.ask(json.dumps(asked({"spec": {"hostNetwork": True}}, name="node")))
        lines = [each.getMessage() for each in caplog.records if each.name == "pannier.operator"]
        assert lines[:3] == [
            "pod shop/checkout-*: sidecar injected",
            "pod shop/cart (dry run): sidecar injected",
            "pod shop/a ERROR forged [31m*: sidecar injected",
        ]
        assert lines[3].startswith("pod shop/node: Pannier's sidecar is not injected: the pod uses")


class TestSettings:
    def test_sidecars_dial_the_streams_service(self) -> None:
        made = template_of(OperatorSettings(sidecar_image="i", namespace="sys"))
        assert made.operator_url == "wss://pannier-stream.sys.svc:8443"
        elsewhere = OperatorSettings(sidecar_image="i", sidecar_operator_url="wss://10.0.0.1:1")
        assert template_of(elsewhere).operator_url == "wss://10.0.0.1:1"

    def test_only_webhooks_that_lack_the_bundle_are_given_it(self) -> None:
        seen = {"webhooks": [
            {"name": "a", "clientConfig": {"caBundle": "good"}},
            {"name": "b", "clientConfig": {"caBundle": "bad"}}, {"name": "c", "clientConfig": {}},
        ]}  # fmt: skip
        assert repairs(seen, "good") == [
            {"op": "test", "path": "/webhooks/1/name", "value": "b"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "good"},
            {"op": "test", "path": "/webhooks/2/name", "value": "c"},
            {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "good"},
        ]
        assert repairs({"webhooks": None}, "good") == []
