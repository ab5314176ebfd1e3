"""The rules of a StoreBackend in CEL: those of its texts, and those that span several fields.

Each rule of `pannier.config.rules` and each grammar of `pannier.config.formats` has its counterpart
here under its own name, so that a new one without a counterpart stops the generation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pannier.config import rules
from pannier.config.documents import Redis, Spec
from pannier.config.formats import FORMATS
from pannier.config.units import LARGEST, LONGEST, SHORTEST, format_duration, format_size

Validation = dict[str, str]


def validation(rule: str, message: str, **more: str) -> Validation:
    return {"rule": rule, "message": message, **more}


MEMBERS: Final = [
    each
    for member in rules.MEMBERS
    for each in (
        validation(
            f"self.type != '{member}' || has(self.{member})",
            f"spec.{member} is missing, and the type is {member}: add {member}: {{..}}",
        ),
        validation(
            f"self.type == '{member}' || !has(self.{member})",
            f"spec.{member} is here, and the type is another: remove it, or write type: {member}",
        ),
    )
]


def at_most_one(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{name})' for name in fields)}].filter(each, each).size() <= 1"


def exactly_one(*fields: str) -> str:
    return at_most_one(*fields).replace("<= 1", "== 1")


ACROSS_FIELDS: Final[dict[Callable[..., Any], list[Validation]]] = {
    rules.the_member_of_the_type: MEMBERS,
    rules.min_idle_within_the_pool: [
        validation(
            "self.minIdle <= self.maxConnections",
            "minIdle is more than maxConnections: lower it, or raise maxConnections",
        )
    ],
    rules.one_way_to_redis: [
        validation(exactly_one(*rules.WAYS), f"write exactly one of {', '.join(rules.WAYS)}")
    ],
    rules.what_a_way_allows: [
        validation(
            "!has(self.cluster) || self.db == 0",
            "a Redis Cluster has database 0 alone: remove db",
        ),
        validation(
            "!has(self.unixSocket) || !has(self.tls)",
            "tls is here beside unixSocket: remove it, a unix socket needs none",
        ),
    ],
    rules.certificate_with_its_key: [
        validation(
            "has(self.certSecretRef) == has(self.keySecretRef)",
            "certSecretRef and keySecretRef come together: add the other, or remove both",
        )
    ],
    rules.one_way_to_log_in: [
        validation(
            at_most_one("username", "kerberos", "delegationTokenSecretRef"),
            "keep one of username, kerberos and delegationTokenSecretRef",
        )
    ],
}

IMMUTABLE: Final = {(Spec, "type"), (Redis, "keyPrefix"), (Redis, "hashBuckets")}
"""What a running store cannot change (`pannier.config.changes`): its records would be hidden."""

NEVER_CHANGES: Final = validation(
    "self == oldSelf",
    "cannot be changed: the store's records would be out of reach. Make a StoreBackend of another "
    "name and move the records with pannier export | pannier import",
)

ADVICE: Final = {
    "subdomain": "write a name of Kubernetes: up to 253 of a-z 0-9 - and ., with a letter or digit "
    "at both ends",
    "secret-key": "write the key of a Secret's entry: up to 253 of A-Z a-z 0-9 - _ and ., which do "
    "not begin with ..",
    "host": "write a host name or address alone, such as redis.shop.svc, without scheme, user or "
    "port",
    "node": "write host or host:port, such as redis-0.redis:6379",
    "namenode": "write a web address alone, such as http://nn1:9870, without user or path",
    "path": "write an absolute path, without . and .. and control characters",
    "hdfs-path": "write an absolute path, without . and .., colons and control characters, and at "
    "most 255 bytes between slashes",
    "duration": "write whole numbers with ms, s, m or h, such as 500ms, 5s or 1m30s, from "
    f"{format_duration(SHORTEST)} to {format_duration(LONGEST)}",
    "size": "write bytes, or a number with Ki, Mi, Gi, k, M or G, such as 64Mi, from 1 to "
    f"{format_size(LARGEST)}",
}

NAME: Final = validation(
    f"self.metadata.name.matches(r'^{FORMATS['label'].pattern}$')",
    "metadata.name is not a DNS label: write 1 to 63 of a-z 0-9 and -, with a letter or digit at "
    "both ends",
)


def of_a_text(form: str) -> list[Validation]:
    """What holds of a text of that grammar (a key of FORMATS)."""
    matches = f"matches(r'^({FORMATS[form].pattern})$')"
    shortest, longest = format_duration(SHORTEST), format_duration(LONGEST)
    rule = {
        "duration": f"self.{matches} && duration(self) >= duration('{shortest}') && "
        f"duration(self) <= duration('{longest}')",
        # A size may be written as a whole number too.
        "size": f"string(self).{matches} && quantity(string(self)).isGreaterThan(quantity('0')) && "
        f"!quantity(string(self)).isGreaterThan(quantity('{format_size(LARGEST)}'))",
        "hdfs-path": f"self.{matches} && self.split('/').all(part, bytes(part).size() <= 255)",
    }.get(form, f"self.{matches}")
    return [validation(rule, ADVICE[form])]
