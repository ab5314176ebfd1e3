"""The operator's stream server over real TLS WebSockets: who gets in, what is pushed, what ends."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pannier.config.stream.messages import (
    MAX_REPORT_BYTES,
    MAX_SNAPSHOT_BYTES,
    Applied,
    Bye,
    Close,
    Hello,
    State,
    StoreReport,
)
from pannier_operator.streams.fleet import StreamSettings
from pannier_operator.wanted import version_of
from tests.real.certificates import Certificates, make_certificates
from tests.unit.stream_world import Sidecar, World, store, until, world

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture
async def operator(certificates: Certificates) -> AsyncIterator[World]:
    async with world(certificates) as made:
        yield made


def rejected(message: str = "no", code: str = "invalid-request") -> StoreReport:
    return StoreReport(state="rejected", code=code, message=message)


class TestTheDoor:
    async def refused(self, operator: World, **more: Any) -> aiohttp.WSServerHandshakeError:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await operator.dial(**more)
        return refusal.value

    async def test_a_sidecar_that_is_known_gets_in_with_the_subprotocol(
        self, operator: World
    ) -> None:
        sidecar = await operator.dial()
        assert sidecar.socket.protocol == "pannier.v1"

    async def test_what_is_too_long_to_be_read_is_quoted_in_no_log(
        self, operator: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for header in ("Authorization", "Cookie"):
            refusal = await self.refused(operator, headers={header: "Bearer hunter2" * 3000})
            assert refusal.status == 400
        assert "hunter2" not in caplog.text
        assert "LineTooLong" in caplog.text
        assert "Traceback" not in caplog.text

    async def test_without_the_subprotocol_it_is_a_bad_request(self, operator: World) -> None:
        for protocols in ((), ("pannier.v2", "chat")):
            assert (await self.refused(operator, protocols=protocols)).status == 400

    async def test_the_subprotocol_may_be_one_of_several(self, operator: World) -> None:
        sidecar = await operator.dial(protocols=("pannier.v9", "pannier.v1"))
        assert sidecar.socket.protocol == "pannier.v1"

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer größe", "Bearer nonsense"]
    )
    async def test_without_a_good_token_it_is_unauthorized(
        self, operator: World, header: str | None
    ) -> None:
        headers = {} if header is None else {"Authorization": header}
        refusal = await self.refused(operator, headers=headers)
        assert refusal.status == 401
        assert sum(operator.fleet.figures.refusals.values()) == 1

    async def test_an_api_server_that_is_away_is_later_and_not_unauthorized(
        self, operator: World
    ) -> None:
        refusal = await self.refused(operator, token="later")
        assert refusal.status == 503
        assert refusal.headers is not None and refusal.headers["Retry-After"] == "7"

    async def test_who_does_not_lead_says_later(self, operator: World) -> None:
        operator.is_ready = False
        refusal = await self.refused(operator)
        assert refusal.status == 503
        assert refusal.headers is not None and int(refusal.headers["Retry-After"]) in range(1, 6)

    async def test_an_address_that_is_refused_again_and_again_has_to_wait(
        self, operator: World
    ) -> None:
        codes = [(await self.refused(operator, token="nonsense")).status for _ in range(21)]
        assert codes == [401] * 20 + [429]
        refusal = await self.refused(operator)  # a good token of the same address, too
        assert refusal.status == 429
        assert refusal.headers is not None and refusal.headers["Retry-After"] in ("1", "2")
        await asyncio.sleep(float(refusal.headers["Retry-After"]) + 0.1)
        await operator.dial()

    async def test_other_paths_and_methods_are_not_served(self, operator: World) -> None:
        base = f"https://127.0.0.1:{operator.server.port}"
        for method, path, status in (
            ("GET", "/", 404),
            ("GET", "/v1/stream/", 404),
            ("POST", "/v1/stream", 405),
            ("GET", "/v1/stream", 400),
        ):
            async with operator.client.request(method, base + path) as answer:
                assert answer.status == status, (method, path)

    async def test_a_head_beyond_all_measure_is_refused(self, operator: World) -> None:
        token = "x" * 100_000
        assert (await self.refused(operator, token=token)).status == 400
        await operator.dial()

    async def test_one_that_says_nothing_is_hung_up_on(
        self, operator: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler = operator.server._handler
        assert handler is not None
        handler._kwargs["keepalive_timeout"] = 0.2
        context = ssl.create_default_context(cafile=operator.certificates.ca)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", operator.server.port, ssl=context
        )
        writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n")  # and never the rest
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
        await writer.wait_closed()

    async def test_no_more_streams_than_are_allowed(self, operator: World) -> None:
        operator.server._most_streams = 2
        streams = [await operator.enter() for _ in range(2)]
        assert (await self.refused(operator)).status == 503
        await streams[0].say(Bye())
        await streams[0].closed()
        await until(lambda: operator.fleet.streams == 1)
        await operator.dial()

    async def test_without_room_for_one_more_it_hangs_up(self, operator: World) -> None:
        operator.server._most_opening = 0
        with pytest.raises(aiohttp.ClientError):
            await operator.dial()

    async def test_a_new_certificate_serves_new_handshakes_and_old_streams_stay(
        self, operator: World, tmp_path: Path
    ) -> None:
        old = await operator.enter()
        await old.follow()
        other = make_certificates(tmp_path)
        operator.context.load_cert_chain(other.server_cert, other.server_key)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await operator.dial()
        trust = ssl.create_default_context(cafile=other.ca)
        sidecar = await operator.dial(ssl=trust)
        assert sidecar.socket.protocol == "pannier.v1"
        operator.want("shop", store("cart"))
        await old.follow()

    async def test_no_token_is_ever_logged(
        self, operator: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        await self.refused(operator, token="a-secret-that-is-wrong")
        assert "refused" in caplog.text
        assert "a-secret" not in caplog.text


class TestPushing:
    async def test_hello_is_answered_with_the_whole_of_what_it_is_to_run(
        self, operator: World
    ) -> None:
        cart, other = store("cart"), store("other", accounts=["checkout"])
        operator.want("shop", cart, other)
        sidecar = await operator.enter()
        snapshot = await sidecar.snapshot()
        assert [each.name for each in snapshot.stores] == ["cart"]
        assert snapshot.epoch == 3
        assert snapshot.version == version_of([cart])
        checkout = await operator.enter(account="checkout")
        assert [each.name for each in (await checkout.snapshot()).stores] == ["cart", "other"]
        stranger = await operator.enter(namespace="bank")
        assert (await stranger.snapshot()).stores == []

    async def test_who_waits_for_more_than_a_stream_carries_is_counted_as_pending(
        self, operator: World
    ) -> None:
        huge = store("huge", size=MAX_SNAPSHOT_BYTES)
        operator.want("shop", huge)
        await operator.enter()
        await until(lambda: ("shop", "huge") in operator.reported)
        tally = operator.tally(huge)
        assert (tally.connected, tally.synced, tally.pending) == (1, 0, 1)

    async def test_a_sidecar_that_runs_the_version_gets_no_push_and_counts_by_its_state(
        self, operator: World
    ) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        version = version_of([cart])
        sidecar = await operator.enter(version=version)
        await until(lambda: operator.tally(cart).connected == 1)
        assert operator.tally(cart).pending == 1
        reports = {"cart": StoreReport(state="applied", reachable=False)}
        await sidecar.say(State(version=version, stores=reports))
        await until(lambda: operator.tally(cart).synced == 1)
        assert operator.tally(cart).unreachable == 1
        operator.want("shop", store("cart", 2))
        assert (await sidecar.snapshot()).version != version  # the first message it gets

    async def test_what_is_wanted_is_computed_once_for_an_audience(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        sidecars = [await operator.enter() for _ in range(8)]
        nonces = {(await each.follow()).nonce for each in sidecars}
        assert len(nonces) == 1
        assert len(operator.computed) == 1
        operator.want("shop", store("cart", 2))
        for each in sidecars:
            await each.follow()
        assert len(operator.computed) == 2
        await until(lambda: operator.tally(store("cart", 2)).synced == 8)

    async def test_the_tally_follows_what_sidecars_say(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        good, bad, slow = [await operator.enter(name) for name in ("good", "bad", "slow")]
        await good.follow()
        await bad.answer(await bad.snapshot(), cart=rejected("no such\nthing"))
        snapshot = await slow.snapshot()
        pending = StoreReport(state="pending", code="backend-unavailable", message="away")
        await slow.answer(snapshot, cart=pending)
        await until(lambda: operator.tally(cart).pendings)
        tally = operator.tally(cart)
        assert (tally.connected, tally.synced, tally.pending, tally.rejected) == (3, 1, 1, 1)
        assert [(each.pod, each.code, each.message) for each in tally.rejections] == [
            ("bad", "invalid-request", "no such thing")
        ]
        assert [each.pod for each in tally.pendings] == ["slow"]
        reports = {"cart": StoreReport(state="applied", reachable=True)}
        await slow.say(State(version=snapshot.version, stores=reports))
        await until(lambda: operator.tally(cart).synced == 2)
        await until(lambda: ("shop", "cart") in operator.reported)
        pushes = operator.fleet.figures.pushes
        assert (pushes["applied"], pushes["pending"], pushes["rejected"]) == (1, 1, 1)
        assert sum(operator.fleet.figures.push_seconds.counts) == 2  # also the one that settled

    async def test_a_kept_store_is_not_synced_though_the_snapshot_is_applied(
        self, operator: World
    ) -> None:
        kept, fine = store("cart", keep=True), store("fine")
        operator.want("shop", kept, fine)
        sidecar = await operator.enter()
        snapshot = await sidecar.snapshot()
        assert snapshot.stores[0].keep and snapshot.stores[0].document is None
        await sidecar.answer(snapshot, cart=StoreReport(state="applied", reachable=True))
        await until(lambda: operator.tally(fine).synced == 1)
        tally = operator.tally(kept)
        assert (tally.synced, tally.pending, tally.reachable) == (0, 1, 1)
        assert operator.fleet.figures.pushes["applied"] == 1

    async def test_a_hundred_edits_in_a_second_are_a_few_pushes_and_the_last_one_wins(
        self, operator: World
    ) -> None:
        operator.want("shop", store("cart", 0))
        sidecar = await operator.enter()
        await sidecar.follow()
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def edit() -> None:
            for generation in range(1, 101):
                operator.want("shop", store("cart", generation))
                await asyncio.sleep(max(began + generation / 100 - loop.time(), 0))

        editing = asyncio.create_task(edit())
        last, pushes = version_of([store("cart", 100)]), 0
        while (await sidecar.follow()).version != last:
            pushes += 1
        await editing
        took = loop.time() - began
        assert pushes < 3 * (1 + took)
        await until(lambda: operator.tally(store("cart", 100)).synced == 1)

    async def test_one_push_is_in_flight_and_only_the_newest_waits(self, operator: World) -> None:
        operator.want("shop", store("cart", 1))
        sidecar = await operator.enter()
        first = await sidecar.snapshot()
        for generation in (2, 3, 4):
            operator.want("shop", store("cart", generation))
            made = len(operator.computed)
            await until(lambda made=made: len(operator.computed) > made)
        await sidecar.answer(first)
        assert (await sidecar.follow()).version == version_of([store("cart", 4)])
        await until(lambda: operator.tally(store("cart", 4)).synced == 1)

    async def test_stale_answers_change_nothing(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        sidecar = await operator.enter()
        snapshot = await sidecar.snapshot()
        await sidecar.say(Applied(version=snapshot.version, nonce="old", stores={}))
        await sidecar.say(State(version="old", stores={"cart": rejected()}))
        await sidecar.answer(snapshot)
        await until(lambda: operator.tally(cart).synced == 1)
        assert operator.tally(cart).rejected == 0

    async def test_reports_of_stores_it_was_not_sent_are_not_counted(self, operator: World) -> None:
        cart, secret = store("cart"), store("secret", accounts=["bank"])
        operator.want("shop", cart, secret)
        sidecar = await operator.enter()
        await sidecar.answer(await sidecar.snapshot(), secret=rejected(), nothing=rejected())
        await until(lambda: operator.tally(cart).synced == 1)
        assert operator.tally(secret).rejected == 0
        assert set(operator.reported) <= {("shop", "cart")}

    async def test_a_store_that_is_gone_is_forgotten(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        sidecar = await operator.enter()
        await sidecar.follow()
        await until(lambda: operator.tally(cart).synced == 1)
        operator.want("shop")
        assert (await sidecar.follow()).stores == []
        await until(lambda: operator.tally(cart).synced == 0)

    async def test_a_snapshot_too_large_for_a_stream_is_not_pushed(
        self, operator: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        operator.want("shop", store("cart"))
        sidecar = await operator.enter()
        await sidecar.follow()
        operator.want("shop", *(store(f"s{n}", size=1_000_000) for n in range(5)))
        await until(lambda: "give stores to fewer service accounts" in caplog.text)
        operator.want("shop", store("cart", 2))
        assert (await sidecar.snapshot()).version == version_of([store("cart", 2)])

    async def test_an_answer_that_cannot_be_computed_disturbs_no_other(
        self, operator: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        operator.want("shop", store("cart"))
        sidecar = await operator.enter()
        await sidecar.follow()
        operator.stores["bank"] = {"bad": None}  # type: ignore[dict-item]
        other = await operator.enter(namespace="bank")
        await until(lambda: "could not be computed" in caplog.text)
        operator.want("shop", store("cart", 2))
        await sidecar.follow()
        operator.want("bank", store("good"))
        await other.follow()


class TestMalformedMessages:
    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("", "not a message"),
            ("nonsense", "not a message"),
            ("[]", "not a message"),
            ("{}", "not a message"),
            ('{"type":"snapshot"}', "not a message"),
            ('{"type":"applied"}', "not a message"),
            ('{"type":"state","version":1,"stores":{}}', "not a message"),
            ('{"type":"state","version":"v","stores":{"a":{"state":"fine"}}}', "not a message"),
            ('{"type":"hello","build":"again"}', "hello came twice"),
            ("[" * 100_000, "not a message"),
            ('{"type":"hello","build":"x","deep":' + "[" * 5000 + "]" * 5000 + "}", ""),
        ],
    )
    async def test_one_ends_its_stream_with_a_reason_and_touches_nothing_else(
        self, operator: World, said: str, reason: str
    ) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        other, bad = await operator.enter(), await operator.enter()
        await other.follow()
        await bad.follow()
        await until(lambda: operator.tally(cart).synced == 2)
        await bad.socket.send_str(said)
        code, why = await bad.closed()
        assert code == Close.MALFORMED
        assert reason in why and why.isprintable()
        await until(lambda: operator.fleet.streams == 1)
        assert operator.tally(cart).lost == 1
        operator.want("shop", store("cart", 2))
        await other.follow()

    @pytest.mark.parametrize(
        ("send", "reason"),
        [
            (lambda socket: socket.send_bytes(b'{"type":"bye"}'), "text frames"),
            (lambda socket: socket.send_str("x" * (MAX_REPORT_BYTES + 1)), "larger"),
            (lambda socket: socket.send_str("x" * (20 * MAX_REPORT_BYTES)), "larger"),
            (
                lambda socket: socket.send_frame(b'{"type":"\xff"}', aiohttp.WSMsgType.TEXT),
                "not a message",
            ),
            (lambda socket: socket._writer.send_frame(b"x", 0x5), "framing"),
        ],
        ids=["binary", "too large", "far too large", "not UTF-8", "no opcode"],
    )
    async def test_a_frame_that_may_not_be_ends_its_stream(
        self,
        operator: World,
        send: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]],
        reason: str,
    ) -> None:
        sidecar = await operator.enter()
        await sidecar.follow()
        try:
            await send(sidecar.socket)
        except ConnectionError:
            pass  # it was cut off in mid-message
        code, why = await sidecar.closed()
        assert code == Close.MALFORMED
        assert reason in why

    async def test_hello_must_come_first(self, operator: World) -> None:
        sidecar = await operator.dial()
        await sidecar.say(Bye())
        assert await sidecar.closed() == (Close.MALFORMED, "the first message must be hello")

    async def test_hello_must_come_in_time(
        self, operator: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pannier_operator.streams.session.HELLO_WITHIN", 0.1)
        sidecar = await operator.dial()
        code, why = await sidecar.closed()
        assert code == Close.MALFORMED
        assert "no hello within" in why
        assert operator.fleet.streams == 0

    async def test_a_nonce_answered_with_another_version_ends_the_stream(
        self, operator: World
    ) -> None:
        sidecar = await operator.enter()
        snapshot = await sidecar.snapshot()
        await sidecar.say(Applied(version="other", nonce=snapshot.nonce, stores={}))
        assert (await sidecar.closed())[0] == Close.MALFORMED

    async def test_a_flood_of_messages_ends_its_stream(self, operator: World) -> None:
        sidecar = await operator.enter()
        for _ in range(1000):
            try:
                await sidecar.say(State(version="x", stores={}))
            except ConnectionError:
                break
        code, why = await sidecar.closed()
        assert code == Close.MALFORMED
        assert "messages in a second" in why

    async def test_fields_of_a_later_day_are_ignored(self, operator: World) -> None:
        sidecar = await operator.dial()
        await sidecar.socket.send_str(
            json.dumps({"type": "hello", "build": "9.9", "version": None, "colour": {"a": [1]}})
        )
        await sidecar.follow()

    async def test_warnings_are_logged_once_and_in_print(
        self, operator: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        operator.want("shop", store("cart"))
        sidecars = [await operator.enter() for _ in range(3)]
        for sidecar in sidecars:
            snapshot = await sidecar.snapshot()
            await sidecar.say(
                Applied(
                    version=snapshot.version, nonce=snapshot.nonce, warnings=["spec.\x1b[31mx"],
                    stores={"cart": StoreReport(state="applied")},
                )
            )  # fmt: skip
        await until(lambda: operator.tally(store("cart")).synced == 3)
        assert caplog.text.count("do not know 1 fields, spec. [31mx among them") == 1


class TestTheEndOfAStream:
    async def test_a_bye_is_no_loss(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        sidecar = await operator.enter()
        await sidecar.follow()
        await sidecar.say(Bye())
        await sidecar.closed()
        await until(lambda: operator.tally(cart).connected == 0)
        assert operator.tally(cart).lost == 0

    async def test_gone_without_a_bye_is_lost_until_it_is_back_or_forgotten(
        self, operator: World
    ) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        for pod in ("one", "two"):
            sidecar = await operator.enter(pod)
            await sidecar.follow()
            transport = sidecar.socket.get_extra_info("socket")
            assert transport is not None
            await sidecar.socket.close()
        await until(lambda: operator.tally(cart).lost == 2)
        assert operator.tally(cart).connected == 0
        await operator.enter("one")
        await until(lambda: operator.tally(cart).lost == 1)
        operator.reported.clear()
        operator.clock.ahead = 901
        operator.fleet.tick()
        assert operator.tally(cart).lost == 0
        await until(lambda: ("shop", "cart") in operator.reported)

    async def test_a_newer_stream_of_the_same_pod_takes_the_place(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        old = await operator.enter("one", uid="u1")
        await old.follow()
        await until(lambda: operator.tally(cart).synced == 1)
        new = await operator.enter("one", uid="u1")
        assert (await old.closed())[0] == Close.REPLACED
        tally = operator.tally(cart)
        assert (tally.connected, tally.synced, tally.lost) == (1, 0, 0)
        await new.follow()
        await until(lambda: operator.tally(cart).synced == 1)
        await until(lambda: operator.fleet.streams == 1)

    async def test_what_it_said_stands_where_the_newer_stream_still_runs_it(
        self, operator: World
    ) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        old = await operator.enter("one")
        snapshot = await old.follow()
        await until(lambda: operator.tally(cart).synced == 1)
        await operator.enter("one", version=snapshot.version)
        await old.closed()
        assert operator.tally(cart).synced == 1

    async def test_a_stream_is_closed_at_its_age_and_its_seat_is_kept_a_while(
        self, certificates: Certificates
    ) -> None:
        cart = store("cart")
        async with world(certificates, StreamSettings(stream_age=100)) as operator:
            operator.want("shop", cart)
            back, away = await operator.enter("back"), await operator.enter("away")
            snapshot = await back.follow()
            await away.follow()
            await until(lambda: operator.tally(cart).synced == 2)
            operator.clock.ahead = 79
            operator.fleet.tick()
            operator.clock.ahead = 121
            operator.fleet.tick()  # pings, too: both are due
            operator.fleet.tick()
            for each in (back, away):
                assert (await each.closed())[0] == Close.REAUTHENTICATE
            await until(lambda: operator.fleet.streams == 0)
            tally = operator.tally(cart)
            assert (tally.connected, tally.synced, tally.lost) == (2, 2, 0)
            await operator.enter("back", version=snapshot.version)
            await until(lambda: operator.fleet.streams == 1)
            operator.clock.ahead = 132
            operator.fleet.tick()
            tally = operator.tally(cart)
            assert (tally.connected, tally.synced, tally.lost) == (1, 1, 1)

    async def test_all_are_closed_over_the_spread_and_none_is_lost(self, operator: World) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        sidecars = [await operator.enter() for _ in range(10)]
        silent = await operator.dial()  # its hello is still awaited
        for each in sidecars:
            await each.follow()
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def end(sidecar: Sidecar) -> float:
            assert (await sidecar.closed())[0] == Close.LATER
            return loop.time() - began

        ends = [asyncio.create_task(end(each)) for each in [*sidecars, silent]]
        await operator.server.close_all(Close.LATER, spread=0.5)
        times = sorted(await asyncio.gather(*ends))
        assert times[-1] - times[0] > 0.3
        await until(lambda: operator.fleet.streams == 0)
        assert operator.tally(cart) == type(operator.tally(cart))()

    async def test_the_operators_end_is_told_to_all(self, certificates: Certificates) -> None:
        async with world(certificates) as operator:
            sidecar = await operator.enter()
            await sidecar.follow()
            closing = asyncio.create_task(operator.server.close())
            assert (await sidecar.closed())[0] == Close.GOING_AWAY
            await closing
            with pytest.raises(aiohttp.ClientConnectorError):
                await operator.dial()


class TestSlowAndSilentOnes:
    async def test_one_that_never_answers_holds_up_nobody_and_is_closed_in_the_end(
        self, operator: World
    ) -> None:
        cart = store("cart")
        operator.want("shop", cart)
        silent, good = await operator.enter("silent"), await operator.enter("good")
        await silent.snapshot()
        await good.follow()
        for generation in (2, 3):
            operator.want("shop", store("cart", generation))
            await good.follow()
        new = store("cart", 3)
        await until(lambda: operator.tally(new).synced == 1)
        assert operator.tally(new).pending == 1
        operator.clock.ahead = 16
        operator.fleet.tick()
        code, why = await silent.closed()
        assert code == Close.LATER
        assert "not answered" in why
        await until(lambda: operator.fleet.streams == 1)
        assert operator.fleet.figures.pushes["timeout"] == 1
        assert operator.fleet.figures.pushes["failed"] == 0
        assert operator.tally(new).lost == 1

    async def test_one_that_reads_nothing_holds_up_nobody_and_is_cut_off(
        self, operator: World
    ) -> None:
        big = store("cart", size=3_000_000)
        operator.want("shop", big)
        deaf, good = await operator.enter("deaf"), await operator.enter("good")
        deaf.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        await good.follow()
        operator.want("shop", store("cart", 2))
        await good.follow()
        await until(lambda: operator.tally(store("cart", 2)).synced == 1)
        operator.clock.ahead = 16
        operator.fleet.tick()
        await until(lambda: operator.fleet.streams == 1)
        handler = operator.server._handler
        assert handler is not None
        await until(lambda: handler.held == 1)  # nothing of it is left, its buffer neither

    async def test_one_that_shows_no_sign_of_life_is_cut_off_after_two_pings(
        self, operator: World
    ) -> None:
        alive = await operator.enter("alive")
        dead = await operator.dial("dead", autoping=False)
        await dead.say(Hello(build="test"))
        for each in (alive, dead):
            await each.follow()
        await until(lambda: operator.fleet.figures.pushes["applied"] == 2)
        reading = asyncio.create_task(alive.closed())
        for pings in range(1, 4):
            assert operator.fleet.streams == 2
            operator.clock.ahead = pings * 16
            operator.fleet.tick()
            pongs = asyncio.get_running_loop().time() + 0.05
            await until(lambda pongs=pongs: asyncio.get_running_loop().time() > pongs)
        await until(lambda: operator.fleet.streams == 1)
        assert not reading.done()
        reading.cancel()

    async def test_a_ping_is_ponged(self, operator: World) -> None:
        sidecar = await operator.dial(autoping=False)
        await sidecar.say(Hello(build="test"))
        await sidecar.follow()
        await sidecar.socket.ping(b"are you there")
        message = await asyncio.wait_for(sidecar.socket.receive(), 60)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"are you there")

    async def test_pushes_in_flight_are_bounded_in_bytes(self, operator: World) -> None:
        operator.fleet._outbox._most_flying = 1_500_000
        operator.want("shop", store("cart", size=1_000_000))
        sidecars = [await operator.enter() for _ in range(4)]
        first = await sidecars[0].snapshot()
        await sidecars[1].snapshot()
        outbox = operator.fleet._outbox
        assert outbox.flying < 2_100_000
        await sidecars[0].answer(first)
        await sidecars[2].snapshot()
        assert outbox.flying < 2_100_000
        await sidecars[1].socket.close()  # the budget of one that is gone is free again
        await sidecars[3].snapshot()

    async def test_namespaces_take_turns(self, operator: World) -> None:
        """A hundred sidecars of one namespace do not go before one of another."""
        order: list[str] = []
        sidecars = [await operator.enter(namespace="big") for _ in range(100)]
        sidecars.append(await operator.enter(namespace="small"))
        for each in sidecars:
            await each.follow()
        offer = operator.fleet._outbox._offer

        def noted(session: Any) -> None:
            order.append(session.audience.namespace)
            offer(session)

        operator.fleet._outbox._offer = noted
        operator.want("big", store("cart"))
        operator.want("small", store("cart"))
        await until(lambda: len(order) == 101)
        assert order.index("small") <= 60
