"""The sidecar's client: every refusal back as its error, and no write ever sent twice."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pannier
import pannier.aio
from pannier import (
    BackendRefused,
    BackendUnavailable,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    PoolFull,
    PoolTimeout,
    StoreNotFound,
    errors,
    filters,
)
from pannier.http_answers import Answer, AnswerReader, SidecarAddress, request
from pannier.operations import Outcome, Write
from pannier.sidecar_problems import error_of
from pannier.sidecar_requests import filter_document, in_parts
from tests.contract.store.sides import Side
from tests.contract.store.typed_carts import CLASSES
from tests.real.sidecar import sidecar

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n2\r\n89\r\n0\r\n\r\n"


class ScriptedSidecar:
    """Takes requests on a socket and answers each with the next bytes of a script.

    None closes the connection without an answer, "silence" never answers.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self._held: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._held.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while True:
                try:
                    data = connection.recv(1 << 16)
                except OSError:
                    return
                if not data:
                    return
                self.requests.append(data)
                answer = self.script.pop(0) if self.script else OK
                if answer is None:
                    return
                if answer != "silence":
                    connection.sendall(answer)

    def close_idle(self) -> None:
        """Close every connection from this end, as a server does with idle ones."""
        for connection in self._held:
            connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._listening.close()
        for connection in self._held:
            connection.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedSidecar]]:
    """Starts scripted sidecars; all are closed at the end."""
    started: list[ScriptedSidecar] = []

    def start(*script: Any) -> ScriptedSidecar:
        started.append(ScriptedSidecar(*script))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(params=["sync", "aio"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Side]]:
    """Opens clients of one side; all are closed at the end."""
    opened: list[Side] = []
    with ThreadPoolExecutor(8) as pool:

        def open_one(port: int, **options: Any) -> Side:
            names: Any = pannier if request.param == "sync" else pannier.aio
            store = names.SidecarStoreBackend(port=port, **options)
            opened.append(Side(store, pool if request.param == "sync" else None))
            return opened[-1]

        yield open_one
        for one in opened:
            await one.close()


async def test_a_write_without_an_answer_is_of_unknown_outcome_and_sent_once(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    for cut in (None, b"HTTP/1.1 201 Cre", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"):
        server = scripted(cut, None)
        store = client(server.port, request_timeout=0.5)

        with pytest.raises(OutcomeUnknown):
            await store.write("Cart", "42", b"1")

        assert len(server.requests) == 1


async def test_a_read_without_an_answer_is_tried_once_more(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    server = scripted(None, OK)
    assert await client(server.port).read("Cart", "42") == b"7"
    assert len(server.requests) == 2

    server = scripted(None, None, OK)
    with pytest.raises(BackendUnavailable):
        await client(server.port).read("Cart", "42")
    assert len(server.requests) == 2


async def test_silence_ends_in_the_error_that_says_what_is_known(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    server = scripted("silence", "silence", OK)
    store = client(server.port, request_timeout=0.1)

    with pytest.raises(OperationTimeout):
        await store.read("Cart", "42")
    with pytest.raises(OutcomeUnknown):
        await store.erase("Cart", "42")

    assert await store.read("Cart", "42") == b"7"  # on a fresh connection
    assert len(server.requests) == 3


async def test_a_connection_closed_while_it_was_idle_costs_nothing(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    server = scripted(OK, CREATED)
    store = client(server.port)
    assert await store.read("Cart", "42") == b"7"

    server.close_idle()

    assert await store.write("Cart", "42", b"1") is Outcome.CREATED
    assert len(server.requests) == 2


async def test_a_connection_is_kept_alive_unless_the_answer_ends_it(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    server = scripted(OK, CHUNKED, last, OK)
    store = client(server.port)

    found = [await store.read("Cart", "42") for _ in range(4)]

    assert found == [b"7", b"789", b"7", b"7"]
    assert len(server._held) == 2


async def test_what_is_no_sidecar_is_an_error_and_not_an_answer(
    client: Callable[..., Side], scripted: Callable[..., ScriptedSidecar]
) -> None:
    server = scripted(b"SSH-2.0-OpenSSH\r\n", b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(PannierError):
        await client(server.port).read("Cart", "42")
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nContent-Type: text/html\r\n\r\noops"
    with pytest.raises(BackendRefused):
        await client(scripted(page).port).read("Cart", "42")
    with pytest.raises(BackendRefused):
        await client(scripted(OK.replace(b"7", b"{}").replace(b": 1", b": 2")).port).count("Cart")


async def test_a_token_is_sent_and_never_shown(client: Callable[..., Side], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with sidecar(tmp_path, "--api-token-file", str(token)) as running:
        store = client(running.port, token="s3cret")
        await store.ping()
        assert await store.write("Cart", "42", b"1") is Outcome.CREATED

        with pytest.raises(BackendRefused) as raised:
            await client(running.port, token="wr0ng").read("Cart", "42")
        connector = store.subject.connector_klass(port=1, token="s3cret")
        assert repr(store.subject) == f"<SidecarStoreBackend default at 127.0.0.1:{running.port}>"
        for shown in (repr(store.subject), repr(connector), str(raised.value), repr(store.stats())):
            assert "s3cret" not in shown and "wr0ng" not in shown


async def test_a_unix_socket_is_dialed_where_one_is_given(
    client: Callable[..., Side], tmp_path: Path
) -> None:
    path = tmp_path / "sidecar.sock"
    with sidecar(tmp_path, "--unix-socket", str(path)) as running:
        store = client(1, unix_socket=str(path))
        assert await store.write("Cart", "ä/%", b"1") is Outcome.CREATED
        assert await client(running.port).read("Cart", "ä/%") == b"1"


async def test_a_store_that_is_not_served_is_not_an_empty_one(
    client: Callable[..., Side], tmp_path: Path
) -> None:
    with sidecar(tmp_path) as running:
        store = client(running.port, store="other")
        for operation in (
            store.exists("Cart", "42"),
            store.read("Cart", "42"),
            store.count("Cart"),
            store.ping(),
            store.read_many("Cart", ["42"]),
            store.write("Cart", "42", b"1"),
        ):
            with pytest.raises(StoreNotFound):
                await operation


async def test_thousands_go_in_batches_that_a_sidecar_takes(
    client: Callable[..., Side], tmp_path: Path
) -> None:
    big = b'"' + b"x" * 900_000 + b'"'
    writes = [Write(f"k{number}", b"1") for number in range(2500)]
    writes += [Write(f"big{number}", big) for number in range(30)]
    with sidecar(tmp_path) as running:
        store = client(running.port)

        results = await store.write_many("Cart", writes)

        assert results == [Outcome.CREATED] * len(writes)
        keys = [write.key for write in writes]
        assert await store.read_many("Cart", keys) == [write.value for write in writes]
        assert await store.count("Cart") == len(writes)


# The words, without a connection ------------------------------------------------------------------


def problem(error: PannierError, **more: Any) -> Answer:
    """The answer a sidecar gives for an error."""
    document = {
        "title": error.title, "status": error.status, "code": error.code, "detail": str(error),
    } | more  # fmt: skip
    return Answer(
        error.status, {"content-type": "application/problem+json"}, json.dumps(document).encode()
    )


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PannierError) and kind is not PannierError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_back_as_itself(kind: type[PannierError]) -> None:
    if kind.code == "internal":
        return  # it never crosses the wire
    back = error_of(problem(kind("it happened"), pending=3), "Cart/42", write=True)

    assert type(back) is kind
    assert str(back) == "it happened"
    assert back.fields == {"pending": 3}


def test_one_code_of_two_errors_is_told_apart_by_its_title() -> None:
    assert type(error_of(problem(PoolFull()), "x", write=True)) is PoolFull
    assert type(error_of(problem(PoolTimeout()), "x", write=True)) is PoolTimeout
    assert PoolFull.code == PoolTimeout.code


@pytest.mark.parametrize(
    ("status", "code", "write", "kind"),
    [
        (503, "draining", True, BackendUnavailable),
        (503, "overloaded", False, BackendUnavailable),
        (403, "forbidden", False, BackendRefused),
        (401, "unauthorized", True, BackendRefused),
        (400, "a-code-of-the-future", True, BackendRefused),
        (500, "internal", True, OutcomeUnknown),
        (500, "internal", False, BackendUnavailable),
        (502, None, True, OutcomeUnknown),
        (502, None, False, BackendUnavailable),
    ],
)
def test_codes_of_http_alone_become_the_nearest_error(
    status: int, code: str | None, write: bool, kind: type[PannierError]
) -> None:
    body = json.dumps({"code": code} if code else {}).encode()
    answer = Answer(status, {"content-type": "application/problem+json"}, body)

    assert type(error_of(answer, "Cart/42", write=write)) is kind


def test_filters_are_pushed_as_far_as_the_sidecar_can_tell() -> None:
    klass = CLASSES["dataclass"]
    asked = {
        "id__gte": 3, "id__lt": 9, "price__gt": Decimal("9.5"), "day": date(2026, 1, 1),
        "address__city": "Paris", "tags__contains": "x", "free__a__exists": False, "x.y": 1,
        "free": 0.1, "free__in": [1, Decimal("1E+5")], "pair__ne": "\ud800",
    }  # fmt: skip
    document = filter_document(filters.conditions_of_kwargs(asked, klass))

    assert json.loads(msgspec.json.encode(document)) == {
        "id": {"gte": 3, "lt": 9},
        "price": {"exists": True},
        "day": {"exists": True},
        "address.city": {"eq": "Paris"},
        "tags": {"contains": "x"},
        "free.a": {"exists": False},
        "free": {"eq": 0.1, "in": [1, 100000]},
    }


def test_parts_hold_every_write_once_and_in_order() -> None:
    writes = [Write(str(number), b"x" * (number * 7919 % 3_000_000)) for number in range(60)]
    writes += [Write("d", None)] * 3000

    parts = list(in_parts(writes))

    assert [write for part in parts for write in part] == writes
    for part in parts:
        assert len(part) <= 1000
        size = sum(len(write.value or b"") for write in part)
        assert size <= 8 * 1024 * 1024 or len(part) == 1
    assert list(in_parts([])) == []


def test_answers_are_read_however_they_are_cut() -> None:
    for text, body in ((OK, b"7"), (CHUNKED, b"789"), (CREATED, b"")):
        for cut in range(1, len(text)):
            reader = AnswerReader("GET")
            assert not reader.feed(text[:cut]) or reader.answer is not None
            assert reader.feed(text[cut:])
            assert reader.answer is not None and reader.answer.body == body
    head = AnswerReader("HEAD")
    assert head.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")


def test_a_request_names_its_host_as_http_wants_it() -> None:
    for address, host in (
        (SidecarAddress("127.0.0.1", 3900), b"127.0.0.1:3900"),
        (SidecarAddress("::1", 3900), b"[::1]:3900"),
        (SidecarAddress("127.0.0.1", 3900, "/run/pannier.sock"), b"localhost"),
    ):
        sent = request("PUT", "/v1/a", address.authority, {"If-Match": "*"}, b"{}")
        assert sent == (
            b"PUT /v1/a HTTP/1.1\r\nHost: " + host
            + b"\r\nIf-Match: *\r\nContent-Length: 2\r\n\r\n{}"
        )  # fmt: skip
