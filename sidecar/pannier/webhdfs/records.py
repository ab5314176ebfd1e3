"""Reading, writing and deleting one record's file, so that no answer is ever a guess.

A write is a temporary file and a RENAME: with NONE for an insert (the NameNode lets one win), with
OVERWRITE for a replacement (a reader finds the old file or the new one, never a part). Where the
RENAME's answer is lost, the temporary file is deleted: either that deletes it, and then the rename
was not and cannot any more be applied, or it is gone, and then the rename was applied. HDFS has no
rename that demands a present destination, so an update that races a delete may create the record
anew.
"""

from __future__ import annotations

import time

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    InvalidRecord,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
)
from pannier.json_text import check
from pannier.operations import Condition, Outcome
from pannier.webhdfs.names import TEMPORARY, relative_path, temporary_name
from pannier.webhdfs.replies import AnswerLost, Kind, Refusal, Unreachable, document
from pannier.webhdfs.session import PAUSE_SECONDS, Session, unavailable

MIN_LIFETIME = 3600
"""Seconds a temporary file is left alone at least, however fast its writer should have been."""

Failure = Refusal | AnswerLost | Unreachable
FAILURES = (Refusal, AnswerLost, Unreachable)


def read(session: Session, base: str, schema: str, key: str) -> bytes | None:
    """The bytes of the record's file, or None where there is none."""
    return checked(read_file(session, path_of(base, schema, key)), schema, key)


def checked(value: bytes | None, schema: str, key: str) -> bytes | None:
    """The bytes as they are, if they are JSON. Raises BackendRefused: another wrote the file."""
    if value is not None:
        try:
            check(value)
        except InvalidRecord:
            raise BackendRefused(
                f"The file of {schema}/{key} holds no JSON value; something else wrote it."
            ) from None
    return value


def read_if_ours(session: Session, base: str, schema: str, place: str) -> bytes | None:
    """The bytes of a listed file; None where it is gone meanwhile, or holds no JSON value."""
    value = read_file(session, f"{base}/{schema}/{place}")
    try:
        if value is not None:
            check(value)
    except InvalidRecord:
        return None
    return value


def read_file(session: Session, path: str) -> bytes | None:
    """The bytes of a file, or None where there is none; asked for once more if it is cut short."""
    deadline = session.deadline()
    last = False
    while True:
        try:
            to_node = session.ask("GET", "OPEN", path, deadline)
            return session.follow("GET", "OPEN", to_node, deadline).body
        except Refusal as failure:
            if failure.kind is Kind.MISSING:
                return None
            if failure.kind is not Kind.FAILED or last:
                raise failure.error from None
        except (AnswerLost, Unreachable) as failure:
            # A replaced file's blocks may go while they are read, and a DataNode may have died.
            lost_by_time = isinstance(failure, AnswerLost) and failure.timed_out
            if last or lost_by_time or time.monotonic() >= deadline:
                raise read_failed(failure) from failure.__cause__
        last = True


def read_failed(failure: Failure) -> PannierError:
    """The library's error for a read that ended in `failure`."""
    if isinstance(failure, Refusal):
        return failure.error
    if isinstance(failure, Unreachable):
        return unavailable(failure)
    if failure.timed_out:
        return OperationTimeout("HDFS did not answer the read in time; read again.")
    return BackendUnavailable(f"HDFS broke off the read ({failure}); read again.")


def is_there(session: Session, base: str, schema: str, key: str) -> bool:
    """Whether the record has a file, without reading it."""
    try:
        return is_file(session, path_of(base, schema, key), session.deadline())
    except FAILURES as failure:
        raise read_failed(failure) from failure.__cause__


def is_file(session: Session, path: str, deadline: float) -> bool:
    """Whether there is a file, not a directory, that holds something."""
    try:
        reply = session.ask("GET", "GETFILESTATUS", path, deadline)
    except Refusal as failure:
        if failure.kind is Kind.MISSING:
            return False
        raise
    status = document(reply.body, "FileStatus")
    return bool(status["type"] == "FILE" and status["length"] > 0)


# Writing ----------------------------------------------------------------------------------------


def write(
    session: Session, base: str, schema: str, key: str, value: bytes, condition: Condition
) -> Outcome:
    """Put a record's file in place if `condition` (always, absent, present) holds."""
    target = path_of(base, schema, key)
    deadline = session.deadline()
    lifetime = max(MIN_LIFETIME, int(10 * session.cluster.request_timeout))
    temporary = f"{base}/{TEMPORARY}/{temporary_name(lifetime)}"
    try:
        if condition.kind == "present" and not is_file(session, target, deadline):
            return Outcome.ABSENT
    except FAILURES as failure:
        raise not_written(failure) from failure.__cause__
    try:
        create(session, temporary, value, deadline)
    except FAILURES as failure:
        withdraw(session, temporary, 0)
        raise not_written(failure) from failure.__cause__
    return put_in_place(session, temporary, target, condition, deadline)


def create(session: Session, path: str, value: bytes, deadline: float) -> None:
    """Write a file that nobody else knows of."""
    params = {"overwrite": "false", "createparent": "true"}
    to_node = session.ask("PUT", "CREATE", path, deadline, params=params)
    if to_node.location is None:
        text = "The NameNode names no DataNode for a new file: is this WebHDFS's address?"
        raise Refusal(Kind.REFUSED, BackendRefused(text))
    session.follow("PUT", "CREATE", to_node, deadline, value)


def put_in_place(
    session: Session, temporary: str, target: str, condition: Condition, deadline: float
) -> Outcome:
    """Rename a complete temporary file to its record's; it is never left behind knowingly.

    Without a condition the rename is first tried as an insert: only so "created" is certain.
    """
    updates = condition.kind == "present"
    option, outcome = ("OVERWRITE", Outcome.REPLACED) if updates else ("NONE", Outcome.CREATED)
    parents_made = False
    while True:
        try:
            session.ask(
                "PUT", "RENAME", temporary, deadline, again=False,
                params={"destination": target, "renameoptions": option},
            )  # fmt: skip
            return outcome
        except AnswerLost as lost:
            return found_out(session, temporary, outcome, lost)
        except Unreachable as failure:
            withdraw(session, temporary, 0)
            raise not_written(failure) from failure.__cause__
        except Refusal as refused:
            refusal = refused
        if refusal.kind is Kind.FAILED:
            return found_out(session, temporary, outcome, refusal)
        if refusal.kind is Kind.EXISTS and condition.kind == "always" and option == "NONE":
            option, outcome = "OVERWRITE", Outcome.REPLACED
        elif refusal.kind is Kind.MISSING and not updates and not parents_made:
            make_parents(session, temporary, target, deadline)
            parents_made = True
        else:
            return refused_in_place(session, temporary, condition, refusal)


def make_parents(session: Session, temporary: str, target: str, deadline: float) -> None:
    """Make the directory the target is to be in."""
    try:
        session.ask("PUT", "MKDIRS", target.rpartition("/")[0], deadline)
    except FAILURES as failure:
        withdraw(session, temporary, 0)
        raise not_written(failure) from failure.__cause__


def refused_in_place(
    session: Session, temporary: str, condition: Condition, refusal: Refusal
) -> Outcome:
    """The end of a write whose RENAME was refused: nothing was done, and why."""
    there = withdraw(session, temporary, 0)
    if refusal.kind is Kind.EXISTS and condition.kind == "absent":
        return Outcome.PRESENT
    if refusal.kind is Kind.MISSING:
        # The directory is gone, and the record to update with it; or else it was our own file.
        if there is True and condition.kind == "present":
            return Outcome.ABSENT
        raise BackendUnavailable(
            "The temporary file of this write, or the schema's directory, was removed by another; "
            "nothing was written."
        )
    raise refusal.error


def found_out(
    session: Session, temporary: str, outcome: Outcome, lost: AnswerLost | Refusal
) -> Outcome:
    """What became of a RENAME whose answer does not say: see the head of this file."""
    there = withdraw(session, temporary, session.cluster.request_timeout / 2)
    if there is False:
        return outcome
    if there is True:
        raise BackendUnavailable(
            f"HDFS did not carry out the write ({lost}); nothing was done, and a retry is safe."
        )
    raise OutcomeUnknown(
        f"HDFS did not say whether it applied the write ({lost}); read the record to find out."
    )


def withdraw(session: Session, temporary: str, seconds: float) -> bool | None:
    """Delete a temporary file: True if it was there, False if it was gone, None if unknown.

    A NameNode that cannot be reached, or not yet, is asked again for up to `seconds`.
    """
    until = time.monotonic() + seconds
    lost_before = False
    while True:
        try:
            # Even without patience one answer's time is given, but not a long one.
            limit = max(until, time.monotonic() + min(1.0, session.cluster.request_timeout / 2))
            reply = session.ask("DELETE", "DELETE", temporary, limit, again=False)
            if document(reply.body, "boolean"):
                return True
            # After a lost answer this may be the effect of our own first DELETE.
            return None if lost_before else False
        except AnswerLost:
            lost_before = True
        except Unreachable:
            pass
        except Refusal as refusal:
            if refusal.kind is not Kind.NOT_NOW:
                return None
        if time.monotonic() + PAUSE_SECONDS >= until:
            return None
        time.sleep(PAUSE_SECONDS)


def not_written(failure: Failure) -> PannierError:
    """The library's error for a write that failed before its RENAME: nothing was done."""
    if isinstance(failure, Refusal):
        return failure.error
    if isinstance(failure, Unreachable):
        return unavailable(failure)
    return BackendUnavailable(f"HDFS did not take the new file ({failure}); nothing was done.")


# Deleting ---------------------------------------------------------------------------------------


def erase(session: Session, base: str, schema: str, key: str) -> Outcome:
    """Delete the record's file: DELETED, or ABSENT where there is none."""
    path = path_of(base, schema, key)
    unknown = "HDFS did not say whether it applied the delete"
    try:
        reply = session.ask("DELETE", "DELETE", path, session.deadline(), again=False)
        return Outcome.DELETED if document(reply.body, "boolean") else Outcome.ABSENT
    except AnswerLost as lost:
        raise OutcomeUnknown(f"{unknown} ({lost}); read the record to find out.") from None
    except Unreachable as failure:
        raise unavailable(failure) from failure.__cause__
    except Refusal as failure:
        if failure.kind is Kind.MISSING:
            return Outcome.ABSENT
        if failure.kind is Kind.FAILED:
            raise OutcomeUnknown(f"{unknown} ({failure}); read the record.") from None
        raise failure.error from None


def path_of(base: str, schema: str, key: str) -> str:
    """The whole path of a record's file."""
    return f"{base}/{schema}/{relative_path(key)}"
