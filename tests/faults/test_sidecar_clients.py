"""Clients that are many, slow, greedy or gone: the others do not notice."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.faults.test_sidecar_stopping import until
from tests.real.sidecar import PANNIER, Sidecar, sidecar

CART = "/v1/default/Cart"
LANES = pytest.mark.parametrize("lane", [(), ("--no-fast-lane",)], ids=["fast", "aiohttp"])


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Let this process open some thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip(f"this machine lets a process open {hard} files only; the test needs 6000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def wires(port: int, count: int) -> Iterator[list[Wire]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Wire(port)) for _ in range(count)]


def serves(ask: Client, rounds: int = 50) -> float:
    """The slowest of some requests, in seconds, each answered as it should be."""
    slowest = 0.0
    for n in range(rounds):
        began = time.monotonic()
        assert ask("PUT", f"{CART}/{n}", b"1").status in (201, 204)
        assert ask("GET", f"{CART}:count").status == 200
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def resident(running: Sidecar) -> int:
    """The sidecar's resident memory in bytes."""
    pages = Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@LANES
def test_2000_idle_clients_cost_little_and_disturb_nobody(
    tmp_path: Path, lane: tuple[str, ...]
) -> None:
    with sidecar(tmp_path, *lane) as running:
        ask = Client(running.port)
        serves(ask, 5)
        before = resident(running)
        with wires(running.port, 2000) as idle:
            assert serves(ask) < 5
            assert resident(running) - before < 2000 * 20_000
            for wire in idle[::100]:
                wire.send(request("GET", f"{CART}/1"))
                assert wire.read().body == b"1"
        ask.close()


@LANES
def test_1000_slow_clients_disturb_nobody_and_are_given_up(
    tmp_path: Path, lane: tuple[str, ...]
) -> None:
    """Half of them drip heads, half bodies; none gets further than --client-timeout."""
    with sidecar(tmp_path, *lane, "--client-timeout", "3s") as running:
        ask = Client(running.port)
        head = request("PUT", f"{CART}/slow", b"1" * 1_000_000)
        with wires(running.port, 1000) as slow:
            for n, wire in enumerate(slow):
                wire.send(head[:20] if n % 2 else head[:1000])
            assert serves(ask) < 5
            for wire in slow:
                reply = wire.read()
                assert (reply.status, reply.code) == (400, "bad-request")
                assert wire.closed()
        assert serves(ask, 5) < 5
        assert ask("GET", f"{CART}/slow").status == 404
        ask.close()


@LANES
def test_a_client_that_does_not_read_is_given_up(tmp_path: Path, lane: tuple[str, ...]) -> None:
    with sidecar(tmp_path, *lane, "--client-timeout", "1s") as running:
        ask = Client(running.port)
        assert ask("PUT", f"{CART}/big", b'"' + b"x" * 1_000_000 + b'"').status == 201
        for target, accept in ((f"{CART}/big", "*/*"), (CART, "application/x-ndjson")):
            with Wire(running.port) as wire:
                wire.send(request("GET", target, accept=accept) * 30)
                assert serves(ask, 5) < 5
                until(lambda: open_clients(running) == 1)
        ask.close()


def open_clients(running: Sidecar) -> int:
    """How many connections the sidecar holds on its record port."""
    wanted = f":{running.port:04X}"
    table = Path(f"/proc/{running.process.pid}/net/tcp").read_text().splitlines()[1:]
    owned = {
        link.readlink().name
        for link in Path(f"/proc/{running.process.pid}/fd").iterdir()
        if link.is_symlink() and "socket:" in str(link.readlink())
    }
    lines = [line.split() for line in table]
    return sum(
        line[1].endswith(wanted) and line[3] != "0A" and f"socket:[{line[9]}]" in owned
        for line in lines
    )


@LANES
def test_a_client_that_vanishes_takes_nothing_with_it(
    tmp_path: Path, lane: tuple[str, ...]
) -> None:
    with sidecar(tmp_path, *lane) as running:
        ask = Client(running.port)
        ask("PUT", f"{CART}/big", b'"' + b"x" * 1_000_000 + b'"')
        whole = request("PUT", f"{CART}/1", b"1") + request("GET", f"{CART}/big")
        for place in (1, 20, len(whole) // 2, len(whole)):
            for _ in range(25):
                wire = Wire(running.port)
                wire.send(whole[:place])
                wire.reset()
        for _ in range(10):
            wire = Wire(running.port)
            wire.send(request("GET", CART, accept="application/x-ndjson"))
            wire.reset()
        assert serves(ask) < 5
        until(lambda: open_clients(running) == 1)
        assert "Traceback" not in running.log.read_text()
        ask.close()


# Limits -----------------------------------------------------------------------------------------


@LANES
def test_a_client_over_the_most_is_told_and_closed(tmp_path: Path, lane: tuple[str, ...]) -> None:
    with sidecar(tmp_path, *lane, "--max-clients", "10") as running:
        with wires(running.port, 10) as first:
            for wire in first:
                wire.send(request("GET", "/v1"))
                assert wire.read().status == 200
            for _ in range(30):
                with Wire(running.port) as extra:
                    extra.send(request("GET", "/v1"))
                    reply = extra.read()
                    assert (reply.status, reply.code) == (503, "overloaded")
                    assert reply.headers["connection"] == "close"
                    assert extra.closed()
            for wire in first:
                wire.send(request("GET", f"{CART}/1"))
                assert wire.read().status == 404
        ask = Client(running.port)
        until(lambda: answered(running.port))
        ask.close()


def answered(port: int) -> bool:
    with Wire(port) as wire:
        wire.send(request("GET", "/v1"))
        return wire.read().status == 200


@LANES
def test_bodies_in_flight_are_bounded(tmp_path: Path, lane: tuple[str, ...]) -> None:
    """Bodies that are half here hold their bytes; the next one is refused, and not for ever."""
    with sidecar(tmp_path, *lane, "--max-inflight-bytes", "2Mi") as running:
        body = b'"' + b"x" * 900_000 + b'"'
        with wires(running.port, 2) as held:
            for n, wire in enumerate(held):
                wire.send(request("PUT", f"{CART}/{n}", body)[:-1])
            until(lambda: refused(running.port, body))
            ask = Client(running.port)
            assert ask("GET", f"{CART}:count").status == 200
            ask.close()
            for wire in held:
                wire.send(b'"')
                assert wire.read().status == 201
        until(lambda: not refused(running.port, body))


def refused(port: int, body: bytes) -> bool:
    with Wire(port) as wire:
        wire.send(request("PUT", f"{CART}/extra", body))
        reply = wire.read()
        assert reply.status in (201, 204, 503)
        assert reply.code in (None, "overloaded")
        return reply.status == 503


@LANES
def test_answers_in_flight_are_bounded(tmp_path: Path, lane: tuple[str, ...]) -> None:
    flags = ("--max-inflight-bytes", "3Mi", "--client-timeout", "1h")
    with sidecar(tmp_path, *lane, *flags) as running:
        ask = Client(running.port)
        ask("PUT", f"{CART}/big", b'"' + b"x" * 1_000_000 + b'"')
        with wires(running.port, 40) as greedy:
            for wire in greedy:
                wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                wire.send(request("GET", f"{CART}/big") * 20)
            until(lambda: ask("GET", f"{CART}/big").status == 503)
            assert ask("GET", f"{CART}/big").code == "overloaded"
            assert resident(running) < 150_000_000
        until(lambda: ask("GET", f"{CART}/big").status == 200)
        ask.close()


@LANES
def test_what_is_pipelined_behind_a_stalled_answer_waits_in_the_socket(
    tmp_path: Path, lane: tuple[str, ...]
) -> None:
    with sidecar(tmp_path, *lane) as running:
        ask = Client(running.port)
        for n in range(20):
            ask("PUT", f"{CART}/big-{n}", b'"' + b"x" * 1_000_000 + b'"')
        before = resident(running)
        with Wire(running.port) as wire:
            wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(request("GET", CART, accept="application/x-ndjson"))
            wire._socket.settimeout(1)
            more = request("PUT", f"{CART}/more", b"1" * 500_000) + request("GET", "/v1") * 1000
            with pytest.raises(TimeoutError):
                flood(wire, more)
            assert resident(running) - before < 10_000_000
        assert serves(ask, 5) < 5
        ask.close()


def flood(wire: Wire, data: bytes) -> None:
    for _ in range(300):
        wire.send(data)


@LANES
def test_running_out_of_files_is_survived(tmp_path: Path, lane: tuple[str, ...]) -> None:
    with sidecar(tmp_path, *lane) as running:
        ask = Client(running.port)
        assert serves(ask, 5) < 5
        used = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        with ExitStack() as stack:
            for _ in range(60):
                try:
                    stack.enter_context(Wire(running.port))
                except OSError:
                    pass
            assert serves(ask) < 5
        until(lambda: accepts(running.port))
        assert serves(ask, 5) < 5
        assert running.process.poll() is None
        ask.close()


def accepts(port: int) -> bool:
    try:
        return answered(port)
    except (OSError, EOFError):
        return False


def test_no_more_clients_than_files_are_let_in(tmp_path: Path) -> None:
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 200\nexec "{PANNIER}" "$@"\n')
    limited.chmod(0o755)
    with sidecar(tmp_path, command=limited) as running:
        told = 0
        with ExitStack() as stack:
            for _ in range(150):
                wire = stack.enter_context(Wire(running.port))
                wire.send(request("GET", "/v1"))
                told += wire.read().status == 503
        assert told > 0
        assert "limit of open files" in running.log.read_text()
