"""Every rule of a StoreBackend document, accepted and refused."""

from __future__ import annotations

from typing import Any

import pytest

from pannier.config.convert import convert
from pannier.config.documents import (
    SecretRef,
    StoreBackend,
    WaitReplicas,
    default_document,
    secret_refs,
)
from pannier.config.placed import placed
from pannier.config.problems import Problem, did_you_mean, listing
from pannier.config.reading import Reading, read_objects, read_text

HEAD = "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\n"

THE_CONTRACT = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: shop, namespace: default}       # name: a DNS label
spec:
  type: redis                      # memory | redis | hdfs
  redis:
    host: redis.shop.svc
    port: 6379
    db: 0
    username: shop
    passwordSecretRef: {name: shop-redis, key: password}
    tls: {caSecretRef: {name: ca, key: ca.crt}, certSecretRef: {name: tls, key: tls.crt},
          keySecretRef: {name: tls, key: tls.key}, serverName: redis.example}
    keyPrefix: "pannier:"
    hashBuckets: 1
  pool: {maxConnections: 8, minIdle: 1, connectionTimeout: 2s, idleTimeout: 5m, maxLifetime: 30m, \
maxWaiting: 1024}
  requestTimeout: 5s
  serviceAccounts: [checkout]
"""


def document(spec: str, metadata: str = "{name: shop}") -> str:
    return f"{HEAD}metadata: {metadata}\nspec: {spec}\n"


def redis(fields: str) -> str:
    return document(f"{{type: redis, redis: {{{fields}}}}}")


def read(text: str) -> Reading:
    return read_text(text.encode())


def good(text: str) -> StoreBackend:
    reading = read(text)
    assert listing("", reading.problems) == []
    (made,) = reading.documents.values()
    return made


def problems(text: str) -> list[Problem]:
    reading = read(text)
    assert not reading.documents
    assert reading.problems
    return reading.problems


def test_the_contracts_document_is_accepted_and_names_its_secrets() -> None:
    made = good(THE_CONTRACT)
    assert made.spec.redis is not None
    assert made.spec.redis.host == "redis.shop.svc"
    assert made.spec.service_accounts == ("checkout",)
    assert secret_refs(made) == [
        ("spec.redis.passwordSecretRef", SecretRef(name="shop-redis", key="password")),
        ("spec.redis.tls.caSecretRef", SecretRef(name="ca", key="ca.crt")),
        ("spec.redis.tls.certSecretRef", SecretRef(name="tls", key="tls.crt")),
        ("spec.redis.tls.keySecretRef", SecretRef(name="tls", key="tls.key")),
    ]


def test_the_defaults_are_those_of_the_contract() -> None:
    made = good(redis("host: r"))
    spec, pool = made.spec, made.spec.pool
    assert spec.redis is not None
    assert (spec.redis.port, spec.redis.db, spec.redis.key_prefix) == (6379, 0, "pannier:")
    assert spec.redis.hash_buckets == 1
    assert spec.redis.wait_replicas is None, "a write is acknowledged when the master has it"
    waiting = good(redis("host: r, waitReplicas: {count: 2}")).spec.redis
    assert waiting is not None
    assert waiting.wait_replicas == WaitReplicas(count=2, timeout=1.0)
    assert (pool.max_connections, pool.min_idle, pool.max_waiting) == (8, 1, 1024)
    assert (pool.connection_timeout, pool.idle_timeout, pool.max_lifetime) == (2, 300, 1800)
    assert spec.request_timeout == 5
    assert spec.service_accounts is None
    assert made.metadata.namespace == "default"
    memory = good(document("{type: memory, memory: {}}")).spec.memory
    assert memory is not None
    assert memory.max_bytes == 64 * 1024 * 1024
    hdfs = good(document('{type: hdfs, hdfs: {namenodes: ["http://nn1:9870"]}}')).spec.hdfs
    assert hdfs is not None
    assert hdfs.base_path == "/volnux"


def test_without_a_configuration_there_is_one_memory_store_named_default() -> None:
    made = default_document()
    assert (made.name, made.spec.type) == ("default", "memory")


ACCEPTED = {
    "memory": document("{type: memory, memory: {maxBytes: 1Gi}}"),
    "memory in bytes": document("{type: memory, memory: {maxBytes: 1048576}}"),
    "sentinel": redis('sentinel: {master: m, nodes: [s1, "s2:26380", "[::1]:26379"]}'),
    "cluster": redis('cluster: {nodes: ["10.0.0.1:7000"]}'),
    "unix socket": redis("unixSocket: /run/redis.sock"),
    "tls with the system's CAs": redis("host: r, tls: {}"),
    "IPv6": redis('host: "::1"'),
    "IPv6 in brackets": redis('host: "[fe80::1]"'),
    "prefix": redis('host: r, keyPrefix: "A.b:/-_9"'),
    "buckets": redis("host: r, hashBuckets: 256"),
    "replicas": redis("host: r, waitReplicas: {count: 16, timeout: 250ms}"),
    "replicas of a cluster": redis("cluster: {nodes: [a]}, waitReplicas: {count: 1}"),
    "hdfs for HA": document(
        '{type: hdfs, hdfs: {namenodes: ["http://a:9870", "https://b"], username: u, basePath: /x}}'
    ),
    "kerberos": document('{type: hdfs, hdfs: {namenodes: ["http://a"], kerberos: {}}}'),
    "delegation token": document(
        '{type: hdfs, hdfs: {namenodes: ["http://a"], delegationTokenSecretRef: {name: a, key: b}}}'
    ),
    "bounds, low": document(
        "{type: memory, memory: {maxBytes: 1}, pool: {maxConnections: 1, minIdle: 0, "
        "maxWaiting: 0, connectionTimeout: 1ms}, requestTimeout: 1ms}"
    ),
    "bounds, high": document(
        "{type: memory, memory: {}, pool: {maxConnections: 1000, minIdle: 1000, "
        "maxWaiting: 100000, idleTimeout: 24h, maxLifetime: 1h30m}, requestTimeout: 24h}"
    ),
    "what kubectl get prints": f"""{HEAD}metadata:
  name: shop
  namespace: default
  uid: 0b7
  resourceVersion: "5"
  generation: 3
  creationTimestamp: "2026-11-23T14:00:00Z"
  labels: {{app: shop}}
  annotations: {{a.example/b: "1"}}
  managedFields: [{{a: 1}}]
spec: {{type: memory, memory: {{}}}}
status: {{observedGeneration: 3}}
""",
    "63 letters": document("{type: memory, memory: {}}", "{name: " + "a" * 63 + "}"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    good(ACCEPTED[name])


def pool(fields: str) -> str:
    return document(f"{{type: memory, memory: {{}}, pool: {{{fields}}}}}")


REFUSED = {
    # the document as a whole
    "apiVersion": ("apiVersion: pannier.dev/v1\nkind: StoreBackend\n", "apiVersion",
                   "write pannier.dev/v1alpha1"),
    "kind": (THE_CONTRACT.replace("kind: StoreBackend", "kind: StoreBackends"), "kind",
             "write StoreBackend"),
    "no kind": (THE_CONTRACT.replace("kind: StoreBackend\n", ""), "kind", "is missing"),
    "no spec": (HEAD + "metadata: {name: a}", "spec", "is missing"),
    "no name": (document("{type: memory, memory: {}}", "{}"), "metadata.name", "is missing"),
    "name": (document("{type: memory, memory: {}}", "{name: My_Shop}"), "metadata.name",
             "such as my-shop"),
    "long name": (document("{type: memory, memory: {}}", "{name: " + "a" * 64 + "}"),
                  "metadata.name", "DNS label"),
    "a list": ("- 1", "", "must hold fields"),
    "a text": ("hello", "", "must hold fields"),
    # type and member
    "type": (document("{type: rediss, redis: {host: r}}"), "spec.type", "did you mean redis?"),
    "no type": (document("{redis: {host: r}}"), "spec.type", "is missing"),
    "no member": (document("{type: memory}"), "spec.memory", "add memory"),
    "another member": (document("{type: memory, redis: {host: r}}"), "spec.memory", "is missing"),
    "two members": (document("{type: memory, memory: {}, redis: {host: r}}"), "spec.redis",
                    "remove it"),
    "null member": (document("{type: memory, memory: }"), "spec.memory", "has no value"),
    # redis
    "no way": (redis("db: 1"), "spec.redis.host", "one of host, sentinel, cluster, unixSocket"),
    "two ways": (redis("host: r, unixSocket: /a"), "spec.redis.unixSocket", "is here beside host"),
    "host with scheme": (redis("host: redis://r"), "spec.redis.host", "URL"),
    "host with port": (redis("host: r:6379"), "spec.redis.host", "goes into port"),
    "empty host": (redis('host: ""'), "spec.redis.host", "is empty"),
    "host of blanks": (redis('host: "a b"'), "spec.redis.host", "host name"),
    "port 0": (redis("host: r, port: 0"), "spec.redis.port", "at least 1"),
    "port 65536": (redis("host: r, port: 65536"), "spec.redis.port", "at most 65535"),
    "port as text": (redis('host: r, port: "6379"'), "spec.redis.port", "remove the quotes"),
    "port as float": (redis("host: r, port: 6379.0"), "spec.redis.port", "write 6379"),
    "port as bool": (redis("host: r, port: true"), "spec.redis.port", "whole number"),
    "db": (redis("host: r, db: -1"), "spec.redis.db", "at least 0"),
    "cluster with db": (redis("cluster: {nodes: [a]}, db: 1"), "spec.redis.db", "database 0"),
    "no nodes": (redis("cluster: {nodes: []}"), "spec.redis.cluster.nodes", "at least 1"),
    "nodes as text": (redis("cluster: {nodes: a}"), "spec.redis.cluster.nodes", "must be a list"),
    "node port": (redis('cluster: {nodes: [a, "b:x"]}'), "spec.redis.cluster.nodes[1]", "port"),
    "sentinel without master": (redis("sentinel: {nodes: [a]}"), "spec.redis.sentinel.master",
                                "is missing"),
    "socket": (redis("unixSocket: redis.sock"), "spec.redis.unixSocket", "absolute path"),
    "socket with tls": (redis("unixSocket: /a, tls: {}"), "spec.redis.tls", "remove it"),
    "username as number": (redis("host: r, username: 5"), "spec.redis.username", "in quotes"),
    "prefix of blanks": (redis('host: r, keyPrefix: "a b"'), "spec.redis.keyPrefix", "must match"),
    "no prefix": (redis('host: r, keyPrefix: ""'), "spec.redis.keyPrefix", "must match"),
    "prefix with a line end": (redis('host: r, keyPrefix: "a\\n"'), "spec.redis.keyPrefix",
                               "must match"),
    "long prefix": (redis(f"host: r, keyPrefix: {'a' * 65}"), "spec.redis.keyPrefix", "must match"),
    "buckets 0": (redis("host: r, hashBuckets: 0"), "spec.redis.hashBuckets", "at least 1"),
    "replicas without a number": (redis("host: r, waitReplicas: {}"),
                                  "spec.redis.waitReplicas.count", "is missing"),
    "replicas 0": (redis("host: r, waitReplicas: {count: 0}"), "spec.redis.waitReplicas.count",
                   "at least 1"),
    "replicas 17": (redis("host: r, waitReplicas: {count: 17}"), "spec.redis.waitReplicas.count",
                    "at most 16"),
    "replicas for ever": (redis("host: r, waitReplicas: {count: 1, timeout: 0s}"),
                          "spec.redis.waitReplicas.timeout", "at least 1ms"),
    "secret as text": (redis("host: r, passwordSecretRef: hunter2"),
                       "spec.redis.passwordSecretRef", "must hold fields"),
    "secret without key": (redis("host: r, passwordSecretRef: {name: a}"),
                           "spec.redis.passwordSecretRef.key", "is missing"),
    "secret name": (redis("host: r, passwordSecretRef: {name: ../a, key: b}"),
                    "spec.redis.passwordSecretRef.name", "name of Kubernetes"),
    "secret key": (redis('host: r, passwordSecretRef: {name: a, key: "b/c"}'),
                   "spec.redis.passwordSecretRef.key", "key of a Secret"),
    "secret key ..": (redis('host: r, passwordSecretRef: {name: a, key: "..data"}'),
                      "spec.redis.passwordSecretRef.key", "key of a Secret"),
    "certificate without key": (redis("host: r, tls: {certSecretRef: {name: a, key: b}}"),
                                "spec.redis.tls.keySecretRef", "is missing"),
    "password in the open": (redis("host: r, password: hunter2"), "spec.redis.password",
                             "did you mean passwordSecretRef?"),
    # hdfs
    "no namenodes": (document("{type: hdfs, hdfs: {}}"), "spec.hdfs.namenodes", "is missing"),
    "namenode": (document("{type: hdfs, hdfs: {namenodes: [nn1]}}"), "spec.hdfs.namenodes[0]",
                 "http://nn1:9870"),
    "namenode with user": (document('{type: hdfs, hdfs: {namenodes: ["http://u:p@nn1"]}}'),
                           "spec.hdfs.namenodes[0]", "alone"),
    "base path": (document('{type: hdfs, hdfs: {namenodes: ["http://a"], basePath: /a/../b}}'),
                  "spec.hdfs.basePath", "absolute path"),
    "base path with a colon": (
        document('{type: hdfs, hdfs: {namenodes: ["http://a"], basePath: "/a:b"}}'),
        "spec.hdfs.basePath", "without colons"),
    "namenode with a path": (
        document('{type: hdfs, hdfs: {namenodes: ["http://a/webhdfs"]}}'),
        "spec.hdfs.namenodes[0]", "alone"),
    "user and Kerberos": (
        document('{type: hdfs, hdfs: {namenodes: ["http://a"], username: u, kerberos: {}}}'),
        "spec.hdfs.kerberos", "is here beside username"),
    "two logins": (document('{type: hdfs, hdfs: {namenodes: ["http://a"], kerberos: {}, '
                            "delegationTokenSecretRef: {name: a, key: b}}}"),
                   "spec.hdfs.delegationTokenSecretRef", "keep one"),
    # memory
    "size": (document("{type: memory, memory: {maxBytes: 64MB}}"), "spec.memory.maxBytes", "64Mi"),
    "size 0": (document("{type: memory, memory: {maxBytes: 0}}"), "spec.memory.maxBytes",
               "at least 1"),
    # pool and timeouts
    "no connections": (pool("maxConnections: 0, minIdle: 0"), "spec.pool.maxConnections",
                       "at least 1"),
    "many connections": (pool("maxConnections: 1001"), "spec.pool.maxConnections", "at most 1000"),
    "min over max": (pool("maxConnections: 2, minIdle: 3"), "spec.pool.minIdle", "at most 2"),
    "min over default max": (pool("minIdle: 9"), "spec.pool.minIdle", "at most 8"),
    "waiting": (pool("maxWaiting: 100001"), "spec.pool.maxWaiting", "at most 100000"),
    "negative waiting": (pool("maxWaiting: -1"), "spec.pool.maxWaiting", "at least 0"),
    "duration without unit": (pool("idleTimeout: 5"), "spec.pool.idleTimeout", "such as 5s"),
    "wrong unit": (pool("idleTimeout: 5sec"), "spec.pool.idleTimeout", "1m30s"),
    "duration 0": (pool("idleTimeout: 0s"), "spec.pool.idleTimeout", "at least 1ms"),
    "long duration": (pool("maxLifetime: 25h"), "spec.pool.maxLifetime", "at most 24h"),
    "unknown field": (pool("maxConnection: 5"), "spec.pool.maxConnection",
                      "did you mean maxConnections?"),
    "unknown field of the spec": (document("{type: memory, memory: {}, requestTimeot: 5s}"),
                                  "spec.requestTimeot", "did you mean requestTimeout?"),
    "other case": (pool("maxconnections: 5"), "spec.pool.maxconnections",
                   "did you mean maxConnections?"),
    "service accounts": (document("{type: memory, memory: {}, serviceAccounts: [A_b]}"),
                         "spec.serviceAccounts[0]", "name of Kubernetes"),
    "label of a number": (document("{type: memory, memory: {}}", "{name: a, labels: {b: 1}}"),
                          "metadata.labels.b", "in quotes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_field_and_fix(name: str) -> None:
    text, field, said = REFUSED[name]
    found = problems(text)
    assert any(problem.field == field and said in problem.said for problem in found), found
    assert all(problem.line is not None for problem in found)


def test_no_message_quotes_what_may_be_a_credential() -> None:
    for fields in (
        "host: r, passwordSecretRef: hunter2",
        "host: r, password: hunter2",
        "host: redis://u:hunter2@r",
        "host: r, passwordSecretRef: {name: hunter2!, key: hunter2!}",
        "host: r, keyPrefix: hunter2!",
        "host: r, tls: hunter2",
        "host: r, tls: {serverName: hunter2!}",
        "cluster: {nodes: [hunter2!]}",
    ):
        assert "hunter2" not in str(problems(redis(fields))), fields


def test_everything_wrong_in_every_document_is_said_at_once_in_order_of_lines() -> None:
    text = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: a}
spec:
  type: redis
  redis:
    host: r
    port: 0
  pool:
    minIdle: 9
    maxWait: 1
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: b}
spec: {type: memory, memory: {maxBytes: x}, requestTimeout: 1}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: c}
spec: {type: memory, memory: {}}
"""
    reading = read(text)
    assert [(problem.line, problem.store, problem.field) for problem in reading.problems] == [
        (8, "a", "spec.redis.port"),
        (10, "a", "spec.pool.minIdle"),
        (11, "a", "spec.pool.maxWait"),
        (16, "b", "spec.memory.maxBytes"),
        (16, "b", "spec.requestTimeout"),
    ]
    assert reading.refused == {"a", "b"}
    assert list(reading.documents) == ["c"]
    assert reading.complete


def test_two_documents_of_one_name_are_both_refused_and_the_third_is_not() -> None:
    one = document("{type: memory, memory: {}}")
    reading = read(one + "---\n" + one + "---\n" + one.replace("shop", "other"))
    assert reading.refused == {"shop"}
    assert list(reading.documents) == ["other"]
    (problem,) = reading.problems
    assert (problem.line, problem.field) == (6, "metadata.name")
    assert "line 1" in problem.message


def test_a_name_in_two_namespaces_is_one_name() -> None:
    one = document("{type: memory, memory: {}}", "{name: shop, namespace: a}")
    assert read(one + "---\n" + one.replace("namespace: a", "namespace: b")).refused == {"shop"}


def test_a_document_without_a_readable_name_forbids_removals() -> None:
    reading = read(document("{type: memory, memory: {}}") + "---\nkind: StoreBackend\n")
    assert list(reading.documents) == ["shop"]
    assert not reading.complete


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n", "null\n"])
def test_a_file_without_a_document_is_refused(text: str) -> None:
    reading = read(text)
    assert not reading.complete
    assert "no document" in reading.problems[0].message


def test_a_broken_text_keeps_the_good_documents_before_it() -> None:
    reading = read(document("{type: memory, memory: {}}") + "---\nspec: {a: [\n")
    assert list(reading.documents) == ["shop"]
    assert not reading.complete


def test_a_duplicate_key_refuses_its_document_alone() -> None:
    text = document("{type: memory, memory: {}, type: redis}") + "---\n"
    reading = read(text + document("{type: memory, memory: {}}", "{name: other}"))
    assert reading.refused == {"shop"}
    assert list(reading.documents) == ["other"]
    assert reading.problems[0].field == "spec.type"
    assert reading.problems[0].store == "shop"


# The stream: JSON, lenient -----------------------------------------------------------------------


def as_json(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"name": "shop", "newer": 1},
        "spec": {"type": "memory", "memory": {}, **spec},
    }


def test_the_stream_ignores_unknown_fields_and_names_them_in_warnings() -> None:
    reading = read_objects([placed(as_json(tomorrow={"a": 1}))])
    assert list(reading.documents) == ["shop"]
    assert [problem.field for problem in reading.warnings] == ["metadata.newer", "spec.tomorrow"]
    assert not reading.problems


def test_the_stream_takes_a_null_for_an_absent_field() -> None:
    assert convert(placed(as_json(redis=None, requestTimeout=None)), lenient=True).document


def test_the_stream_still_refuses_what_is_wrong_without_a_line() -> None:
    reading = read_objects([placed(as_json(requestTimeout="5"))])
    assert reading.refused == {"shop"}
    assert str(reading.problems[0]).startswith("spec.requestTimeout: ")


# Words ------------------------------------------------------------------------------------------


def test_a_listing_has_one_line_a_problem_as_editors_jump_to() -> None:
    found = read(pool("maxConnection: 5")).problems
    assert listing("stores.yaml", found) == [
        "stores.yaml:4: spec.pool.maxConnection: unknown field; did you mean maxConnections?"
    ]


def test_a_word_like_none_gets_the_known_ones() -> None:
    assert did_you_mean("zzz", ["host", "port"]) == "known here: host, port"
