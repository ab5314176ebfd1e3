"""The connector to a Redis master that Sentinels watch: each dial asks them where it is now.

It follows https://redis.io/docs/latest/develop/reference/sentinel-clients/: ask one Sentinel after
the other, dial the address, and believe it only if the server there says that it is a master. Where
no Sentinel answers at all, the master found last is dialed under the same condition: losing the
Sentinels is no reason to lose a master that is well.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hiredis import ReplyError

from pannier.aio.connectors.redis import RedisConnector
from pannier.errors import BackendUnavailable
from pannier.redis import commands as commands
from pannier.redis.address import RedisTls
from pannier.redis.replies import ConnectionLost, LoginRefused, spoken

log = logging.getLogger("pannier.stores")


class Sentinels:
    """The Sentinels of one master, and where it was found last; a store's connectors share it."""

    def __init__(self, master: str, nodes: Sequence[tuple[str, int]]) -> None:
        self.master = master
        """The name the Sentinels know it by."""
        self.nodes = list(nodes)
        """The one that answered last is asked first."""
        self.found: tuple[str, int] | None = None

    def answered(self, node: tuple[str, int]) -> None:
        """Ask this one first the next time."""
        if self.nodes[0] != node:
            self.nodes = [node, *(other for other in self.nodes if other != node)]

    def __repr__(self) -> str:
        return f"<Sentinels of {self.master!r}, found at {self.found}>"


class SentinelRedisConnector(RedisConnector):
    """One connection to the master of `sentinels`."""

    def __init__(
        self,
        sentinels: Sentinels,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        *,
        tls: RedisTls | ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        """`tls` counts for the Sentinels too. They are asked without a login, or, where they want
        one, with the server's.
        """
        super().__init__(
            f"master {sentinels.master!r}", 0, db, username, password,
            tls=tls, server_name=server_name, timeout=timeout,
        )  # fmt: skip
        self._sentinels = sentinels
        self._place: tuple[str, int] | None = None

    async def connect(self) -> None:
        """Find the master, dial it and log in. Raises BackendUnavailable, its cause chained."""
        sentinels = self._sentinels
        is_answered = False
        tried: set[tuple[str, int]] = set()
        failures: list[BackendUnavailable] = []
        for node in sentinels.nodes:
            try:
                place = await self._ask(node)
                is_answered = True
                if place is None:
                    raise BackendUnavailable(
                        f"The Sentinel at {node[0]}:{node[1]} knows no master {sentinels.master!r}."
                    )
                if place in tried:
                    continue
                tried.add(place)
                await self._connect_to(place)
            except BackendUnavailable as error:
                failures.append(error)
                continue
            sentinels.answered(node)
            sentinels.found = self._place = place
            return
        known = sentinels.found
        if known is not None and not is_answered:
            try:
                await self._connect_to(known)
            except BackendUnavailable as error:
                failures.append(error)
            else:
                self._place = known
                log.warning("No Sentinel answers; the master found last still is one: %s", self)
                return
        raise BackendUnavailable(
            f"No Sentinel leads to the Redis master {sentinels.master!r}: "
            + " ".join(str(failure) for failure in failures)
        ) from failures[0]

    async def _connect_to(self, place: tuple[str, int]) -> None:
        host, port = place
        self._address = replace(self._address, host=host, port=port)
        await super().connect()
        role = await self._tell(self, commands.ROLE)
        if not isinstance(role, list) or role[0] != b"master":
            await self.disconnect()
            if isinstance(role, ReplyError):
                raise BackendUnavailable(
                    f"Redis at {self._address} does not say whether it is a master: allow the user "
                    f"+role ({spoken(role)})."
                )
            raise BackendUnavailable(f"Redis at {self._address} is not a master now.")

    async def _ask(self, node: tuple[str, int]) -> tuple[str, int] | None:
        """Where this Sentinel says the master is; None where it knows none of that name."""
        host, port = node
        settings: dict[str, Any] = {
            "tls": self._address.tls,
            "server_name": self._address.server_name,
            # One that hangs must not use up the time of the others.
            "timeout": self.timeout / len(self._sentinels.nodes),
        }
        sentinel = RedisConnector(host, port, **settings)
        try:
            try:
                await sentinel.connect()
            except BackendUnavailable as error:
                if not isinstance(error.__cause__, LoginRefused) or self.password is None:
                    raise
                sentinel = RedisConnector(
                    host, port, username=self.username, password=self.password, **settings
                )
                await sentinel.connect()
            reply = await self._tell(sentinel, commands.master_of(self._sentinels.master))
        finally:
            await sentinel.disconnect()
        if isinstance(reply, ReplyError):
            raise BackendUnavailable(
                f"{host}:{port} does not say where the master {self._sentinels.master!r} is: is it "
                f"a Sentinel? ({spoken(reply)})"
            )
        return (reply[0].decode(), int(reply[1])) if isinstance(reply, list) else None

    async def _tell(self, connector: RedisConnector, packed: bytes) -> Any:
        try:
            return (await connector.execute(packed, 1, connector.timeout))[0]
        except ConnectionLost as lost:
            raise BackendUnavailable(f"{connector} did not answer ({lost.reason}).") from lost

    def looks_alive(self) -> bool:
        """Also False once the master was found elsewhere: a connection to the old one is over."""
        return self._place == self._sentinels.found and super().looks_alive()
