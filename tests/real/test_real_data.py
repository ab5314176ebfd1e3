"""Debian's package index goes through a sidecar into a real Redis and comes back byte for byte.

At least 100,000 records that nobody here made up: sizes from 100 bytes to 80 KB, text in many
scripts, keys with slashes, plus signs and tildes.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.real.debian_records import real_records
from tests.real.redis import RedisServer
from tests.real.sidecar import PANNIER, Sidecar, sidecar

SCHEMAS = ("packages", "descriptions", "files")
ENOUGH = 100_000
BATCH = 1000

pytestmark = pytest.mark.timeout(600)

Records = dict[str, dict[str, bytes]]


class Line(msgspec.Struct):
    """One line of an export, its record untouched."""

    key: str
    etag: str
    record: msgspec.Raw


class Client:
    """One kept-alive connection to the sidecar; every answer it did not expect is an error."""

    def __init__(self, running: Sidecar) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        self.connection.request(method, f"/v1/{path}", body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status in (200, 201, 204), (response.status, path, answer[:500])
        return answer

    def json(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self.call(method, path, body))

    def lines(self, path: str) -> Iterator[Line]:
        """The records of a streamed list, in constant memory."""
        self.connection.request("GET", f"/v1/{path}", None, {"Accept": "application/x-ndjson"})
        response = self.connection.getresponse()
        assert response.status == 200, response.read()
        decode = msgspec.json.Decoder(Line).decode
        for line in response:
            yield decode(line)


@pytest.fixture(scope="module")
def records() -> Records:
    """The real records by schema; at least ENOUGH of them."""
    found = {schema: real_records(schema) for schema in SCHEMAS}
    found = {schema: of_schema for schema, of_schema in found.items() if of_schema}
    total = sum(map(len, found.values()))
    assert total >= ENOUGH, f"only {total} real records here: apt-get update fetches the lists"
    return found


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Sidecar]:
    """A sidecar in front of a real Redis, which holds nothing of ours afterwards."""
    directory = tmp_path_factory.mktemp("real-data")
    stores = directory / "stores.yaml"
    stores.write_text(
        "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\nmetadata: {name: real}\n"
        "spec:\n  type: redis\n"
        f"  redis: {{host: 127.0.0.1, port: {redis_server.port}, keyPrefix: 'real-data:'}}\n"
    )
    with sidecar(directory, "--config", str(stores)) as started:
        yield started
    with redis_server.client() as redis:
        redis.delete(*redis.scan_iter("real-data:*"))


@pytest.fixture(scope="module")
def client(running: Sidecar, records: Records) -> Iterator[Client]:
    """A client of the sidecar, once all records were written through it in batches."""
    client = Client(running)
    for schema, of_schema in records.items():
        keys = iter(of_schema)
        while batch := list(islice(keys, BATCH)):
            operations = b",".join(
                b'{"op":"insert","key":%s,"record":%s}' % (json.dumps(key).encode(), of_schema[key])
                for key in batch
            )
            results = client.json(
                "POST", f"real/{schema}:batchWrite", b'{"operations":[%s]}' % operations
            )["results"]
            assert [result["key"] for result in results] == batch
            assert {result["status"] for result in results} == {201}
    yield client
    client.connection.close()


def test_every_record_is_counted(client: Client, records: Records) -> None:
    listed = client.json("GET", "real:schemas?limit=1000")["schemas"]
    assert {schema["name"]: schema["count"] for schema in listed} == {
        schema: len(of_schema) for schema, of_schema in records.items()
    }
    for schema, of_schema in records.items():
        assert client.json("GET", f"real/{schema}:count") == {"count": len(of_schema)}


def test_every_record_comes_back_byte_for_byte(client: Client, records: Records) -> None:
    for schema, of_schema in records.items():
        seen = set()
        for line in client.lines(f"real/{schema}"):
            stored = of_schema[line.key]
            assert bytes(line.record) == stored
            assert line.etag == f'"{sha1(stored).hexdigest()}"'
            seen.add(line.key)
        assert seen == of_schema.keys()


def test_records_are_got_one_by_one_under_their_own_keys(client: Client, records: Records) -> None:
    for schema, of_schema in records.items():
        step = len(of_schema) // 1000 + 1
        for key in islice(of_schema, 0, None, step):
            assert client.call("GET", f"real/{schema}/{quote(key, safe='')}") == of_schema[key]


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("Section=python", lambda one: one.get("Section") == "python"),
        ("Installed-Size__gte=100000", lambda one: one.get("Installed-Size", 0) >= 100_000),
        (
            "Section__in=%5B%22games%22,%22kernel%22%5D&Size__lt=10000",
            lambda one: one.get("Section") in ("games", "kernel") and one["Size"] < 10_000,
        ),
        ("Essential__exists=true", lambda one: "Essential" in one),
        (
            "Maintainer__contains=%C3%A9&Package__startswith=lib",
            lambda one: "é" in one["Maintainer"] and one["Package"].startswith("lib"),
        ),
    ],
    ids=["equal", "at least", "in and less", "exists", "contains and begins"],
)
def test_filters_find_what_python_finds(
    client: Client, records: Records, query: str, holds: Callable[[dict[str, Any]], bool]
) -> None:
    expected = {key for key, value in records["packages"].items() if holds(json.loads(value))}
    assert expected, "a filter that finds nothing proves nothing"
    assert client.json("GET", f"real/packages:count?{query}") == {"count": len(expected)}
    assert {line.key for line in client.lines(f"real/packages?{query}")} == expected


def test_pages_give_every_record_exactly_once(client: Client, records: Records) -> None:
    keys: list[str] = []
    cursor = ""
    while True:
        page = client.json("GET", f"real/packages?limit=1000{cursor}")
        keys += [record["key"] for record in page["records"]]
        if page["next"] is None:
            break
        cursor = "&cursor=" + quote(page["next"], safe="")
    assert sorted(keys) == sorted(records["packages"])


def test_export_and_import_move_them_to_another_schema(
    client: Client, running: Sidecar, records: Records, tmp_path: Path
) -> None:
    exported = tmp_path / "packages.ndjson"
    with exported.open("wb") as output:
        subprocess.run(command("export", running, "real/packages"), stdout=output, check=True)
    with exported.open("rb") as lines:
        subprocess.run(
            [*command("import", running, "real/copies"), "--verify"], stdin=lines, check=True
        )
    copies = {line.key: bytes(line.record) for line in client.lines("real/copies")}
    assert copies == records["packages"]


def command(name: str, running: Sidecar, target: str) -> list[str]:
    """A `pannier` command against the running sidecar."""
    return [str(PANNIER), name, target, "--url", running.url]
