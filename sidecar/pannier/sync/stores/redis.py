# Generated from sidecar/pannier/aio/stores/redis.py by tools/async_to_sync.py; do not edit.
"""The Redis store on one server, or on the master that Sentinels name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from pannier.pool.modes import ConnectionMode
from pannier.redis import scanning as scanning
from pannier.redis.address import RedisAddress, RedisTls, node_of
from pannier.redis.layout import RedisLayout
from pannier.redis.replies import ConnectionLost, ends_connection, failure
from pannier.redis.slots import Node
from pannier.redis.waiting import ReplicaWait
from pannier.sync.connectors.redis import RedisConnector
from pannier.sync.connectors.redis_sentinel import SentinelRedisConnector, Sentinels
from pannier.sync.managers import ConnectorManagerFactory
from pannier.sync.stores.pooled import PooledStoreBase
from pannier.sync.stores.redis_records import RedisRecords

SENTINEL_PORT = 26379


class RedisStoreBackend(PooledStoreBase, RedisRecords):
    """Records in Redis hashes: `<key_prefix><schema>`, or with buckets `...<schema>:<bucket>`.

    `unix_socket` is dialed instead of host and port; with `sentinels`, a list of `host:port`, they
    are asked where `sentinel_master` is. `tls` asks for TLS, `RedisTls()` trusting
    what the system trusts. `key_prefix` and `hash_buckets` cannot be changed while there is data.
    `request_timeout` is the longest wait, in seconds, for one answer once its command was sent.
    A write is done once `wait_replicas` replicas have it too; where they do not within
    `wait_timeout` seconds, which come on top of `request_timeout`, it ends in OutcomeUnknown: the
    master has it, and a failover may lose it.
    The rest are the pool's settings (see PoolSettings) and its `name` in errors. It connects at
    first use.

    Raises ValueError for a prefix, a number of buckets or replicas, a pool setting or TLS material
    that cannot be used.
    """

    connector_klass = RedisConnector

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        *,
        unix_socket: str | None = None,
        sentinels: Sequence[str] = (),
        sentinel_master: str | None = None,
        tls: RedisTls | None = None,
        key_prefix: str = "pannier:",
        hash_buckets: int = 1,
        request_timeout: float = 5.0,
        wait_replicas: int = 0,
        wait_timeout: float = 1.0,
        connection_mode: ConnectionMode | None = None,
        max_connections: int = 10,
        connection_timeout: float = 30.0,
        idle_timeout: float = 300.0,
        min_idle: int = 0,
        max_lifetime: float | None = None,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        if tls is not None and unix_socket is not None:
            raise ValueError("A unix socket has no TLS: give one of tls and unix_socket.")
        if bool(sentinels) != bool(sentinel_master) or (sentinels and unix_socket is not None):
            raise ValueError("Sentinels need sentinel_master, the name they know it by, alone.")
        wait = ReplicaWait(wait_replicas, wait_timeout) if wait_replicas else None
        super().__init__(RedisLayout(key_prefix, hash_buckets), request_timeout, wait)
        connecting: dict[str, Any] = {
            "db": db,
            "username": username,
            "password": password,
            "tls": tls.context() if tls is not None else None,
            "server_name": tls.server_name if tls is not None else None,
            "timeout": min(connection_timeout, request_timeout),
        }
        connector: type[RedisConnector] = RedisConnector
        if sentinels:
            nodes = [node_of(text, SENTINEL_PORT) for text in sentinels]
            connecting["sentinels"] = Sentinels(sentinel_master or "", nodes)
            connector = SentinelRedisConnector
        else:
            connecting |= {"host": host, "port": port, "unix_socket": unix_socket}
        self._connecting = connecting
        where = RedisAddress(host=host, port=port, unix_socket=unix_socket)
        self._shown = f"{connecting.get('sentinels') or where}, db {db}"
        self._manager = ConnectorManagerFactory.create_manager(
            connector,
            connecting,
            connection_mode,
            max_connections=max_connections,
            connection_timeout=connection_timeout,
            idle_timeout=idle_timeout,
            min_idle=min_idle,
            max_lifetime=max_lifetime,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
            name=name,
        )

    def reconfigure(self, *, request_timeout: float | None = None, **pool: Any) -> None:
        super().reconfigure(request_timeout=request_timeout, **pool)
        patience = self._manager.pool.settings.connection_timeout
        self._connecting["timeout"] = min(patience, self.request_timeout)

    # The transport ------------------------------------------------------------------------------

    def _ask_each(self, asked: Sequence[tuple[str, bytes]], *, write: bool) -> list[Any]:
        """One pipeline of all.

        A connection that is lost costs a read one more try on another; a write only where not a
        byte of it was sent, for else it could be done twice.
        """
        wait = self.wait if write else None
        commands = [command for _, command in asked]
        timeout = self.request_timeout
        if wait is not None:
            commands.append(wait.packed)
            timeout += wait.timeout
        packed = commands[0] if len(commands) == 1 else b"".join(commands)
        tries = 2
        while True:
            tries -= 1
            try:
                answers = self._exchange(packed, len(commands), timeout)
            except ConnectionLost as lost:
                repeatable = not lost.sent or (not write and not lost.timed_out)
                if tries and repeatable:
                    continue
                answers = [*lost.replies, *[lost] * (len(commands) - len(lost.replies))]
            return answers if wait is None else wait.settled(answers)

    def _exchange(self, packed: bytes, replies: int, timeout: float) -> list[Any]:
        """Send a pipeline on a connection of the pool. Raises ConnectionLost, PannierError."""
        with self._manager.connection() as connector:
            answers: list[Any] = connector.execute(packed, replies, timeout)
            for answer in answers:
                if type(answer) is ReplyError and ends_connection(answer):
                    connector.retire()
            return answers

    def _step(
        self, packed: bytes, where: str, made_in: str, *, server: Node | None = None
    ) -> tuple[str, Any]:
        tries = 2
        while True:
            tries -= 1
            try:
                with self._manager.connection() as connector:
                    run: str = connector.run
                    scanning.check_run(made_in, run)
                    reply = (connector.execute(packed, 1, self.request_timeout))[0]
            except ConnectionLost as lost:
                if tries and not lost.timed_out:
                    continue
                raise failure(lost, where, write=False) from lost
            if isinstance(reply, Exception):
                raise failure(reply, where, write=False)
            return run, reply

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"
