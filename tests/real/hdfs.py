"""A real HDFS for a whole test run: NameNode and DataNode as two JVMs, and an HA pair.

Both are started when the first test asks for them, ready by condition, and stopped at the end of
the run by the pids that were started. A test works under a base path of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest

from tests.real.hdfs_parts.jars import hadoop_classpath
from tests.real.hdfs_parts.nodes import Node
from tests.real.hdfs_parts.rest import Rest
from tests.real.processes import listens, wait_until
from tests.real.programs import free_port

NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
JOURNALNODE = "org.apache.hadoop.hdfs.qjournal.server.JournalNode"
ADMIN = "org.apache.hadoop.hdfs.tools.DFSAdmin"
HA_ADMIN = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"
STATE = "Hadoop:service=NameNode,name=FSNamesystemState"
STATUS = "Hadoop:service=NameNode,name=NameNodeStatus"

READY_SECONDS = 90
USER = "pannier"
"""Whom the stores of the tests are: no superuser, so permissions and quotas hold for them."""


def shared_settings(home: Path, replication: str = "1") -> dict[str, str]:
    """What every daemon of one test cluster agrees on."""
    return {
        "hadoop.tmp.dir": str(home / "tmp"),
        "dfs.replication": replication,
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.namenode.safemode.extension": "0",
        "dfs.namenode.resource.du.reserved": "0",
        "dfs.namenode.heartbeat.recheck-interval": "500",
        "dfs.heartbeat.interval": "1",
        # The whole of a small write is two RPCs; with the default of 400 ms the DataNode waits
        # for the NameNode's word on the finished block for most of a create.
        "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "10",
    }


def datanode_settings(home: Path) -> dict[str, str]:
    return {
        "dfs.datanode.data.dir": str(home / "data"),
        "dfs.datanode.hostname": "127.0.0.1",
        "dfs.datanode.address": f"127.0.0.1:{free_port()}",
        "dfs.datanode.http.address": f"127.0.0.1:{free_port()}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{free_port()}",
    }


class HDFS:
    """What a test holds on to: the nodes, the NameNodes' addresses, and a superuser's requests."""

    def __init__(self, namenodes: dict[str, Node], ports: list[int], datanode: Node) -> None:
        self.namenodes = namenodes
        self.ports = ports
        self.datanode = datanode
        self._numbers = itertools.count()

    @property
    def user(self) -> str:
        """Whom the stores of the tests log in as."""
        return USER

    @property
    def namenode(self) -> Node:
        """The only NameNode, or the first of the pair."""
        return next(iter(self.namenodes.values()))

    @property
    def datanode_port(self) -> int:
        """Where the DataNode speaks HTTP."""
        return int(self.datanode.settings["dfs.datanode.http.address"].rpartition(":")[2])

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def active_port(self) -> int:
        for port in self.ports:
            if (Rest(port, getuser(), 2).jmx(STATUS) or {}).get("State") == "active":
                return port
        raise RuntimeError("no NameNode is active")

    def rest(self, user: str | None = None) -> Rest:
        """Requests as `user` (the superuser by default) to the active NameNode."""
        port = self.ports[0] if len(self.ports) == 1 else self.active_port
        return Rest(port, user or getuser())

    def new_base_path(self) -> str:
        """A directory of a test's own, which the tests' ordinary user owns."""
        path = f"/tests/{next(self._numbers)}-{os.getpid()}"
        self.rest().make_directory(path)
        self.rest().set_owner(path, USER)
        return path

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once a write is possible.

        JMX still counts a DataNode as live for a while after it was killed, so only a real write
        proves it.
        """
        wait_until(self._writes, seconds, "HDFS takes a write", interval=0.1)

    def _writes(self) -> bool:
        for port in self.ports:
            rest = Rest(port, getuser(), 5)
            state = rest.jmx(STATE)
            if not state or state.get("FSState") != "Operational" or not state["NumLiveDataNodes"]:
                continue
            with contextlib.suppress(OSError, RuntimeError):
                rest.create("/tests/ready", b"{}")
                return rest.open("/tests/ready") == b"{}"
        return False

    def safe_mode(self, on: bool) -> None:
        self.namenode.run(ADMIN, "-safemode", "enter" if on else "leave")

    def nodes(self) -> list[Node]:
        return [*self.namenodes.values(), self.datanode]

    def heal(self) -> None:
        """Bring back what a test killed or paused, and return when writes are possible."""
        for node in self.nodes():
            if node.alive:
                node.resume()
            else:
                node.start()
        self.wait_ready()

    def stop(self) -> None:
        for node in self.nodes():
            node.kill()


class HAPair(HDFS):
    """Two NameNodes that share edits through a JournalNode; failover is by hand."""

    def __init__(
        self, namenodes: dict[str, Node], ports: list[int], datanode: Node, journalnode: Node
    ) -> None:
        super().__init__(namenodes, ports, datanode)
        self.journalnode = journalnode

    @property
    def active(self) -> str:
        """The name (nn1 or nn2) of the active NameNode."""
        return list(self.namenodes)[self.ports.index(self.active_port)]

    @property
    def standby(self) -> str:
        return "nn2" if self.active == "nn1" else "nn1"

    def activate(self, name: str, *, forced: bool = False) -> None:
        """Make the NameNode `name` the active one (`forced`: its peer is dead)."""
        force = ["--forceactive"] if forced else []
        self.namenodes[name].run(HA_ADMIN, "-transitionToActive", *force, name)

    def deactivate(self, name: str) -> None:
        self.namenodes[name].run(HA_ADMIN, "-transitionToStandby", name)

    def fail_over(self) -> None:
        """Change places in good order."""
        old, new = self.active, self.standby
        self.namenodes[new].run(HA_ADMIN, "-failover", old, new)

    def nodes(self) -> list[Node]:
        return [self.journalnode, *super().nodes()]

    def heal(self) -> None:
        for node in self.nodes():
            if node.alive:
                node.resume()
            else:
                node.start()
        self.wait_answering()
        try:
            assert self.active_port
        except RuntimeError:
            self.activate("nn1")
        self.wait_ready()

    def wait_answering(self) -> None:
        """Return once each NameNode says what it is."""
        for port in self.ports:
            rest = Rest(port, getuser(), 2)
            wait_until(
                lambda rest=rest: (rest.jmx(STATUS) or {}).get("State") in ("active", "standby"),
                READY_SECONDS,
                f"the NameNode on {port} has a state",
            )


def start_single(home: Path) -> HDFS:
    """Format and start a NameNode and a DataNode; ready when this returns."""
    classpath = hadoop_classpath()
    port = free_port()
    shared = shared_settings(home) | {
        "fs.defaultFS": f"hdfs://127.0.0.1:{free_port()}",
        "dfs.namenode.http-address": f"127.0.0.1:{port}",
        "dfs.namenode.name.dir": str(home / "name"),
    }
    namenode = Node("namenode", NAMENODE, home / "namenode", classpath, shared)
    datanode = Node(
        "datanode", DATANODE, home / "datanode", classpath, shared | datanode_settings(home)
    )
    namenode.run(NAMENODE, "-format", "-nonInteractive")
    hdfs = HDFS({"nn1": namenode}, [port], datanode)
    start_all(hdfs)
    return hdfs


def start_all(hdfs: HDFS) -> None:
    """Start the nodes of a formatted cluster and wait; leaves none running if it fails."""
    try:
        hdfs.heal()
    except BaseException:
        hdfs.stop()
        raise


def start_pair(home: Path) -> HAPair:
    """Format and start an HA pair with its JournalNode and DataNode; nn1 is active."""
    classpath = hadoop_classpath()
    ports = [free_port(), free_port()]
    journal = free_port()
    shared = shared_settings(home) | {
        "fs.defaultFS": "hdfs://ns",
        "dfs.nameservices": "ns",
        "dfs.ha.namenodes.ns": "nn1,nn2",
        "dfs.namenode.shared.edits.dir": f"qjournal://127.0.0.1:{journal}/ns",
        "dfs.client.failover.proxy.provider.ns": (
            "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
        ),
        "dfs.ha.fencing.methods": "shell(/bin/true)",
        "dfs.ha.tail-edits.period": "500ms",
        "dfs.journalnode.edits.dir": str(home / "journal"),
        "dfs.journalnode.rpc-address": f"127.0.0.1:{journal}",
        "dfs.journalnode.http-address": f"127.0.0.1:{free_port()}",
    }
    for name, port in zip(("nn1", "nn2"), ports, strict=True):
        shared[f"dfs.namenode.rpc-address.ns.{name}"] = f"127.0.0.1:{free_port()}"
        shared[f"dfs.namenode.http-address.ns.{name}"] = f"127.0.0.1:{port}"
    namenodes = {
        name: Node(
            name,
            NAMENODE,
            home / name,
            classpath,
            shared
            | {"dfs.ha.namenode.id": name, "dfs.namenode.name.dir": str(home / name / "name")},
        )
        for name in ("nn1", "nn2")
    }
    datanode = Node(
        "datanode", DATANODE, home / "datanode", classpath, shared | datanode_settings(home)
    )
    journalnode = Node("journalnode", JOURNALNODE, home / "journalnode", classpath, shared)
    pair = HAPair(namenodes, ports, datanode, journalnode)
    try:
        journalnode.start()
        wait_until(lambda: listens(journal), READY_SECONDS, "the JournalNode listens")
        namenodes["nn1"].run(NAMENODE, "-format", "-nonInteractive")
        shutil.copytree(home / "nn1" / "name", home / "nn2" / "name")
    except BaseException:
        pair.stop()
        raise
    start_all(pair)
    return pair


@pytest.fixture(scope="session")
def shared_hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HDFS]:
    hdfs = start_single(tmp_path_factory.mktemp("hdfs"))
    yield hdfs
    hdfs.stop()


@pytest.fixture
def hdfs(shared_hdfs: HDFS) -> Iterator[HDFS]:
    """The real HDFS of this run, in good order; what a test breaks is healed after it."""
    yield shared_hdfs
    if not all(node.alive for node in shared_hdfs.nodes()):
        shared_hdfs.heal()


@pytest.fixture(scope="session")
def shared_hdfs_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAPair]:
    pair = start_pair(tmp_path_factory.mktemp("hdfs-pair"))
    yield pair
    pair.stop()


@pytest.fixture
def hdfs_pair(shared_hdfs_pair: HAPair) -> Iterator[HAPair]:
    """The real HA pair of this run, in good order; what a test breaks is healed after it."""
    yield shared_hdfs_pair
    if not all(node.alive for node in shared_hdfs_pair.nodes()):
        shared_hdfs_pair.heal()
