"""A file of documents followed as it changes, with every way it can be bad while it does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pannier.config import following, keeper
from pannier.config.file_source import FileSource
from pannier.config.following import Watch
from pannier.config.live import LiveConfiguration
from pannier.config.problems import ConfigurationRefused
from pannier.config.served import ServedStore, StoreTable


def memory(name: str, spec: str = "") -> str:
    return (
        "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\n"
        f"metadata: {{name: {name}}}\nspec: {{type: memory, memory: {{}}{spec}}}\n"
    )


def redis(name: str, fields: str) -> str:
    """A document of a server that nobody listens for: it is pending, which is no matter here."""
    return memory(name).replace(
        "type: memory, memory: {}", f"type: redis, redis: {{unixSocket: /nobody{fields}}}"
    )


SECRET = ", passwordSecretRef: {name: shop, key: password}"


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a condition of the code under test
            await asyncio.sleep(0.002)


class Followed:
    """A followed file and what is served from it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "stores.yaml"
        self.secrets = directory / "secrets"
        self.secrets.mkdir()
        self.table = StoreTable()
        self.live = LiveConfiguration(self.table, config=self.file, secrets_dir=self.secrets)

    def write(self, *documents: str) -> None:
        """Replace the file in one step, as editors and Kubernetes do."""
        fresh = self.file.with_suffix(".tmp")
        fresh.write_text("---\n".join(documents))
        fresh.rename(self.file)

    async def start(self, *documents: str) -> None:
        self.write(*documents)
        self.live.load()
        await self.live.start()

    def store(self, name: str) -> ServedStore:
        return self.table.stores[name]

    @property
    def names(self) -> set[str]:
        return set(self.table.stores)


@pytest.fixture
async def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Followed]:
    monkeypatch.setattr(following, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(following, "SETTLED_AFTER", 0.05)
    monkeypatch.setattr(keeper, "LOOK_EVERY", 0.005)
    made = Followed(tmp_path)
    yield made
    await made.live.close()


async def test_without_a_file_one_memory_store_is_served() -> None:
    table = StoreTable()
    live = LiveConfiguration(table)
    live.load()
    await live.start()
    assert {name: (store.type, store.state) for name, store in table.stores.items()} == {
        "default": ("memory", "ready")
    }
    assert (table.source, table.error) == ("default", None)
    live.reload()
    await live.close()


async def test_a_changed_file_is_applied(followed: Followed) -> None:
    await followed.start(memory("a"))
    assert (followed.names, followed.table.source) == ({"a"}, "file")
    version = followed.table.version
    followed.write(memory("a"), memory("b"))
    await until(lambda: followed.names == {"a", "b"})
    assert followed.table.version != version


async def test_a_file_that_is_rewritten_in_place_is_applied(followed: Followed) -> None:
    await followed.start(memory("a"))
    followed.file.write_text(memory("a") + "---\n" + memory("b"))
    await until(lambda: followed.names == {"a", "b"})


async def test_a_configmap_swap_is_applied(followed: Followed) -> None:
    volume = followed.file.parent / "volume"

    def mount(generation: str, text: str) -> None:
        dated = volume / f"..{generation}"
        dated.mkdir(parents=True)
        (dated / "stores.yaml").write_text(text)
        (volume / "..data_tmp").symlink_to(dated.name)
        (volume / "..data_tmp").rename(volume / "..data")

    mount("1", memory("a"))
    (volume / "stores.yaml").symlink_to("..data/stores.yaml")
    followed.file.symlink_to("volume/stores.yaml")
    followed.live.load()
    await followed.live.start()
    mount("2", memory("a") + "---\n" + memory("b"))
    await until(lambda: followed.names == {"a", "b"})


async def test_sighup_reads_the_file_again_though_it_did_not_change(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await followed.start(memory("a"))
    caplog.clear()
    followed.live.reload()
    await until(lambda: "was read" in caplog.text)
    assert followed.table.applies["applied"] == 2


BAD = {
    "unknown field": (memory("a", ", requestTimeot: 5s"), "did you mean requestTimeout?"),
    "wrong unit": (memory("a", ", requestTimeout: 5sec"), "1m30s"),
    "two of one name": (memory("a") + "---\n" + memory("a"), "too"),
    "other type": (redis("a", ""), "cannot be changed"),
    "missing secret": (redis("a", SECRET), "is missing"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_document_keeps_the_last_good_one_and_says_why(
    followed: Followed, name: str
) -> None:
    bad, said = BAD[name]
    await followed.start(memory("a"), memory("b"))
    good, other = followed.store("a").generation, followed.store("b").generation
    followed.write(bad, memory("b"), memory("c"))
    await until(lambda: "c" in followed.names)
    await until(lambda: said in (followed.store("a").error or ""))
    assert (followed.store("a").state, followed.store("a").generation) == ("ready", good)
    assert (followed.store("b").error, followed.store("b").generation) == (None, other)
    followed.write(memory("a"), memory("b"), memory("c"))
    await until(lambda: followed.store("a").error is None)
    assert followed.table.error is None
    assert followed.store("a").generation is good


@pytest.mark.parametrize("text", ["", "# nothing", "a: [", "- 1", "kind: StoreBackend", "\xff\x00"])
async def test_a_file_that_cannot_be_read_changes_nothing(followed: Followed, text: str) -> None:
    await followed.start(memory("a"))
    version, good = followed.table.version, followed.store("a").generation
    followed.write(text)
    await until(lambda: followed.table.error)
    assert (followed.names, followed.table.version) == ({"a"}, version)
    assert (followed.store("a").state, followed.store("a").generation) == ("ready", good)
    followed.write(memory("a"))
    await until(lambda: followed.table.error is None)


async def test_a_file_that_is_gone_or_no_file_changes_nothing(followed: Followed) -> None:
    await followed.start(memory("a"))
    followed.file.unlink()
    await until(lambda: "No such file" in (followed.table.error or ""))
    followed.file.mkdir()
    await until(lambda: "directory" in (followed.table.error or ""))
    assert followed.names == {"a"}
    followed.file.rmdir()
    followed.write(memory("a"), memory("b"))
    await until(lambda: followed.names == {"a", "b"})
    assert followed.table.error is None


async def test_a_half_written_file_removes_no_store(followed: Followed) -> None:
    await followed.start(memory("a"), memory("b"))
    generation = followed.store("b").generation
    # The writer stops in the middle of a document, and after one, for longer than two looks.
    first, second = memory("a", ", requestTimeout: 4s") + "---\n", memory("b")
    with followed.file.open("w") as file:
        for part in (first[:100], first[100:], second[:50], second[50:]):
            file.write(part)
            file.flush()
            await asyncio.sleep(0.02)
            assert followed.names == {"a", "b"}
            assert followed.store("b").state == "ready"
    await until(lambda: followed.table.applies["applied"] >= 4)
    assert followed.store("b").generation is generation
    assert followed.table.error is None


async def test_a_removed_store_goes_once_the_file_has_settled(followed: Followed) -> None:
    await followed.start(memory("a"), memory("b"))
    followed.write(memory("a"))
    await until(lambda: followed.names == {"a"})


async def test_a_secret_that_comes_later_brings_its_store(followed: Followed) -> None:
    await followed.start(memory("a"), redis("shop", SECRET))
    assert followed.store("shop").state == "rejected"
    assert followed.store("a").state == "ready"
    (followed.secrets / "shop").mkdir()
    (followed.secrets / "shop" / "password").write_text("hunter2\n")
    await until(lambda: followed.store("shop").generation)
    await until(lambda: followed.store("shop").state == "unavailable")
    assert "hunter2" not in (followed.store("shop").error or "")


async def test_a_rotated_secret_is_applied_and_no_version_tells_of_it(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (followed.secrets / "shop").mkdir()
    password = followed.secrets / "shop" / "password"
    password.write_text("hunter2")
    await followed.start(memory("a"), redis("shop", SECRET))
    first, version = followed.store("shop").generation, followed.table.version
    password.write_text("hunter3")
    await until(lambda: followed.store("shop").generation not in (None, first))
    assert followed.table.version != version
    password.unlink()
    await until(lambda: "is missing" in (followed.store("shop").error or "") + str(
        followed.table.error))  # fmt: skip
    assert followed.store("shop").generation is not None
    assert "hunter" not in caplog.text


async def test_a_sidecar_does_not_start_with_nothing_to_serve(tmp_path: Path) -> None:
    for text in (None, "", "a: [", memory("a", ", x: 1"), redis("shop", SECRET)):
        file = tmp_path / "stores.yaml"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigurationRefused) as raised:
            LiveConfiguration(StoreTable(), config=file, secrets_dir=tmp_path).load()
        assert str(file) in str(raised.value)


# What tells one configuration from another -------------------------------------------------------


def version(directory: Path, text: str) -> str:
    file = directory / "stores.yaml"
    file.write_text(text)
    return FileSource(file, directory).read().version


def test_a_version_is_of_what_is_said_and_not_of_how(tmp_path: Path) -> None:
    one = version(tmp_path, memory("a") + "---\n" + memory("b"))
    assert version(tmp_path, "# a comment\n" + memory("b") + "---\n" + memory("a")) == one
    assert version(tmp_path, memory("a")) != one
    assert version(tmp_path, memory("a", ", requestTimeout: 5s") + "---\n" + memory("b")) == one
    assert version(tmp_path, memory("a", ", requestTimeout: 6s") + "---\n" + memory("b")) != one


def test_a_version_does_not_depend_on_what_a_secret_holds(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "password"
    path.parent.mkdir()
    path.write_text("hunter2")
    before = path.stat()
    one = version(tmp_path, redis("shop", SECRET))
    path.write_text("another")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert version(tmp_path, redis("shop", SECRET)) == one
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert version(tmp_path, redis("shop", SECRET)) != one


def test_the_version_keeps_the_last_good_document_of_a_bad_one(tmp_path: Path) -> None:
    file = tmp_path / "stores.yaml"
    source = FileSource(file, None)
    file.write_text(memory("a"))
    one = source.read().version
    file.write_text(memory("a", ", x: 1"))
    assert source.read().version == one


# When a file is at rest --------------------------------------------------------------------------


def test_a_file_is_at_rest_when_two_looks_see_the_same() -> None:
    watch = Watch()
    assert not watch.at_rest("one", 0)
    assert watch.at_rest("one", 0.25)
    assert not watch.at_rest("two", 0.5)
    assert not watch.at_rest("three", 0.75)
    assert watch.at_rest("three", 1.0)


def test_what_is_missing_is_believed_after_a_second() -> None:
    watch = Watch()
    watch.at_rest("one", 10)
    assert not watch.settled(10.9)
    assert watch.settled(11)
