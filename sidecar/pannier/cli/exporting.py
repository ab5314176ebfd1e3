"""`pannier export`: the records of a schema or of a whole store, as NDJSON, in constant memory.

A line is `{"schema","key","etag","record"}`. The bytes of a record pass through unread: the
sidecar's line gets the schema in front of it and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import click
import msgspec

from pannier.cli.client import Client, path_of
from pannier.cli.connecting import json_option, store_option, with_client
from pannier.cli.endings import REFUSED, Ending, drop_output
from pannier.cli.moved import Moved, progress
from pannier.cli.records import query
from pannier.cli.targets import Target, store_target

FLUSH_AT = 256 * 1024


@click.command("export")
@click.argument("target", required=False, metavar="[STORE/SCHEMA | STORE/]")
@click.argument("filters", nargs=-1, metavar="[FIELD=VALUE | FIELD__OP=VALUE]...")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Write to this file, in place of standard output.",
)
@store_option
@json_option
@with_client
def export_command(
    client: Client,
    target: str | None,
    filters: tuple[str, ...],
    output: Path | None,
    store: str,
    as_json: bool,
) -> int:
    """Write records as NDJSON, one {"schema","key","etag","record"} a line.

    STORE/SCHEMA is one schema, STORE/ (or nothing) every schema of the store. It ends with what
    was moved, on standard error. Pipe it into `pannier import` to copy between stores.
    """
    place = store_target(target, store)
    moved = Moved("exported")
    with ExitStack() as ends:
        ends.enter_context(moved.said(as_json=as_json, on_output=output is not None))
        file = ends.enter_context(open_output(output)) if output is not None else sys.stdout.buffer
        # Where the records themselves go to the terminal, a bar would run through them.
        shown = sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
        total = count(client, place, filters) if shown else None
        show = ends.enter_context(progress(moved, f"exporting {place}", total, shown=shown))
        try:
            for schema in [place.schema] if place.schema else schemas(client, place.store):
                export_schema(client, place.store, schema, filters, file, moved, show)
            file.flush()
        except BrokenPipeError:
            drop_output()
            raise Ending(REFUSED, "who read the records went away before their end") from None
        except OSError as error:
            raise Ending(REFUSED, f"the records cannot be written: {error.strerror}") from None
        moved.complete = True
    return 0  # fmt: skip


def export_schema(
    client: Client,
    store: str,
    schema: str,
    filters: tuple[str, ...],
    file: BinaryIO,
    moved: Moved,
    show: Callable[[], None],
) -> None:
    """Write one schema's lines, many at a time."""
    head = b'{"schema":' + msgspec.json.encode(schema) + b","
    waiting: list[bytes] = []
    size = 0
    for line in client.lines(path_of(store, schema) + query(filters)):
        waiting.append(head + line[1:] + b"\n")
        size += len(line) + len(head)
        if size >= FLUSH_AT:
            _write(file, waiting, moved)
            show()
            size = 0
    _write(file, waiting, moved)


def _write(file: BinaryIO, waiting: list[bytes], moved: Moved) -> None:
    text = b"".join(waiting)
    file.write(text)
    moved.records += len(waiting)
    moved.bytes += len(text)
    waiting.clear()


def schemas(client: Client, store: str) -> Iterator[str]:
    """The names of all schemas of a store, page by page."""
    cursor = ""
    while True:
        path = path_of(store, action=":schemas")
        page = client.request("GET", path + (f"?cursor={quote(cursor, safe='')}" if cursor else ""))
        answer = page.json
        # The whole page is read before the first schema is: there is one connection.
        yield from [each["name"] for each in answer["schemas"]]
        cursor = answer["next"]
        if not cursor:
            return


def count(client: Client, place: Target, filters: tuple[str, ...]) -> int | None:
    """How many records there are to export, where that is cheap to know."""
    if filters:
        return None
    if place.schema:
        answer = client.request("GET", path_of(place.store, place.schema, action=":count")).json
        return int(answer["count"])
    return None


def open_output(path: Path) -> BinaryIO:
    """The file to write to."""
    try:
        return open(path, "wb")
    except OSError as error:
        raise Ending(REFUSED, f"{path} cannot be written: {error.strerror}") from None
