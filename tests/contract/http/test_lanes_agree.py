"""The two lanes give the same bytes: whatever is sent, in whatever pieces.

Two sidecars on memory stores, one with the fast lane and one without, are sent the same random
streams of requests (plain, odd, broken, pipelined); what they answer is equal but for the date.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.real.sidecar import Sidecar, sidecar

LAST = b"GET /v1/default/Last/one HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
QUIET_SECONDS = 0.25
"""After this long without a byte the client closes its half; then the server must end it."""

_DATE = re.compile(rb"Date: [^\r]*")


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, Sidecar]]:
    """A sidecar with the fast lane and one without."""
    directory = tmp_path_factory.mktemp("lanes")
    small = ("--max-record-bytes", "300")
    with (
        sidecar(directory, *small) as fast,
        sidecar(directory, *small, "--no-fast-lane") as slow,
    ):
        yield fast, slow


# What is sent -----------------------------------------------------------------------------------

TAG = b'"0ade7c2cf97f75d009975f4d720d1fa6c19f4897"'
"""The ETag of the record 9."""

USUAL: dict[str, list[bytes]] = {
    "method": [b"GET", b"PUT", b"HEAD", b"DELETE"],
    "store": [b"default"],
    "schema": [b"Cart"],
    "key": [b"1", b"2", b"user:7", b"a+b", b"a%2Fb", b"%C3%A9", b"~._-!$&'()*,;=@"],
    "version": [b"HTTP/1.1"],
    "host": [b"Host: localhost", b"Host: 127.0.0.1:3900", b"HOST:localhost", b"host: LOCALHOST "],
    "body": [b"9", b'{"a": 1}', b"[]", b" null ", b'"\xc3\xa9"', b'"' + b"x" * 298 + b'"'],
    "header": [
        b"Accept: */*", b"User-Agent: curl/8", b"Content-Type: application/json",
        b"content-type: text/plain", b"Connection: keep-alive", b"connection: Keep-Alive",
        b"If-None-Match: *", b"If-Match: *", b"If-Match: " + TAG, b"If-None-Match: " + TAG,
        b"If-Match: W/" + TAG, b"If-None-Match: W/" + TAG, b'If-Match: "a", ' + TAG,
        b"if-match:\t*\t", b"X-Request-Id: 1", b"Accept-Encoding: gzip",
        b"Authorization: Bearer x", b"Cache-Control: no-cache",
    ],
}  # fmt: skip
"""What requests are made of, by part."""

ODD: dict[str, list[bytes]] = {
    "method": [b"PATCH", b"POST", b"OPTIONS", b"TRACE", b"get", b"G@T", b""],
    "store": [b"other", b"Default", b"def%61ult", b"", b"default:x", b"default:schemas"],
    "schema": [b"C%61rt", b"-Cart", b"Cart:count", b"", b"C" * 129, b"_.-", b"C%zz"],
    "key": [
        b".", b"..", b"%2e", b"%2E%2e", b"%00", b"%zz", b"%", b"%FF", b"", b"a/b", b"a?b=c", b"a?",
        b"a#b", b"\xc3\xa9", b"a|b", b'a"b', b"x" * 512, b"x" * 513, b"%41" * 512, b"%41" * 513,
        b"x" * 9000, b"a\tb", b"a b", b"...", b".a", b"..a",
    ],
    "version": [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"", b"HTTP/1.1 "],
    "host": [b"Host: evil.example", b"Host: [::1]:1", b"Host:", b"Accept: x", b"Host: a b"],
    "body": [b"{", b"", b"\xff", b'{"a":1}x', b"NaN", b"[" * 150 + b"]" * 150,
             b'"' + b"x" * 299 + b'"'],
    "header": [
        b"If-None-Match: nonsense", b"If-Match:", b"If-Match: a", b"X-Unknown: y",
        b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket",
        b"Expect: 100-continue", b"Expect: nonsense", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity", b"Content-Encoding: gzip", b"Content-Encoding: identity",
        b"Origin: http://evil.example", b"Origin: null", b"Host: localhost",
        b"Content-Length: 0", b"Content-Length: 1", b"Content-Length: 5", b"Content-Length: +1",
        b"Content-Length: 1, 1", b"Content-Length: -1", b"Content-Length: 0x1",
        b"Content-Length: 99999999999", b"Content-Length: 01", b" folded: x", b"No-Colon",
        b"Space : x", b"Bad\x00: x", b"Nul: \x00", b"Latin: \xe9", b"Accept: a\rb",
        b"Accept: a\nb", b": empty", b"Keep-Alive: timeout=5", b"Accept: " + b"x" * 3000,
        b"Accept: " + b"x" * 40000, b"Range: bytes=0-1", b"Accept:", b"Accept: x\r\nAccept: y",
        b"User-Agent: x\r\nUser-Agent: y", b"If-Modified-Since: Mon, 23 Nov 2026 14:20:30 GMT",
    ],
}  # fmt: skip


def request(parts: dict[str, bytes], headers: list[bytes], length_off: int = 0) -> bytes:
    """The bytes of one request; a body comes with its Content-Length."""
    target = b"/v1/" + parts["store"] + b"/" + parts["schema"] + b"/" + parts["key"]
    body = parts["body"] if parts["method"] in (b"PUT", b"PATCH", b"POST") else b""
    lines = [parts["method"] + b" " + target + b" " + parts["version"], parts["host"], *headers]
    framed = any(line.startswith((b"Content-Length", b"Transfer-Encoding")) for line in headers)
    if body and not framed:
        lines.append(b"Content-Length: %d" % (len(body) + length_off))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def usual(method: bytes = b"GET") -> dict[str, bytes]:
    """The parts of a plain request."""
    return {**{name: choices[0] for name, choices in USUAL.items()}, "method": method}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request: usually plain, often with one odd part, sometimes with two."""
    odd = draw(st.sampled_from([0, 0, 1, 1, 1, 2]))
    strange = draw(st.lists(st.sampled_from([*ODD]), min_size=odd, max_size=odd))
    parts = {
        name: draw(st.sampled_from((ODD if name in strange else USUAL)[name])) for name in USUAL
    }
    headers = draw(st.lists(st.sampled_from(USUAL["header"]), max_size=2))
    if "header" in strange:
        headers.append(parts["header"])
    off = draw(st.sampled_from([0] * 15 + [1, -1]))
    return request(parts, draw(st.permutations(headers)), off)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Requests one after the other, cut into pieces anywhere."""
    whole = b"".join(draw(st.lists(requests(), min_size=1, max_size=5))) + LAST
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    ends = [*cuts, len(whole)]
    return [whole[start:end] for start, end in zip([0, *cuts], ends, strict=True)]


ODDITIES = [(name, odd) for name, choices in ODD.items() for odd in choices]
PUT_GET = request(usual(b"PUT"), []) + request(usual(), [])


# The claim --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"HEAD", b"DELETE"])
@pytest.mark.parametrize(("name", "odd"), ODDITIES)
def test_one_oddity_is_answered_alike_between_plain_requests(
    lanes: tuple[Sidecar, Sidecar], name: str, odd: bytes, method: bytes
) -> None:
    parts = usual(method)
    if name == "header":
        strange = request(parts, [odd])
    else:
        strange = request({**parts, name: odd}, [])
    fast, slow = (exchange(each.port, [PUT_GET + strange + PUT_GET + LAST]) for each in lanes)
    assert fast == slow
    assert fast.startswith(b"HTTP/1.1 20"), "the plain requests before it were answered"


@pytest.mark.parametrize("header", USUAL["header"])
@pytest.mark.parametrize("method", USUAL["method"])
def test_a_usual_header_is_answered_alike(
    lanes: tuple[Sidecar, Sidecar], method: bytes, header: bytes
) -> None:
    parts = usual(method)
    stream = [PUT_GET, request(parts, [header]), request(parts, [header]), PUT_GET + LAST]
    fast, slow = (exchange(each.port, stream) for each in lanes)
    assert fast == slow


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([PUT_GET[:-1], PUT_GET[-1:] + b"\r\n\r\n" + LAST])
@example([request(usual(b"PUT"), [])[:-1], b"9" + PUT_GET + LAST])
@given(streams())
def test_any_stream_in_any_pieces_is_answered_alike(
    lanes: tuple[Sidecar, Sidecar], stream: list[bytes]
) -> None:
    fast, slow = (exchange(each.port, stream) for each in lanes)
    assert fast == slow


def exchange(port: int, stream: list[bytes]) -> bytes:
    """Send the pieces, and return all that is answered until the server closes, without dates."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=QUIET_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in stream:
                client.sendall(piece)
                time.sleep(0.001)  # so that it arrives as a piece; nothing is awaited by it
        except OSError:
            pass  # the server closed after a refusal; its answer is there to be read
        half_closed = False
        while True:
            try:
                part = client.recv(65536)
            except TimeoutError:
                if half_closed:
                    raise AssertionError(f"not closed after {received!r}") from None
                client.shutdown(socket.SHUT_WR)
                client.settimeout(10)
                half_closed = True
                continue
            except ConnectionResetError:
                break
            if not part:
                break
            received += part
    return _DATE.sub(b"Date:", received)
