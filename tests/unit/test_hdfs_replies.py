"""What WebHDFS's refusals mean, as a real NameNode and DataNode word them."""

from __future__ import annotations

import json

import pytest

from pannier.errors import BackendRefused, BackendUnavailable, PannierError, StoreFull
from pannier.webhdfs.login import KerberosLogin, SimpleLogin, TokenLogin
from pannier.webhdfs.namenodes import Cluster, check_address
from pannier.webhdfs.replies import Kind, Refusal, document, refusal


def remote(exception: str, message: str = "words") -> bytes:
    said = {"exception": exception, "javaClassName": f"org.x.{exception}", "message": message}
    return json.dumps({"RemoteException": said}).encode()


@pytest.mark.parametrize(
    ("exception", "kind", "error", "elsewhere"),
    [
        ("FileNotFoundException", Kind.MISSING, BackendRefused, False),
        ("FileAlreadyExistsException", Kind.EXISTS, BackendRefused, False),
        ("SafeModeException", Kind.NOT_NOW, BackendUnavailable, False),
        ("StandbyException", Kind.NOT_NOW, BackendUnavailable, True),
        ("RetriableException", Kind.NOT_NOW, BackendUnavailable, True),
        ("DSQuotaExceededException", Kind.FULL, StoreFull, False),
        ("NSQuotaExceededException", Kind.FULL, StoreFull, False),
        ("AccessControlException", Kind.REFUSED, BackendRefused, False),
        ("InvalidPathException", Kind.REFUSED, BackendRefused, False),
        ("InvalidToken", Kind.NOT_NOW, BackendUnavailable, False),
        ("IOException", Kind.FAILED, BackendUnavailable, False),
        ("SomethingNew", Kind.FAILED, BackendUnavailable, False),
    ],
)
def test_the_exceptions_name_decides(
    exception: str, kind: Kind, error: type[PannierError], elsewhere: bool
) -> None:
    found = refusal("RENAME", 403, remote(exception))
    assert (found.kind, type(found.error), found.elsewhere) == (kind, error, elsewhere)
    assert "words" in str(found.error)


def test_an_exception_wrapped_in_another_is_found_by_its_class() -> None:
    wrapped = remote(
        "RemoteException", "org.apache.hadoop.hdfs.server.namenode.SafeModeException: Cannot ..."
    )
    assert refusal("CREATE", 403, wrapped).kind is Kind.NOT_NOW


def test_only_the_first_line_of_a_stack_trace_is_shown() -> None:
    found = refusal("OPEN", 403, remote("AccessControlException", "denied\x1b[31m\n\tat org.x(Y)"))
    assert str(found.error).endswith("AccessControlException: denied[31m")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Kind.NOT_NOW), (403, Kind.REFUSED), (404, Kind.REFUSED), (502, Kind.FAILED)],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"RemoteException": {}}', b"\xff"])
def test_a_refusal_that_is_not_webhdfs_is_never_taken_for_a_missing_file(
    status: int, kind: Kind, body: bytes
) -> None:
    assert refusal("OPEN", status, body).kind is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b"null", b'{"FileStatus": 1}'])
def test_an_answer_that_is_not_the_operations_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match="WebHDFS"):
        document(body, "FileStatus", "type")


@pytest.mark.parametrize(
    ("given_address", "address"),
    [
        ("http://nn1:9870", "http://nn1:9870"),
        ("https://nn1:9871/", "https://nn1:9871"),
        ("http://[::1]:9870", "http://[::1]:9870"),
        ("http://nn1", "http://nn1"),
    ],
)
def test_a_namenodes_address_is_a_scheme_a_host_and_a_port(
    given_address: str, address: str
) -> None:
    assert check_address(given_address) == address


@pytest.mark.parametrize(
    "address",
    ["", "nn1:9870", "hdfs://nn1:8020", "ftp://nn1", "http://", "http://nn1:x", "http://nn1/path",
     "http://nn1?x=1", "http://nn1#x", "http://me:hunter2@nn1:9870", "http://n n:1", "http://nn:1\n"],
)  # fmt: skip
def test_anything_else_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="http://host:port") as refused:
        check_address(address)
    assert "hunter2" not in str(refused.value)


def test_the_namenode_that_served_last_comes_first() -> None:
    cluster = Cluster(["http://a:1", "http://b:1", "http://c:1"], SimpleLogin())
    cluster.serves("http://b:1")
    assert cluster.in_order() == ["http://b:1", "http://c:1", "http://a:1"]


def test_no_login_shows_its_token() -> None:
    assert "hunter2" not in repr(TokenLogin("hunter2"))
    assert "hunter2" not in repr(Cluster(["http://a:1"], TokenLogin("hunter2")))
    assert "alice" in repr(KerberosLogin(principal="alice@X"))
