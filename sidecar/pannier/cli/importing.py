"""`pannier import`: the records of an NDJSON input into a store, in batches and constant memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, Final

import click
import msgspec

from pannier.cli.client import Client, path_of
from pannier.cli.connecting import json_option, store_option, with_client
from pannier.cli.endings import REFUSED, complain
from pannier.cli.moved import Moved, progress
from pannier.cli.sending import Line, Mode, Sender
from pannier.cli.targets import store_target
from pannier.cli.verifying import Ledger, Stored
from pannier.errors import PannierError
from pannier.flags import pause
from pannier.keys import check_schema, key_text

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line that are read at most; a longer one is refused."""
SHOW_EVERY: Final = 1000


class Written(msgspec.Struct):
    """A line of the input; other members, such as the ETag of an export, are passed over."""

    key: str | int
    """42 and "42" are one key."""
    record: msgspec.Raw
    schema: str | None = None


@click.command("import")
@click.argument("target", required=False, metavar="[STORE/SCHEMA | STORE/]")
@click.option("--file", "-f", type=click.File("rb"), help="Read this file, not standard input.")
@click.option(
    "--mode",
    type=click.Choice(["put", "insert"]),
    default="put",
    show_default=True,
    help="put replaces records that are there, insert leaves them as they are.",
)
@click.option("--verify", is_flag=True, help="Compare every record afterwards, by its ETag.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Batches under way at once.",
)
@click.option(
    "--retry-for",
    type=pause,
    default=30.0,
    show_default="30s",
    help="How long to send a batch again that cannot be taken now.",
)
@store_option
@json_option
@with_client
def import_command(
    client: Client,
    target: str | None,
    file: BinaryIO | None,
    mode: Mode,
    verify: bool,
    threads: int,
    retry_for: float,
    store: str,
    as_json: bool,
) -> int:
    """Store the records of an NDJSON input, one {"schema","key","record"} a line.

    A schema in the target wins over the lines' own. Records are stored byte for byte as they
    stand in their line. Each refused one is reported with its line, and the rest goes on; the
    same input can be imported again. It ends with what was moved, on standard error.
    """
    place = store_target(target, store)
    moved = Moved("imported")
    ledger = Ledger() if verify else None
    with ExitStack() as ends:
        ends.enter_context(moved.said(as_json=as_json, on_output=True))
        if ledger is not None:
            ends.callback(ledger.close)
        # A store that is not there, or no sidecar at all, is told before a line is read.
        client.request("GET", path_of(place.store))
        client.close()  # By the time of the comparison an idle connection may be gone.
        shown = sys.stderr.isatty()
        show = ends.enter_context(progress(moved, f"importing into {place}", None, shown=shown))

        def refused(line: Line, why: str) -> None:
            report(line.number, line.key, why, as_json)

        def stored(schema: str, line: Line) -> None:
            if ledger is not None:
                ledger.note(schema, line)

        sender = Sender(client.endpoint, place.store, moved, mode=mode, threads=threads,
                        retry_for=retry_for, refused=refused, stored=stored)  # fmt: skip
        try:
            for number, text in lines_of(file or sys.stdin.buffer):
                try:
                    schema, line = read_line(number, text, place.schema)
                except ValueError as error:
                    sender.refuse(Line(number, None, b""), str(error))
                    continue
                sender.send(schema, line)
                if number % SHOW_EVERY == 0:
                    show()
            sender.finish()
        except BaseException:
            sender.stop()
            raise
        if ledger is not None:
            ledger.compare(
                client,
                place.store,
                moved,
                different=lambda entry: report_different(entry, as_json),
                show=show,
            )
        moved.complete = True
    return REFUSED if moved.refused or moved.different else 0  # fmt: skip


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines of the input with their numbers; None for one that is too long to be read."""
    number = 0
    while text := file.readline(LONGEST_LINE):
        number += 1
        if len(text) == LONGEST_LINE and not text.endswith(b"\n"):
            while text and not text.endswith(b"\n"):
                text = file.readline(LONGEST_LINE)
            yield number, None
        elif not text.isspace():
            yield number, text


def read_line(number: int, text: bytes | None, schema: str | None) -> tuple[str, Line]:
    """The schema and the record of one line. Raises ValueError, which says what is wrong."""
    if text is None:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    try:
        written = msgspec.json.decode(text, type=Written)
    except msgspec.ValidationError as error:
        raise ValueError(f'not {{"key", "record"}}: {error}') from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("not JSON") from None
    named = schema or written.schema
    if named is None:
        raise ValueError("names no schema: name one in the target, STORE/SCHEMA")
    try:
        check_schema(named)
        key = key_text(written.key)
    except PannierError as error:
        raise ValueError(f"{error.code}: {error}") from None
    return named, Line(number, key, bytes(written.record))


def report(number: int, key: str | None, why: str, as_json: bool) -> None:
    """Say that a line was refused."""
    if as_json:
        document = {"line": number, "key": key, "refused": why}
        print(msgspec.json.encode(document).decode(), file=sys.stderr)
    else:
        complain(f"line {number}: {f'{key}: ' if key is not None else ''}{why}")


def report_different(entry: Stored, as_json: bool) -> None:
    """Say that a record is not there as it was imported."""
    report(entry.line, entry.key, f"{entry.schema} has it otherwise, or not at all", as_json)
