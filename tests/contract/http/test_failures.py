"""What a client sees of a full store, and of a fault of our own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.contract.http.wire import Client
from tests.real.sidecar import Sidecar

Own = Callable[..., Sidecar]

FAULTY = """\
import sys

from pannier.aio.stores.memory import InMemoryKeyValueStoreBackend as Memory
from pannier.cli import main

def faulty(name):
    sound = getattr(Memory, name)

    def method(self, schema, key, *rest):
        if key == "fault":
            raise RuntimeError("something only the log may tell")
        return sound(self, schema, key, *rest)

    setattr(Memory, name, method)

for name in ("read_now", "write_now", "erase_now"):
    faulty(name)
sys.exit(main())
"""
"""A `pannier` whose memory store has a fault at one key."""


def test_a_full_store_is_507_and_changes_nothing(own: Own, tmp_path: Path) -> None:
    config = tmp_path / "stores.yaml"
    config.write_text(
        "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\nmetadata: {name: small}\n"
        "spec: {type: memory, memory: {maxBytes: 4Ki}}\n"
    )
    ask = Client(own("--config", str(config)).port)
    cart = "/v1/small/Cart"
    large = b'{"x": "%b"}' % (b"x" * 5000)
    assert ask("PUT", f"{cart}/1", b'{"a": 1}').status == 201
    for method, target, body in (
        ("PUT", f"{cart}/1", large),
        ("PUT", f"{cart}/2", large),
        ("PATCH", f"{cart}/1", large),
        ("POST", cart, b'{"key": "2", "record": %b}' % large),
        ("POST", f"{cart}:batchWrite", b'{"atomic": true, "operations": [{"op": "put", "key": "2", '
         b'"record": 1}, {"op": "put", "key": "3", "record": %b}]}' % large),
    ):  # fmt: skip
        reply = ask(method, target, body)
        if target.endswith("batchWrite"):
            assert (reply.status, reply.code) in ((507, "store-full"), (409, "batch-rejected"))
        else:
            assert (reply.status, reply.code) == (507, "store-full"), (method, target)
            assert "maxBytes" in reply.json["detail"]
    reply = ask("POST", f"{cart}:batchWrite", b'{"operations": [{"op": "put", "key": "1", '
                b'"record": %b}]}' % large)  # fmt: skip
    (result,) = reply.json["results"]
    assert (reply.status, result["status"], result["code"]) == (200, 507, "store-full")
    assert ask("GET", f"{cart}/1").body == b'{"a": 1}'
    assert ask("GET", f"{cart}:count").json == {"count": 1}
    ask.close()


def test_a_fault_of_ours_is_500_without_a_traceback_and_is_in_the_log(
    own: Own, tmp_path: Path
) -> None:
    faulty = tmp_path / "faulty"
    faulty.write_text(f"#!{sys.executable}\n{FAULTY}")
    faulty.chmod(0o755)
    running = own(command=faulty)
    ask = Client(running.port)
    cart = "/v1/default/Cart"
    for method, target, body in (
        ("GET", f"{cart}/fault", None),
        ("PUT", f"{cart}/fault", b"1"),
        ("DELETE", f"{cart}/fault", None),
        ("PATCH", f"{cart}/fault", b"{}"),
        ("POST", cart, b'{"key": "fault", "record": 1}'),
    ):
        reply = ask(method, target, body)
        assert (reply.status, reply.code) == (500, "internal"), method
        assert b"RuntimeError" not in reply.body
        assert b"only the log" not in reply.body
        assert ask("PUT", f"{cart}/1", b"1").status in (201, 204)
    ask.close()
    assert "something only the log may tell" in running.log.read_text()
    # Nothing was left counted as under way: the end has nothing to wait for.
    assert running.stop() == 0
    assert "not finished" not in running.log.read_text()
