"""Who gets a stream, as the real API server says: every kind of token, and every trouble of its."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pannier.config.stream.messages import Close
from pannier_operator.streams.authenticating import Authenticator, Identity, Later, Refused
from pannier_operator.wanted import Audience
from tests.real.certificates import make_certificates
from tests.real.kubernetes_parts.control_plane import ControlPlane
from tests.real.operator_api import api_client
from tests.unit.stream_world import World, store, world

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def authenticator(plane: ControlPlane, **more: Any) -> AsyncIterator[Authenticator]:
    kubeconfig = more.pop("kubeconfig", None)
    async with api_client(plane, kubeconfig) as api:
        yield Authenticator(api, **more)


async def refusal(plane: ControlPlane, token: str, **more: Any) -> str:
    """The reason for which this token is refused."""
    async with authenticator(plane, **more) as who:
        with pytest.raises(Refused) as refused:
            await who.authenticate(token)
    assert token not in str(refused.value)
    return refused.value.reason


def pods_token(
    plane: ControlPlane, namespace: str, name: str = "shop-1", account: str = "default"
) -> str:
    """The token that a sidecar in a new pod would find."""
    pod = plane.pod(namespace, name, service_account=account)
    return plane.service_account_token(namespace, account, audience="pannier", pod=pod)


def expired(plane: ControlPlane, token: str) -> str:
    """The same token, as if it had been made two hours ago for an hour."""
    head, body, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    now = int(time.time())
    claims |= {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}
    signed = head + "." + _base64(json.dumps(claims).encode())
    key = serialization.load_pem_private_key((plane.home / "sa.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestTokens:
    async def test_a_pods_own_token_says_its_pod_and_its_audience(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        control_plane.service_account(namespace, "checkout")
        pod = control_plane.pod(namespace, "shop-1", service_account="checkout")
        token = control_plane.service_account_token(
            namespace, "checkout", audience="pannier", pod=pod
        )
        async with authenticator(control_plane) as who:
            identity = await who.authenticate(token)
        assert identity.audience == Audience(namespace, "checkout")
        assert (identity.pod.namespace, identity.pod.name) == (namespace, "shop-1")
        assert identity.pod.uid == pod["metadata"]["uid"]

    async def test_the_right_to_create_reviews_is_all_it_needs(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = pods_token(control_plane, namespace)
        control_plane.service_account(namespace, "operator")
        kubeconfig = control_plane.kubeconfig_for(namespace, "operator")
        async with authenticator(control_plane, kubeconfig=kubeconfig) as who:
            with pytest.raises(Later, match="403"):  # a right that is missing refuses nobody
                await who.authenticate(token)
        control_plane.kubectl(
            "create", "clusterrole", f"reviews-{namespace}", "--verb=create",
            "--resource=tokenreviews.authentication.k8s.io",
        )  # fmt: skip
        control_plane.kubectl(
            "create", "clusterrolebinding", f"reviews-{namespace}",
            f"--clusterrole=reviews-{namespace}", f"--serviceaccount={namespace}:operator",
        )  # fmt: skip
        async with authenticator(control_plane, kubeconfig=kubeconfig) as who:
            assert (await until_known(who, token)).pod.name == "shop-1"

    async def test_a_token_of_another_audience_is_refused(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        pod = control_plane.pod(namespace, "shop-1")
        for audience in (None, "vault"):
            token = control_plane.service_account_token(namespace, audience=audience, pod=pod)
            assert await refusal(control_plane, token) in ("token-refused", "wrong-audience")

    async def test_a_token_that_is_bound_to_no_pod_is_refused(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = control_plane.service_account_token(namespace, audience="pannier")
        assert await refusal(control_plane, token) == "not-a-pod"

    async def test_a_user_that_is_no_service_account_is_refused(
        self, control_plane: ControlPlane
    ) -> None:
        token = control_plane.admin_token
        assert await refusal(control_plane, token) in ("token-refused", "wrong-audience")

    async def test_an_expired_token_is_refused(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = pods_token(control_plane, namespace)
        async with authenticator(control_plane) as who:
            await who.authenticate(token)
        assert await refusal(control_plane, expired(control_plane, token)) == "token-refused"

    @pytest.mark.parametrize("token", ["nonsense", "a.b.c", "x" * 4000, "eyJhbGciOiJub25lIn0.e30."])
    async def test_what_is_no_token_is_refused(
        self, control_plane: ControlPlane, token: str
    ) -> None:
        assert await refusal(control_plane, token) == "token-refused"

    async def test_a_forged_token_is_refused(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        head, body, signature = pods_token(control_plane, namespace).split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        claims["sub"] = "system:serviceaccount:kube-system:default"
        forged = f"{head}.{_base64(json.dumps(claims).encode())}.{signature}"
        assert await refusal(control_plane, forged) == "token-refused"

    async def test_a_namespace_that_is_not_served_is_refused(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = pods_token(control_plane, namespace)
        reason = await refusal(control_plane, token, serves=lambda name: name == "another")
        assert reason == "namespace-not-served"

    async def test_the_token_of_a_deleted_pod_is_refused_in_the_end(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = pods_token(control_plane, namespace)
        control_plane.api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/shop-1")
        async with authenticator(control_plane) as who, asyncio.timeout(60):
            while await is_known(who, token):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.5)

    async def test_a_refused_token_is_not_asked_about_again_for_a_while(
        self, control_plane: ControlPlane, own_control_plane: Callable[..., ControlPlane]
    ) -> None:
        plane = own_control_plane(controller_manager=False)
        now = 100.0
        async with authenticator(plane, clock=lambda: now) as who:
            with pytest.raises(Refused):
                await who.authenticate("nonsense")
            plane.kill()
            with pytest.raises(Refused, match="a moment ago"):
                await who.authenticate("nonsense")
            now = 111.0
            with pytest.raises(Later):
                await who.authenticate("nonsense")


async def is_known(who: Authenticator, token: str) -> bool:
    """Whether the token is accepted, not refused."""
    try:
        await who.authenticate(token)
    except Refused:
        return False
    return True


async def until_known(who: Authenticator, token: str) -> Identity:
    """RBAC needs a moment to see a new binding."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await who.authenticate(token)
            except Later:
                await asyncio.sleep(0.1)


class TestAnApiServerInTrouble:
    async def test_away_paused_or_without_its_etcd_it_is_later_and_then_all_is_well(
        self,
        own_control_plane: Callable[..., ControlPlane],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("pannier_operator.streams.authenticating.REVIEW_WITHIN", 2.0)
        plane = own_control_plane()
        namespace = plane.namespace()
        token = pods_token(plane, namespace)
        async with authenticator(plane) as who:
            await who.authenticate(token)
            plane.pause()
            began = time.monotonic()
            with pytest.raises(Later):
                await who.authenticate(token)
            assert time.monotonic() - began < 30
            plane.resume()
            await until_known(who, token)
            plane.kill()
            with pytest.raises(Later):
                await who.authenticate(token)
            plane.start()
            await until_known(who, token)
            plane.etcd.pause()
            for _ in range(3):
                try:
                    await who.authenticate(token)  # known from the API server's own caches
                except Later:
                    pass
            plane.etcd.resume()
            await until_known(who, token)

    async def test_a_storm_is_bounded_at_the_api_server_and_ends_in_time(
        self, control_plane: ControlPlane, namespace: str
    ) -> None:
        token = pods_token(control_plane, namespace)
        async with authenticator(control_plane, at_once=4, per_second=1000.0) as who:
            at_once, most = 0, 0
            review = who._review

            async def counted(token: str) -> Any:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                try:
                    return await review(token)
                finally:
                    at_once -= 1

            who._review = counted  # type: ignore[method-assign]
            said = await asyncio.gather(
                *(who.authenticate(token) for _ in range(300)), return_exceptions=True
            )
        assert most == 4
        known = [each for each in said if isinstance(each, Identity)]
        assert known and all(isinstance(each, Identity | Later) for each in said)


async def dialed(operator: World, token: str) -> int:
    """The status that a handshake is answered with."""
    try:
        await operator.dial(token=token)
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status
    return 101


class TestTheWholeDoor:
    async def test_a_pod_gets_its_own_stores_over_tls_and_others_are_turned_away(
        self, control_plane: ControlPlane, namespace: str, tmp_path: Path
    ) -> None:
        control_plane.service_account(namespace, "checkout")
        default = pods_token(control_plane, namespace, "shop-1")
        checkout = pods_token(control_plane, namespace, "checkout-1", "checkout")
        unbound = control_plane.service_account_token(namespace, audience="pannier")
        async with api_client(control_plane) as api, world(make_certificates(tmp_path)) as operator:
            operator.server._authenticator = Authenticator(api)
            operator.want(namespace, store("all"), store("paid", accounts=["checkout"]))
            for token, names in ((default, ["all"]), (checkout, ["all", "paid"])):
                sidecar = await operator.enter(token=token)
                snapshot = await sidecar.follow()
                assert [each.name for each in snapshot.stores] == names
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await operator.dial(token=unbound)
            assert refused.value.status == 401
            assert operator.fleet.figures.refusals["not-a-pod"] == 1
            again = await operator.enter(token=checkout)
            code, _ = await operator.sidecars[1].closed()
            assert code == Close.REPLACED
            await again.follow()

    async def test_nobody_is_unauthorized_while_the_api_server_is_away(
        self, own_control_plane: Callable[..., ControlPlane], tmp_path: Path
    ) -> None:
        plane = own_control_plane()
        token = pods_token(plane, plane.namespace())
        async with api_client(plane) as api, world(make_certificates(tmp_path)) as operator:
            operator.server._authenticator = Authenticator(api)
            first = await operator.enter(token=token)
            await first.follow()
            plane.kill()
            with pytest.raises(OSError, match="refused"):
                plane.api.call("GET", "/readyz")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await operator.dial(token=token)
            assert refused.value.status == 503
            assert refused.value.headers is not None and "Retry-After" in refused.value.headers
            assert operator.fleet.streams == 1  # who is in stays in
            plane.start()
            async with asyncio.timeout(60):
                while (status := await dialed(operator, token)) != 101:
                    assert status == 503
                    await asyncio.sleep(0.2)
