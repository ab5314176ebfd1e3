"""File names of records: `<base path>/<schema>/<key>.json`, for every key. Pure.

A key's ASCII letters, digits, `-`, `.` and `_` stand for themselves, every other byte of its UTF-8
is `~` and two hexadecimal digits. `~` and not `%`, because it means nothing in a URL: a name goes
through NameNode, redirect and DataNode the same however often each of them decodes it. A leading
`.` or `_` is encoded too: Hadoop's tools take such files for hidden ones.

HDFS limits a path component to 255 bytes, so a long name is cut into components of at most 200;
all but the last are directories and end in a bare `~`, which no file's name does.
"""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

from pannier.errors import InvalidCursor, InvalidKey, InvalidSchema
from pannier.keys import check_key, check_schema

SUFFIX = ".json"
MAX_COMPONENT = 200
MAX_DEPTH = 9
"""Components of the longest key: 512 bytes, three characters each, 199 to a directory."""

TEMPORARY = ".pannier-writing"
"""The directory under the base path where files are written before they are renamed into place.

No schema has such a name (none starts with a dot), and Hadoop's tools pass it over.
"""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_SIMPLE = re.compile(r"[A-Za-z0-9-][A-Za-z0-9._-]{0,194}")
"""Keys that are their own file name but for the suffix: nearly all there are."""
_ENCODED = [chr(byte) if byte in _PLAIN else f"~{byte:02X}" for byte in range(256)]
_ESCAPE = re.compile(rb"~([0-9A-F]{2})")
_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_TEMPORARY_NAME = re.compile(r"[0-9a-f]{32}-([0-9]{1,9})")


def relative_path(key: str) -> str:
    """The path of a valid key's file below its schema's directory."""
    if _SIMPLE.fullmatch(key):
        return key + SUFFIX
    tokens = [_ENCODED[byte] for byte in key.encode()]
    components: list[str] = []
    start = 0
    while start < len(tokens):
        if tokens[start] in (".", "_"):
            tokens[start] = f"~{ord(tokens[start]):02X}"
        rest = sum(map(len, tokens[start:]))
        if rest + len(SUFFIX) <= MAX_COMPONENT:
            components.append("".join(tokens[start:]) + SUFFIX)
            break
        # The last token is left for the file, so that no file's name is the bare suffix.
        stop, size = start, 0
        while stop < len(tokens) - 1 and size + len(tokens[stop]) < MAX_COMPONENT:
            size += len(tokens[stop])
            stop += 1
        components.append("".join(tokens[start:stop]) + "~")
        start = stop
    return "/".join(components)


def key_of(path: str) -> str | None:
    """The key whose file is at `path` below a schema's directory; None where it is not ours."""
    if not path.endswith(SUFFIX):
        return None
    if "/" not in path and _SIMPLE.fullmatch(path[: -len(SUFFIX)]):
        return path[: -len(SUFFIX)]
    directories, _, file = path.rpartition("/")
    parts = directories.split("/") if directories else []
    if not all(part.endswith("~") for part in parts):
        return None
    text = "".join(part[:-1] for part in parts) + file[: -len(SUFFIX)]
    try:
        key = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text.encode()).decode()
        check_key(key)
    except (UnicodeDecodeError, UnicodeEncodeError, InvalidKey):
        return None
    # One name for one key: what we would not have written ourselves is not ours.
    return key if relative_path(key) == path else None


def is_part(directory: str) -> bool:
    """Whether a directory of this name can hold the rest of long keys."""
    return directory.endswith("~") and len(directory) <= MAX_COMPONENT


def check_place(cursor: str) -> tuple[str, ...]:
    """The components of a scan's cursor. Raises InvalidCursor where no scan of ours made it."""
    parts = tuple(cursor.split("/"))
    if (
        len(parts) > MAX_DEPTH
        or not all(len(part) <= MAX_COMPONENT and _NAME.fullmatch(part) for part in parts)
        or not all(is_part(part) for part in parts[:-1])
        or not (is_part(parts[-1]) or parts[-1].endswith(SUFFIX))
    ):
        raise InvalidCursor("This cursor was not made by this store.")
    return parts


def check_name(cursor: str) -> None:
    """Raise InvalidCursor unless a cursor over schemas is a schema's name, as all of them are."""
    try:
        check_schema(cursor)
    except InvalidSchema:
        raise InvalidCursor("This cursor was not made by this store.") from None


def check_base_path(path: str) -> str:
    """The base path without a slash at its end ("" for the root). Raises ValueError."""
    if not path.startswith("/"):
        raise ValueError(f"The base path must be absolute (start with a slash), not {path!r}")
    parts = path.strip("/").split("/") if path.strip("/") else []
    for part in parts:
        if part in ("", ".", "..") or ":" in part or len(part.encode()) > 255:
            raise ValueError(
                f"The base path {path!r} holds {part!r}: HDFS allows no empty component, "
                'no "." or "..", no colon, and 255 bytes'
            )
        if not part.isprintable():
            raise ValueError(f"The base path {path!r} holds a control character")
    return "".join(f"/{part}" for part in parts)


def url_path(path: str) -> str:
    """A file's path as it stands in a URL."""
    return quote(path, safe="/~")


def temporary_name(lifetime: int) -> str:
    """A new temporary file's name; it says for how many seconds its writer may be at work."""
    return f"{uuid.uuid4().hex}-{lifetime}"


def lifetime_of(name: str) -> int | None:
    """The seconds in a temporary file's name; None where it is not one of ours."""
    found = _TEMPORARY_NAME.fullmatch(name)
    return int(found[1]) if found else None
