"""The HDFS store on a secured HDFS: a real KDC, SPNEGO tickets and delegation tokens."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from pannier.aio.stores.hdfs import HDFSStoreBackend
from pannier.errors import BackendUnavailable, PannierError
from pannier.operations import IF_ABSENT, IF_PRESENT, Outcome
from pannier.webhdfs.login import KerberosLogin
from tests.real.hdfs import (
    DATANODE,
    NAMENODE,
    READY_SECONDS,
    USER,
    datanode_settings,
    shared_settings,
)
from tests.real.hdfs_parts.jars import hadoop_classpath
from tests.real.hdfs_parts.kerberos import Kdc, secure_settings
from tests.real.hdfs_parts.nodes import Node
from tests.real.hdfs_parts.rest import Rest
from tests.real.processes import wait_until
from tests.real.programs import free_port

pytest.importorskip(
    "requests_kerberos",
    reason="Kerberos' client is not installed: apt-get install gcc libkrb5-dev, "
    "then pip install 'pannier[kerberos]'",
)


class SecureHDFS:
    """A NameNode and a DataNode in a realm of their own."""

    def __init__(self, home: Path) -> None:
        classpath = hadoop_classpath()
        self.nodes: list[Node] = []
        self.kdc = Kdc(home)
        self.port = free_port()
        settings = shared_settings(home) | secure_settings(self.kdc)
        settings |= {
            "fs.defaultFS": f"hdfs://localhost:{free_port()}",
            "dfs.namenode.http-address": f"localhost:{self.port}",
            "dfs.namenode.name.dir": str(home / "name"),
        }
        flags = (f"-Djava.security.krb5.conf={self.kdc.conf}",)
        self.nodes = [
            Node("namenode", NAMENODE, home / "nn", classpath, settings, jvm_flags=flags),
            Node(
                "datanode", DATANODE, home / "dn", classpath,
                settings | datanode_settings(home), jvm_flags=flags,
            ),
        ]  # fmt: skip
        try:
            self.nodes[0].run(NAMENODE, "-format", "-nonInteractive")
            for node in self.nodes:
                node.start()
            wait_until(self._asks_who_is_there, READY_SECONDS, "the NameNode asks for a ticket")
        except BaseException:
            self.stop()
            raise

    def _asks_who_is_there(self) -> bool:
        try:
            return Rest(self.port, USER, 5).call("GET", "/", "GETFILESTATUS")[0] == 401
        except OSError:
            return False

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        self.kdc.stop()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureHDFS]:
    hdfs = SecureHDFS(tmp_path_factory.mktemp("secure-hdfs"))
    yield hdfs
    hdfs.stop()


@pytest.fixture(scope="module")
def cache(secure: SecureHDFS) -> str:
    return secure.kdc.ticket("pannier")


@pytest.fixture
def ticket(secure: SecureHDFS, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has a ticket, as a pod with a mounted cache has."""
    monkeypatch.setenv("KRB5_CONFIG", str(secure.kdc.conf))
    monkeypatch.setenv("KRB5CCNAME", cache)


async def ready(store: HDFSStoreBackend, seconds: float = 90) -> None:
    """Return once the secured HDFS takes writes."""
    import asyncio
    import time

    deadline = time.monotonic() + seconds
    while True:
        try:
            await store.write("Ready", "1", b"1")
            return
        except PannierError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def test_a_ticket_logs_in_and_records_come_and_go(secure: SecureHDFS, ticket: None) -> None:
    async with HDFSStoreBackend(
        "/volnux", namenodes=[secure.address], kerberos=KerberosLogin(), max_connections=4
    ) as store:
        await ready(store)
        assert await store.write("Cart", "42", b'{"total": 3}', IF_ABSENT) is Outcome.CREATED
        assert await store.write("Cart", "42", b"1", IF_ABSENT) is Outcome.PRESENT
        assert await store.write("Cart", "42", b"2", IF_PRESENT) is Outcome.REPLACED
        assert await store.read_many("Cart", ["42"] * 20) == [b"2"] * 20
        assert await store.count("Cart") == 1
        assert await store.erase("Cart", "42") is Outcome.DELETED


async def test_a_delegation_token_logs_in_without_a_ticket_and_is_never_shown(
    secure: SecureHDFS,
    ticket: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = delegation_token(secure)
    monkeypatch.delenv("KRB5CCNAME")
    caplog.set_level(logging.DEBUG)
    async with HDFSStoreBackend(
        "/volnux", namenodes=[secure.address], delegation_token=token
    ) as store:
        await ready(store)
        await store.write("Cart", "token", b"1")
        assert await store.read("Cart", "token") == b"1"
    assert token not in caplog.text
    assert "delegation=***" in caplog.text


async def test_a_refused_token_is_unavailable_and_no_error_shows_it(
    secure: SecureHDFS, ticket: None
) -> None:
    token = delegation_token(secure)
    ask(secure, "PUT", "CANCELDELEGATIONTOKEN", token=token)
    async with HDFSStoreBackend(
        namenodes=[secure.address], delegation_token=token, connection_timeout=5
    ) as store:
        with pytest.raises(BackendUnavailable, match="delegation token") as refused:
            await store.read("Cart", "42")
    assert token not in "".join(traceback.format_exception(refused.value))


async def test_no_ticket_and_a_mere_name_are_refused(
    secure: SecureHDFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KRB5_CONFIG", str(secure.kdc.conf))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    for login in ({"kerberos": KerberosLogin()}, {"username": "pannier"}):
        async with HDFSStoreBackend(
            namenodes=[secure.address], connection_timeout=5, **login
        ) as store:
            with pytest.raises(BackendUnavailable, match="this login"):
                await store.read("Cart", "42")


def delegation_token(secure: SecureHDFS) -> str:
    """A token of the ticket's user, as an administrator would fetch it."""
    return str(json.loads(ask(secure, "GET", "GETDELEGATIONTOKEN"))["Token"]["urlString"])


def ask(secure: SecureHDFS, method: str, operation: str, **params: str) -> bytes:
    """A request with the ticket, not by the store."""
    import requests
    from requests_kerberos import HTTPKerberosAuth

    answer = requests.request(
        method,
        f"{secure.address}/webhdfs/v1/",
        params={"op": operation, **params},
        auth=HTTPKerberosAuth(),
        timeout=30,
    )
    assert answer.status_code == 200, answer.content
    return answer.content
