"""Operators that are away, that are not the operator, or that break the protocol.

In each case the stores serve on, the stream ends with a reason, and it is dialed again.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pannier.config.stream.messages import MAX_SNAPSHOT_BYTES, Close
from tests.faults.test_config_reload import Client, Load, answers, status
from tests.real.certificates import Certificates
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar
from tests.real.stream_peer import WITHIN, Bearings, Peer, Stream, peer, redis_entry


@pytest.fixture
def operator(certificates: Certificates) -> Iterator[Peer]:
    with peer(certificates) as running:
        yield running


@pytest.fixture
def bearings(tmp_path: Path, certificates: Certificates, operator: Peer) -> Bearings:
    return Bearings(tmp_path, certificates, operator.url)


@pytest.fixture
def running(tmp_path: Path, bearings: Bearings) -> Iterator[Sidecar]:
    with sidecar(tmp_path, *bearings.options, wait=False) as started:
        yield started


def dial_now(running: Sidecar) -> None:
    """Have it dial without waiting for its turn."""
    until(lambda: answers(running), "it listens", WITHIN)
    running.process.send_signal(signal.SIGHUP)


def says(running: Sidecar, text: str) -> None:
    """Return once its log holds the text."""
    until(lambda: text in running.log.read_text(), f"the log says {text!r}", WITHIN)


# The dial -----------------------------------------------------------------------------------------


def test_a_token_and_a_ca_that_are_missing_at_the_start_are_waited_for(
    tmp_path: Path, bearings: Bearings, operator: Peer
) -> None:
    ca = bearings.ca.read_bytes()
    bearings.token.unlink()
    bearings.ca.unlink()
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        says(running, f"the token file {bearings.token} cannot be read: No such file")
        bearings.token.write_text("")
        dial_now(running)
        says(running, f"the token file {bearings.token} holds no token")
        bearings.token.write_text("late-token")
        dial_now(running)
        says(running, f"the CA file {bearings.ca} cannot be read: No such file")
        bearings.ca.write_text("no certificate")
        dial_now(running)
        says(running, f"the CA file {bearings.ca} holds no certificate")
        assert "gives no stream" in status(running)["config"]["error"]
        bearings.ca.write_bytes(ca)
        dial_now(running)
        assert operator.stream().token == "Bearer late-token"
        assert operator.tokens == ["Bearer late-token"]


def test_the_token_is_read_anew_at_every_dial(
    running: Sidecar, operator: Peer, bearings: Bearings
) -> None:
    for number in range(3):
        assert operator.stream(number).token.startswith("Bearer a-first" if not number else "")
        bearings.token.write_text(f"token-{number}")
        operator.streams[number].close(Close.REAUTHENTICATE, "it is old")
    operator.stream(3)
    assert operator.tokens[1:] == ["Bearer token-0", "Bearer token-1", "Bearer token-2"]
    assert "a-first-token" not in running.log.read_text()


def expired(certificates: Certificates, directory: Path) -> Path:
    """The server's certificate as the same CA signed it, for a time that is over."""
    ca = x509.load_pem_x509_certificate(certificates.ca.read_bytes())
    ca_key = load_pem_private_key(certificates.ca.with_suffix(".key").read_bytes(), None)
    good = x509.load_pem_x509_certificate(certificates.server_cert.read_bytes())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(ca.subject)
        .public_key(good.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    path = directory / "expired.crt"
    path.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("wrong", ["ca", "name", "expired"])
def test_an_operator_that_is_not_proven_never_sees_the_token(
    wrong: str, tmp_path: Path, certificates: Certificates
) -> None:
    with peer(certificates, "127.0.0.2" if wrong == "name" else "127.0.0.1") as operator:
        bearings = Bearings(tmp_path, certificates, operator.url)
        if wrong == "ca":
            bearings.ca.write_bytes(certificates.other_ca.read_bytes())
        elif wrong == "expired":
            operator.stop()
            operator.start(expired(certificates, tmp_path), certificates.server_key)
        with sidecar(tmp_path, *bearings.options, wait=False) as running:
            says(running, "its certificate is not trusted")
            reason = {"ca": "unable to get local issuer", "name": "mismatch", "expired": "expired"}
            says(running, reason[wrong])
            dial_now(running)
            until(lambda: running.log.read_text().count("not trusted") > 1, "it is tried again")
            assert not operator.dials
            if wrong == "ca":
                # Old and new CA stand in one file while one follows the other.
                bearings.ca.write_bytes(
                    certificates.other_ca.read_bytes() + certificates.ca.read_bytes()
                )
                dial_now(running)
                operator.stream()


def test_what_is_no_operator_is_no_operator(
    tmp_path: Path, bearings: Bearings, operator: Peer
) -> None:
    """HTTP of another kind, a redirect (to where the token would go), another subprotocol."""
    operator.refusal = (200, {}, "hello")
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        says(running, "HTTP 200: hello")
        for code, location in ((307, "wss://127.0.0.1:1/v1/stream"), (302, "https://[::1]:1/")):
            operator.refusal = (code, {"Location": location}, "")
            dial_now(running)
            says(running, f"HTTP {code}")
        operator.refusal, operator.subprotocols = None, ()
        dial_now(running)
        says(running, "it does not speak pannier.v1")
        assert all(not stream.reports for stream in operator.streams)


def test_a_busy_operator_is_dialed_when_it_asks_for_it(
    tmp_path: Path, bearings: Bearings, operator: Peer
) -> None:
    operator.refusal = (503, {"Retry-After": "2"}, "not the leader")
    with sidecar(tmp_path, *bearings.options, wait=False) as running:
        until(lambda: operator.dials, "it is dialed", WITHIN)
        operator.refusal = None
        operator.stream()
        first, second = operator.dials
        assert second - first >= 2
        says(running, "HTTP 503: not the leader")


def test_an_operator_that_accepts_and_says_nothing_is_given_up(
    tmp_path: Path, bearings: Bearings
) -> None:
    """A port that takes connections and answers no TLS; another that hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bearings.url = f"wss://127.0.0.1:{silent.getsockname()[1]}"
        with sidecar(tmp_path, *bearings.options, wait=False) as running:
            says(running, "no answer within 10 s")
            assert answers(running)


# The stream ---------------------------------------------------------------------------------------


@pytest.fixture
def serving(
    running: Sidecar, operator: Peer, redis_server: RedisServer, redis_prefix: str
) -> Callable[[], Stream]:
    """The present stream of a sidecar that serves `shop`."""
    operator.stream().push(
        redis_entry(redis_server.port, fields={"keyPrefix": redis_prefix}), epoch=5
    )

    def present() -> Stream:
        return operator.stream(len(operator.streams) - 1)

    return present


TOO_MUCH = MAX_SNAPSHOT_BYTES + 1
MALFORMED: dict[str, tuple[Callable[[Stream], object], int]] = {
    "binary": (lambda stream: stream.say(b'{"type": "snapshot"}'), Close.MALFORMED),
    "garbage": (lambda stream: stream.say("?" * 1000), Close.MALFORMED),
    "half a message": (lambda stream: stream.say('{"type": "snapshot", "ver'), Close.MALFORMED),
    "a report": (lambda stream: stream.say('{"type": "bye"}'), Close.MALFORMED),
    "a lower epoch": (lambda stream: stream.send(epoch=4), Close.MALFORMED),
    "one name twice": (
        lambda stream: stream.send(redis_entry(1), redis_entry(1), epoch=5),
        Close.MALFORMED,
    ),
    # The WebSocket protocol has codes of its own for these (RFC 6455 7.4.1).
    "oversized": (lambda stream: stream.say("x" * TOO_MUCH), 1009),
    "not UTF-8": (lambda stream: stream.say_raw(b"\x81\x02\xff\xff"), 1007),
    "a reserved bit": (lambda stream: stream.say_raw(b"\xc1\x02{}"), 1002),
    "a masked frame": (lambda stream: stream.say_raw(b"\x81\x82abcd\x1a\x1f"), 1002),
    "no frame at all": (lambda stream: stream.say_raw(b"HTTP/1.1 200 OK\r\n" * 20), 1002),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_breaks_the_protocol_ends_the_stream_and_touches_nothing(
    name: str, running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    breaks, code = MALFORMED[name]
    stream = serving()
    version = status(running)["config"]["version"]
    with Load(running.port).running() as load:
        breaks(stream)
        ended, reason = stream.ended()
        assert (ended, bool(reason)) == (code, True)
        again = operator.stream(1)
        assert again.hello.version == version
        until(lambda: load.requests > 50 or load.wrong, "the load goes on", WITHIN)
    assert not load.wrong
    assert status(running)["config"]["version"] == version
    says(running, "it is dialed again")


def test_a_stream_that_is_cut_in_the_middle_of_a_message_is_dialed_again(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    stream = serving()
    stream.say_raw(b"\x81\x7e\x10\x00" + b'{"type": "snapshot"')
    stream.cut()
    assert operator.stream(1).hello.version == "v1"
    says(running, "the connection was cut")


def test_a_nonce_that_was_taken_is_passed_over_and_the_stream_goes_on(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    stream = serving()
    stream.push(version="v2", epoch=5, nonce="twice")
    before = len(stream.reports)
    stream.send(version="v3", epoch=5, nonce="twice")
    stream.push(version="v4", epoch=6, nonce="once")
    answered = [report for report in stream.reports[before:] if hasattr(report, "nonce")]
    assert [report.nonce for report in answered] == ["once"]
    assert len(operator.streams) == 1


def test_a_deposed_leader_on_another_stream_is_not_heard(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    serving().cut()
    stream = operator.stream(1)
    stream.send(version="old", epoch=4)
    assert stream.ended()[0] == Close.MALFORMED
    operator.stream(2).push(version="new", epoch=6)
    assert status(running)["config"]["version"] == "new"


def test_an_operator_that_goes_away_and_comes_back_is_found(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream], certificates: Certificates
) -> None:
    serving()
    operator.stop()
    with Client(running.admin_port) as client:

        def connected() -> bool:
            metrics = client.call("GET", "/metrics")[1].decode()
            return "pannier_config_stream_connected 1.0" in metrics

        until(lambda: not connected(), "it is told", WITHIN)
        with Client(running.port) as records:
            assert records.call("PUT", "/v1/shop/Cart/1", "1")[0] in (201, 204)
        operator.start(certificates.server_cert, certificates.server_key)
        assert operator.stream(1).hello.version == "v1"
        until(connected, "it is told", WITHIN)


def test_being_replaced_is_not_answered_by_replacing(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    serving().close(Close.REPLACED, "a newer one")
    says(running, "a newer one); it is dialed again in ")
    words = running.log.read_text().partition("a newer one); it is dialed again in ")[2].split()
    assert float(words[0]) >= 30
    assert len(operator.dials) == 1


# The end ------------------------------------------------------------------------------------------


def test_a_sidecar_that_stops_says_bye(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    stream = serving()
    assert running.stop() == 0
    assert stream.ended() == (1000, "the sidecar stops")
    assert stream.said_bye
    assert len(operator.streams) == 1


def test_an_operator_that_takes_nothing_holds_up_neither_records_nor_the_end(
    running: Sidecar, operator: Peer, serving: Callable[[], Stream]
) -> None:
    stream = serving()
    stream.stop_reading()
    with Load(running.port).running() as load:
        until(lambda: load.requests > 200 or load.wrong, "the load goes on", WITHIN)
    assert not load.wrong
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 10
    assert not stream.said_bye


def test_a_sidecar_stops_in_the_middle_of_a_dial(tmp_path: Path, bearings: Bearings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bearings.url = f"wss://127.0.0.1:{silent.getsockname()[1]}"
        with sidecar(tmp_path, *bearings.options, wait=False) as running:
            until(lambda: answers(running), "it listens", WITHIN)
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 8
    assert "Traceback" not in running.log.read_text()
    assert os.listdir(tmp_path).count("last-good") == 0
