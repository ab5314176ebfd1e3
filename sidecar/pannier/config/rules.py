"""The rules of a document that span several fields. Pure.

Each rule gets the values of its part that could be read, defaults included, and the fields as they
were written; it yields a field's name, what is wrong and how to mend it. The StoreBackend
resource has the same rules in CEL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pannier.config.documents import Hdfs, Pool, Redis, Spec, Tls
from pannier.config.placed import Placed

Fault = tuple[str, str, str]
Rule = Callable[[Mapping[str, Any], Mapping[str, Placed]], Iterator[Fault]]

MEMBERS: Final = ("memory", "redis", "hdfs")
WAYS: Final = ("host", "sentinel", "cluster", "unixSocket")


def the_member_of_the_type(
    values: Mapping[str, Any], written: Mapping[str, Placed]
) -> Iterator[Fault]:
    """Exactly the member that `type` names is present."""
    kind = values.get("type")
    if kind is None:
        return
    present = [name for name in MEMBERS if _present(written, name)]
    # A member that is there without a value has its own fault already.
    if kind not in present and kind not in written:
        yield kind, f"is missing, and the type is {kind}", f"add {kind}: {{..}}"
    for name in present:
        if name != kind:
            yield name, f"is here, and the type is {kind}", f"remove it, or write type: {name}"


def min_idle_within_the_pool(
    values: Mapping[str, Any], written: Mapping[str, Placed]
) -> Iterator[Fault]:
    """minIdle is at most maxConnections."""
    most, least = values.get("max_connections"), values.get("min_idle")
    if most is not None and least is not None and least > most:
        yield (
            "minIdle",
            f"{least} is more than maxConnections ({most})",
            f"write at most {most}, or raise maxConnections",
        )


def one_way_to_redis(values: Mapping[str, Any], written: Mapping[str, Placed]) -> Iterator[Fault]:
    """Exactly one of host, sentinel, cluster and unixSocket is present."""
    ways = [name for name in WAYS if _present(written, name)]
    if not ways and not any(name in written for name in WAYS):
        yield "host", "is missing", f"add one of {', '.join(WAYS)}"
    for name in ways[1:]:
        yield name, f"is here beside {ways[0]}", "keep one of the two"


def what_a_way_allows(values: Mapping[str, Any], written: Mapping[str, Placed]) -> Iterator[Fault]:
    """A cluster has database 0 alone, and a unix socket has no TLS."""
    if _present(written, "cluster") and values.get("db", 0) != 0:
        yield "db", "a Redis Cluster has database 0 alone", "remove db"
    if _present(written, "unixSocket") and _present(written, "tls"):
        yield "tls", "is here beside unixSocket", "remove it: a unix socket needs none"


def certificate_with_its_key(
    values: Mapping[str, Any], written: Mapping[str, Placed]
) -> Iterator[Fault]:
    """A client certificate comes with its key, and the key with its certificate."""
    pair = ("certSecretRef", "keySecretRef")
    for name, other in (pair, pair[::-1]):
        if _present(written, name) and not _present(written, other):
            yield other, f"is missing beside {name}", f"add {other}: {{name, key}}"


def one_way_to_log_in(values: Mapping[str, Any], written: Mapping[str, Placed]) -> Iterator[Fault]:
    """HDFS is logged in to as a user, by Kerberos or by a delegation token."""
    logins = [
        name
        for name in ("username", "kerberos", "delegationTokenSecretRef")
        if _present(written, name)
    ]
    for name in logins[1:]:
        yield name, f"is here beside {logins[0]}", "keep one of the two"


def _present(written: Mapping[str, Placed], name: str) -> bool:
    """Whether the field has a value (a null is none, as in Kubernetes)."""
    return name in written and written[name].value is not None


RULES: Final[dict[type, tuple[Rule, ...]]] = {
    Spec: (the_member_of_the_type,),
    Pool: (min_idle_within_the_pool,),
    Redis: (one_way_to_redis, what_a_way_allows),
    Tls: (certificate_with_its_key,),
    Hdfs: (one_way_to_log_in,),
}
