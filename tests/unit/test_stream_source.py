"""The stream's client inside this process, for what takes too long with a sidecar's own times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pannier.config.applying import Applier
from pannier.config.served import StoreTable
from pannier.config.stream import session as stream_session
from pannier.config.stream.dialing import StreamSettings
from pannier.config.stream.messages import StoreEntry
from pannier.config.stream.source import StreamSource
from tests.real.certificates import Certificates
from tests.real.stream_peer import Bearings, Peer, peer


@pytest.fixture
def operator(certificates: Certificates) -> Iterator[Peer]:
    with peer(certificates) as running:
        yield running


class Client:
    """A stream's client that pings ten times a second."""

    def __init__(self, bearings: Bearings) -> None:
        self.table = StoreTable()
        self.applier = Applier(self.table)
        self.source = self.made(bearings, ping_every=0.1)

    def made(self, bearings: Bearings, ping_every: float) -> StreamSource:
        self.bearings = bearings
        return StreamSource(
            StreamSettings(
                operator=bearings.url,
                token_file=bearings.token,
                ca_file=bearings.ca,
                ping_every=ping_every,
            ),
            self.table,
            random=lambda: 0.1,
        )


@pytest.fixture
async def client(
    tmp_path: Path, certificates: Certificates, operator: Peer
) -> AsyncIterator[Client]:
    made = Client(Bearings(tmp_path, certificates, operator.url))
    yield made
    await made.source.close()
    await made.applier.close()
    assert {task.get_name() for task in asyncio.all_tasks()} == {
        asyncio.current_task().get_name()  # type: ignore[union-attr]
    }


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a condition of another thread
            await asyncio.sleep(0.005)


def memory(name: str) -> StoreEntry:
    document = {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"name": name},
        "spec": {"type": "memory", "memory": {}},
    }
    return StoreEntry(name=name, document=document)


async def test_a_peer_that_answers_pings_is_kept(client: Client, operator: Peer) -> None:
    client.source.follow(client.applier)
    await until(lambda: client.table.stream_connected)
    await asyncio.sleep(0.5)  # several pings and the time of two missed ones
    assert client.table.stream_connected
    assert len(operator.streams) == 1


async def test_a_peer_that_answers_no_ping_is_dead_and_is_dialed_again(
    client: Client, operator: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    operator.answers_pings = False
    client.source.follow(client.applier)
    await until(lambda: len(operator.streams) > 1)
    assert "the operator answered no ping" in caplog.text


async def test_a_peer_that_reads_nothing_is_dead_and_is_dialed_again(
    client: Client, operator: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    client.source.follow(client.applier)
    await until(lambda: operator.streams and operator.streams[0].reports)
    await asyncio.to_thread(operator.streams[0].stop_reading)
    await until(lambda: len(operator.streams) > 1)
    assert "the operator answered no ping" in caplog.text


async def test_a_message_that_cannot_be_sent_ends_the_stream(
    client: Client, operator: Peer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The peer takes nothing, and long messages fill all buffers on the way to it."""
    client.source = client.made(client.bearings, ping_every=60)
    monkeypatch.setattr(stream_session, "SEND_WITHIN", 0.2)
    monkeypatch.setattr(stream_session, "REPORT_EVERY", 0.01)
    monkeypatch.setattr(stream_session, "changes", lambda before, now: now)
    monkeypatch.setattr(stream_session, "fitting", lambda report: b"x" * 8 * 1024 * 1024)
    client.source.follow(client.applier)
    await until(lambda: operator.streams and operator.streams[0].reports)
    await asyncio.to_thread(operator.streams[0].stop_reading)
    await asyncio.to_thread(operator.streams[0].send, memory("a"))
    await until(lambda: len(operator.streams) > 1)
    assert "the operator read nothing for 0.2 s" in caplog.text
    assert client.table.stores["a"].state == "ready"


async def test_a_fault_of_ours_ends_the_stream_and_not_the_following(
    client: Client, operator: Peer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fails(self: object, configuration: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(Applier, "apply", fails)
        client.source.follow(client.applier)
        await until(lambda: operator.streams and operator.streams[0].reports)
        await asyncio.to_thread(operator.streams[0].send, memory("a"))
        await until(lambda: "the operator's stream failed" in caplog.text)
    client.source.redial()
    await until(lambda: len(operator.streams) > 1 and operator.streams[1].reports)
    await asyncio.to_thread(operator.streams[1].push, memory("a"))
    assert client.table.stores["a"].state == "ready"


async def test_it_is_closed_at_any_moment(client: Client, operator: Peer) -> None:
    """Before the first step, in the dial, in the handshake, and while a stream lives."""
    client.source.follow(client.applier)
    for _ in range(30):
        await asyncio.sleep(0.002)
        await client.source.close()
        client.source.follow(client.applier)
    await until(lambda: client.table.stream_connected)
