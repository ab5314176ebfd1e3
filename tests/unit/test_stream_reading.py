"""What an operator's message says, and what a sidecar says back: pure, by tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pannier.config.documents import SecretRef
from pannier.config.keeper import End
from pannier.config.served import StoreState
from pannier.config.stream.messages import (
    MAX_REPORT_BYTES,
    Applied,
    Credential,
    State,
    StoreEntry,
    StoreReport,
    read_report,
)
from pannier.config.stream.reading import MOST_WARNINGS, Malformed, read_entries, read_message
from pannier.config.stream.reports import LONGEST_MESSAGE, changes, fitting, printable, report_of


def document(name: str = "shop", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"name": name, "namespace": "team", "uid": "u", "generation": 3},
        "spec": spec or {"type": "memory", "memory": {}},
    }


def entry(name: str = "shop", **spec: Any) -> StoreEntry:
    return StoreEntry(name=name, document=document(name, **spec))


def redis(**fields: Any) -> dict[str, Any]:
    return {"type": "redis", "redis": {"host": "r", **fields}}


PASSWORD = {"passwordSecretRef": {"name": "shop-redis", "key": "password"}}


def message(**changed: Any) -> str:
    whole = {"type": "snapshot", "version": "v", "epoch": 1, "nonce": "n", "stores": []}
    return json.dumps({**whole, **changed})


def test_a_snapshot_is_read_and_what_a_newer_operator_adds_is_passed_over() -> None:
    stores = [{"name": "shop", "document": document(), "later": 1}]
    snapshot = read_message(message(stores=stores, later={"a": [1]}))
    assert (snapshot.version, snapshot.epoch, snapshot.nonce) == ("v", 1, "n")
    assert snapshot.stores == [entry()]


SECRET = "s3cr3t-never-shown"

MALFORMED = {
    "binary": message().encode(),
    "empty": "",
    "not JSON": '{"type": "snapshot", ' + SECRET,
    "another type": message(type=SECRET),
    "a report": '{"type": "bye"}',
    "a list": "[1]",
    "nothing": "null",
    "no stores": json.dumps({"type": "snapshot", "version": "v", "epoch": 1, "nonce": "n"}),
    "epoch of text": message(epoch=SECRET),
    "a store that is no object": message(stores=[SECRET]),
    "a document of text": message(stores=[{"name": "a", "document": SECRET}]),
    "a store without a name": message(stores=[{"document": document()}]),
    "a name that is none": message(stores=[{"name": "../" + SECRET, "document": document()}]),
    "one name twice": message(stores=[{"name": "a", "document": document("a")}] * 2),
    "a store without anything": message(stores=[{"name": "a"}]),
    "credentials of numbers": message(
        stores=[
            {"name": "a", "document": {}, "credentials": [{"name": "n", "key": "k", "value": 7}]}
        ]
    ),
    "far too deep": "[" * 100_000,
    "a lone surrogate": message(nonce="?").replace("?", "\\ud800"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_message_that_breaks_the_protocol_is_malformed_and_not_quoted(name: str) -> None:
    with pytest.raises(Malformed) as raised:
        read_message(MALFORMED[name])
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(str(raised.value)) <= 120


def test_stores_come_with_the_credentials_they_refer_to() -> None:
    sent = StoreEntry(
        name="shop",
        document=document(**redis(**PASSWORD)),
        credentials=[
            Credential(name="shop-redis", key="password", value=SECRET),
            Credential(name="other", key="k", value="not asked for"),
        ],
    )
    read = read_entries("v7", [sent])
    configuration = read.configuration
    ref = SecretRef(name="shop-redis", key="password")
    assert configuration.stores["shop"].credential(ref) == SECRET
    assert (configuration.version, configuration.source) == ("v7", "stream")
    assert (configuration.refused, configuration.error, read.warnings) == ({}, None, [])
    assert SECRET not in repr(sent) + repr(read)


REFUSED: dict[str, tuple[StoreEntry, str]] = {
    "a missing credential": (entry(**redis(**PASSWORD)), "shop-redis/password did not come"),
    "a value out of bounds": (
        entry(**redis(), pool={"maxConnections": 0}),
        "spec.pool.maxConnections: 0 is too small",
    ),
    "a type of tomorrow": (entry(type="tape", tape={}), '"tape" is not known here'),
    "another store's document": (
        StoreEntry(name="shop", document=document("other")),
        "metadata.name: is not the name",
    ),
    "a name that cannot be read": (
        StoreEntry(name="shop", document={**document(), "metadata": {"name": 7}}),
        "metadata.name",
    ),
    "an empty document": (StoreEntry(name="shop", document={}), "apiVersion"),
    "an API version of tomorrow": (
        StoreEntry(name="shop", document={**document(), "apiVersion": "pannier.dev/v2"}),
        "apiVersion",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_document_is_refused_for_its_store_alone(name: str) -> None:
    bad, said = REFUSED[name]
    configuration = read_entries("v", [bad, entry("other")]).configuration
    assert list(configuration.stores) == ["other"]
    assert list(configuration.refused) == ["shop"]
    assert said in configuration.refused["shop"]
    assert configuration.error is not None and said in configuration.error
    assert configuration.complete


def test_a_kept_store_is_neither_refused_nor_wanted() -> None:
    kept = StoreEntry(name="shop", keep=True, reason="SecretNotFound: shop-redis is not there")
    configuration = read_entries("v", [kept]).configuration
    assert configuration.kept == {"shop": "SecretNotFound: shop-redis is not there"}
    assert not configuration.stores and not configuration.refused
    assert configuration.error is not None and "SecretNotFound" in configuration.error


def test_unknown_fields_are_warned_of_by_store_and_path_and_a_great_many_are_counted() -> None:
    read = read_entries("v", [entry(**redis(flavour="x"), tomorrow=1)])
    assert list(read.configuration.stores) == ["shop"]
    assert read.warnings == [
        "shop: spec.tomorrow: unknown field; it is ignored",
        "shop: spec.redis.flavour: unknown field; it is ignored",
    ]
    many = read_entries("v", [entry(**redis(), **{f"f{n}": n for n in range(50)})])
    assert len(many.warnings) == MOST_WARNINGS + 1
    assert many.warnings[-1] == f"and {50 - MOST_WARNINGS} more like these"


# What is said back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "state", "expected"),
    [
        (End("applied"), "ready", StoreReport(state="applied", reachable=True)),
        (End("applied"), "unavailable", StoreReport(state="applied", reachable=False)),
        (End("applied"), "connecting", StoreReport(state="applied")),
        (
            None,
            "connecting",
            StoreReport(state="pending", message="It is being opened."),
        ),
        (
            End("pending", "backend-unavailable", "away"),
            "ready",
            StoreReport(
                state="pending", code="backend-unavailable", message="away", reachable=True
            ),
        ),
        (
            End("rejected", "invalid-config", "a\nb\x00c"),
            "rejected",
            StoreReport(state="rejected", code="invalid-config", message="a b c"),
        ),
    ],
)
def test_what_is_said_of_a_store(end: End | None, state: StoreState, expected: StoreReport) -> None:
    assert report_of(end, state) == expected


def test_a_long_message_is_cut() -> None:
    report = report_of(End("rejected", "invalid-config", "x" * 10_000), "ready")
    assert len(report.message) == LONGEST_MESSAGE
    assert printable("short", 10) == "short"


def test_only_changes_are_told() -> None:
    up, down = (StoreReport(state="applied", reachable=each) for each in (True, False))
    assert changes({"a": up, "b": up}, {"a": up, "b": down, "c": up}) == {"b": down, "c": up}
    assert changes({"a": up}, {"a": up}) == {}
    assert changes({"a": up}, {}) == {}


def test_a_report_of_very_many_stores_at_fault_still_fits() -> None:
    reports = {
        f"store-{number}": StoreReport(state="rejected", code="invalid-config", message="m" * 256)
        for number in range(1_000)
    }
    for report in (
        Applied(version="v", nonce="n", stores=reports, warnings=["w" * 500] * 20),
        State(version="v", stores=reports),
    ):
        sent = fitting(report)
        assert len(sent) <= MAX_REPORT_BYTES
        read = read_report(sent)
        assert isinstance(read, (Applied, State))
        assert {name: each.code for name, each in read.stores.items()} == dict.fromkeys(
            reports, "invalid-config"
        )
    small = State(version="v", stores={"a": reports["store-1"]})
    assert read_report(fitting(small)) == small
