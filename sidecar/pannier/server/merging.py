"""PATCH: a JSON merge patch, applied by compare-and-set until nobody came between."""

from __future__ import annotations

import asyncio
import random
from hashlib import sha1

from pannier import merge_patch
from pannier.aio.stores.base import KeyValueStoreBackendBase, missing
from pannier.errors import Contended, ETagMismatch, ObjectExistError, TooLarge
from pannier.operations import Outcome, if_match
from pannier.server.answers import JSON, Answer
from pannier.server.conditions import Preconditions

ATTEMPTS = 16
FIRST_PAUSE = 0.0005
LONGEST_PAUSE = 0.02
"""Seconds between attempts: doubled each time, and jittered so that writers part."""

_EMPTY_OBJECT = b"{}"


def check(patch: bytes) -> None:
    """Raise InvalidRecord or NotAnObject unless `patch` is a JSON object."""
    merge_patch.apply(_EMPTY_OBJECT, patch)


async def merge(
    backend: KeyValueStoreBackendBase,
    schema: str,
    key: str,
    patch: bytes,
    preconditions: Preconditions | None,
    max_bytes: int,
) -> Answer:
    """The answer with the new record.

    Raises ObjectDoesNotExist, ETagMismatch or ObjectExistError for a failed precondition (each a
    412), NotAnObject, TooLarge, and Contended after ATTEMPTS.
    """
    pause = FIRST_PAUSE
    for _ in range(ATTEMPTS):
        present = await backend.read(schema, key)
        if present is None:
            raise missing(schema, key)
        tag = sha1(present, usedforsecurity=False).hexdigest()
        if preconditions is not None:
            check_preconditions(preconditions, tag, schema, key)
        merged = merge_patch.apply(present, patch)
        if len(merged) > max_bytes:
            raise TooLarge(
                f"The merged record would have {len(merged)} bytes, over the limit of {max_bytes}."
            )
        if await backend.write(schema, key, merged, if_match(tag)) is Outcome.REPLACED:
            new_tag = sha1(merged, usedforsecurity=False).hexdigest()
            return Answer(200, b'%bETag: "%b"\r\n' % (JSON, new_tag.encode()), merged)
        await asyncio.sleep(pause * random.random())
        pause = min(pause * 2, LONGEST_PAUSE)
    raise Contended(
        f"{schema}/{key} was changed by others at each of {ATTEMPTS} attempts; try again."
    )


def check_preconditions(conditions: Preconditions, tag: str, schema: str, key: str) -> None:
    """Raise the error of a precondition that a present record fails."""
    if not conditions.matches(tag):
        raise ETagMismatch(f"{schema}/{key} has another ETag: read it again and decide anew.")
    if conditions.excludes(tag):
        none_match = conditions.none_match
        if none_match is not None and none_match.any:
            raise ObjectExistError(f"{schema}/{key} exists.")
        raise ETagMismatch(f"{schema}/{key} has an ETag that If-None-Match excludes.")
