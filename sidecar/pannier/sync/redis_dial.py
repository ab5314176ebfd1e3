"""Dialing and logging in with redis-py's connection classes, which then hand over their socket.

Its own retries, health checks and announcements are off: a retried write could be applied twice,
and a user of few rights may not announce itself.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import redis.exceptions
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from pannier.redis.address import RedisAddress
from pannier.redis.replies import ConnectionLost, LoginRefused, knows_no_hello, spoken
from pannier.redis.sockets import keep_alive


class OwnContextConnection(SSLConnection):
    """TLS with a context made once, and with a server name: redis-py takes files and the host."""

    def __init__(self, context: ssl.SSLContext, server_name: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._context = context
        self._server_name = server_name

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> socket.socket:
        return self._context.wrap_socket(sock, server_hostname=self._server_name)


def dialed_socket(address: RedisAddress, timeout: float) -> socket.socket:
    """A connected socket, logged in. Raises what `pannier.sync.redis_wire.dial` raises."""
    refusal = ""
    for protocol in (3, 2):
        connection = _connection(address, timeout, protocol)
        try:
            connection.connect()
        except (redis.exceptions.ResponseError, redis.exceptions.AuthenticationError) as error:
            # Raised outside of this block: the text may quote the login, so it is not chained.
            refusal = str(error)
        except redis.exceptions.RedisError as error:
            raise _failure(error, timeout) from None
        else:
            return _taken(connection)
        if not knows_no_hello(refusal):
            break
    raise LoginRefused(spoken(refusal))


def _connection(address: RedisAddress, timeout: float, protocol: int) -> Any:
    settings: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "protocol": protocol,
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,
        "retry": None,
        "driver_info": None,
    }
    by_tcp: Any = Connection  # redis-py's annotations call its own classes abstract
    by_path: Any = UnixDomainSocketConnection
    if address.unix_socket is not None:
        return by_path(path=address.unix_socket, **settings)
    settings |= {"host": address.host, "port": address.port, "socket_keepalive": False}
    if address.tls is not None:
        return OwnContextConnection(address.tls, address.server_name or address.host, **settings)
    return by_tcp(**settings)


def _taken(connection: Any) -> socket.socket:
    """The connection's socket, which it forgets: it would close it when it is collected."""
    sock: socket.socket = connection._sock
    connection._sock = None
    connection._parser.on_disconnect()
    if sock.family != socket.AF_UNIX:
        keep_alive(sock.fileno())
    return sock


def _failure(error: redis.exceptions.RedisError, timeout: float) -> Exception:
    """What redis-py's error stands for, in the words of both sides."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, redis.exceptions.TimeoutError):
        if "connecting" in str(error):
            return TimeoutError(str(error))
        return ConnectionLost(f"no answer within {timeout:g} s", timed_out=True)
    if isinstance(error, redis.exceptions.InvalidResponse):
        return ConnectionLost("it does not speak Redis's protocol")
    if isinstance(cause, OSError):
        return cause
    return ConnectionLost(spoken(str(error)))
