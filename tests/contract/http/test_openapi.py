"""The OpenAPI document says what the live server does: a fuzz of one against the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pannier import errors
from pannier.server import refusals, targets
from pannier.server.openapi import document
from pannier.server.settings import SidecarSettings
from tests.contract.http.wire import Client
from tests.real.sidecar import sidecar

load_all_checks()

API = schemathesis.openapi.from_dict(document(SidecarSettings()))
OPERATIONS = {found.ok().label: found.ok() for found in API.get_all_operations()}

EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


CASES = [
    pytest.param(label, mode, id=f"{label}, {mode.value}")
    for label in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or "{store}" in label  # nothing else can be wrong
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sidecar as it comes, with both lanes."""
    with sidecar(tmp_path_factory.mktemp("described")) as started:
        yield started.url


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_the_live_server_does_what_the_document_says(
    described: str, label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: schemathesis.Case) -> None:
        excluded: list[Any] = []
        if mode is GenerationMode.POSITIVE:
            reach_the_store(case)
            if case.headers or case.method == "PATCH":
                excluded.append(positive_data_acceptance)  # 412 and 422 hang on what is stored
        case.call_and_validate(
            base_url=described, excluded_checks=excluded, headers={"Host": "localhost"}
        )

    hold()


def reach_the_store(case: schemathesis.Case) -> None:
    """Name what exists: a random store is a 404, and only a page can give a cursor."""
    if "store" in case.path_parameters:
        case.path_parameters["store"] = "default"
    if "key" in case.path_parameters:
        case.path_parameters["key"] = case.path_parameters["key"][:2].strip(".") or "k"
    (case.query or {}).pop("cursor", None)
    if isinstance(case.body, dict):
        case.body.pop("cursor", None)


def test_the_document_is_served_to_get_and_head(ask: Client) -> None:
    reply = ask("GET", "/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["openapi"].startswith("3.1")
    assert ask("HEAD", "/openapi.json").headers["content-length"] == str(len(reply.body))


def test_every_route_and_method_is_in_it(ask: Client) -> None:
    described = ask("GET", "/openapi.json").json["paths"]
    routes = {targets.of_path(path.encode()).route: item for path, item in described.items()}
    routes["record"] = described["/v1/{store}/{schema}/{key}"]
    known = {route: set(methods) for route, methods in targets.METHODS.items() if route != "server"}
    assert {route: {name.upper() for name in item} for route, item in routes.items()} == known


def test_every_code_of_the_error_classes_is_in_it() -> None:
    ours = {
        kind.code
        for module in (errors, refusals)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, errors.PannierError)
    }
    text = json.dumps(document(SidecarSettings(api_token_file=__file__)))  # type: ignore[arg-type]
    assert {code for code in ours if f'"{code}"' not in text} == set()
