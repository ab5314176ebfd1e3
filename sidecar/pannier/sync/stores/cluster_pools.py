# Generated from sidecar/pannier/aio/stores/cluster_pools.py by tools/async_to_sync.py; do not edit.
"""The pools of a cluster's nodes: one for each that is spoken to, as long as it has slots."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pannier.errors import PoolClosed
from pannier.pool.former import FormerPools
from pannier.pool.modes import ConnectionMode
from pannier.pool.settings import PoolSettings
from pannier.redis.slots import Node
from pannier.sync.connectors.redis import RedisConnector
from pannier.sync.managers import ConnectorManagerBase, ConnectorManagerFactory
from pannier.sync.worker import each


class ClusterPools:
    """A pool for each node, all with the same settings (see PoolSettings)."""

    def __init__(
        self,
        connecting: dict[str, Any],
        mode: ConnectionMode | None,
        name: str | None,
        settings: dict[str, Any],
    ) -> None:
        """Raises ValueError, TypeError for settings that no pool can have, before any is needed."""
        PoolSettings(**settings)
        self.is_closed = False
        self._connecting = connecting
        self._mode = mode
        self._name = name
        self._settings = settings
        self._managers: dict[Node, ConnectorManagerBase] = {}
        self._dialing: dict[Node, dict[str, Any]] = {}
        """What each manager makes its connectors from."""
        self._leaving: list[ConnectorManagerBase] = []
        """Those that are being closed."""
        self._former: FormerPools | None = None

    def of(self, node: Node) -> ConnectorManagerBase:
        """What lends the node's connections. Raises PoolClosed."""
        manager = self._managers.get(node)
        if manager is None:
            if self.is_closed:
                raise PoolClosed("This store was closed.")
            host, port = node
            given = {"host": host, "port": port, **self._connecting}
            made = ConnectorManagerFactory.create_manager(
                RedisConnector,
                self._dialing.setdefault(node, given),
                self._mode,
                **self._settings,
                name=f"{self._name} at {host}:{port}" if self._name else None,
            )
            manager = self._managers.setdefault(node, made)
        return manager

    def holds(self, node: Node, pool: Any) -> bool:
        """Whether this is the node's pool still."""
        manager = self._managers.get(node)
        return manager is not None and manager.pool is pool

    def keep_only(self, nodes: Collection[Node]) -> None:
        """Close the pools of all other nodes, but for those that are in use now.

        They would keep `min_idle` connections to nodes that have nothing of ours, or dial for ever
        those that are gone, as each restart leaves one where a node's address is new every time.
        """
        for node, manager in list(self._managers.items()):
            figures = manager.stats()
            if node in nodes or figures["in_use"] or figures["pending"]:
                continue
            if self._managers.get(node) is not manager or not self._managers.pop(node, None):
                continue  # another look at the slots came first
            self._dialing.pop(node, None)
            self._leaving.append(manager)
            try:
                manager.shutdown(0)
            finally:  # it is closed, though who waited for that was cancelled
                self._leaving.remove(manager)
                self._former = self._former or FormerPools()
                self._former.add(manager.pool)

    def all(self) -> Sequence[Any]:
        """All pools, and in the place of a last one what those counted that are closed."""
        former = (self._former,) if self._former is not None else ()
        managers = [*self._managers.values(), *self._leaving]
        return (*(manager.pool for manager in managers), *former)

    def reconfigure(self, request_timeout: float, **settings: Any) -> None:
        """Change settings of each pool, and how long it dials, also of those to come.

        Raises ValueError or TypeError, and changes nothing.
        """
        wanted = self._settings | settings
        checked = PoolSettings(**wanted)
        self._settings = wanted
        for given in (self._connecting, *list(self._dialing.values())):
            given["timeout"] = min(checked.connection_timeout, request_timeout)
        for manager in list(self._managers.values()):
            manager.reconfigure(**settings)

    def close(self) -> None:
        """Close all; whoever borrows afterwards is told so."""
        self.is_closed = True
        managers = list(self._managers.values())
        each(ConnectorManagerBase.shutdown, managers, len(managers))
