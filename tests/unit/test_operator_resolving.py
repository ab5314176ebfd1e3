"""A StoreBackend and its Secrets: what is sent, why it is not, and that no credential is shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pannier_operator.cache import Cache, Key, Seen, read
from pannier_operator.resolving import LABEL, Resolved, resolve
from pannier_operator.sharing import Places, place_of
from pannier_operator.snapshots import Snapshots
from pannier_operator.wanted import Audience
from tests.real.certificates import Certificates, make_certificates

HIDDEN = "hunter2-is-not-shown"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def backend(name: str = "shop", **spec: Any) -> dict[str, Any]:
    spec = spec or redis()
    return {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {
            "name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 2,
            "resourceVersion": "7", "labels": {"app": "shop"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "spec": spec,
        "status": {"synced": "0/0"},
    }  # fmt: skip


def redis(**more: Any) -> dict[str, Any]:
    ref = {"passwordSecretRef": {"name": "shop-redis", "key": "password"}}
    return {"type": "redis", "redis": {"host": "redis.shop.svc", **ref, **more}}


def tls(*refs: str) -> dict[str, Any]:
    return redis(tls={f"{ref}SecretRef": {"name": "shop-redis", "key": ref} for ref in refs})


def secret(
    name: str = "shop-redis", *, version: str = "9", label: str | None = "true", **entries: Any
) -> dict[str, Any]:
    data = {
        key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in (entries or {"password": HIDDEN}).items()
    }
    labels = {LABEL: label} if label is not None else {}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels}
    return {"metadata": {**metadata, "resourceVersion": version}, "data": data}


def resolved(
    resource: dict[str, Any], *secrets: dict[str, Any], unlabelled: frozenset[str] = frozenset()
) -> Resolved:
    held = {each["metadata"]["name"]: read("secrets", each) for each in secrets}

    def find(namespace: str, name: str) -> Seen | None:
        assert namespace == "default", "a Secret of another namespace is never asked for"
        return held.get(name)

    return resolve(read("storebackends", resource), find, unlabelled=unlabelled)


class TestWhatIsSent:
    def test_the_document_and_its_credentials(self) -> None:
        made = resolved(backend(), secret())
        entry = made.wanted.entry
        assert made.unresolved is None and not entry.keep
        assert entry.document == {
            "apiVersion": "pannier.dev/v1alpha1", "kind": "StoreBackend",
            "metadata": {"name": "shop", "namespace": "default"}, "spec": backend()["spec"],
        }  # fmt: skip
        assert [(c.name, c.key, c.value) for c in entry.credentials] == [
            ("shop-redis", "password", HIDDEN)
        ]
        assert (made.wanted.uid, made.wanted.generation) == ("uid-shop", 2)

    @pytest.mark.parametrize(
        ("held", "sent"),
        [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), (" a ", " a ")],
    )
    def test_one_line_end_is_dropped_as_in_files(self, held: str, sent: str) -> None:
        made = resolved(backend(), secret(password=held))
        assert made.wanted.entry.credentials[0].value == sent

    def test_an_entry_that_two_fields_name_is_sent_once(self, pem: Certificates) -> None:
        ca = pem.ca.read_text()
        same = {"name": "shop-redis", "key": "ca"}
        spec = redis(passwordSecretRef=same, tls={"caSecretRef": same})
        made = resolved(backend(**spec), secret(ca=ca))
        assert len(made.wanted.entry.credentials) == 1

    def test_an_unknown_field_is_left_to_the_sidecar(self) -> None:
        made = resolved(backend(**redis(inventedLater=1)), secret())
        assert made.unresolved is None
        assert made.wanted.entry.document is not None
        assert made.wanted.entry.document["spec"]["redis"]["inventedLater"] == 1

    @pytest.mark.parametrize(
        ("spec", "accounts"),
        [
            ({"type": "memory", "memory": {}}, None),
            ({"type": "memory", "memory": {}, "serviceAccounts": ["a", "b"]}, {"a", "b"}),
            ({"type": "memory", "memory": {}, "serviceAccounts": []}, set()),
            ({"type": "nonsense", "serviceAccounts": ["a", 3]}, {"a"}),
            ({"type": "nonsense", "serviceAccounts": "all"}, set()),
            ({"type": "nonsense"}, None),
        ],
    )
    def test_whose_sidecars_get_it(self, spec: dict[str, Any], accounts: set[str] | None) -> None:
        wanted = resolved(backend(**spec)).wanted
        assert wanted.service_accounts == (None if accounts is None else frozenset(accounts))


class TestFingerprints:
    def test_it_changes_with_generation_uid_and_each_secrets_version(self) -> None:
        one = resolved(backend(), secret()).wanted.fingerprint
        newer, namesake = backend(), backend()
        newer["metadata"]["generation"] = 3
        namesake["metadata"]["uid"] = "another"
        others = {
            resolved(newer, secret()).wanted.fingerprint,
            resolved(namesake, secret()).wanted.fingerprint,
            resolved(backend(), secret(version="10")).wanted.fingerprint,
            resolved(backend()).wanted.fingerprint,
            one,
        }
        assert len(others) == 5

    def test_it_does_not_change_with_status_or_labels(self) -> None:
        before, after = backend(), backend()
        after["metadata"] |= {"labels": {}, "resourceVersion": "8"}
        after["status"] = {"synced": "3/3"}
        assert resolved(before, secret()).wanted.fingerprint == (
            resolved(after, secret()).wanted.fingerprint
        )

    def test_it_is_not_made_of_the_credential(self) -> None:
        one = resolved(backend(), secret(password="a")).wanted.fingerprint
        assert resolved(backend(), secret(password="b")).wanted.fingerprint == one


TROUBLES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str, str]] = {
    "no secret": (
        backend(), [], "SecretNotFound",
        "there is no Secret shop-redis in the namespace default: create it, with the label",
    ),
    "secret without the label": (
        backend(), [secret(label=None)], "SecretNotLabelled",
        "kubectl label secret -n default shop-redis pannier.dev/credentials=true",
    ),
    "another label": (backend(), [secret(label="false")], "SecretNotLabelled", "kubectl label"),
    "no entry": (
        backend(), [secret(user="shop", pass_word="x")], "SecretKeyMissing",
        "the Secret shop-redis has no entry password; it has: pass_word, user",
    ),
    "empty entry": (backend(), [secret(password="\n")], "SecretMalformed", "is empty"),
    "no text": (backend(), [secret(password=b"\xff\xfe")], "SecretMalformed", "UTF-8"),
    "a NUL": (backend(), [secret(password="a\0b")], "SecretMalformed", "NUL"),
    "too large": (
        backend(), [secret(password="x" * (1024 * 1024 + 1))], "SecretMalformed", "larger than",
    ),
    "no certificates": (
        backend(**tls("ca")), [secret(password=HIDDEN, ca=HIDDEN)], "SecretMalformed",
        "spec.redis.tls.caSecretRef: the entry ca of the Secret shop-redis cannot be used as CA",
    ),
    "no key": (
        backend(**tls("cert", "key")), [secret(password=HIDDEN, cert=HIDDEN, key=HIDDEN)],
        "SecretMalformed", "cannot be used as a certificate with the key shop-redis/key",
    ),
    "no such type": (backend(type="redsi"), [], "InvalidSpec", "spec.type"),
    "a rule broken": (
        backend(type="memory", memory={}, pool={"minIdle": 9, "maxConnections": 2}), [],
        "InvalidSpec", "spec.pool.minIdle: 9 is more than maxConnections (2)",
    ),
    "no spec": (backend() | {"spec": None}, [], "InvalidSpec", "spec"),
}  # fmt: skip


class TestWhatIsKept:
    @pytest.mark.parametrize("name", TROUBLES)
    def test_a_trouble_is_said_and_the_store_kept(self, name: str) -> None:
        resource, secrets, reason, part = TROUBLES[name]
        made = resolved(resource, *secrets)
        assert made.unresolved is not None
        assert made.unresolved.reason == reason
        assert part in made.unresolved.message
        entry = made.wanted.entry
        assert entry.keep and entry.document is None and not entry.credentials
        assert entry.reason == f"{reason}: {made.unresolved.message}"
        assert HIDDEN not in repr(made)

    def test_a_secret_known_to_be_unlabelled_is_told_apart_from_none(self) -> None:
        made = resolved(backend(), unlabelled=frozenset({"shop-redis"}))
        assert made.unresolved is not None and made.unresolved.reason == "SecretNotLabelled"
        assert made.missing == "shop-redis"

    def test_what_is_no_base64_is_malformed(self) -> None:
        broken = secret()
        broken["data"]["password"] = "%%%"
        made = resolved(backend(), broken)
        assert made.unresolved is not None and made.unresolved.reason == "SecretMalformed"

    def test_a_key_of_another_certificate_is_found_out(self, pem: Certificates) -> None:
        cert, key = pem.server_cert.read_text(), pem.client_key.read_text()
        held = {"password": "x", "cert": cert, "key": key}
        made = resolved(backend(**tls("cert", "key")), secret(**held))
        assert made.unresolved is not None and "mismatch" in made.unresolved.message

    def test_a_good_certificate_is_sent(self, pem: Certificates) -> None:
        files = {"ca": pem.ca, "cert": pem.client_cert, "key": pem.client_key}
        held = {key: path.read_text() for key, path in files.items()}
        made = resolved(backend(**tls(*files)), secret(password="x", **held))
        assert made.unresolved is None

    def test_nothing_that_is_made_shows_a_credential(self) -> None:
        made = resolved(backend(), secret())
        assert HIDDEN not in repr(made) and HIDDEN not in str(made.wanted)


class TestSharedPlaces:
    def put(self, places: Places, name: str, spec: dict[str, Any]) -> set[Key]:
        made = resolved(backend(name, **spec), secret())
        return places.put(Key("default", name), made.document)

    def test_two_on_one_server_database_and_prefix_are_found(self) -> None:
        places = Places()
        self.put(places, "a", redis())
        assert self.put(places, "b", redis(host="REDIS.shop.svc.")) == {Key("default", "a")}
        assert places.others(Key("default", "a")) == [Key("default", "b")]
        assert self.put(places, "b", redis(keyPrefix="b:")) == {Key("default", "a")}
        assert places.others(Key("default", "a")) == []

    @pytest.mark.parametrize(
        "spec",
        [redis(db=1), redis(port=6380), redis(keyPrefix="x:"), redis(host="other"),
         {"type": "memory", "memory": {}},
         {"type": "hdfs", "hdfs": {"namenodes": ["http://nn:9870"]}}],
    )  # fmt: skip
    def test_what_differs_is_no_company(self, spec: dict[str, Any]) -> None:
        places = Places()
        self.put(places, "a", redis())
        assert self.put(places, "b", spec) == set()

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"cluster": {"nodes": ["a", "b:6379"]}}, {"cluster": {"nodes": ["B", "a:6379"]}}),
            (
                {"sentinel": {"master": "m", "nodes": ["a", "b:1"]}},
                {"sentinel": {"master": "m", "nodes": ["b:1", "a:26379"]}},
            ),
        ],
    )
    def test_the_order_of_nodes_does_not_matter(self, one: Any, other: Any) -> None:
        documents = [resolved(backend(type="redis", redis=each)).document for each in (one, other)]
        assert documents[0] is not None and documents[1] is not None
        assert place_of(documents[0]) == place_of(documents[1]) is not None

    def test_memory_and_a_pods_own_socket_are_shared_with_nobody(self) -> None:
        for spec in ({"type": "memory", "memory": {}},
                     {"type": "redis", "redis": {"unixSocket": "/run/redis.sock"}}):  # fmt: skip
            document = resolved(backend(**spec)).document
            assert document is not None and place_of(document) is None


class TestSnapshots:
    def made(self) -> tuple[Cache, Snapshots, list[Key]]:
        queued: list[Key] = []
        cache = Cache()
        snapshots = Snapshots(cache)
        cache.changed = lambda kind, key: queued.extend(snapshots.changed(kind, key))
        return cache, snapshots, queued

    def test_an_audience_gets_what_is_for_it_in_the_order_of_names(self) -> None:
        cache, snapshots, _ = self.made()
        memory = {"type": "memory", "memory": {}}
        cache.put("storebackends", backend("b", **memory))
        cache.put("storebackends", backend("a", **memory))
        cache.put("storebackends", backend("c", **memory, serviceAccounts=["checkout"]))
        everyone = snapshots.wanted_for(Audience("default", "default"))
        checkout = snapshots.wanted_for(Audience("default", "checkout"))
        assert list(everyone.stores) == ["a", "b"]
        assert list(checkout.stores) == ["a", "b", "c"]
        assert everyone.version != checkout.version
        assert not snapshots.wanted_for(Audience("elsewhere", "default")).stores

    def test_a_secret_queues_and_changes_those_that_refer_to_it(self) -> None:
        cache, snapshots, queued = self.made()
        cache.put("storebackends", backend())
        cache.put("storebackends", backend("other", type="memory", memory={}))
        audience = Audience("default", "default")
        before = snapshots.wanted_for(audience)
        assert before.stores["shop"].entry.keep
        queued.clear()
        cache.put("secrets", secret())
        assert queued == [Key("default", "shop")]
        after = snapshots.wanted_for(audience)
        assert not after.stores["shop"].entry.keep and after.version != before.version
        queued.clear()
        cache.drop("secrets", secret(version="10"))
        assert queued == [Key("default", "shop")]
        assert snapshots.wanted_for(audience).version == before.version

    def test_an_answer_is_made_once_for_each_state(self) -> None:
        cache, snapshots, _ = self.made()
        cache.put("storebackends", backend(type="memory", memory={}))
        audience = Audience("default", "default")
        first = snapshots.wanted_for(audience)
        assert snapshots.wanted_for(audience) is first
        again = backend(type="memory", memory={})
        again["metadata"]["resourceVersion"] = "8"
        again["status"] = {"synced": "1/1"}
        cache.put("storebackends", again)
        assert snapshots.wanted_for(audience) is first, "a status changes no configuration"
        again = backend(type="memory", memory={})
        again["metadata"] |= {"resourceVersion": "9", "generation": 3}
        cache.put("storebackends", again)
        assert snapshots.wanted_for(audience) is not first

    def test_a_deleted_backend_is_gone_and_its_company_queued(self) -> None:
        cache, snapshots, queued = self.made()
        for name in ("a", "b"):
            cache.put("storebackends", backend(name))
            snapshots.company_changed(Key("default", name))
        queued.clear()
        gone = backend("a")
        gone["metadata"]["resourceVersion"] = "8"
        cache.drop("storebackends", gone)
        assert queued == [Key("default", "a"), Key("default", "b")]
        assert snapshots.store("default", "a") is None
        assert list(snapshots.wanted_for(Audience("default", "x")).stores) == ["b"]

    def test_a_backend_that_refers_to_another_secret_is_no_user_of_the_first(self) -> None:
        cache, snapshots, queued = self.made()
        cache.put("storebackends", backend())
        snapshots.resolved(Key("default", "shop"))
        moved = backend(**redis(passwordSecretRef={"name": "new", "key": "password"}))
        moved["metadata"] |= {"resourceVersion": "8", "generation": 3}
        cache.put("storebackends", moved)
        snapshots.resolved(Key("default", "shop"))
        queued.clear()
        cache.put("secrets", secret())
        assert queued == []
        cache.put("secrets", secret("new"))
        assert queued == [Key("default", "shop")]

    def test_looking_whether_a_secret_is_unlabelled_changes_the_reason(self) -> None:
        cache, snapshots, _ = self.made()
        cache.put("storebackends", backend())
        key = Key("default", "shop")
        reasons = []
        for is_there in (None, True, False):
            if is_there is not None:
                snapshots.mark_unlabelled("default", "shop-redis", is_there=is_there)
            made = snapshots.resolved(key)
            assert made is not None and made.unresolved is not None
            reasons.append(made.unresolved.reason)
        assert reasons == ["SecretNotFound", "SecretNotLabelled", "SecretNotFound"]
