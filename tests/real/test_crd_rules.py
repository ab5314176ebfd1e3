"""The rules of a StoreBackend on the real API server, each beside the same rule for a file.

What the server accepts, `pannier check` must accept, and what the one refuses, the other must.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pannier.config.documents import Hdfs, Memory, Pool, Redis, Spec, StoreBackend
from pannier.config.reading import read_text
from tests.real.kubernetes_parts.api import ApiError
from tests.real.kubernetes_parts.control_plane import CommandFailed, ControlPlane

ABSENT = object()
REF = {"name": "shop-redis", "key": "password"}
REDIS = {"type": "redis", "redis": {"host": "redis.shop.svc"}}
CLUSTER = {"type": "redis", "redis": {"cluster": {"nodes": ["redis-0:6379"]}}}
SENTINEL = {"type": "redis", "redis": {"sentinel": {"master": "shop", "nodes": ["s-0"]}}}
SOCKET = {"type": "redis", "redis": {"unixSocket": "/run/redis.sock"}}
HDFS = {"type": "hdfs", "hdfs": {"namenodes": ["http://nn1:9870"]}}
MEMORY: dict[str, Any] = {"type": "memory", "memory": {}}


def document(spec: Any, name: str = "shop") -> dict[str, Any]:
    metadata = {"name": name}
    return {"apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend", "metadata": metadata,
            "spec": spec}  # fmt: skip


def changed(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The spec with another value at `path`, whose parents are made where they are not there."""
    made = copy.deepcopy(spec)
    *parents, last = path.split(".")
    place = made
    for name in parents:
        place = place.setdefault(name, {})
    if value is ABSENT:
        place.pop(last, None)
    else:
        place[last] = value
    return made


def file_says(made: dict[str, Any]) -> list[str]:
    """What is wrong with the document in a file."""
    return [str(problem) for problem in read_text(json.dumps(made).encode()).problems]


class Server:
    """Asks the API server for its verdict, in a namespace of the test's own."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.path = f"/apis/pannier.dev/v1alpha1/namespaces/{namespace}/storebackends"
        self.api = plane.api

    def says(self, made: dict[str, Any]) -> str:
        """What is wrong with the document; empty where it is accepted. Nothing is stored."""
        query = "?dryRun=All&fieldValidation=Strict"
        try:
            self.api.call("POST", self.path + query, made)
        except ApiError as error:
            if error.status not in (400, 422):
                raise
            return str(error)
        return ""

    def create(self, made: dict[str, Any]) -> dict[str, Any]:
        return dict(self.api.call("POST", self.path, made))

    def change(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        return dict(
            self.api.call(
                "PATCH", f"{self.path}/{name}", {"spec": spec},
                content_type="application/merge-patch+json",
            )
        )  # fmt: skip


@pytest.fixture
def server(crd: ControlPlane, namespace: str) -> Server:
    return Server(crd, namespace)


RULES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (REDIS, {"type": "redis"}, "spec.redis is missing, and the type is redis"),
    (MEMORY, {"type": "memory"}, "spec.memory is missing, and the type is memory"),
    (HDFS, {"type": "hdfs"}, "spec.hdfs is missing, and the type is hdfs"),
    (REDIS, {**REDIS, "memory": {}}, "spec.memory is here, and the type is another"),
    (MEMORY, {**MEMORY, "redis": REDIS["redis"]}, "spec.redis is here, and the type is another"),
    (REDIS, {**REDIS, "hdfs": HDFS["hdfs"]}, "spec.hdfs is here, and the type is another"),
    (REDIS, changed(REDIS, "type", "mongo"), "Unsupported value: \"mongo\""),
    (REDIS, changed(REDIS, "type", ABSENT), "spec.type: Required value"),
    (changed(REDIS, "pool.minIdle", 8), changed(REDIS, "pool.minIdle", 9),
     "minIdle is more than maxConnections"),
    (changed(REDIS, "pool.maxConnections", 1), changed(REDIS, "pool.maxConnections", 0),
     "spec.pool.maxConnections: Invalid value: 0"),
    (changed(REDIS, "pool", {"maxConnections": 2, "minIdle": 2}),
     changed(REDIS, "pool", {"maxConnections": 2, "minIdle": 3}),
     "minIdle is more than maxConnections"),
    (REDIS, changed(REDIS, "redis", {}), "write exactly one of host, sentinel, cluster"),
    (SENTINEL, changed(SENTINEL, "redis.host", "redis"), "write exactly one of host, sentinel"),
    (SOCKET, changed(CLUSTER, "redis.unixSocket", "/r"), "write exactly one of host, sentinel"),
    (changed(CLUSTER, "redis.db", 0), changed(CLUSTER, "redis.db", 1), "has database 0 alone"),
    (changed(REDIS, "redis.tls", {}), changed(SOCKET, "redis.tls", {}), "unix socket needs none"),
    (changed(REDIS, "redis.tls", {"certSecretRef": REF, "keySecretRef": REF}),
     changed(REDIS, "redis.tls", {"certSecretRef": REF}), "certSecretRef and keySecretRef come"),
    (changed(REDIS, "redis.tls", {"caSecretRef": REF}),
     changed(REDIS, "redis.tls", {"keySecretRef": REF}), "certSecretRef and keySecretRef come"),
    (changed(HDFS, "hdfs.kerberos", {}),
     changed(changed(HDFS, "hdfs.kerberos", {}), "hdfs.username", "shop"), "keep one of username"),
    (changed(HDFS, "hdfs.delegationTokenSecretRef", REF),
     changed(changed(HDFS, "hdfs.kerberos", {}), "hdfs.delegationTokenSecretRef", REF),
     "keep one of username, kerberos and delegationTokenSecretRef"),
    (changed(REDIS, "requestTimeout", "24h"), changed(REDIS, "requestTimeout", "25h"),
     "write whole numbers with ms, s, m or h, such as 500ms, 5s or 1m30s, from 1ms to 24h"),
    (changed(MEMORY, "memory.maxBytes", 4096), changed(MEMORY, "memory.maxBytes", 0),
     "write bytes, or a number with Ki, Mi, Gi"),
    (changed(REDIS, "redis.keyPrefix", "shop:"), changed(REDIS, "redis.keyPrefix", "shop "),
     "spec.redis.keyPrefix"),
    (changed(REDIS, "redis.host", "::1"), changed(REDIS, "redis.host", "redis://redis"),
     "write a host name or address alone"),
    (changed(CLUSTER, "redis.cluster.nodes", ["a", "b:7000"]),
     changed(CLUSTER, "redis.cluster.nodes", ["a", "b:0"]), "write host or host:port"),
    (changed(HDFS, "hdfs.namenodes", ["https://nn1:9871/"]),
     changed(HDFS, "hdfs.namenodes", ["hdfs://nn1:8020"]), "write a web address alone"),
    (changed(SOCKET, "redis.unixSocket", "/run/r.sock"),
     changed(SOCKET, "redis.unixSocket", "run/r.sock"), "write an absolute path"),
    (changed(HDFS, "hdfs.basePath", "/data/" + "é" * 127),
     changed(HDFS, "hdfs.basePath", "/data/" + "é" * 128), "at most 255 bytes between slashes"),
    (changed(REDIS, "serviceAccounts", ["checkout"]),
     changed(REDIS, "serviceAccounts", ["Checkout"]), "write a name of Kubernetes"),
    (changed(REDIS, "redis.passwordSecretRef", REF),
     changed(REDIS, "redis.passwordSecretRef", {"name": "a", "key": "../b"}), "Secret's entry"),
    (REDIS, changed(REDIS, "redis.passwordSecretRef", {**REF, "namespace": "other"}),
     'unknown field "spec.redis.passwordSecretRef.namespace"'),
    (REDIS, changed(REDIS, "redis.hots", "redis"), 'unknown field "spec.redis.hots"'),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "message"), RULES, ids=lambda value: str(value)[:60])
def test_each_rule_accepts_and_refuses_as_a_files_does(
    server: Server, good: dict[str, Any], bad: dict[str, Any], message: str
) -> None:
    assert server.says(document(good)) == ""
    assert file_says(document(good)) == []
    assert message in server.says(document(bad))
    assert file_says(document(bad)) != []


@pytest.mark.parametrize(
    ("name", "accepted"),
    [("shop", True), ("a", True), ("0-1", True), ("a" * 63, True), ("a" * 64, False),
     ("shop.eu", False), ("-shop", False), ("Shop", False)],
)  # fmt: skip
def test_a_store_is_named_by_a_dns_label(server: Server, name: str, accepted: bool) -> None:
    said = server.says(document(REDIS, name))
    assert (said == "") is accepted, said
    assert (file_says(document(REDIS, name)) == []) is accepted
    if name in ("shop.eu", "a" * 64):
        assert "metadata.name is not a DNS label: write 1 to 63 of a-z 0-9 and -" in said


class TestWhatCannotChange:
    @pytest.mark.parametrize(
        ("before", "after", "field"),
        [
            (REDIS, {"type": "memory", "redis": None, "memory": {}}, "spec.type"),
            (REDIS, {"redis": {"keyPrefix": "other:"}}, "spec.redis.keyPrefix"),
            (REDIS, {"redis": {"hashBuckets": 2}}, "spec.redis.hashBuckets"),
            (changed(REDIS, "redis.hashBuckets", 4), {"redis": {"hashBuckets": None}},
             "spec.redis.hashBuckets"),
            (changed(REDIS, "redis.keyPrefix", "a:"), {"redis": {"keyPrefix": None}},
             "spec.redis.keyPrefix"),
        ],
    )  # fmt: skip
    def test_what_hides_records_is_refused_set_or_unset(
        self, server: Server, before: dict[str, Any], after: dict[str, Any], field: str
    ) -> None:
        server.create(document(before))
        with pytest.raises(ApiError, match=f"{field}: .*cannot be changed: the store's records"):
            server.change("shop", after)

    def test_writing_a_default_out_changes_nothing(self, server: Server) -> None:
        server.create(document(REDIS))
        said = server.change("shop", {"redis": {"keyPrefix": "pannier:", "hashBuckets": 1}})
        assert said["metadata"]["generation"] == 1

    def test_all_else_can_change(self, server: Server) -> None:
        server.create(document(REDIS))
        other = {"host": None, "sentinel": SENTINEL["redis"]["sentinel"], "db": 3}
        pool = {"maxConnections": 16}
        said = server.change("shop", {"redis": other, "pool": pool, "requestTimeout": "1s"})
        assert said["metadata"]["generation"] == 2


HOSTS = ["redis", "redis.svc.", "10.0.0.1", "::1", "[::1]", "fe80::1%eth0", "a_b", "-x", "x-", "",
         "a b", "user@h", "h:1", "redis://h", "[::1]:1", "a" * 253, "a" * 254, "a\n",
         "ä", 5]  # fmt: skip
NODES = ["h", "h:1", "h:65535", "h:65536", "h:0", "h:080", "h:", ":1", "::1", "[::1]:6379", "[::1",
         "[h]:1", "[h]", "h:1:2", "", "h/x", "a" * 262, "a" * 263]  # fmt: skip
PATHS = ["/", "/a", "/a/", "//a", "/a/../b", "/a/..", "/.", "/...", "/.a", "/..a", "a", "", "/a:b",
         "/a b", "/\x01", "/\u2028", "/ü", "/" + "a" * 106, "/" + "a" * 107, "/" + "b" * 256,
         "/" + "é" * 128, "/" + "a/" * 511 + "a", "/" + "a/" * 512]  # fmt: skip
NAMES = ["a", "a.b", "a-b", "A", "a_b", ".a", "a.", "a..b", "-a", "", "a" * 253, "a" * 254, 1]
KEYS = ["a", "tls.crt", ".a", ".", "..", "..a", "a/b", "", "A_-.", "k" * 253, "k" * 254]
DURATIONS = ["1ms", "24h", "24h1ms", "0s", "1m30s", "30s1m", "5", "5 s", "1.5s", "-1s", "", "1d",
             "007s", "0h1ms", "0" * 62 + "1s", "0" * 63 + "1s", "99999999999h", 5, 1.5]  # fmt: skip
SIZES = ["64Mi", "1", ".5", "0", "0.0", "1.5Gi", "1e3", "1E", "1Ei", "2Ei", "1k", "1K", "64MB", "",
         "0.0000000001", "1152921504606846976", "1152921504606846977", "9" * 64, "9" * 65,
         1, 0, -1, 2**60, 2**60 + 1, 2**63 - 1, "-1", "+1", "1 Mi", "16Ei", "1n", "1u"]  # fmt: skip
TEXTS = ["a", "", "a" * 256, "a" * 257, "ä" * 256, "a\n", 1]
REFS = [REF, {}, {"name": "a"}, {"key": "a"}, {"name": "a", "key": "b", "optional": True}, "a"]

FIELDS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "type": (REDIS, ["redis", "memory", "hdfs", "Redis", "", ABSENT]),
    "memory.maxBytes": (MEMORY, SIZES),
    "redis.host": (REDIS, [*HOSTS, ABSENT]),
    "redis.port": (REDIS, [1, 65535, 0, 65536, -1, "6379", 2**31, True]),
    "redis.db": (REDIS, [0, 65535, 65536, -1]),
    "redis.username": (REDIS, TEXTS),
    "redis.passwordSecretRef": (REDIS, REFS),
    "redis.passwordSecretRef.name": (changed(REDIS, "redis.passwordSecretRef", REF), NAMES),
    "redis.passwordSecretRef.key": (changed(REDIS, "redis.passwordSecretRef", REF), KEYS),
    "redis.tls": (REDIS, [{}, {"caSecretRef": REF}, {"certSecretRef": REF}, {"ca": REF}, "yes"]),
    "redis.tls.serverName": (REDIS, HOSTS),
    "redis.sentinel.master": (SENTINEL, [*TEXTS, ABSENT]),
    "redis.sentinel.nodes": (SENTINEL, [[], ["s"] * 64, ["s"] * 65, "s", ABSENT]),
    "redis.cluster.nodes": (CLUSTER, [[node] for node in NODES]),
    "redis.unixSocket": (SOCKET, PATHS),
    "redis.keyPrefix": (REDIS, ["a", "A_.:/-", "", "a b", "{a}", "a" * 64, "a" * 65]),
    "redis.hashBuckets": (REDIS, [1, 16384, 16385, 0]),
    "redis.waitReplicas": (REDIS, [{"count": 1}, {"count": 16}, {"count": 0}, {"count": 17}, {}]),
    "hdfs.namenodes": (HDFS, [[f"http://{node}"] for node in NODES] + [
        [], ["http://a"] * 16, ["http://a"] * 17, ["a"], ["https://a/"], ["http://a//"],
        ["http://a/x"], ["http://u@a"], ["HTTP://a"]]),
    "hdfs.username": (HDFS, TEXTS),
    "hdfs.basePath": (HDFS, PATHS),
    "hdfs.kerberos": (HDFS, [{}, {"principal": "a@B"}, {"mutualAuthentication": "optional"},
                             {"mutualAuthentication": "maybe"}]),
    "hdfs.delegationTokenSecretRef": (HDFS, REFS),
    "pool.maxConnections": (REDIS, [1, 1000, 1001, 0, "8"]),
    "pool.minIdle": (REDIS, [0, 8, 9, 1000, -1]),
    "pool.connectionTimeout": (REDIS, DURATIONS),
    "pool.maxWaiting": (REDIS, [0, 100_000, 100_001, -1]),
    "pool": (REDIS, [{}, {"size": 3}, [], {"maxConnections": 1, "minIdle": 1}]),
    "requestTimeout": (MEMORY, DURATIONS),
    "serviceAccounts": (MEMORY, [[], ["a"] * 100, ["a"] * 101, *([name] for name in NAMES), "a"]),
}  # fmt: skip
"""Each field, in a spec that is good but for it, with values of both verdicts."""


@pytest.mark.parametrize("path", FIELDS)
def test_each_fields_values_get_the_same_verdict_as_in_a_file(server: Server, path: str) -> None:
    spec, values = FIELDS[path]
    verdicts = set()
    for value in values:
        made = document(changed(spec, path, value))
        said, wrong = server.says(made), file_says(made)
        assert (said == "") == (wrong == []), (value, said, wrong)
        verdicts.add(said == "")
    assert verdicts == {True, False}


def test_no_field_of_the_model_is_without_an_example() -> None:
    parts = {"": Spec, "memory.": Memory, "redis.": Redis, "hdfs.": Hdfs, "pool.": Pool}
    fields = {
        f"{path}{field.encode_name}"
        for path, part in parts.items()
        for field in msgspec.structs.fields(part)
    }
    named = {".".join(path.split(".")[:depth]) for path in FIELDS for depth in (1, 2)}
    assert fields - named == {"pool.idleTimeout", "pool.maxLifetime"}  # as connectionTimeout is


MUTATIONS = st.sampled_from(
    [(path, value) for path, (_, values) in FIELDS.items() for value in values]
)
SPECS = st.sampled_from([REDIS, CLUSTER, SENTINEL, SOCKET, HDFS, MEMORY])


def test_random_documents_get_the_same_verdict_as_in_a_file(server: Server) -> None:
    seen: set[bool] = set()

    @settings(
        max_examples=250, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(SPECS, st.lists(MUTATIONS, min_size=1, max_size=3))
    def agrees(spec: dict[str, Any], mutations: list[tuple[str, Any]]) -> None:
        made = spec
        for path, value in mutations:
            try:
                made = changed(made, path, value)
            except (AttributeError, TypeError):
                return  # an earlier mutation has put a scalar where this one needs a part
        said, wrong = server.says(document(made)), file_says(document(made))
        assert (said == "") == (wrong == []), (made, said, wrong)
        seen.add(said == "")

    agrees()
    assert seen == {True, False}


def test_kubectl_apply_says_what_to_write_instead(crd: ControlPlane, namespace: str) -> None:
    bad = document(changed(CLUSTER, "redis.db", 3))
    with pytest.raises(CommandFailed, match="a Redis Cluster has database 0 alone: remove db"):
        crd.kubectl(
            "apply", "--dry-run=server", "--namespace", namespace, "--filename", "-",
            input=json.dumps(bad),
        )  # fmt: skip
    good = json.dumps(document(CLUSTER))
    where = ("--namespace", namespace, "--filename", "-")
    assert "created (server dry run)" in crd.kubectl(
        "apply", "--dry-run=server", *where, input=good
    )


@pytest.mark.parametrize("spec", [REDIS, CLUSTER, SENTINEL, SOCKET, HDFS, MEMORY])
def test_the_servers_defaults_are_the_files(server: Server, spec: dict[str, Any]) -> None:
    stored = server.create(document(spec))

    def read(made: dict[str, Any]) -> StoreBackend:
        return read_text(json.dumps(made).encode()).documents["shop"]

    from_server, from_file = read(stored), read(document(spec))
    assert from_server.spec == from_file.spec
    assert stored["spec"]["pool"]["connectionTimeout"] == "2s"
