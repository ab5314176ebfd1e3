"""The StoreBackend document: one model for the file, the stream and the cluster's resource.

Pure words: what a document may say, its defaults and its bounds. `config.convert` reads a document
into it by these annotations, and `config.rules` holds what spans several fields. Durations are
seconds and sizes are bytes here, whatever the document wrote.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from pannier.config.names import LONGEST_NAME
from pannier.config.units import LARGEST, LONGEST, SHORTEST

API_VERSION: Final = "pannier.dev/v1alpha1"
KIND: Final = "StoreBackend"

StoreType = Literal["memory", "redis", "hdfs"]

Duration = Annotated[float, Meta(ge=SHORTEST, le=LONGEST, extra={"format": "duration"})]
Size = Annotated[int, Meta(ge=1, le=LARGEST, extra={"format": "size"})]
Port = Annotated[int, Meta(ge=1, le=65535)]
StoreName = Annotated[str, Meta(extra={"format": "label"})]
ObjectName = Annotated[str, Meta(max_length=LONGEST_NAME, extra={"format": "subdomain"})]
SecretKey = Annotated[str, Meta(max_length=LONGEST_NAME, extra={"format": "secret-key"})]
Host = Annotated[str, Meta(min_length=1, max_length=253, extra={"format": "host"})]
Node = Annotated[str, Meta(min_length=1, max_length=262, extra={"format": "node"})]
Nodes = Annotated[tuple[Node, ...], Meta(min_length=1, max_length=64)]
NameNode = Annotated[str, Meta(max_length=2048, extra={"format": "namenode"})]
HdfsPath = Annotated[str, Meta(max_length=1024, extra={"format": "hdfs-path"})]
SocketPath = Annotated[str, Meta(max_length=107, extra={"format": "path"})]
KeyPrefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")]
Text = Annotated[str, Meta(min_length=1, max_length=256)]


class Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the parts of a document: fields in camelCase outside, frozen inside."""


class SecretRef(Document, frozen=True, kw_only=True):
    """An entry of a Secret of the same namespace.

    In a cluster the Secret must have the label `pannier.dev/credentials: "true"`.
    """

    name: ObjectName
    """The Secret's name."""
    key: SecretKey
    """The entry in it."""

    def __str__(self) -> str:
        return f"{self.name}/{self.key}"


class Memory(Document, frozen=True, kw_only=True):
    """Records in the sidecar's own memory, lost with it."""

    max_bytes: Size = 64 * 1024 * 1024
    """What keys, values and about 250 bytes a record may take together."""


class Sentinel(Document, frozen=True, kw_only=True):
    """A Redis master that is found through Sentinels."""

    master: Text
    """The name the Sentinels know the master by."""
    nodes: Nodes
    """The Sentinels, `host` or `host:port` (26379 where it is left out)."""


class Cluster(Document, frozen=True, kw_only=True):
    """A Redis Cluster."""

    nodes: Nodes
    """Nodes to learn the others from, `host` or `host:port` (6379 where it is left out)."""


class Tls(Document, frozen=True, kw_only=True):
    """TLS to Redis. `tls: {}` is enough where the system trusts the server's certificate."""

    ca_secret_ref: SecretRef | None = None
    """The certificates (PEM) to trust in place of the system's."""
    cert_secret_ref: SecretRef | None = None
    """The client's certificate (PEM), with its key in `keySecretRef`."""
    key_secret_ref: SecretRef | None = None
    """The client's private key (PEM), without a passphrase."""
    server_name: Host | None = None
    """The name the server's certificate must hold; by default the host dialed."""


class WaitReplicas(Document, frozen=True, kw_only=True):
    """Replicas that must have a write before it is acknowledged (the Redis command WAIT).

    A write they do not have in time ends as `outcome-unknown`: the master has it, and a failover
    may lose it. With `min-replicas-to-write` on the server, an acknowledged write survives the loss
    of its master.
    """

    count: Annotated[int, Meta(ge=1, le=16)]
    """How many replicas must have a write; on a cluster, of the master it goes to."""
    timeout: Duration = 1.0
    """The longest wait for them. It comes on top of `requestTimeout`."""


class Redis(Document, frozen=True, kw_only=True):
    """A Redis server, found in exactly one of four ways: host, sentinel, cluster, unixSocket."""

    host: Host | None = None
    """The server's name or address."""
    port: Port = 6379
    """The server's port, with `host`."""
    sentinel: Sentinel | None = None
    cluster: Cluster | None = None
    unix_socket: SocketPath | None = None
    """The server's unix socket, an absolute path."""
    db: Annotated[int, Meta(ge=0, le=65535)] = 0
    """The database's number; a cluster has 0 alone."""
    username: Text | None = None
    """The ACL user; left out, the server's default user."""
    password_secret_ref: SecretRef | None = None
    """The password, of the ACL user or of the server's default user."""
    tls: Tls | None = None
    key_prefix: KeyPrefix = "pannier:"
    """What the names of all its Redis keys start with. Cannot be changed later."""
    hash_buckets: Annotated[int, Meta(ge=1, le=16384)] = 1
    """Hashes that a schema is spread over, so that it can span a cluster. Cannot be changed."""
    wait_replicas: WaitReplicas | None = None
    """Left out, a write is acknowledged when the master has it."""


class Kerberos(Document, frozen=True, kw_only=True):
    """Login by Kerberos, with the ticket of the environment (KRB5CCNAME, KRB5_CLIENT_KTNAME)."""

    principal: Text | None = None
    """The principal to log in as; left out, the ticket cache's own."""
    mutual_authentication: Literal["required", "optional", "disabled"] = "required"
    """Whether the NameNode must prove who it is."""


class Hdfs(Document, frozen=True, kw_only=True):
    """HDFS by WebHDFS: one JSON file a record."""

    namenodes: Annotated[tuple[NameNode, ...], Meta(min_length=1, max_length=16)]
    """The NameNodes' web addresses, such as http://nn1:9870; more than one for HA."""
    username: Text | None = None
    """The user to act as where the cluster does not ask for a login."""
    base_path: HdfsPath = "/volnux"
    """The directory above all schemas."""
    kerberos: Kerberos | None = None
    delegation_token_secret_ref: SecretRef | None = None
    """A delegation token to log in with."""


class Pool(Document, frozen=True, kw_only=True):
    """How many connections a store keeps, and how long an operation waits for one."""

    max_connections: Annotated[int, Meta(ge=1, le=1000)] = 8
    """Open connections, at most (for each Redis node on a cluster)."""
    min_idle: Annotated[int, Meta(ge=0, le=1000)] = 1
    """Idle connections that are kept open ahead of need."""
    connection_timeout: Duration = 2.0
    """The longest wait for a connection, dialing included."""
    idle_timeout: Duration = 300.0
    """An idle connection is closed after this long."""
    max_lifetime: Duration = 1800.0
    """A connection is replaced at about this age."""
    max_waiting: Annotated[int, Meta(ge=0, le=100_000)] = 1024
    """How many operations may wait for a connection; one more is refused at once."""


class Metadata(Document, frozen=True, kw_only=True):
    """The document's name, and what Kubernetes keeps beside it."""

    name: StoreName
    """The store's name, a DNS label: the first segment of its paths."""
    namespace: ObjectName = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Spec(Document, frozen=True, kw_only=True):
    """What the store is and how it is reached."""

    type: StoreType
    """What the store is: exactly the member of this name is present. Cannot be changed later."""
    memory: Memory | None = None
    redis: Redis | None = None
    hdfs: Hdfs | None = None
    pool: Pool = Pool()
    request_timeout: Duration = 5.0
    """The longest wait for one backend answer once it is asked; a list spends it per page."""
    service_accounts: Annotated[tuple[ObjectName, ...], Meta(max_length=100)] | None = None
    """Only pods of these ServiceAccounts get the store; left out, every pod of the namespace."""


class StoreBackend(Document, frozen=True, kw_only=True):
    """A store that the sidecars of its namespace serve under its name."""

    api_version: Literal["pannier.dev/v1alpha1"]
    kind: Literal["StoreBackend"]
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """The store's name."""
        return self.metadata.name

    def backend(self) -> Memory | Redis | Hdfs:
        """The member that `spec.type` names."""
        member: Any = getattr(self.spec, self.spec.type)
        if not isinstance(member, (Memory, Redis, Hdfs)):
            raise TypeError(f"The document {self.name} has no spec.{self.spec.type}")
        return member


KEPT_BY_KUBERNETES: Final = {
    StoreBackend: frozenset({"status"}),
    Metadata: frozenset(
        {
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generateName",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        }
    ),
}
"""Fields the API server adds: accepted and not read, so that what `kubectl get -o yaml` prints is a
valid file."""


def default_document() -> StoreBackend:
    """What `pannier sidecar` serves when nothing is configured: one memory store, `default`."""
    return StoreBackend(
        api_version=API_VERSION,
        kind=KIND,
        metadata=Metadata(name="default"),
        spec=Spec(type="memory", memory=Memory()),
    )


def secret_refs(document: StoreBackend) -> list[tuple[str, SecretRef]]:
    """The document's secret references, each with its field's path, in the document's order."""
    spec = document.spec
    found: list[tuple[str, SecretRef | None]] = []
    if spec.redis is not None:
        tls = spec.redis.tls or Tls()
        found += [
            ("spec.redis.passwordSecretRef", spec.redis.password_secret_ref),
            ("spec.redis.tls.caSecretRef", tls.ca_secret_ref),
            ("spec.redis.tls.certSecretRef", tls.cert_secret_ref),
            ("spec.redis.tls.keySecretRef", tls.key_secret_ref),
        ]
    if spec.hdfs is not None:
        found.append(("spec.hdfs.delegationTokenSecretRef", spec.hdfs.delegation_token_secret_ref))
    return [(path, ref) for path, ref in found if ref is not None]
