"""The grammars of the document's texts: durations, sizes, names, addresses, paths. Pure.

Each raises ValueError with "what is wrong: what to write instead". None of them quotes a text in
which somebody may have put a credential (an address with a password in it, say).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pannier.config.names import ENTRY_KEY, SUBDOMAIN, is_secret_key, is_subdomain
from pannier.config.units import DURATION, SIZE, parse_duration, parse_size
from pannier.keys import STORE_NAME, is_store_name

_A_HOST: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?"
_AN_IPV6: Final = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?"
_A_PORT: Final = (
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
_A_NODE: Final = rf"({_A_HOST}(:{_A_PORT})?|{_AN_IPV6}|\[({_A_HOST}|{_AN_IPV6})\](:{_A_PORT})?)"
# No control characters, nor the two that end a line elsewhere; the latter stand for themselves,
# since RE2 and Python escape them differently.
_IN_PATHS: Final = "[^/\\x00-\\x1f\\x7f-\\x9f\u2028\u2029]"


def _path(first: str, character: str) -> str:
    """An absolute path: components that are neither . nor .. (RE2 cannot look ahead)."""
    return rf"(/({first}{character}*|\.{first}{character}*|\.\.{character}+)?)+"


_A_PATH: Final = _path(_IN_PATHS.replace("/", "/.", 1), _IN_PATHS)
_AN_HDFS_PATH: Final = _path(_IN_PATHS.replace("/", "/.:", 1), _IN_PATHS.replace("/", "/:", 1))

_HOST = re.compile(_A_HOST)
_IPV6 = re.compile(_AN_IPV6)
_PORT = re.compile(_A_PORT)
_PATH = re.compile(_A_PATH)
_BRACKETED = re.compile(r"\[([^\]]*)\](?::(.*))?")
_WEB = re.compile(r"https?://(.+?)/?")


@dataclass(frozen=True, slots=True)
class Format:
    """How a text of one grammar is called and read."""

    noun: str
    parse: Callable[[str], Any]
    fix: Callable[[object], str]
    """What to write in place of a value that is no text."""
    pattern: str
    """What `parse` takes, as far as a regular expression can say it (without length and range), in
    the words that Python's re and RE2 share: the StoreBackend resource has it so."""


def parse_label(text: str) -> str:
    """A store's name."""
    if is_store_name(text):
        return text
    near = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:63].strip("-")
    hint = f", such as {near}" if near and is_store_name(near) else ""
    raise ValueError(
        "is not a DNS label: write 1 to 63 of a-z 0-9 and -, with a letter or digit at both "
        f"ends{hint}"
    )


def parse_subdomain(text: str) -> str:
    """The name of a Secret, a ServiceAccount or a namespace."""
    if is_subdomain(text):
        return text
    raise ValueError(
        "is not a name of Kubernetes: write up to 253 of a-z 0-9 - and ., with a letter or digit "
        "at both ends"
    )


def parse_secret_key(text: str) -> str:
    """The key of a Secret's entry."""
    if is_secret_key(text):
        return text
    raise ValueError(
        "is not the key of a Secret's entry: write up to 253 of A-Z a-z 0-9 - _ and ., which do "
        "not begin with .."
    )


def parse_host(text: str) -> str:
    """A host name or address, without a port. An IPv6 address may stand in brackets."""
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed and bracketed[2] is None and _IPV6.fullmatch(bracketed[1]):
        return bracketed[1]
    if _HOST.fullmatch(text) or _IPV6.fullmatch(text):
        return text
    if "://" in text:
        raise ValueError("is a URL: write the host's name alone, without scheme, user or path")
    if text.count(":") == 1 and _HOST.fullmatch(text.partition(":")[0]):
        raise ValueError("holds a port: write the host's name alone, the port goes into port")
    raise ValueError("is not a host name or address: write a name such as redis.shop.svc")


def parse_node(text: str) -> tuple[str, int | None]:
    """A `host` or `host:port`; the port is None where it is left out."""
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif _IPV6.fullmatch(text):
        host, port = text, None
    else:
        host, colon, port = text.partition(":")
        port = port if colon else None
    if "://" in text or not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)):
        raise ValueError("is not host:port: write it such as redis-0.redis:6379")
    if port is None:
        return host, None
    if not _PORT.fullmatch(port):
        raise ValueError("has no valid port: write a number from 1 to 65535 after the colon")
    return host, int(port)


def parse_namenode(text: str) -> str:
    """A NameNode's web address, without a trailing slash."""
    match = _WEB.fullmatch(text)
    if match is None:
        raise ValueError("is not a web address: write it such as http://nn1:9870")
    if any(mark in match[1] for mark in "/@?#"):
        raise ValueError("holds more than an address: write scheme, host and port alone")
    parse_node(match[1])
    return text.rstrip("/")


def parse_path(text: str) -> str:
    """An absolute path that climbs nowhere, without a trailing slash."""
    parts = text.split("/")
    if not text.startswith("/") or any(part in (".", "..") for part in parts):
        raise ValueError("is not an absolute path: write it from / on, without . and ..")
    if not _PATH.fullmatch(text):
        raise ValueError("holds control characters: write it without them")
    return "/" + "/".join(part for part in parts if part)


def parse_hdfs_path(text: str) -> str:
    """A directory in HDFS: an absolute path whose components HDFS allows."""
    path = parse_path(text)
    if ":" in path or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError(
            "is no path of HDFS: write it without colons, and at most 255 bytes between slashes"
        )
    return path


def _checked(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """A format whose value in the model is the text itself."""

    def check(text: str) -> str:
        parse(text)
        return text

    return check


def _no_fix(value: object) -> str:
    return "" if isinstance(value, (dict, list)) else "put it in quotes"


def _duration_fix(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return f"give it a unit, such as {value:g}s"
    return "write it such as 500ms, 5s or 1m30s"


def _size_fix(value: object) -> str:
    return "write it such as 64Mi"


FORMATS: Final = {
    "duration": Format("a duration", parse_duration, _duration_fix, DURATION),
    "size": Format("a size", parse_size, _size_fix, SIZE),
    "label": Format("a name", parse_label, _no_fix, STORE_NAME),
    "subdomain": Format("a name", parse_subdomain, _no_fix, SUBDOMAIN),
    "secret-key": Format("a key", parse_secret_key, _no_fix, ENTRY_KEY),
    "host": Format("a host name", parse_host, _no_fix, rf"({_A_HOST}|{_AN_IPV6}|\[{_AN_IPV6}\])"),
    "node": Format("host:port", _checked(parse_node), _no_fix, _A_NODE),
    "namenode": Format("a web address", parse_namenode, _no_fix, rf"https?://{_A_NODE}/?"),
    "path": Format("a path", parse_path, _no_fix, _A_PATH),
    "hdfs-path": Format("a path", parse_hdfs_path, _no_fix, _AN_HDFS_PATH),
}
"""By the name that `config.documents` gives them in its annotations."""
