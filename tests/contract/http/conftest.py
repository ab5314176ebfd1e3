"""One live sidecar with a memory store for each lane; every test of the contract runs on both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.http.wire import Client
from tests.real.sidecar import Sidecar, sidecar

LANES = {"fast-lane": (), "aiohttp-lane": ("--no-fast-lane",)}

_numbers = itertools.count()


@pytest.fixture(scope="session", params=LANES)
def lane(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flags that choose a lane."""
    return LANES[request.param]


@pytest.fixture(scope="session")
def running(lane: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar as it comes, shared by all tests of its lane."""
    with sidecar(tmp_path_factory.mktemp("sidecar"), *lane) as started:
        yield started


@pytest.fixture
def ask(running: Sidecar) -> Iterator[Client]:
    """Sends one request and gives its answer."""
    client = Client(running.port)
    yield client
    client.close()


@pytest.fixture
def cart() -> str:
    """The path of a schema that no other test uses."""
    return f"/v1/default/Cart{next(_numbers)}"


@pytest.fixture
def own(lane: tuple[str, ...], tmp_path: Path) -> Iterator[object]:
    """Starts sidecars with flags of the test's own: `own("--max-record-bytes", "100")`."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(sidecar(tmp_path, *lane, *flags, **more))
