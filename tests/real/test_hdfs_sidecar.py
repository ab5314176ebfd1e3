"""A real sidecar that serves a real HDFS over HTTP: what it can, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.real.hdfs import HDFS
from tests.real.sidecar import Sidecar, sidecar

DOCUMENT = """
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: files}
spec:
  type: hdfs
  hdfs: {namenodes: ["%s"], username: %s, basePath: %s}
  pool: {maxConnections: 4, connectionTimeout: 1s}
  requestTimeout: 2s
"""

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def running(hdfs: HDFS, tmp_path: Path) -> Iterator[Sidecar]:
    document = tmp_path / "stores.yaml"
    document.write_text(DOCUMENT % (hdfs.addresses[0], hdfs.user, hdfs.new_base_path()))
    with sidecar(tmp_path, "--config", str(document)) as running:
        yield running


def call(
    running: Sidecar, method: str, path: str, body: bytes | None = None, **fields: str
) -> Answer:
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    request = Request(f"{running.url}/v1/files{path}", body, names, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), refused.read()


def code(answer: Answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["code"]


def test_records_go_in_and_come_back_byte_for_byte(running: Sidecar) -> None:
    value = b'{ "total" : 3.10, "n": 12345678901234567890 }'
    assert call(running, "PUT", "/Cart/a%2Fb", value)[0] == 201
    assert call(running, "PUT", "/Cart/a%2Fb", value)[0] == 204
    status, fields, body = call(running, "GET", "/Cart/a%2Fb")
    assert (status, body) == (200, value)
    assert fields["ETag"] == f'"{hashlib.sha1(value).hexdigest()}"'
    assert call(running, "HEAD", "/Cart/a%2Fb")[0] == 200
    assert code(call(running, "PUT", "/Cart/a%2Fb", value, If_None_Match="*"))[1] == "record-exists"
    assert code(call(running, "PUT", "/Cart/z", value, If_Match="*"))[1] == "record-not-found"
    assert call(running, "DELETE", "/Cart/a%2Fb")[0] == 204
    assert call(running, "GET", "/Cart/a%2Fb")[0] == 404


def test_what_hdfs_lacks_is_unsupported_and_changes_nothing(running: Sidecar) -> None:
    call(running, "PUT", "/Cart/1", b'{"total": 1}')
    tag = '"' + "0" * 40 + '"'
    for answer in (
        call(running, "PATCH", "/Cart/1", b'{"total": 2}'),
        call(running, "PUT", "/Cart/1", b'{"total": 2}', If_Match=tag),
        call(running, "DELETE", "/Cart/1", If_Match=tag),
    ):
        assert code(answer) == (501, "unsupported")
    assert call(running, "GET", "/Cart/1")[2] == b'{"total": 1}'


def test_a_dead_namenode_is_told_at_once_and_recovery_needs_no_restart(
    hdfs: HDFS, running: Sidecar
) -> None:
    assert call(running, "PUT", "/Cart/1", b"1")[0] == 201
    hdfs.namenode.kill()
    call(running, "GET", "/Cart/1")
    began = time.monotonic()
    assert code(call(running, "GET", "/Cart/1")) == (503, "backend-unavailable")
    assert code(call(running, "PUT", "/Cart/2", b"1")) == (503, "backend-unavailable")
    assert time.monotonic() - began < 1
    hdfs.namenode.start()
    hdfs.wait_ready()
    deadline = time.monotonic() + 20
    while call(running, "GET", "/Cart/1")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert call(running, "GET", "/Cart/2")[0] == 404
