"""How a Redis connector dials and logs in, on real servers: TCP, TLS, unix socket, ACL, db."""

from __future__ import annotations

import asyncio
import socket
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pannier.aio.connectors.redis import RedisConnector
from pannier.errors import BackendUnavailable
from pannier.redis import commands as commands
from pannier.redis.address import RedisTls
from pannier.redis.replies import ConnectionLost
from pannier.sync.connectors.redis import RedisConnector as ThreadedConnector
from tests.real.certificates import Certificates
from tests.real.programs import free_port
from tests.real.redis import RedisServer, answers, until

SECRET = "s3cret-of-the-test"


class Threaded:
    """The sync connector, awaited."""

    def __init__(self, **settings: Any) -> None:
        self.connector = ThreadedConnector(**settings)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.connector, name)
        if name in ("connect", "disconnect", "is_connected", "execute"):
            return lambda *given: asyncio.to_thread(found, *given)
        return found


@pytest.fixture(params=["asyncio", "threads"])
def connector(request: pytest.FixtureRequest) -> Any:
    return RedisConnector if request.param == "asyncio" else Threaded


async def works(connector: Any) -> None:
    """Connect, set and get, and disconnect."""
    await connector.connect()
    assert connector.looks_alive()
    assert connector.reusable
    assert await connector.is_connected()
    packed = commands.put("works", "a", b"1") + commands.get("works", "a")
    assert (await connector.execute(packed, 2, 5.0))[1] == b"1"
    await connector.disconnect()
    assert not connector.looks_alive()
    assert not await connector.is_connected()
    await connector.disconnect()


async def test_it_works_over_tcp(connector: Any, redis_server: RedisServer) -> None:
    await works(connector(port=redis_server.port))


async def test_it_works_over_a_unix_socket(connector: Any, redis_server: RedisServer) -> None:
    await works(connector(port=1, unix_socket=redis_server.unix_socket))


async def test_it_works_over_tls_with_its_own_ca(
    connector: Any, redis_server: RedisServer, certificates: Certificates
) -> None:
    tls = RedisTls(ca_file=str(certificates.ca))
    await works(connector(port=redis_server.tls_port, tls=tls))


async def test_a_client_certificate_can_be_held_in_memory(
    connector: Any, own_redis: Callable[..., RedisServer], certificates: Certificates
) -> None:
    server = own_redis(certificates=certificates)
    server.call("CONFIG", "SET", "tls-auth-clients", "yes")
    ca = certificates.ca.read_text()
    with pytest.raises(BackendUnavailable):
        await connector(port=server.tls_port, tls=RedisTls(ca_data=ca)).connect()
    tls = RedisTls(
        ca_data=ca,
        cert_data=certificates.client_cert.read_text(),
        key_data=certificates.client_key.read_text(),
    )
    await works(connector(port=server.tls_port, tls=tls))


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
def test_it_works_on_each_event_loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    way: str,
    redis_server: RedisServer,
    certificates: Certificates,
) -> None:
    settings: dict[str, Any] = {
        "tcp": {"port": redis_server.port},
        "tls": {"port": redis_server.tls_port, "tls": RedisTls(ca_file=str(certificates.ca))},
        "unix": {"unix_socket": redis_server.unix_socket},
    }[way]

    async def large() -> None:
        connector = RedisConnector(**settings)
        await works(connector)
        await connector.connect()
        value = b"x" * 3_000_000
        packed = commands.put("large", way, value) + commands.get("large", way)
        assert (await connector.execute(packed, 2, 20.0))[1] == value
        # Cancelled in mid-command it is closed at once, and nothing of it is left in the loop.
        pending = asyncio.ensure_future(connector.execute(commands.get("large", way), 1, 20.0))
        await asyncio.sleep(0)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
        assert not connector.looks_alive()
        assert not connector.reusable
        await connector.disconnect()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(large())


async def test_a_wrong_name_or_an_unknown_ca_is_refused(
    connector: Any, redis_server: RedisServer, certificates: Certificates
) -> None:
    ca = str(certificates.ca)
    await works(connector(
        port=redis_server.tls_port, tls=RedisTls(ca_file=ca, server_name="redis.test")
    ))  # fmt: skip
    for tls in (
        RedisTls(ca_file=ca, server_name="other.test"),
        RedisTls(ca_file=str(certificates.other_ca)),
        RedisTls(),
    ):
        with pytest.raises(BackendUnavailable) as refused:
            await connector(port=redis_server.tls_port, tls=tls).connect()
        assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("part", ["ca", "certificate", "key"])
def test_tls_material_that_is_none_is_said_without_showing_it(
    part: str, certificates: Certificates
) -> None:
    pem = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    certificate = certificates.client_cert.read_text()
    tls = {
        "ca": RedisTls(ca_data=pem),
        "certificate": RedisTls(cert_data=pem, key_data=pem),
        "key": RedisTls(cert_data=certificate, key_data=pem),
    }[part]
    assert SECRET not in repr(tls)
    with pytest.raises(ValueError, match="TLS") as refused:
        tls.context()
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_a_missing_tls_file_is_named_as_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        RedisTls(ca_file=str(tmp_path / "none.pem")).context()


async def test_it_logs_in_with_a_password_and_chooses_its_database(
    connector: Any, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.call("CONFIG", "SET", "requirepass", SECRET)
    server.password = SECRET
    await works(connector(port=server.port, password=SECRET, db=3))
    assert server.client(db=3).hgetall("works") == {b"a": b"1"}
    assert server.client(db=0).dbsize() == 0


async def test_it_logs_in_as_an_acl_user_who_may_do_little(
    connector: Any, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.call("ACL", "SETUSER", "shop", "on", f">{SECRET}", "~works", "+hset", "+hget")
    # No PING, no CLIENT, no SELECT: the login needs none of them, and an answer is an answer.
    await works(connector(port=server.port, username="shop", password=SECRET))


@pytest.mark.parametrize("login", [
    {"password": SECRET}, {"username": "shop", "password": SECRET}, {"username": "shop"}, {},
])  # fmt: skip
async def test_a_refused_login_is_unavailable_and_shows_no_password(
    connector: Any, login: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.call("CONFIG", "SET", "requirepass", "another")
    server.password = "another"
    with pytest.raises(BackendUnavailable, match="refused the login") as refused:
        await connector(port=server.port, **login).connect()
    assert refused.value.__cause__ is not None
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    until(lambda: len(server.client().client_list()) == 1, "nothing is left open")


async def test_a_database_that_does_not_exist_is_said(
    connector: Any, redis_server: RedisServer
) -> None:
    with pytest.raises(BackendUnavailable, match="DB index is out of range"):
        await connector(port=redis_server.port, db=9999).connect()


async def test_a_server_without_hello_is_logged_in_the_old_way_and_echoes_no_password(
    connector: Any, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis("--rename-command", "HELLO", "")
    server.call("CONFIG", "SET", "requirepass", SECRET)
    await works(connector(port=server.port, password=SECRET, db=2))
    with pytest.raises(BackendUnavailable, match="refused the login") as refused:
        await connector(port=server.port, password=SECRET + "!").connect()
    assert SECRET not in "".join(traceback.format_exception(refused.value))


async def test_nobody_listening_is_unavailable_with_its_cause(connector: Any) -> None:
    with pytest.raises(BackendUnavailable, match="Connection refused") as refused:
        await connector(port=free_port(), password=SECRET).connect()
    assert isinstance(refused.value.__cause__, ConnectionRefusedError)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up_in_time(
    connector: Any,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dialing = connector(port=silent.getsockname()[1], timeout=0.2)
        with pytest.raises(BackendUnavailable, match="no answer within"):
            await asyncio.wait_for(dialing.connect(), 2)


async def test_a_full_server_says_so(connector: Any, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis("--maxclients", "1")
    held = server.client()
    until(lambda: answers(held), "the tests' own connection is the one that is let in")
    said = set()
    while "max number of clients" not in str(said):
        # The server closes at once, so now and then its last words are lost on the way.
        with pytest.raises(BackendUnavailable) as refused:
            await connector(port=server.port).connect()
        said.add(str(refused.value))
    held.close()


async def test_what_is_no_redis_is_said(connector: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            sock, _ = listener.accept()
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            sock.recv(1000)
            sock.close()

        answering = asyncio.create_task(asyncio.to_thread(answer))
        with pytest.raises(BackendUnavailable, match="does not speak Redis's protocol"):
            await connector(port=listener.getsockname()[1]).connect()
        await answering


async def test_a_repr_tells_where_and_not_the_password(redis_server: RedisServer) -> None:
    connector = RedisConnector(port=redis_server.port, db=1, password=SECRET)
    assert repr(connector) == f"<RedisConnector 127.0.0.1:{redis_server.port}, db 1, closed>"
    assert SECRET not in repr(vars(connector)["_address"])


async def test_a_command_without_a_connection_was_not_sent(connector: Any) -> None:
    with pytest.raises(ConnectionLost) as lost:
        await connector(port=1).execute(commands.PING, 1, 1.0)
    assert not lost.value.sent
