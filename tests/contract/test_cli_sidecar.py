"""`pannier sidecar` as a process: its flags and variables, its first line, its refusals."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pannier.cli import main
from pannier.cli.commands import COMMANDS
from tests.real.programs import free_port
from tests.real.sidecar import PANNIER, sidecar


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `pannier ARGUMENTS` to its end, with no other variables of its own."""
    environment = {name: value for name, value in os.environ.items() if "PANNIER" not in name}
    return subprocess.run(
        [str(PANNIER), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment, **variables},
        check=False,
    )


def get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def test_its_first_line_says_where_it_serves_and_a_command_that_works(tmp_path: Path) -> None:
    with sidecar(tmp_path) as running:
        line = running.log.read_text().splitlines()[0]
        assert running.url in line
        assert running.admin_url in line
        _, _, command = line.partition("Try: ")
        answer = subprocess.run(
            [*("sh", "-c", f"{command} -s -o /dev/null -w '%{{http_code}}'")],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert answer.stdout == "201"


MEMORY = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: NAME}
spec: {type: memory, memory: {}}
"""


def test_a_file_of_stores_is_served_and_reloaded_on_sighup(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(MEMORY.replace("NAME", "one"))
    with sidecar(tmp_path, "--config", str(file)) as running:
        assert "stores.yaml" in running.log.read_text().splitlines()[0]
        file.write_text(MEMORY.replace("NAME", "one") + "---\n" + MEMORY.replace("NAME", "two"))
        running.process.send_signal(signal.SIGHUP)
        until_stores(running.port, ["one", "two"])


def until_stores(port: int, names: list[str]) -> None:
    """Return once exactly these stores are served."""
    deadline = time.monotonic() + 10
    while True:
        stores = json.loads(get(port, "/v1"))["stores"]
        if sorted(store["name"] for store in stores) == names:
            return
        assert time.monotonic() < deadline, stores
        time.sleep(0.02)


def test_a_bad_document_beside_a_good_one_is_rejected_and_the_good_one_is_served(
    tmp_path: Path,
) -> None:
    file = tmp_path / "stores.yaml"
    bad = MEMORY.replace("NAME", "bad").replace("{}", "{maxByte: 5}")
    worse = bad.replace("bad", "worse").replace("memory", "redis")
    file.write_text(MEMORY.replace("NAME", "good") + "---\n" + bad + "---\n" + worse)
    with sidecar(tmp_path, "--config", str(file), wait=False) as running:
        deadline = time.monotonic() + 20
        while True:
            try:
                status = json.loads(get(running.admin_port, "/v1/status"))
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        states = {store["name"]: (store["type"], store["state"]) for store in status["stores"]}
        assert states == {
            "good": ("memory", "ready"),
            "bad": ("memory", "rejected"),
            "worse": ("redis", "rejected"),
        }
        assert "did you mean maxBytes?" in status["config"]["error"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("", "no document"),
        ("a: [", "not YAML"),
        (MEMORY.replace("NAME", "a").replace("{}", "{maxByte: 5}"), "did you mean maxBytes?"),
        (MEMORY.replace("NAME", "A_b"), "DNS label"),
    ],
)
def test_a_configuration_with_nothing_to_serve_ends_with_all_that_is_wrong(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "stores.yaml"
    if content is not None:
        file.write_text(content)
    ended = run("sidecar", "--config", str(file), "--listen", "127.0.0.1:0")
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_secret_is_named_by_its_reference(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    file.write_text(
        MEMORY.replace("NAME", "shop").replace(
            "type: memory, memory: {}",
            "type: redis, redis: {host: r, passwordSecretRef: {name: shop-redis, key: password}}",
        )
    )
    ended = run("sidecar", "--config", str(file), "--secrets-dir", str(tmp_path))
    assert ended.returncode == 1
    assert "stores.yaml:4: spec.redis.passwordSecretRef: " in ended.stderr
    assert "shop-redis/password is missing" in ended.stderr


USAGE = {
    "config and operator": ["--config", "a", "--operator", "wss://b"],
    "unknown flag": ["--lissten", "1"],
    "duration": ["--drain-timeout", "5"],
    "size": ["--max-record-bytes", "5MB"],
    "log format": ["--log-format", "xml"],
    "argument": ["stores.yaml"],
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage_ends_with_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sidecar", *USAGE[name]]) == 2
    assert "Error: " in capsys.readouterr().err


NO_VALUES = {
    "--listen": ["foo", "shop.example:3900", "127.0.0.1:65536", "[::1:3900"],
    "--admin-listen": ["foo", "1.2.3:3901"],
    "--allow-host": ["http://shop.example", "shop.example:80", "a/b"],
    "--allow-origin": ["shop.example", "https://shop.example/", "https://a@b"],
    "--operator": [
        "operator",
        "ws://operator:8443",
        "https://operator:8443",
        "wss://operator:8443/v1/stream",
        "wss://user:password@operator:8443",
        "wss://operator:8443?a=b",
        "wss://operator:99999",
        "wss://operator:",
        "wss://",
    ],
    "--last-good-max-age": ["1", "1d", "25h"],
    "--max-record-bytes": ["5MB", "-1", "0", "0Mi"],
    "--max-body-bytes": ["0"],
    "--max-inflight-bytes": ["0"],
    "--max-clients": ["0", "many"],
    "--client-timeout": ["5", "25h", "0", "0s"],
}


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, values in NO_VALUES.items() for value in values]
)
@pytest.mark.parametrize("by_variable", [False, True], ids=["flag", "variable"])
def test_a_value_that_means_nothing_is_wrong_usage(
    flag: str,
    value: str,
    by_variable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # With a file that is missing, a sidecar that took the value would end with 1 and not serve.
    arguments = ["sidecar", "--config", str(tmp_path / "missing.yaml")]
    if by_variable:
        monkeypatch.setenv(f"PANNIER_{flag[2:].upper().replace('-', '_')}", value)
        assert main(arguments) == 2
    else:
        assert main([*arguments, flag, value]) == 2
    assert f"Invalid value for '{flag}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--listen", "3900", "--admin-listen", "[::]:3901"],
        ["--allow-host", "*", "--allow-host", "Shop.Example", "--allow-host", "[fd00::1]"],
        ["--max-record-bytes", "1", "--max-body-bytes", "1", "--client-timeout", "1ms"],
        ["--drain-delay", "0", "--drain-timeout", "0s", "--startup-wait", "0ms"],
        ["--last-good-file", "a", "--last-good-max-age", "0"],
        ["--operator-token-file", "a", "--operator-ca-file", "b"],
        ["--allow-origin", "*", "--allow-origin", "null", "--allow-origin", "https://a.b:8443"],
    ],
)
def test_a_value_that_means_something_is_taken(flags: list[str], tmp_path: Path) -> None:
    assert main(["sidecar", "--config", str(tmp_path / "missing.yaml"), *flags]) == 1


def test_a_busy_port_ends_with_1_and_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("sidecar", "--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0")
    assert ended.returncode == 1
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_token_file_ends_with_1_and_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "token"
    ended = run(
        "sidecar", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
        "--api-token-file", str(missing),
    )  # fmt: skip
    assert ended.returncode == 1
    assert str(missing) in ended.stderr


@pytest.fixture
def by_variables(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A sidecar that is told by variables alone, among those of Kubernetes' service links."""
    port = free_port()
    (tmp_path / "stores.yaml").write_text(MEMORY.replace("NAME", "one"))
    environment = {name: value for name, value in os.environ.items() if "PANNIER" not in name}
    environment |= {
        "PANNIER_LISTEN": f"127.0.0.1:{port}",
        "PANNIER_ADMIN_LISTEN": "127.0.0.1:0",
        "PANNIER_CONFIG": str(tmp_path / "stores.yaml"),
        "PANNIER_ALLOW_HOST": "shop.example,other.example",
        "PANNIER_NO_FAST_LANE": "true",
        "PANNIER_DRAIN_TIMEOUT": "1s",
        "PANNIER_PORT": "tcp://10.0.0.1:3900",
        "PANNIER_PORT_3900_TCP_ADDR": "10.0.0.1",
        "PANNIER_SERVICE_HOST": "10.0.0.1",
        "PANNIER_OPERATOR_PORT": "tcp://10.0.0.2:8443",
        "PANNIER_OPERATOR_SERVICE_HOST": "10.0.0.2",
        "PANNIER_OF_TOMORROW": "x",
    }
    process = subprocess.Popen(
        [str(PANNIER), "sidecar"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    yield process, port
    process.terminate()
    process.communicate(timeout=30)


def test_a_flag_is_a_variable_too_and_foreign_variables_are_ignored(
    by_variables: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = by_variables
    assert process.stdout is not None
    assert f"127.0.0.1:{port}" in process.stdout.readline().decode()
    for host, status in (("shop.example", 200), ("other.example", 200), ("evil.example", 403)):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/v1", headers={"Host": host})
            assert connection.getresponse().status == status, host


def test_starting_a_sidecar_imports_nothing_that_only_other_commands_need() -> None:
    heavy = (
        "rich", "yaml", "hdfs", "requests", "redis", "prometheus_client", "pydantic", "websockets",
    )  # fmt: skip
    script = (
        "import sys, pannier.cli.commands, pannier.cli.sidecar, pannier.server.run, "
        "pannier.config.live\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_the_command_lists_its_commands_and_its_version() -> None:
    listed = run("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in listed
    assert run("--version").stdout.startswith("pannier 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: pannier {name}" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["pannier_operator", "kopf"])
def test_the_operator_command_says_that_it_is_not_installed_here(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else find(name)
    )
    assert main(["operator"]) == 1
    said = capsys.readouterr().err
    assert f" {missing} " in said and "pannier[operator]" in said


def test_the_operator_says_that_there_is_no_cluster() -> None:
    ended = run("operator", "--kubeconfig", "/nowhere/config")
    assert ended.returncode == 1
    assert "/nowhere/config" in ended.stderr and "--kubeconfig" in ended.stderr


def test_the_package_runs_as_a_module_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pannier", "--version"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.startswith("pannier 0.")) == (0, True)
