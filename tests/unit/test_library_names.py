"""The library's names and signatures, as the reference and the contract have them."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pannier
import pannier.aio

REFERENCE: dict[str, dict[str, list[str]]] = {
    "BackendConnectorBase": {
        "__init__": ["host", "port", "username", "password", "db"],
        "connect": [],
        "disconnect": [],
        "is_connected": [],
    },
    "KeyValueStoreBackendBase": {
        "exists": ["schema_name", "record_key"],
        "count": ["schema_name"],
        "insert_record": ["schema_name", "record_key", "record"],
        "update_record": ["schema_name", "record_key", "record"],
        "delete_record": ["schema_name", "record_key"],
        "get_record": ["schema_name", "klass", "record_key"],
        "reload_record": ["schema_name", "record"],
        "filter_record": ["schema_name", "record_klass", "filter_kwargs"],
        "iter_records": ["schema_name", "record_klass", "filter_kwargs"],
        "close": [],
    },
    "RedisConnector": {"__init__": ["host", "port", "db"]},
    "HDFSConnector": {"__init__": ["host", "port", "username"]},
    "SidecarConnector": {"__init__": ["host", "port"]},
    "RedisStoreBackend": {"__init__": ["host", "port", "db"]},
    "HDFSStoreBackend": {"__init__": ["base_path"]},
    "SidecarStoreBackend": {"__init__": ["host", "port", "store"]},
    "InMemoryKeyValueStoreBackend": {},
    "ConnectorManagerFactory": {
        "create_manager": ["connector_class", "connector_config", "connection_mode", "kwargs"]
    },
    "SingleConnectorManager": {
        "__init__": ["connector_class", "connector_config"],
        "get_connection": [],
        "release_connection": ["connector"],
        "connection": [],
        "shutdown": ["timeout"],
        "reconfigure": ["settings"],
        "stats": [],
    },
    "PooledConnectorManager": {
        "__init__": [
            "connector_class", "connector_config", "max_connections", "connection_timeout",
            "idle_timeout", "min_idle", "max_lifetime", "max_waiting", "leak_threshold",
        ],
        "get_connection": [],
        "release_connection": ["connector"],
        "connection": [],
        "shutdown": ["timeout"],
        "reconfigure": ["settings"],
        "stats": [],
    },
}  # fmt: skip

ERRORS = """
    PannierError PoolTimeout PoolFull PoolClosed BackendUnavailable BackendRefused OperationTimeout
    OutcomeUnknown ETagMismatch InvalidKey InvalidRecord TooLarge StoreFull StoreNotFound
    Unsupported ObjectExistError ObjectDoesNotExist
""".split()

POOL_KEYWORDS = ["connection_mode", "max_connections", "connection_timeout", "idle_timeout"]

SIDES = pytest.mark.parametrize("side", [pannier, pannier.aio], ids=["sync", "aio"])


@SIDES
def test_every_name_of_the_reference_has_its_parameters(side: ModuleType) -> None:
    for name, methods in REFERENCE.items():
        klass = getattr(side, name)
        assert klass.__name__ == name
        for method, wanted in methods.items():
            found = [one for one in inspect.signature(getattr(klass, method)).parameters
                     if one != "self"]  # fmt: skip
            assert found[: len(wanted)] == wanted, f"{name}.{method}"


@SIDES
def test_stores_take_their_pool_by_keyword_with_the_contracts_defaults(side: Any) -> None:
    for name in ("RedisStoreBackend", "HDFSStoreBackend", "SidecarStoreBackend"):
        parameters = inspect.signature(getattr(side, name).__init__).parameters
        assert set(POOL_KEYWORDS) <= parameters.keys()
        kinds = {one.kind for one in parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, "options are spelled out"
        assert (parameters["max_connections"].default, parameters["idle_timeout"].default) == (
            10,
            300,
        )
    assert inspect.signature(side.HDFSStoreBackend).parameters["base_path"].default == "/volnux"
    sidecar = inspect.signature(side.SidecarStoreBackend).parameters
    assert [sidecar[name].default for name in ("host", "port", "store")] == [
        "127.0.0.1",
        3900,
        "default",
    ]


@SIDES
def test_input_and_output_is_awaited_on_one_side_only(side: Any) -> None:
    is_async = side is pannier.aio
    for name in ("InMemoryKeyValueStoreBackend", "RedisStoreBackend", "SidecarStoreBackend"):
        klass = getattr(side, name)
        for method in REFERENCE["KeyValueStoreBackendBase"]:
            function = getattr(klass, method)
            if method == "iter_records":
                assert inspect.isasyncgenfunction(function) is is_async
            else:
                assert inspect.iscoroutinefunction(function) is is_async, method
    manager = side.PooledConnectorManager
    for method in ("get_connection", "shutdown", "reconfigure"):
        assert inspect.iscoroutinefunction(getattr(manager, method)) is is_async
    for method in ("release_connection", "stats"):
        assert not inspect.iscoroutinefunction(getattr(manager, method))


def test_errors_records_and_enums_are_the_same_objects_on_both_sides() -> None:
    for name in [*ERRORS, "BackendIntegrationMixin", "ConnectionMode"]:
        assert getattr(pannier, name) is getattr(pannier.aio, name)
    for name in ERRORS:
        error = getattr(pannier, name)
        assert issubclass(error, pannier.PannierError)
        assert isinstance(error.status, int) and isinstance(error.code, str)
    for error in (pannier.ObjectExistError, pannier.ObjectDoesNotExist):
        assert issubclass(error, ValueError)
    assert {mode.name for mode in pannier.ConnectionMode} == {"SINGLE", "POOLED"}


@SIDES
def test_each_name_is_listed_everywhere_it_has_to_be(side: ModuleType) -> None:
    assert {*REFERENCE, *ERRORS, "BackendIntegrationMixin", "ConnectionMode"} <= set(side.__all__)
    for name in side.__all__:
        assert getattr(side, name).__name__ == name
        assert name in dir(side)
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        side.Missing  # noqa: B018
    seen_by_type_checkers = {
        alias.name
        for node in ast.walk(ast.parse(Path(str(side.__file__)).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pannier.")
        for alias in node.names
    }
    assert set(side.__all__) == seen_by_type_checkers - {"lazy_names"}


def test_importing_the_library_imports_no_backend() -> None:
    code = (
        "import sys, pannier, pannier.aio\n"
        "heavy = ('asyncio', 'msgspec', 'hiredis', 'redis', 'hdfs', 'requests', 'aiohttp',\n"
        "         'click', 'rich', 'prometheus_client', 'httptools', 'yaml')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "pannier.InMemoryKeyValueStoreBackend\n"
        "print([name for name in heavy if name in sys.modules and name != 'msgspec'])\n"
        "pannier.SidecarStoreBackend, pannier.RedisStoreBackend, pannier.HDFSStoreBackend\n"
        "print([name for name in ('hdfs', 'requests', 'redis', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]
