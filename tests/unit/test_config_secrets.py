"""The secrets directory: Kubernetes' links followed, nothing outside reached, nothing told."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pannier.config.documents import SecretRef
from pannier.config.names import is_secret_key, is_subdomain
from pannier.config.reading import read_text
from pannier.config.resolving import resolve
from pannier.config.secrets import MAX_BYTES, SecretUnusable, read_secret, stamp_of_secret

REF = SecretRef(name="shop-redis", key="password")


def write(directory: Path, content: bytes, ref: SecretRef = REF) -> Path:
    path = directory / ref.name / ref.key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 ", " hunter2 "),
        (b"hunter2\r", "hunter2\r"),
        ("pässwörd".encode(), "pässwörd"),
        (b"-----BEGIN\nEND-----\n", "-----BEGIN\nEND-----"),
    ],
)
def test_a_secret_is_its_file_without_one_line_end(
    tmp_path: Path, content: bytes, text: str
) -> None:
    write(tmp_path, content)
    assert read_secret(tmp_path, REF) == text


def mount_as_kubernetes(directory: Path, generation: str, content: bytes) -> None:
    """Write a Secret's volume as the kubelet does: data in a dated directory, two links."""
    volume = directory / REF.name
    dated = volume / f"..{generation}"
    dated.mkdir(parents=True)
    (dated / REF.key).write_bytes(content)
    fresh = volume / "..data_tmp"
    fresh.symlink_to(dated.name)
    fresh.rename(volume / "..data")
    if not (volume / REF.key).is_symlink():
        (volume / REF.key).symlink_to(f"..data/{REF.key}")


def test_a_mounted_secret_is_read_and_its_swap_is_seen(tmp_path: Path) -> None:
    mount_as_kubernetes(tmp_path, "2026_11_23_1", b"old")
    assert read_secret(tmp_path, REF) == "old"
    before = stamp_of_secret(tmp_path, REF)
    mount_as_kubernetes(tmp_path, "2026_11_23_2", b"new")
    assert read_secret(tmp_path, REF) == "new"
    assert stamp_of_secret(tmp_path, REF) != before


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", b"x")
    (tmp_path / "link").symlink_to("real")
    assert read_secret(tmp_path / "link", REF) == "x"


@pytest.mark.parametrize("target", ["../../outside", "/etc/hostname", "../../../../../etc/passwd"])
def test_a_link_out_of_the_directory_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("hunter2")
    directory = tmp_path / "secrets"
    (directory / REF.name).mkdir(parents=True)
    (directory / REF.name / REF.key).symlink_to(target)
    with pytest.raises(SecretUnusable, match="leads out of"):
        read_secret(directory, REF)


def test_a_linked_parent_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", b"hunter2")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / REF.name).symlink_to(tmp_path / "elsewhere" / REF.name)
    with pytest.raises(SecretUnusable, match="leads out of"):
        read_secret(tmp_path / "secrets", REF)


@pytest.mark.parametrize(
    ("name", "key"),
    [("..", "password"), ("a/b", "c"), ("a", "../b"), ("a", "."), ("a", ".."), ("a", "..data"),
     ("", "b"), ("a", ""), ("A", "b"), ("a", "b\x00"), ("a\n", "b"), ("a", "b\n")],
)  # fmt: skip
def test_a_reference_against_the_grammar_reaches_no_file(
    tmp_path: Path, name: str, key: str
) -> None:
    assert not (is_subdomain(name) and is_secret_key(key))
    with pytest.raises(SecretUnusable):
        read_secret(tmp_path, SecretRef(name=name, key=key))


@pytest.mark.parametrize(
    ("name", "key"), [("a", "b"), ("shop.redis-1", "tls.crt"), ("a" * 253, "A_b-c.9"), ("a", ".b")]
)
def test_kubernetes_names_are_accepted(name: str, key: str) -> None:
    assert is_subdomain(name)
    assert is_secret_key(key)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "UTF-8"),
        (b"hunter2\x00", "NUL"),
        (b"hunter2" * MAX_BYTES, "larger"),
    ],
)
def test_a_malformed_secret_is_named_and_not_told(
    tmp_path: Path, content: bytes, said: str
) -> None:
    write(tmp_path, content)
    with pytest.raises(SecretUnusable, match=said) as raised:
        read_secret(tmp_path, REF)
    assert "shop-redis/password" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_secret_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=r"missing.*shop-redis/password"):
        read_secret(tmp_path, REF)


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match="No such file"):
        read_secret(tmp_path / "nowhere", REF)


def test_without_a_directory_the_flag_is_named() -> None:
    with pytest.raises(SecretUnusable, match="--secrets-dir"):
        read_secret(None, REF)


def test_a_directory_in_the_place_of_a_secret_is_said(tmp_path: Path) -> None:
    # Tests may run as root, who can read any file: what nobody can read is a directory.
    (tmp_path / REF.name / REF.key).mkdir(parents=True)
    with pytest.raises(SecretUnusable, match="not a file"):
        read_secret(tmp_path, REF)


def test_a_named_pipe_does_not_hang_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / REF.name / REF.key
    path.parent.mkdir()
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(SecretUnusable, match="not a file"):
        read_secret(tmp_path, REF)


DOCUMENTS = b"""\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: shop}
spec:
  type: redis
  redis:
    host: r
    passwordSecretRef: {name: shop-redis, key: password}
    tls:
      caSecretRef: {name: shop-redis, key: ca.crt}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: other}
spec: {type: memory, memory: {}}
"""


def test_every_missing_secret_is_a_problem_of_its_document_alone(tmp_path: Path) -> None:
    reading = read_text(DOCUMENTS)
    stores = resolve(reading, tmp_path)
    assert list(stores) == ["other"]
    assert reading.refused == {"shop"}
    assert [(problem.line, problem.field) for problem in reading.problems] == [
        (8, "spec.redis.passwordSecretRef"),
        (10, "spec.redis.tls.caSecretRef"),
    ]


def test_a_resolved_store_holds_its_credentials_and_shows_none(tmp_path: Path) -> None:
    write(tmp_path, b"hunter2\n")
    write(tmp_path, b"PEM", SecretRef(name="shop-redis", key="ca.crt"))
    store = resolve(read_text(DOCUMENTS), tmp_path)["shop"]
    assert store.credential(REF) == "hunter2"
    assert store.credential(None) is None
    assert "hunter2" not in repr(store)
