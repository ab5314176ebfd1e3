"""`pannier check, status, get, put, delete, list, count` against a real sidecar."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pannier.cli import main
from tests.contract.test_cli_sidecar import run
from tests.real.sidecar import PANNIER, Sidecar, sidecar

STORES = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: default}
spec: {type: memory, memory: {}}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: shop}
spec: {type: memory, memory: {}}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    directory = tmp_path_factory.mktemp("cli")
    (directory / "stores.yaml").write_text(STORES)
    with sidecar(
        directory, "--config", str(directory / "stores.yaml"),
        "--unix-socket", str(directory / "sidecar.sock"), "--max-record-bytes", "10k",
    ) as made:  # fmt: skip
        yield made


@pytest.fixture
def pannier(running: Sidecar) -> Run:
    """`pannier(...)` runs the command against the sidecar."""

    def with_url(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run(
            *arguments,
            stdin=stdin,
            PANNIER_URL=running.url,
            PANNIER_ADMIN_URL=running.admin_url,
        )

    return with_url


def test_a_record_is_put_read_counted_listed_and_deleted(pannier: Run) -> None:
    put = pannier("put", "shop/Cart/42", '{"total": 3}')
    assert (put.returncode, put.stdout) == (
        0,
        'created shop/Cart/42 "5ed0a312e79fda00f80c88c61747d689584bb144"\n',
    )
    assert pannier("put", "shop/Cart/42", '{"total": 3}').stdout.startswith("replaced ")
    assert pannier("get", "shop/Cart/42").stdout == '{"total": 3}\n'
    assert pannier("count", "shop/Cart").stdout == "1\n"
    assert json.loads(pannier("list", "shop/Cart").stdout) == {
        "key": "42",
        "etag": '"5ed0a312e79fda00f80c88c61747d689584bb144"',
        "record": {"total": 3},
    }
    deleted = pannier("delete", "shop/Cart/42")
    assert (deleted.returncode, deleted.stdout) == (0, "deleted shop/Cart/42\n")
    gone = pannier("get", "shop/Cart/42")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "record-not-found" in gone.stderr
    assert pannier("delete", "shop/Cart/42").returncode == 1


def test_everything_answers_as_json_on_demand(pannier: Run) -> None:
    put = json.loads(pannier("put", "shop/Json/1", "[1,\n2]", "--json").stdout)
    assert (put["key"], put["created"]) == ("1", True)
    got = json.loads(pannier("get", "shop/Json/1", "--json").stdout)
    assert got == {"key": "1", "etag": put["etag"], "record": [1, 2]}
    assert json.loads(pannier("count", "shop/Json", "--json").stdout) == {"count": 1}
    assert json.loads(pannier("list", "shop/Json", "--json").stdout)["key"] == "1"
    status = json.loads(pannier("status", "--json").stdout)
    assert {store["name"] for store in status["stores"]} == {"default", "shop"}
    assert json.loads(pannier("delete", "shop/Json/1", "--json").stdout) == {
        "key": "1",
        "deleted": True,
    }


def test_a_record_comes_from_a_file_or_from_standard_input(pannier: Run, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text('{"from": "file"}\n')
    assert pannier("put", "shop/From/file", "--file", str(file)).returncode == 0
    assert pannier("get", "shop/From/file").stdout == '{"from": "file"}\n'
    assert pannier("put", "shop/From/stdin", stdin='{"from": "stdin"}\n').returncode == 0
    assert pannier("get", "shop/From/stdin").stdout == '{"from": "stdin"}\n'


def test_the_store_may_be_an_option_and_a_key_may_hold_slashes(pannier: Run) -> None:
    assert pannier("put", "Cart", "a/b c%+é", "1", "--store", "shop").returncode == 0
    assert pannier("get", "shop/Cart/a/b c%+é").stdout == "1\n"
    assert pannier("put", "Cart", "default one", "2").returncode == 0
    assert pannier("get", "default/Cart/default one").stdout == "2\n"


def test_conditions_are_kept(pannier: Run) -> None:
    first = json.loads(pannier("put", "shop/If/1", "1", "--json").stdout)["etag"]
    refused = pannier("put", "shop/If/1", "2", "--if-none-match", "*")
    assert (refused.returncode, "record-exists" in refused.stderr) == (1, True)
    wrong = pannier("put", "shop/If/1", "2", "--if-match", '"0"')
    assert (wrong.returncode, "etag-mismatch" in wrong.stderr) == (1, True)
    assert pannier("put", "shop/If/1", "2", "--if-match", first.strip('"')).returncode == 0
    assert pannier("delete", "shop/If/1", "--if-match", first).returncode == 1
    assert pannier("put", "shop/If/none", "2", "--if-match", "*").returncode == 1


def test_filters_and_limits_choose_what_is_listed(pannier: Run) -> None:
    for number in range(5):
        pannier("put", f"shop/Many/{number}", f'{{"n": {number}, "name": "a b"}}')
    listed = pannier("list", "shop/Many", "n__gte=2", "name=a b", "--keys")
    assert sorted(listed.stdout.split()) == ["2", "3", "4"]
    assert len(pannier("list", "shop/Many", "--limit", "2").stdout.splitlines()) == 2
    assert pannier("list", "shop/Many", "--limit", "0").stdout == ""
    assert pannier("count", "shop/Many", "n__lt=2").stdout == "2\n"


REFUSED = {
    "bad json": (["put", "shop/Cart/1", "{"], "invalid-json"),
    "no store": (["get", "nowhere/Cart/1"], "store-not-found"),
    "bad key": (["get", "shop", "..", "--store", "shop"], "invalid-key"),
    "bad schema": (["get", "shop/a b/1"], "invalid-schema"),
    "too large": (["put", "shop/Cart/1", f'"{"x" * 20_000}"'], "too-large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_sidecar_refuses_ends_with_1_and_its_code(pannier: Run, name: str) -> None:
    arguments, code = REFUSED[name]
    ended = pannier(*arguments)
    assert ended.returncode == 1
    assert f"pannier: {code}: " in ended.stderr


def test_a_refusal_is_a_problem_document_on_demand(pannier: Run) -> None:
    ended = pannier("get", "shop/Cart/nobody", "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    problem = json.loads(ended.stderr)
    assert (problem["code"], problem["status"], problem["key"]) == (
        "record-not-found", 404, "nobody",
    )  # fmt: skip
    assert {"type", "title", "detail"} <= problem.keys()


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["status", "--json", "--url", "DATA"], 1, "refused"),
        (["count", "--json", "Cart", "--token-file", "/nowhere"], 1, "refused"),
        (["get", "a/b/c", "--json", "--url", "http://127.0.0.1:1"], 3, "unreachable"),
        (["get", "a/b/c", "--json", "--url", "ftp://x"], 2, "usage"),
        (["get", "a/b/c", "--json", "--nonsense"], 2, "usage"),
        (["get", "--json"], 2, "usage"),
    ],
)
def test_every_other_complaint_is_one_object_on_demand(
    running: Sidecar,
    arguments: list[str],
    status: int,
    code: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([running.url if word == "DATA" else word for word in arguments]) == status
    out, err = capsys.readouterr()
    problem = json.loads(err)
    assert (out, problem.keys(), problem["code"]) == ("", {"code", "detail"}, code)
    assert problem["detail"]


def test_a_key_of_dashes_asks_for_no_json(pannier: Run) -> None:
    assert pannier("get", "--", "shop/Cart", "--json").stderr.startswith("pannier: record-not")


USAGE = {
    "no time to wait": ["get", "a/b/c", "--timeout", "0s"],
    "no target": ["get"],
    "no key": ["get", "shop/Cart"],
    "a schema of a path": ["list", "shop/Cart/42"],
    "too many words": ["put", "shop/Cart/1", "1", "2", "3"],
    "empty key": ["get", "shop/Cart/"],
    "filter": ["list", "shop/Cart", "=1"],
    "filter without value": ["count", "shop/Cart", "n"],
    "url": ["get", "shop/Cart/1", "--url", "ftp://x"],
    "url with path": ["get", "shop/Cart/1", "--url", "http://localhost/v1"],
    "socket and port": ["get", "shop/Cart/1", "--unix-socket", "/x", "--port", "1"],
    "record twice": ["put", "shop/Cart/1", "1", "--file", "/dev/null"],
    "file that is not there": ["put", "shop/Cart/1", "--file", "/nowhere"],
    "command": ["gett"],
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage_ends_with_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(USAGE[name]) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["get", "put", "delete", "list", "count", "export", "import"])
def test_no_sidecar_ends_with_3(command: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        words = {"put": ["a/b/c", "1"], "get": ["a/b/c"], "delete": ["a/b/c"]}
        ended = run(command, *words.get(command, ["a/b"]), "--url", url)
    assert ended.returncode == 3
    assert f"no sidecar answers on {url}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_admin_port_ends_with_3() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert run("status", "--admin-url", url).returncode == 3


def test_status_says_that_it_asked_the_data_port(running: Sidecar) -> None:
    ended = run("status", "--url", running.url)
    assert ended.returncode == 1
    assert f"{running.url} is the data port" in ended.stderr
    assert "admin port" in ended.stderr


@pytest.mark.parametrize("name", ["status", "token"])
def test_status_knows_a_data_port_by_any_of_its_answers(tmp_path: Path, name: str) -> None:
    (tmp_path / "stores.yaml").write_text(STORES.replace("shop", "status"))
    (tmp_path / "token").write_text("hunter2")
    flags = {
        "status": ["--config", str(tmp_path / "stores.yaml")],
        "token": ["--api-token-file", str(tmp_path / "token")],
    }
    with sidecar(tmp_path, *flags[name]) as asked:
        ended = run("status", "--url", asked.url)
    assert (ended.returncode, "is the data port" in ended.stderr) == (1, True)


def test_something_that_is_no_sidecar_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [str(PANNIER), "get", "a/b/c", "--port", str(port)], stderr=subprocess.PIPE, text=True
        )
        client, _ = listener.accept()
        client.recv(10_000)
        client.sendall(b"220 mail.example ESMTP\r\n")
        client.close()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "no sidecar answers" in said


def test_host_and_port_and_a_unix_socket_reach_it_too(running: Sidecar) -> None:
    run("put", "shop/Way/1", "1", "--port", str(running.port))
    got = run("get", "shop/Way/1", "--host", "localhost", "--port", str(running.port))
    assert got.stdout == "1\n"
    socket_path = running.log.parent / "sidecar.sock"
    assert run("get", "shop/Way/1", "--unix-socket", str(socket_path)).stdout == "1\n"
    assert run("get", "shop/Way/1", "--url", f"unix:{socket_path}").stdout == "1\n"


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2\n")
    with sidecar(tmp_path, "--api-token-file", str(token)) as guarded:
        ended = run("count", "Cart", "--url", guarded.url)
        assert (ended.returncode, "unauthorized" in ended.stderr) == (1, True)
        assert run("count", "Cart", "--url", guarded.url, "--token-file", str(token)).stdout == (
            "0\n"
        )
        by_variable = run("count", "Cart", PANNIER_URL=guarded.url, PANNIER_TOKEN_FILE=str(token))
        assert by_variable.returncode == 0
    missing = run("count", "Cart", "--token-file", str(tmp_path / "nowhere"))
    assert (missing.returncode, "nowhere" in missing.stderr) == (1, True)


def test_who_reads_half_of_a_list_is_not_complained_to(running: Sidecar) -> None:
    for number in range(3):
        run("put", f"shop/Half/{number}", '"' + "x" * 9_000 + '"', "--url", running.url)
    line = f"{PANNIER} list shop/Half --url {running.url} | head -c 10"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert ended.stderr == ""


def test_an_output_that_takes_nothing_is_a_sentence_and_no_traceback(running: Sidecar) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [PANNIER, "count", "default/Full", "--port", str(running.port)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 1
    assert ended.stderr == "pannier: the answer cannot be written: No space left on device\n"


def test_status_is_a_table_of_stores_and_pools(pannier: Run) -> None:
    lines = pannier("status").stdout.splitlines()
    assert lines[1].split()[:3] == ["STORE", "TYPE", "STATE"]
    assert lines[2].split()[:4] == ["default", "memory", "ready", "0"]
    assert [line for line in lines if line != line.rstrip()] == []


# check -------------------------------------------------------------------------------------------


def test_check_says_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(
        STORES.replace("memory: {}}", "memory: {maxByte: 1}, requestTimeout: 5}", 1)
        + "---\n"
        + STORES
    )
    checked = run("check", str(file))
    assert checked.returncode == 1
    found = checked.stdout.splitlines()
    assert f"{file}:4: spec.memory.maxByte: unknown field; did you mean maxBytes?" in found
    assert any("spec.requestTimeout" in line and "5s" in line for line in found)
    assert sum("metadata.name" in line for line in found) == 2
    assert found[-1] == f"4 problems in {file}"


def test_check_of_a_good_file_says_what_it_serves(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(STORES)
    checked = run("check", str(file))
    assert (checked.returncode, "default (memory), shop (memory)" in checked.stdout) == (0, True)
    found = json.loads(run("check", str(file), "--json").stdout)
    assert (found["ok"], found["problems"]) == (True, [])


def test_check_reads_the_secrets_where_it_is_told_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    ref = "{name: s, key: ca}"
    file.write_text(
        STORES.replace(
            "memory, memory: {}", f"redis, redis: {{host: r, tls: {{caSecretRef: {ref}}}}}"
        )
    )
    unlooked = run("check", str(file))
    assert unlooked.returncode == 0
    assert "give --secrets-dir" in unlooked.stdout
    missing = run("check", str(file), "--secrets-dir", str(tmp_path))
    assert missing.returncode == 1
    assert f"{file}:4: spec.redis.tls.caSecretRef: the secret s/ca is missing" in missing.stdout
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "ca").write_text("hunter2, which is no certificate")
    malformed = run("check", str(file), "--secrets-dir", str(tmp_path), "--json")
    assert malformed.returncode == 1
    problems = json.loads(malformed.stdout)["problems"]
    assert {problem["field"] for problem in problems} == {"spec.redis"}
    assert "TLS CA" in problems[0]["message"]
    assert "hunter2" not in malformed.stdout


def test_check_of_no_file_ends_with_1(tmp_path: Path) -> None:
    checked = run("check", str(tmp_path / "nowhere.yaml"))
    assert checked.returncode == 1
    assert "No such file" in checked.stdout
