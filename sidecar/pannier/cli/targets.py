"""What a command is about: `STORE/SCHEMA/KEY` as in the HTTP paths, or `SCHEMA KEY`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Target:
    """A store, a schema in it, and a key in that; the latter two may be left out."""

    store: str
    schema: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.store, self.schema, self.key) if part is not None)


def record_target(words: tuple[str, ...], store: str) -> Target:
    """One record: `STORE/SCHEMA/KEY`, `STORE/SCHEMA KEY`, or `SCHEMA KEY` of `store`.

    A key may hold slashes: the first two of a whole path separate, the others belong to it.
    """
    if len(words) == 1 and words[0].count("/") >= 2:
        in_store, schema, key = words[0].split("/", 2)
        return _checked(Target(in_store, schema, key))
    if len(words) == 2:
        of = schema_target(words[0], store)
        return _checked(Target(of.store, of.schema, words[1]))
    raise click.UsageError("Say which record: STORE/SCHEMA/KEY, or SCHEMA KEY with --store.")


def schema_target(word: str, store: str) -> Target:
    """One schema: `STORE/SCHEMA`, or `SCHEMA` of `store`."""
    target = store_target(word, store)
    if target.schema is None:
        raise click.UsageError(f"Say which schema: {target.store}/SCHEMA.")
    return target


def store_target(word: str | None, store: str) -> Target:
    """A schema, or with `STORE/` (or nothing) a whole store."""
    if word is None:
        return Target(store)
    before, slash, after = word.partition("/")
    if "/" in after:
        raise click.UsageError("Say which schema: STORE/SCHEMA. A schema has no slash in it.")
    if not slash:
        return _checked(Target(store, before))
    return _checked(Target(before, after or None))


def _checked(target: Target) -> Target:
    for part in (target.store, target.schema, target.key):
        if part == "":
            raise click.UsageError("A store, a schema and a key cannot be empty.")
    return target
