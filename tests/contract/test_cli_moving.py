"""`pannier export` and `pannier import`: every byte there and back, and every way it can end."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_cli_sidecar import MEMORY, run
from tests.real.redis import RedisServer, until
from tests.real.sidecar import PANNIER, Sidecar, sidecar


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    directory = tmp_path_factory.mktemp("moving")
    file = directory / "stores.yaml"
    file.write_text("---\n".join(MEMORY.replace("NAME", name) for name in ("one", "two")))
    with sidecar(directory, "--config", str(file), "--max-record-bytes", "100k") as made:
        yield made


def pannier(running: Sidecar, *arguments: str, stdin: str = "") -> Any:
    return run(*arguments, stdin=stdin, PANNIER_URL=running.url)


def lines(records: dict[str, str], schema: str | None = None) -> str:
    """An input of these records, whose values are JSON texts."""
    head = f'"schema":{json.dumps(schema)},' if schema else ""
    return "".join(
        f'{{{head}"key":{json.dumps(key)},"record":{record}}}\n' for key, record in records.items()
    )


def exported(running: Sidecar, target: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What an export of the target holds, by schema and key."""
    ended = pannier(running, "export", target)
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    return {(each["schema"], each["key"]): each for each in found}


ODD = {
    "1": '{"b": 1.00, "a": 12345678901234567890123, "a": 2}',
    "é /%+": '"\\u00e9\\ud83d\\ude00"',
    "2": "null",
    "3": '[ 1e400 , -0.0,"  "]',
    "4": '{"schema": "x", "key": "y", "record": {"record": 1}}',
}


def test_what_is_exported_and_imported_is_the_same_byte_for_byte(running: Sidecar) -> None:
    ended = pannier(running, "import", "one/Odd", "--verify", stdin=lines(ODD))
    assert ended.returncode == 0, ended.stderr
    assert f"imported {len(ODD)} records" in ended.stderr
    assert f"{len(ODD)} records compared, all equal" in ended.stderr
    found = exported(running, "one/Odd")
    for key, record in ODD.items():
        assert found["Odd", key]["etag"] == f'"{sha1(record.encode()).hexdigest()}"'
    text = pannier(running, "export", "one/Odd").stdout
    for record in ODD.values():
        assert f'"record":{record}}}' in text


def test_export_piped_into_import_copies_a_whole_store(running: Sidecar) -> None:
    for schema, count in (("Copied", 1500), ("Other", 3)):
        records = {str(number): f'{{"n": {number}}}' for number in range(count)}
        assert pannier(running, "import", f"one/{schema}", stdin=lines(records)).returncode == 0
    command = f"{PANNIER} export one/ | {PANNIER} import two/ --verify --json"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PANNIER_URL": running.url}, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    one, two = exported(running, "one/"), exported(running, "two/")
    assert one == two
    assert (summary["imported"], summary["compared"]) == (len(one), len(one))
    assert (summary["refused"], summary["different"], summary["complete"]) == (0, 0, True)


def test_a_schema_in_the_target_wins_and_one_must_be_named_somewhere(running: Sidecar) -> None:
    pannier(running, "import", "one/Wins", stdin=lines({"1": "1"}, schema="Loses"))
    assert pannier(running, "count", "one/Wins").stdout == "1\n"
    nameless = pannier(running, "import", "one/", stdin=lines({"1": "1"}))
    assert nameless.returncode == 1
    assert "line 1: names no schema" in nameless.stderr


def test_each_refused_record_is_reported_by_its_line_and_the_rest_is_stored(
    running: Sidecar,
) -> None:
    text = (
        lines({"1": "1"})
        + "not json\n"
        + "\n"
        + '{"record": 1}\n'
        + '{"key": "a\\u0000", "record": 1}\n'
        + '{"key": "..", "record": 1}\n'
        + lines({"large": '"' + "x" * 200_000 + '"'})
        + '{"key": 7, "record": 7}\n'
        + '{"key": "9", "schema": "a b", "record": 7}\n'
        + lines({"last": "1"}).rstrip("\n")
    )
    ended = pannier(running, "import", "one/Refused", stdin=text)
    assert ended.returncode == 1
    said = {line.split(": ")[1]: line for line in ended.stderr.splitlines() if ": line " in line}
    assert set(said) == {"line 2", "line 4", "line 5", "line 6", "line 7"}
    assert "invalid-key" in said["line 5"]
    assert "large: too-large" in said["line 7"]
    assert "imported 4 records" in ended.stderr
    assert "5 refused" in ended.stderr
    keys = pannier(running, "list", "one/Refused", "--keys").stdout.split()
    assert sorted(keys) == ["1", "7", "9", "last"]


def test_of_two_lines_with_one_key_the_later_wins_and_verifies(running: Sidecar) -> None:
    text = "".join(lines({str(number % 7): str(number)}) for number in range(5_000))
    ended = pannier(running, "import", "one/Twice", "--verify", stdin=text)
    assert ended.returncode == 0, ended.stderr
    found = exported(running, "one/Twice")
    assert sorted(each["record"] for each in found.values()) == list(range(4_993, 5_000))


def test_insert_leaves_what_is_there_and_put_replaces_it(running: Sidecar) -> None:
    pannier(running, "import", "one/Mode", stdin=lines({"1": "1", "2": "2"}))
    changed = lines({"2": "20", "3": "30"})
    inserted = pannier(running, "import", "one/Mode", "--mode", "insert", stdin=changed)
    assert inserted.returncode == 0
    assert "imported 1 record" in inserted.stderr
    assert "1 were there already" in inserted.stderr
    assert pannier(running, "get", "one/Mode/2").stdout == "2\n"
    compared = pannier(running, "import", "one/Mode", "--mode", "insert", "--verify", stdin=changed)
    assert compared.returncode == 1
    assert "line 1: 2: Mode has it otherwise" in compared.stderr
    assert pannier(running, "import", "one/Mode", stdin=changed).returncode == 0
    assert pannier(running, "get", "one/Mode/2").stdout == "20\n"


def test_files_are_written_and_read(running: Sidecar, tmp_path: Path) -> None:
    pannier(running, "import", "one/File", stdin=lines({"1": "1"}))
    file = tmp_path / "dump.ndjson"
    ended = pannier(running, "export", "one/File", "--output", str(file), "--json")
    assert json.loads(ended.stdout)["exported"] == 1
    assert pannier(running, "import", "two/File", "--file", str(file)).returncode == 0
    assert pannier(running, "get", "two/File/1").stdout == "1\n"
    assert pannier(running, "export", "one/File", "-o", "/nowhere/x").returncode == 1


def test_filters_choose_what_is_exported(running: Sidecar) -> None:
    records = {str(number): f'{{"n":{number}}}' for number in range(9)}
    pannier(running, "import", "one/Some", stdin=lines(records))
    ended = pannier(running, "export", "one/Some", "n__gte=7")
    assert len(ended.stdout.splitlines()) == 2


def test_a_store_that_is_not_there_is_told_before_a_line_is_read(running: Sidecar) -> None:
    for command in ("export", "import"):
        ended = pannier(running, command, "nowhere/Cart", stdin=lines({"1": "1"}))
        assert ended.returncode == 1
        assert "store-not-found" in ended.stderr


def test_an_empty_schema_is_no_error(running: Sidecar) -> None:
    ended = pannier(running, "export", "one/Nothing")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "exported 0 records" in ended.stderr
    assert pannier(running, "import", "one/Nothing", stdin="").returncode == 0


def test_an_export_whose_reader_goes_away_says_so_and_ends_with_1(running: Sidecar) -> None:
    records = {str(number): f'"{"x" * 1000}"' for number in range(2_000)}
    pannier(running, "import", "one/Pipe", stdin=lines(records))
    command = f"{PANNIER} export one/Pipe --url {running.url} | head -n 1 > /dev/null"
    ended = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "went away" in ended.stderr
    assert "not complete" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_says_what_was_moved_and_ends_with_130(running: Sidecar) -> None:
    process = subprocess.Popen(
        [str(PANNIER), "import", "one/Stopped", "--url", running.url],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    # A batch is 500 records for each of 4 threads: these make some go out, and the input is open.
    process.stdin.write(lines({str(number): "1" for number in range(5_000)}).encode())
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while int(pannier(running, "count", "one/Stopped").stdout) < 500:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    stored = int(pannier(running, "count", "one/Stopped").stdout)
    assert f"imported {stored} records" in said.decode()
    assert b"not complete" in said
    assert b"Traceback" not in said


class CutSidecar:
    """A server that answers an export's first lines and then cuts the connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            client.recv(10_000)
            line = b'{"key":"1","etag":"\\"x\\"","record":1}\n'
            client.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(line), line)
            )

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


def test_an_export_that_is_cut_off_is_never_taken_for_a_whole_one() -> None:
    cut = CutSidecar()
    ended = run("export", "a/b", "--port", str(cut.port))
    cut.close()
    assert ended.returncode == 1
    assert "broke off" in ended.stderr
    assert "exported 0 records" in ended.stderr or "exported 1 record " in ended.stderr
    assert "not complete" in ended.stderr


def test_an_import_goes_on_when_the_sidecar_is_killed_and_comes_back(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str
) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(
        MEMORY.replace("NAME", "default").replace(
            "type: memory, memory: {}",
            f"type: redis, redis: {{unixSocket: {redis_server.unix_socket}, "
            f'keyPrefix: "{redis_prefix}"}}',
        )
    )
    options = ["--config", str(file)]
    with sidecar(tmp_path, *options) as first:
        process = subprocess.Popen(
            [str(PANNIER), "import", "Again", "--url", first.url, "--verify"],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(lines({str(number): "1" for number in range(3_000)}).encode())
        process.stdin.flush()
        until(lambda: redis_server.call("HLEN", f"{redis_prefix}Again") >= 500, "a batch is stored")
        first.stop(signal.SIGKILL)
        rest = lines({str(number): "2" for number in range(2_500, 6_000)}).encode()
        # More than a pipe holds: the import reads on only when a sidecar is there again.
        writing = threading.Thread(target=process.stdin.write, args=(rest,))
        writing.start()
        # The later --listen wins: the new sidecar takes the place of the first.
        with sidecar(
            tmp_path, *options, "--listen", f"127.0.0.1:{first.port}",
            "--admin-listen", "127.0.0.1:0", wait=False,
        ):  # fmt: skip
            writing.join(60)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert b"6500 records compared, all equal" in said
    assert redis_server.call("HLEN", f"{redis_prefix}Again") == 6_000


def test_a_bar_is_shown_on_a_terminal_alone(running: Sidecar) -> None:
    records = {str(number): "1" for number in range(2_500)}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(PANNIER), "import", "one/Bar", "--url", running.url],
        stdin=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    process.communicate(lines(records).encode(), timeout=60)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.returncode == 0
    assert b"importing into one/Bar" in shown
    assert b"\x1b[" in shown
    assert b"imported 2500 records" in shown


def test_memory_is_constant_however_many_records_move(running: Sidecar, tmp_path: Path) -> None:
    """Ten times the records take at most 1.2 times the memory, both ways."""
    peaks: dict[tuple[str, int], int] = {}
    for count in (5_000, 50_000):
        records = {str(number): f'"{"x" * 500}"' for number in range(count)}
        file = tmp_path / "in.ndjson"
        file.write_text(lines(records))
        for words in (
            ["import", f"one/Peak{count}", "--file", str(file), "--verify"],
            ["export", f"one/Peak{count}", "--output", os.devnull],
        ):
            peaks[words[0], count] = peak(*words, "--url", running.url)
    for command in ("import", "export"):
        assert peaks[command, 50_000] <= 1.2 * peaks[command, 5_000], peaks


PEAK = """
import sys
from pannier.cli import main
code = main(sys.argv[1:])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
sys.exit(code)
"""
"""Runs the command and prints the most memory that it held, in kilobytes (getrusage would count
what the test itself held when it forked)."""


def peak(*arguments: str) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    return int(ended.stdout)
