"""How a sidecar ends: SIGTERM finishes what was taken, a second signal ends it now."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.http.wire import Client, Wire, request
from tests.real.programs import free_port
from tests.real.sidecar import Sidecar, sidecar

CART = "/v1/default/Cart"
LANES = pytest.mark.parametrize("lane", [(), ("--no-fast-lane",)], ids=["fast", "aiohttp"])


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return once `holds()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def half_a_put(port: int, key: str) -> Wire:
    """A PUT that is taken (the sidecar asks for its body) and not finished."""
    wire = Wire(port)
    wire.send(request("PUT", f"{CART}/{key}", content_length="5", expect="100-continue"))
    assert wire.read().status == 100
    wire.send(b"123")
    return wire


def refuses(port: int) -> bool:
    """Whether nobody listens on the port any more."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return False
    except ConnectionRefusedError:
        return True


@LANES
def test_sigterm_with_nothing_to_do_ends_with_0(tmp_path: Path, lane: tuple[str, ...]) -> None:
    with sidecar(tmp_path, *lane) as running:
        ask = Client(running.port)
        assert ask("GET", "/v1").status == 200
        assert running.stop(signal.SIGTERM) == 0
        ask.close()


@LANES
def test_what_was_taken_is_finished_and_new_requests_are_told(
    tmp_path: Path, lane: tuple[str, ...]
) -> None:
    with sidecar(tmp_path, *lane) as running:
        taken = half_a_put(running.port, "1")
        idle = [Client(running.port) for _ in range(3)]
        for client in idle:
            assert client("GET", "/v1").status == 200
        running.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(running.port))
        asked = (("GET", f"{CART}/1", None), ("PUT", f"{CART}/2", b"1"), ("GET", "/v1/none", None))
        for client, (method, target, body) in zip(idle, asked, strict=True):
            reply = client(method, target, body)
            assert (reply.status, reply.code) == (503, "draining")
            assert reply.headers["connection"] == "close"
            assert int(reply.headers["retry-after"]) >= 1
        admin = Client(running.admin_port)
        assert admin("GET", "/readyz").status == 503
        assert admin("GET", "/healthz").status == 200
        assert running.process.poll() is None
        taken.send(b"45")
        reply = taken.read()
        assert (reply.status, reply.headers["connection"]) == (201, "close")
        assert running.process.wait(10) == 0
        for each in (taken, admin):
            each.close()


@LANES
def test_the_drain_delay_serves_on(tmp_path: Path, lane: tuple[str, ...]) -> None:
    with sidecar(tmp_path, *lane, "--drain-delay", "2s") as running:
        admin = Client(running.admin_port)
        running.process.send_signal(signal.SIGTERM)
        until(lambda: admin("GET", "/readyz").status == 503)
        ask = Client(running.port)
        assert ask("PUT", f"{CART}/1", b"1").status == 201
        ask.close()
        admin.close()
        assert running.process.wait(10) == 0


def test_the_drain_timeout_ends_what_does_not_finish(tmp_path: Path) -> None:
    with sidecar(tmp_path, "--drain-timeout", "1s") as running:
        taken = half_a_put(running.port, "1")
        began = time.monotonic()
        assert running.stop(signal.SIGTERM) == 0
        assert 0.9 < time.monotonic() - began < 8
        taken.close()
        assert "drain-timeout" in running.log.read_text()


def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    with sidecar(tmp_path, "--drain-timeout", "1h") as running:
        taken = half_a_put(running.port, "1")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(running.port))
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 128 + signal.SIGTERM
        taken.close()


@LANES
def test_sigterm_under_load_loses_no_answer(tmp_path: Path, lane: tuple[str, ...]) -> None:
    """Each client sends until it is refused: every request has its whole answer, or the
    connection was closed before a byte of it; so what was acknowledged was done."""
    with sidecar(tmp_path, *lane) as running:
        broken: list[str] = []
        answered: list[int] = []
        started = threading.Barrier(9)

        def client(number: int) -> None:
            started.wait()
            with Wire(running.port) as wire:
                for count in range(100_000):
                    kind = count % 3
                    try:
                        if kind == 0:
                            wire.send(request("PUT", f"{CART}/{number}-{count}", b"1"))
                        elif kind == 1:
                            wire.send(request("GET", f"{CART}/{number}-{count - 1}"))
                        else:
                            wire.send(request("POST", f"{CART}:batchGet", b'{"keys":["1"]}'))
                        reply = wire.read()
                    except EOFError as error:
                        if "b''" not in str(error):
                            broken.append(str(error))
                        return
                    except OSError:
                        return
                    if reply.status == 503:
                        if reply.code != "draining":
                            broken.append(str(reply))
                        return
                    if reply.status != (201, 200, 200)[kind]:
                        broken.append(f"{kind}: {reply}")
                    answered.append(reply.status)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        started.wait()
        until(lambda: len(answered) > 500)
        running.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        assert running.process.wait(10) == 0
        assert broken == []


def test_sigint_is_heeded_like_sigterm(tmp_path: Path) -> None:
    with sidecar(tmp_path) as running:
        assert running.stop(signal.SIGINT) == 0


# Starting ---------------------------------------------------------------------------------------


def failed(tmp_path: Path, *flags: str) -> tuple[int, str]:
    """The exit code and the words of a sidecar that does not start."""
    with sidecar(tmp_path, *flags, wait=False) as running:
        return running.process.wait(20), running.log.read_text()


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
def test_a_busy_port_is_said_in_clear_words(tmp_path: Path, flag: str) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        code, said = failed(tmp_path, flag, f"127.0.0.1:{port}")
    assert code == 1
    assert f"127.0.0.1:{port} is taken" in said
    assert flag in said
    assert "Traceback" not in said


def test_a_missing_or_empty_token_file_is_an_error_at_start(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for path in (tmp_path / "missing", empty, tmp_path):
        code, said = failed(tmp_path, "--api-token-file", str(path))
        assert code in (1, 2)
        assert str(path) in said
        assert "Traceback" not in said


def test_a_sidecar_killed_is_replaced_at_once(tmp_path: Path) -> None:
    socket_file = tmp_path / "pannier.sock"
    port = free_port()
    flags = ("--listen", f"localhost:{port}", "--unix-socket", str(socket_file))
    for _ in range(3):
        with sidecar(tmp_path, *flags) as running:
            ask = Client(port)
            assert ask("PUT", f"{CART}/1", b"1").status == 201
            half = half_a_put(port, "2")
            running.process.kill()
            running.process.wait(10)
            half.close()
            ask.close()
        assert socket_file.exists()


def test_the_unix_socket_serves_its_group_only(tmp_path: Path) -> None:
    path = tmp_path / "pannier.sock"
    with sidecar(tmp_path, "--unix-socket", str(path)) as running:
        assert path.stat().st_mode & 0o7777 == 0o660
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("PUT", f"{CART}/1", b"1")
        assert connection.getresponse().status == 201
        connection.close()
        code, said = failed(tmp_path, "--unix-socket", str(path))
        assert (code, "is taken" in said) == (1, True)
        assert running.stop() == 0
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    code, said = failed(tmp_path, "--unix-socket", str(path))
    assert (code, str(path) in said, path.read_text()) == (1, True, "data")


def test_both_loopback_addresses_are_served(tmp_path: Path) -> None:
    port = free_port()
    with sidecar(tmp_path, "--listen", f"localhost:{port}"):
        for host in ("127.0.0.1", "::1"):
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", "/v1", headers={"Host": "localhost"})
            assert connection.getresponse().status == 200
            connection.close()


def test_sidecars_start_on_free_ports_of_their_own(tmp_path: Path) -> None:
    with sidecar(tmp_path, "--listen", "localhost:0", "--admin-listen", "localhost:0",
                 wait=False) as running:  # fmt: skip
        until(lambda: "http://127.0.0.1:" in running.log.read_text() or died(running))
        assert running.process.poll() is None


def died(running: Sidecar) -> bool:
    return running.process.poll() is not None
