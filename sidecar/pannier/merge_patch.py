"""JSON merge patch (RFC 7396) on stored bytes. Pure.

Only the objects that the patch walks into are taken apart; every other member is copied as the
text it is, so numbers keep their digits, and members keep their order (new ones come last).
"""

from __future__ import annotations

import msgspec

from pannier import json_text
from pannier.errors import NotAnObject

_encode = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


def apply(target: bytes, patch: bytes) -> bytes:
    """The record `target` with `patch` merged into it, as compact JSON.

    Raises NotAnObject if either is another JSON value than an object, InvalidRecord if the patch
    is not JSON.
    """
    json_text.check(patch)
    if not is_object(patch):
        raise NotAnObject("A merge patch is a JSON object; to replace the record, use PUT.")
    if not is_object(target):
        raise NotAnObject("The record is not a JSON object; to replace it, use PUT.")
    try:
        return _merged(target, patch)
    except RecursionError:
        return json_text.on_whole_stack(_merged, target, patch)


def is_object(value: bytes | msgspec.Raw) -> bool:
    """Whether JSON text is an object."""
    return bytes(value).lstrip(b" \t\n\r").startswith(b"{")


def _merged(target: bytes | None, patch: bytes | msgspec.Raw) -> bytes:
    """RFC 7396 section 2's MergePatch for a patch that is an object."""
    members = json_text.members(target) if target is not None else None
    result = dict(members) if members is not None else {}
    for name, value in (json_text.members(bytes(patch)) or {}).items():
        if value == _NULL:
            result.pop(name, None)
        elif is_object(value):
            old = result.get(name)
            result[name] = msgspec.Raw(_merged(bytes(old) if old is not None else None, value))
        else:
            result[name] = value
    return _encode(result)
