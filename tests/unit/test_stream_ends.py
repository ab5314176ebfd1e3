"""Both ends of the stream as they are, the sidecar's client and the operator's server, over TLS.

The API server and the backends are left out: stores are in memory, and a token says whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pannier.config.applying import Applier
from pannier.config.served import StoreTable
from pannier.config.stream.dialing import StreamSettings
from pannier.config.stream.messages import Close, StoreEntry
from pannier.config.stream.source import StreamSource
from pannier_operator.wanted import WantedStore
from tests.real.certificates import Certificates
from tests.unit.stream_world import World, until, world


def store(name: str, generation: int = 1, **memory: str) -> WantedStore:
    document = {
        "apiVersion": "pannier.dev/v1alpha1",
        "kind": "StoreBackend",
        "metadata": {"name": name, "generation": generation},
        "spec": {"type": "memory", "memory": memory},
    }
    return WantedStore(
        name=name,
        uid=name,
        generation=generation,
        fingerprint=f"{name}-{generation}",
        entry=StoreEntry(name=name, document=document),
    )


def kept(name: str) -> WantedStore:
    return WantedStore(
        name=name,
        uid=name,
        generation=1,
        fingerprint=f"{name}-kept",
        entry=StoreEntry(name=name, keep=True, reason="SecretNotFound: it is not there"),
    )


class Sidecar:
    """A stream's client and what it serves."""

    def __init__(self, directory: Path, operator: World) -> None:
        self.table = StoreTable()
        self.applier = Applier(self.table)
        self.token = directory / "token"
        self.token.write_text("shop/default/pod-1/uid-1")
        self.last_good = directory / "last-good"
        self.source = StreamSource(
            StreamSettings(
                operator=f"wss://127.0.0.1:{operator.server.port}",
                token_file=self.token,
                ca_file=operator.certificates.ca,
                last_good_file=self.last_good,
            ),
            self.table,
            random=lambda: 0.0,
        )

    def start(self) -> None:
        first = self.source.first()
        if first is not None:
            self.applier.apply(first)
        self.source.follow(self.applier)

    @property
    def stores(self) -> list[str]:
        return sorted(self.table.stores)


@pytest.fixture
async def operator(certificates: Certificates) -> AsyncIterator[World]:
    async with world(certificates) as made:
        yield made


@pytest.fixture
async def sidecar(tmp_path: Path, operator: World) -> AsyncIterator[Sidecar]:
    made = Sidecar(tmp_path, operator)
    yield made
    await made.source.close()
    await made.applier.close()


async def test_what_is_wanted_is_applied_and_counted(operator: World, sidecar: Sidecar) -> None:
    shop = store("shop")
    operator.want("shop", shop, store("other"))
    sidecar.start()
    await until(lambda: operator.tally(shop).synced == 1)
    assert sidecar.stores == ["other", "shop"]
    assert (operator.tally(shop).connected, operator.tally(shop).reachable) == (1, 1)
    changed = store("shop", 2, maxBytes="1Mi")
    operator.want("shop", changed)
    await until(lambda: operator.tally(changed).synced == 1)
    assert sidecar.stores == ["shop"]


async def test_a_bad_document_is_counted_with_its_reason(operator: World, sidecar: Sidecar) -> None:
    operator.want("shop", store("shop"))
    sidecar.start()
    await until(lambda: sidecar.stores == ["shop"])
    bad = store("shop", 2, maxBytes="many")
    operator.want("shop", bad)
    await until(lambda: operator.tally(bad).rejected == 1)
    (rejection,) = operator.tally(bad).rejections
    assert (rejection.pod, rejection.code) == ("pod-1", "invalid-config")
    assert "spec.memory.maxBytes" in rejection.message
    assert sidecar.table.stores["shop"].state == "ready"


async def test_a_kept_store_runs_on_and_its_reach_is_counted(
    operator: World, sidecar: Sidecar
) -> None:
    operator.want("shop", store("shop"))
    sidecar.start()
    await until(lambda: sidecar.stores == ["shop"])
    before = sidecar.table.stores["shop"].generation
    held = kept("shop")
    operator.want("shop", held)
    await until(lambda: operator.tally(held).reachable == 1)
    assert operator.tally(held).synced == 0
    assert sidecar.table.stores["shop"].generation is before


async def test_a_sidecar_that_runs_the_version_gets_no_push(
    operator: World, sidecar: Sidecar
) -> None:
    shop = store("shop")
    operator.want("shop", shop)
    sidecar.start()
    await until(lambda: operator.tally(shop).synced == 1)
    applied = sidecar.table.applied_at
    operator.epoch = 4
    await operator.server.close_all(Close.REAUTHENTICATE, 0)
    await until(lambda: operator.fleet.streams == 0)
    await until(lambda: operator.fleet.streams == 1 and operator.tally(shop).synced == 1)
    assert operator.tally(shop).reachable == 1
    assert sidecar.table.applied_at == applied


async def test_a_restarted_sidecar_that_kept_the_version_gets_no_push(
    operator: World, sidecar: Sidecar, tmp_path: Path
) -> None:
    shop = store("shop")
    operator.want("shop", shop)
    sidecar.start()
    await until(lambda: operator.tally(shop).synced == 1)
    await sidecar.source.close()
    await until(lambda: not operator.tally(shop).connected)
    assert operator.tally(shop).lost == 0, "it said bye"
    again = Sidecar(tmp_path, operator)
    pushed = operator.fleet.figures.pushes.copy()
    again.start()
    assert again.stores == ["shop"]
    await until(lambda: operator.tally(shop).synced == 1)
    assert operator.fleet.figures.pushes == pushed
    await again.source.close()
    await again.applier.close()


async def test_refusals_are_told_apart(
    operator: World, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    shop = store("shop")
    operator.want("shop", shop)
    operator.is_ready = False
    sidecar.start()
    await until(lambda: "HTTP 503: Not the leader, or not ready yet." in caplog.text)
    operator.is_ready = True
    sidecar.token.write_text("later")
    sidecar.source.redial()
    await until(lambda: "HTTP 503: the API server is away" in caplog.text)
    sidecar.token.write_text("shop/default/pod-1/uid-1")
    sidecar.source.redial()
    await until(lambda: operator.tally(shop).synced == 1)
    assert sidecar.last_good.exists()
    sidecar.token.write_text("nobody")
    sidecar.source.redial()
    await until(lambda: "HTTP 401: the token is not known" in caplog.text)
    assert not sidecar.last_good.exists()
    assert sidecar.stores == ["shop"], "what was authorized serves on"


async def test_a_hundred_edits_end_in_the_last(operator: World, sidecar: Sidecar) -> None:
    sidecar.start()
    await until(lambda: sidecar.table.stream_connected)
    for number in range(100):
        last = store("shop", number + 1, maxBytes=str(1000 + number))
        operator.want("shop", last)
        await asyncio.sleep(0.005)
    await until(lambda: operator.tally(last).synced == 1)
    generation = sidecar.table.stores["shop"].generation
    assert generation is not None
    assert generation.backend.max_bytes == 1099  # type: ignore[attr-defined]
