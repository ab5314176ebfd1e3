"""The fast lane on a transport of paper: order, waiting, clients that vanish or do not read.

The store answers when the test says so; what goes to aiohttp's handler is kept to be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from pannier.aio.stores.base import KeyValueStoreBackendBase
from pannier.config.served import Generation, ServedStore, StoreTable
from pannier.errors import PannierError
from pannier.operations import Condition, Outcome
from pannier.server.admission import Admission
from pannier.server.budget import Budget
from pannier.server.connection import Connection
from pannier.server.fast_lane import MAX_HELD, FastLane
from pannier.server.serving import Serving
from pannier.server.settings import SidecarSettings

LIMIT = 100_000


class PaperStore:
    """A store with callbacks; `waiting` holds what was asked, in order."""

    capabilities = frozenset({"cas"})

    def __init__(self) -> None:
        self.waiting: list[PaperOperation] = []

    def submit_read(self, schema: str, key: str, done: Any) -> PaperOperation:
        return self._ask("read", key, done)

    def submit_write(
        self, schema: str, key: str, value: bytes, condition: Condition, done: Any
    ) -> PaperOperation:
        return self._ask("write", key, done)

    def submit_erase(
        self, schema: str, key: str, condition: Condition, done: Any
    ) -> PaperOperation:
        return self._ask("erase", key, done)

    def _ask(self, what: str, key: str, done: Any) -> PaperOperation:
        operation = PaperOperation(what, key, done)
        self.waiting.append(operation)
        return operation

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(one.what, one.key) for one in self.waiting]

    def answer(self, result: bytes | Outcome | None, error: PannierError | None = None) -> None:
        """End the oldest operation."""
        self.waiting.pop(0).done(result, error)


class PaperOperation:
    def __init__(self, what: str, key: str, done: Any) -> None:
        self.what, self.key, self.done = what, key, done
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


class PaperTransport:
    """Keeps what is written; `full` is how much the client has not taken."""

    def __init__(self) -> None:
        self.written = b""
        self.full = 0
        self.reading = True
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.full

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class PaperConnection:
    """aiohttp's handler: keeps what it is given, and is quiet when the test says so."""

    def __init__(self) -> None:
        self.given = b""
        self.quiet = True
        self.told: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.given += data
        self.quiet = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append(name)


class Client:
    """One client of a lane, and everything behind it."""

    def __init__(self, **settings: Any) -> None:
        self.store = PaperStore()
        self.generation = Generation(cast(KeyValueStoreBackendBase, self.store))
        served = ServedStore("shop", "redis", "ready", generation=self.generation)
        self.counts = served.counts
        self.serving = Serving(
            settings=SidecarSettings(**settings),
            table=StoreTable(stores={"shop": served}),
            admission=Admission(),
            budget=Budget(LIMIT),
        )
        self.connection = PaperConnection()
        self.transport = PaperTransport()
        self.lane = FastLane(
            self.serving, cast(Connection, self.connection), asyncio.get_running_loop(), {}
        )
        self.lane.connection_made(cast(asyncio.Transport, self.transport))

    def send(self, *data: bytes) -> None:
        for each in data:
            self.lane.data_received(each)

    @property
    def statuses(self) -> list[int]:
        """The statuses answered so far."""
        lines = self.transport.written.split(b"HTTP/1.1 ")[1:]
        return [int(line[:3]) for line in lines]


def get(key: str = "k") -> bytes:
    return f"GET /v1/shop/S/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def put(key: str = "k", size: int = 2) -> bytes:
    body = b'"' + b"x" * (size - 2) + b'"'
    head = f"PUT /v1/shop/S/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


LIST = b"GET /v1/shop/S HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def client() -> Client:
    return Client()


# Order ------------------------------------------------------------------------------------------


async def test_pipelined_requests_run_one_after_the_other(client: Client) -> None:
    client.send(put("a") + get("a") + get("b"))
    assert client.store.asked == [("write", "a")]
    client.store.answer(Outcome.CREATED)
    assert client.store.asked == [("read", "a")]
    client.store.answer(b"1")
    client.store.answer(None)
    assert client.statuses == [201, 200, 404]
    assert client.generation.active == 0


async def test_what_comes_while_a_request_is_answered_waits_for_its_turn(client: Client) -> None:
    client.send(get("a"), get("b")[:20], get("b")[20:])
    assert client.store.asked == [("read", "a")]
    client.store.answer(b"1")
    assert client.store.asked == [("read", "b")]


async def test_a_request_for_aiohttp_waits_until_the_answers_before_it_are_written(
    client: Client,
) -> None:
    client.send(get("a") + LIST + get("b"))
    assert client.connection.given == b""
    client.store.answer(b"1")
    assert client.statuses == [200]
    assert client.connection.given == LIST + get("b"), "in order and untouched"


async def test_the_lane_takes_over_again_once_aiohttp_is_quiet(client: Client) -> None:
    client.send(LIST, get("a"))
    assert client.connection.given == LIST + get("a")
    client.connection.quiet = True
    client.send(get("b"))
    assert client.connection.given == LIST + get("a")
    assert client.store.asked == [("read", "b")]


async def test_an_incomplete_request_goes_to_aiohttp_with_all_that_follows(client: Client) -> None:
    whole = put("a", 50)
    client.send(whole[:-5], whole[-5:])
    assert client.connection.given == whole
    assert client.store.asked == []


async def test_thousands_of_pipelined_requests_need_no_stack() -> None:
    from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend

    client = Client()
    client.serving.table.stores["shop"].generation = Generation(InMemoryKeyValueStoreBackend())
    client.send((put("a") + get("a")) * 3000)
    assert client.statuses == [201, 200] + [204, 200] * 2999


# Bounds -----------------------------------------------------------------------------------------


async def test_a_client_that_pipelines_without_end_is_read_no_further(client: Client) -> None:
    client.send(get("a"))
    while client.transport.reading:
        client.send(get("b") * 100)
    assert len(client.lane._held) < MAX_HELD + 100 * len(get("b"))
    while client.store.waiting:
        client.store.answer(b"1")
    assert client.transport.reading
    assert set(client.statuses) == {200}


async def test_nothing_more_is_begun_for_a_client_that_does_not_read(client: Client) -> None:
    client.send(get("a"))
    client.transport.full = 70_000
    client.lane.pause_writing()
    client.store.answer(b"1")
    client.send(get("b"))
    assert client.store.asked == []
    assert client.serving.budget.taken == 70_000, "its unread answer is counted"
    client.lane.resume_writing()
    assert client.store.asked == [("read", "b")]
    assert client.serving.budget.taken == 0


async def test_a_client_that_takes_nothing_for_long_is_given_up(client: Client) -> None:
    client.transport.full = 70_000
    client.lane.pause_writing()
    client.transport.full = 60_000  # it takes a little: that is enough
    client.lane._look_again()
    assert not client.transport.aborted
    client.lane._look_again()
    assert client.transport.aborted
    client.lane.connection_lost(None)
    assert client.serving.budget.taken == 0


async def test_the_first_look_at_a_client_that_does_not_read_comes_in_time() -> None:
    client = Client(client_timeout=0.01)
    client.transport.full = 70_000
    client.lane.pause_writing()
    async with asyncio.timeout(5):
        while not client.transport.aborted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_bodies_in_flight_are_counted_and_given_back(client: Client) -> None:
    client.send(put("a", 40_000))
    assert client.serving.budget.taken == 40_000
    client.store.answer(Outcome.CREATED)
    assert client.serving.budget.taken == 0


async def test_a_body_without_room_is_left_to_aiohttp_to_refuse(client: Client) -> None:
    client.serving.budget.taken = LIMIT - 10
    client.send(put("a", 11))
    assert client.connection.given == put("a", 11)
    assert client.serving.budget.taken == LIMIT - 10


async def test_a_large_record_without_room_is_refused(client: Client) -> None:
    client.serving.budget.taken = LIMIT - 1000
    client.send(get("a"))
    client.store.answer(b'"' + b"x" * 20_000 + b'"')
    assert client.statuses == [503]
    assert b'"overloaded"' in client.transport.written
    assert client.serving.budget.taken == LIMIT - 1000


# Ends -------------------------------------------------------------------------------------------


async def test_a_client_that_vanishes_abandons_its_operation_and_leaks_nothing(
    client: Client,
) -> None:
    client.send(put("a", 100) + get("b"))
    operation = client.store.waiting[0]
    client.lane.connection_lost(None)
    assert operation.abandoned
    assert client.generation.active == 0
    assert client.serving.budget.taken == 0
    operation.done(Outcome.CREATED, None)  # the reply that comes too late
    assert client.transport.written == b""
    assert client.store.asked == [("write", "a")], "what waited behind it is not begun"
    assert client.counts.put.outcomes["cancelled"] == 1
    assert "connection_lost" in client.connection.told


async def test_a_half_closed_client_gets_its_answers_and_then_the_close(client: Client) -> None:
    client.send(get("a") + get("b"))
    assert client.lane.eof_received() is True
    client.store.answer(b"1")
    assert not client.transport.closed
    client.store.answer(b"2")
    assert client.statuses == [200, 200]
    assert client.transport.written.count(b"Connection: close\r\n") == 1
    assert client.transport.closed


async def test_while_draining_the_answer_in_hand_says_close_and_a_new_request_is_aiohttps(
    client: Client,
) -> None:
    client.send(get("a"))
    client.serving.draining = True
    client.store.answer(b"1")
    assert b"Connection: close\r\n" in client.transport.written
    assert client.transport.closed

    other = Client()
    other.serving.draining = True
    other.send(get("a"))
    assert other.connection.given == get("a")


async def test_what_was_pipelined_behind_is_refused_by_aiohttp_while_draining(
    client: Client,
) -> None:
    client.send(get("a") + get("b"))
    client.serving.draining = True
    client.store.answer(b"1")
    assert b"Connection: close" not in client.transport.written
    assert client.connection.given == get("b")


async def test_a_store_that_goes_away_is_left_to_aiohttp_to_explain(client: Client) -> None:
    client.serving.table.stores["shop"].generation = None
    client.send(get("a"))
    assert client.connection.given == get("a")
    del client.serving.table.stores["shop"]
    client.connection.quiet = True
    client.send(get("b"))
    assert client.connection.given == get("a") + get("b")


async def test_requests_are_counted_with_their_status(client: Client) -> None:
    client.send(get("a"))
    client.store.answer(None)
    assert client.serving.http.record["GET"].statuses == {200: 0, 404: 1}
    assert client.counts.get.outcomes["record-not-found"] == 1
