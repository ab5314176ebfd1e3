"""`pannier get | put | delete | list | count`: one record, or the records of a schema."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import msgspec

from pannier.cli.client import Client, path_of
from pannier.cli.connecting import json_option, store_option, with_client
from pannier.cli.targets import Target, record_target, schema_target


@click.command("get")
@click.argument("target", nargs=-1, required=True, metavar="STORE/SCHEMA/KEY | SCHEMA KEY")
@store_option
@json_option
@with_client
def get_command(client: Client, target: tuple[str, ...], store: str, as_json: bool) -> int:
    """Print a record, byte for byte as it is stored.

    --json prints its key and ETag too.
    """
    place = record_target(target, store)
    reply = client.request("GET", _path(place))
    if as_json:
        # A raw line end in JSON is white space outside of strings, and this answer is one line.
        record = msgspec.Raw(reply.body.replace(b"\n", b" ").replace(b"\r", b" "))
        say({"key": place.key, "etag": reply.headers["etag"], "record": record})
    else:
        write(reply.body + b"\n")
    return 0


@click.command("put")
@click.argument("target", nargs=-1, required=True, metavar="STORE/SCHEMA/KEY [RECORD]")
@click.option("--file", "-f", type=click.File("rb"), help="Read the record from this file.")
@click.option("--if-match", metavar="ETAG", help="Only if the record has this ETag (* for any).")
@click.option("--if-none-match", metavar="*", help="Only if there is no such record: write *.")
@store_option
@json_option
@with_client
def put_command(
    client: Client,
    target: tuple[str, ...],
    file: BinaryIO | None,
    if_match: str | None,
    if_none_match: str | None,
    store: str,
    as_json: bool,
) -> int:
    """Store a record: from the last argument, from --file, or from standard input.

    The record is one JSON value. The target is STORE/SCHEMA/KEY, or SCHEMA KEY with --store.
    """
    place, record = split_put(target, store)
    if record is not None and file is not None:
        raise click.UsageError("The record is given twice: as an argument and as --file.")
    if record is not None:
        body = record.encode("utf-8", "surrogateescape")
    else:
        # A file's last line end is the file's, not the record's.
        body = (file or sys.stdin.buffer).read().removesuffix(b"\n")
    headers = {"If-Match": if_match, "If-None-Match": if_none_match}
    given = {name: etag(value) for name, value in headers.items() if value is not None}
    reply = client.request("PUT", _path(place), body, given)
    created = reply.status == 201
    if as_json:
        say({"key": place.key, "etag": reply.headers["etag"], "created": created})
    else:
        word = "created" if created else "replaced"
        write(f"{word} {place} {reply.headers['etag']}\n".encode())
    return 0


@click.command("delete")
@click.argument("target", nargs=-1, required=True, metavar="STORE/SCHEMA/KEY | SCHEMA KEY")
@click.option("--if-match", metavar="ETAG", help="Only if the record has this ETag.")
@store_option
@json_option
@with_client
def delete_command(
    client: Client, target: tuple[str, ...], if_match: str | None, store: str, as_json: bool
) -> int:
    """Delete a record."""
    place = record_target(target, store)
    given = {"If-Match": etag(if_match)} if if_match is not None else {}
    client.request("DELETE", _path(place), None, given)
    if as_json:
        say({"key": place.key, "deleted": True})
    else:
        write(f"deleted {place}\n".encode())
    return 0


@click.command("list")
@click.argument("target", metavar="STORE/SCHEMA")
@click.argument("filters", nargs=-1, metavar="[FIELD=VALUE | FIELD__OP=VALUE]...")
@click.option("--limit", type=click.IntRange(0), help="Print at most so many records.")
@click.option("--keys", is_flag=True, help="Print the keys alone.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (it is so anyway).")
@with_client
def list_command(
    client: Client,
    target: str,
    filters: tuple[str, ...],
    limit: int | None,
    keys: bool,
    store: str,
    as_json: bool,
) -> int:
    """Print the records of a schema that meet every filter, one {"key","etag","record"} a line."""
    place = schema_target(target, store)
    found = client.lines(_path(place) + query(filters))
    for line in islice(found, limit):
        if keys:
            key = msgspec.json.decode(line, type=Keyed).key
            write(msgspec.json.encode(key) + b"\n" if as_json else key.encode() + b"\n")
        else:
            write(line + b"\n")
    return 0


@click.command("count")
@click.argument("target", metavar="STORE/SCHEMA")
@click.argument("filters", nargs=-1, metavar="[FIELD=VALUE | FIELD__OP=VALUE]...")
@store_option
@json_option
@with_client
def count_command(
    client: Client, target: str, filters: tuple[str, ...], store: str, as_json: bool
) -> int:
    """Count the records of a schema that meet every filter."""
    place = schema_target(target, store)
    path = path_of(place.store, place.schema or "", action=":count") + query(filters)
    count = client.request("GET", path).json["count"]
    if as_json:
        say({"count": count})
    else:
        write(f"{count}\n".encode())
    return 0


class Keyed(msgspec.Struct):
    """The key of a line."""

    key: str


def split_put(words: tuple[str, ...], store: str) -> tuple[Target, str | None]:
    """The target and the record of `put`'s arguments.

    A whole path leaves at most one more word, the record; `SCHEMA KEY` leaves the third.
    """
    whole = words[0].count("/") >= 2
    places = 1 if whole else 2
    if len(words) > places + 1:
        raise click.UsageError("There are more words than a target and a record; quote the record.")
    record = words[places] if len(words) > places else None
    return record_target(words[:places], store), record


def query(filters: tuple[str, ...]) -> str:
    """The query string of `field=value` filters."""
    parts = []
    for one in filters:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise click.UsageError(f"A filter is FIELD=VALUE or FIELD__OP=VALUE, not {one}.")
        parts.append(f"{quote(name, safe='')}={quote(value, safe='')}")
    return "?" + "&".join(parts) if parts else ""


def etag(text: str) -> str:
    """An ETag as a header wants it: quoted, where it was written without quotes."""
    return text if text == "*" or text.startswith(('"', "W/")) else f'"{text}"'


def say(document: dict[str, Any]) -> None:
    """Print one JSON object on a line."""
    write(msgspec.json.encode(document) + b"\n")


def write(text: bytes) -> None:
    """Print bytes as they are."""
    sys.stdout.buffer.write(text)


def _path(place: Target) -> str:
    return path_of(place.store, place.schema or "", place.key)
