"""What is kept across a restart of the container: which entries are good, how long, and where."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from pannier.config.keeper import End
from pannier.config.stream import last_good_file
from pannier.config.stream.last_good import (
    MOST_AHEAD,
    Kept,
    LastGood,
    Moment,
    Unusable,
    decode,
    encode,
)
from pannier.config.stream.last_good_file import LastGoodFile, now
from pannier.config.stream.messages import Credential, Snapshot, StoreEntry

OPERATOR = "wss://operator:8443"
DAY = 86_400.0
SECRET = "s3cr3t-never-shown"

APPLIED, PENDING, REJECTED = End("applied"), End("pending", "x", "m"), End("rejected", "x", "m")


def entry(name: str, mark: int) -> StoreEntry:
    return StoreEntry(name=name, document={"mark": mark})


def snapshot(version: str, *entries: StoreEntry) -> Snapshot:
    return Snapshot(version=version, epoch=3, nonce=version, stores=list(entries))


def held(good: LastGood) -> dict[str, int]:
    """Which entry of each store is kept, by its mark."""
    kept = good.kept(operator=OPERATOR, heard=now())
    return {each.name: (each.document or {})["mark"] for each in kept.stores}


# A row: the entries of a snapshot, what becomes of them, what is kept then, and whether that is the
# snapshot whole.
Row = tuple[list[StoreEntry], dict[str, End | None], dict[str, int], bool]

KEEP = StoreEntry(name="a", keep=True)

STORIES: dict[str, list[Row]] = {
    "what is applied is good": [
        ([entry("a", 1)], {"a": APPLIED}, {"a": 1}, True),
        ([entry("a", 2)], {"a": APPLIED}, {"a": 2}, True),
    ],
    "a rejected change leaves the one before": [
        ([entry("a", 1)], {"a": APPLIED}, {"a": 1}, True),
        ([entry("a", 2)], {"a": REJECTED}, {"a": 1}, False),
        ([entry("a", 3)], {"a": APPLIED}, {"a": 3}, True),
    ],
    "a pending change leaves the one before until it is applied": [
        ([entry("a", 1)], {"a": APPLIED}, {"a": 1}, True),
        ([entry("a", 2)], {"a": PENDING}, {"a": 1}, False),
    ],
    "a change that is not decided yet leaves the one before": [
        ([entry("a", 1)], {"a": APPLIED}, {"a": 1}, True),
        ([entry("a", 2)], {"a": None}, {"a": 1}, False),
    ],
    "a first one that is pending is the best there is": [
        ([entry("a", 1)], {"a": PENDING}, {"a": 1}, True),
        ([entry("a", 2)], {"a": PENDING}, {"a": 2}, True),
    ],
    "a first one that is rejected is not kept": [
        ([entry("a", 1), entry("b", 1)], {"a": REJECTED, "b": APPLIED}, {"b": 1}, False),
    ],
    "what is not named is gone": [
        ([entry("a", 1), entry("b", 1)], {"a": APPLIED, "b": APPLIED}, {"a": 1, "b": 1}, True),
        ([entry("b", 1)], {"b": APPLIED}, {"b": 1}, True),
        ([], {}, {}, True),
    ],
    "what is to be kept stays as it was": [
        ([entry("a", 1), entry("b", 1)], {"a": APPLIED, "b": APPLIED}, {"a": 1, "b": 1}, True),
        ([KEEP, entry("b", 2)], {"a": APPLIED, "b": APPLIED}, {"a": 1, "b": 2}, True),
    ],
    "what is to be kept and never was is missing": [([KEEP], {"a": REJECTED}, {}, False)],
}


@pytest.mark.parametrize("name", STORIES)
def test_which_entries_are_good(name: str) -> None:
    good = LastGood()
    for number, (entries, ends, expected, whole) in enumerate(STORIES[name]):
        good.take(snapshot(f"v{number}", *entries))
        good.settle(ends)
        assert (held(good), good.whole) == (expected, whole), number
        assert good.news
        good.news = False
        good.settle(ends)
        assert not good.news


def test_a_pending_change_that_is_applied_later_is_news() -> None:
    good = LastGood()
    good.take(snapshot("v1", entry("a", 1)))
    good.settle({"a": APPLIED})
    good.take(snapshot("v2", entry("a", 2)))
    good.settle({"a": PENDING})
    good.news = False
    good.settle({"a": APPLIED})
    assert good.news and held(good) == {"a": 2} and good.whole


def test_it_goes_on_from_the_file() -> None:
    good = LastGood()
    good.take(snapshot("v1", entry("a", 1)))
    good.settle({"a": APPLIED})
    again = LastGood()
    again.begin_with(good.kept(operator=OPERATOR, heard=now()))
    assert (again.version, again.epoch, held(again)) == ("v1", 3, {"a": 1})
    again.settle({"a": APPLIED})
    assert not again.news
    again.take(snapshot("v2", entry("a", 2)))
    again.settle({"a": PENDING})
    assert held(again) == {"a": 1}


# For how long -------------------------------------------------------------------------------------


def moment(wall: float, boot: str = "one", up: float = 0.0) -> Moment:
    return Moment(wall=wall, boot=boot, up=up)


@pytest.mark.parametrize(
    ("then", "at", "age"),
    [
        (moment(1e9, up=100), moment(1e9 + 50, up=150), 50),
        # Somebody sets the wall clock: the run of the machine goes on counting.
        (moment(1e9, up=100), moment(5e9, up=150), 50),
        (moment(1e9, up=100), moment(0, up=150), 50),
        (moment(1e9, up=100), moment(1e9, up=90), None),
        # Another run of the machine, or a system that does not say which.
        (moment(1e9, "one", 100), moment(1e9 + 50, "two", 3), 50),
        (moment(1e9, ""), moment(1e9 + 50, ""), 50),
        (moment(1e9, ""), moment(1e9 - MOST_AHEAD, ""), 0),
        (moment(1e9, ""), moment(1e9 - MOST_AHEAD - 1, ""), None),
    ],
)
def test_the_age_of_a_moment(then: Moment, at: Moment, age: float | None) -> None:
    assert then.age(at) == age


def kept(**changed: object) -> Kept:
    whole = Kept(
        operator=OPERATOR,
        version="v1",
        whole=True,
        epoch=3,
        heard=now(),
        stores=[
            StoreEntry(
                name="a",
                document={},
                credentials=[Credential(name="n", key="k", value=SECRET)],
            )
        ],
    )
    return msgspec.structs.replace(whole, **changed)


def test_one_that_is_too_old_is_not_used() -> None:
    then = now()
    later = msgspec.structs.replace(then, up=then.up + DAY, wall=then.wall + DAY)
    content = encode(kept(heard=then))
    assert decode(content, operator=OPERATOR, now=later, max_age=DAY).version == "v1"
    with pytest.raises(Unusable, match="older"):
        decode(content, operator=OPERATOR, now=later, max_age=DAY - 1)


BAD_CONTENT = {
    "nothing": b"",
    "half": encode(kept())[:-20],
    "garbage": SECRET.encode(),
    "not UTF-8": b"\xff\xfe",
    "another's": b'{"kind": "cache", "x": 1}',
    "too deep": b"[" * 100_000,
    "wrong types": encode(kept()).replace(b'"epoch":3', f'"epoch":"{SECRET}"'.encode()),
    "format of tomorrow": encode(kept(format=2)),
    "another operator's": encode(kept(operator="wss://elsewhere:8443")),
    "without a known time": encode(kept(heard=moment(9e9, "other"))),
}


@pytest.mark.parametrize("name", BAD_CONTENT)
def test_a_damaged_or_foreign_file_is_not_used_and_not_quoted(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last-good"
    path.write_bytes(BAD_CONTENT[name])
    path.chmod(0o600)
    assert LastGoodFile(path, operator=OPERATOR, max_age=DAY).read() is None
    assert "is not used" in caplog.text
    assert SECRET not in caplog.text


# Where --------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> LastGoodFile:
    return LastGoodFile(tmp_path / "last-good", operator=OPERATOR, max_age=DAY)


def test_it_is_read_as_it_was_written_by_its_owner_alone(
    file: LastGoodFile, tmp_path: Path
) -> None:
    assert file.read() is None
    before = os.umask(0)
    try:
        assert file.write(kept())
    finally:
        os.umask(before)
    assert file.read() == kept(heard=file.read().heard)  # type: ignore[union-attr]
    assert stat.S_IMODE((tmp_path / "last-good").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["last-good"]
    file.drop()
    assert os.listdir(tmp_path) == []
    file.drop()


def test_a_file_that_others_may_read_is_not_used(
    file: LastGoodFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(kept())
    (tmp_path / "last-good").chmod(0o640)
    assert file.read() is None
    assert "others may read it" in caplog.text


def test_a_file_of_another_user_is_not_used(
    file: LastGoodFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(kept())
    monkeypatch.setattr(last_good_file.os, "geteuid", lambda: os.getuid() + 1)
    assert file.read() is None
    assert "another user" in caplog.text


def test_no_link_is_followed_neither_to_read_nor_to_write(
    file: LastGoodFile, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(encode(kept()))
    target.chmod(0o600)
    before = target.read_bytes()
    path = tmp_path / "last-good"
    path.symlink_to(target)
    (tmp_path / f".last-good.{os.getpid()}").symlink_to(target)
    assert file.read() is None
    assert file.write(kept(version="v2"))
    assert target.read_bytes() == before
    assert not path.is_symlink() and file.read() is not None


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_what_is_no_file_is_not_used_and_hangs_nothing(
    file: LastGoodFile, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last-good"
    if what == "directory":
        path.mkdir()
    else:
        os.mkfifo(path, 0o600)
    assert file.read() is None
    assert "is not used" in caplog.text


def test_a_file_that_cannot_be_written_is_told_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = LastGoodFile(tmp_path / "missing" / "f", operator=OPERATOR, max_age=DAY)
    assert not file.write(kept())
    assert "cannot be kept" in caplog.text
    assert SECRET not in caplog.text


def test_a_file_that_is_too_large_is_not_used(
    file: LastGoodFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file.write(kept())
    monkeypatch.setattr(last_good_file, "MAX_BYTES", 10)
    assert file.read() is None
    assert "larger" in caplog.text
