"""What Redis answers, and what it means when it does not answer. Pure.

The server's refusals become errors here that say truthfully whether something was done. No text
of the server reaches a message where it may hold what we sent it ("unknown command 'HELLO', with
args beginning with: ..." would show the password).
"""

from __future__ import annotations

import re
from typing import Any

from hiredis import ReplyError

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    StoreFull,
)


class ConnectionLost(Exception):
    """A connection ended before the answer to a pipeline had come in whole.

    `sent` is False where not a byte of the pipeline went out, so nothing can have been done.
    `timed_out` says that we gave up on it. `replies` are the answers that came before the end.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool = True,
        timed_out: bool = False,
        replies: list[Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.timed_out = timed_out
        self.replies = replies if replies is not None else []


class Unreplicated(Exception):
    """A write that its master has done, and that too few replicas are known to have.

    `reply` is the master's own, `reason` what is known of the replicas (see
    `pannier.redis.waiting`).
    """

    def __init__(self, reply: Any, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


class LoginRefused(Exception):
    """The server answered the login, or the choice of the database, with an error.

    Holds what it said, without what it quoted: before Redis 6 an error may quote the password.
    """


def knows_no_hello(said: str) -> bool:
    """Whether this is the error of a server that has no HELLO: before Redis 6, and some proxies."""
    return said.removeprefix("ERR ").startswith(("unknown command", "NOPROTO", "Protocol"))


_NOT_NOW = frozenset(
    (
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "TRYAGAIN",
        "BUSY",
        "NOAUTH",
        "WRONGPASS",
        "NOSCRIPT",
        "MAXCLIENTS",
    )
)
"""The server, or this login on it, cannot do it now; nothing was done, and later it may."""

_LEAVE = frozenset({"READONLY", "NOAUTH", "WRONGPASS", "UNBLOCKED"})
"""After these another connection may fare better: the name may lead to another server by now, or
the login be renewed. UNBLOCKED ends a WAIT on a master that is made a replica."""

_RUN = re.compile(rb"run_id:([0-9a-f]{12})")
_CODE = re.compile(r"[A-Z][A-Z0-9]+")
_IN_SCRIPT = re.compile(r"-?\b(OOM|READONLY|MISCONF|NOREPLICAS|WRONGTYPE|NOPERM|MASTERDOWN)\b")


def code_of(error: ReplyError) -> str:
    """The word an error reply starts with; for an error inside a script, the inner one's."""
    text = str(error)
    word = text.split(" ", 1)[0]
    if word != "ERR":
        return word if _CODE.fullmatch(word) else "ERR"
    if "max number of clients" in text:
        return "MAXCLIENTS"
    # Before Redis 7 an error inside a script is wrapped in an ERR that quotes it.
    if text.startswith("ERR Error running script"):
        inner = _IN_SCRIPT.search(text)
        return inner[1] if inner else "ERR"
    if "ACL failure in script" in text or "The user executing the script" in text:
        return "NOPERM"
    return "ERR"


def run_of(reply: Any) -> str:
    """Which run of a server answered INFO: 12 digits, the same until it is restarted.

    "" where it does not say, or the user may not ask.
    """
    found = _RUN.search(reply) if isinstance(reply, bytes) else None
    return found[1].decode() if found else ""


def says_noscript(reply: Any) -> bool:
    """Whether the server does not know the script (it restarted, or SCRIPT FLUSH was called)."""
    return isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT")


def ends_connection(error: ReplyError) -> bool:
    """Whether the connection that gave this answer should not be used again."""
    return code_of(error) in _LEAVE


def refused(error: ReplyError, where: str) -> PannierError:
    """The error for a command that the server refused: it was not done.

    `where` is the record or hash it was about, as the user knows it.
    """
    code = code_of(error)
    said = spoken(error)
    if code == "OOM":
        return StoreFull(
            f"Redis has no memory for {where}: delete records or raise its maxmemory ({said})."
        )
    if code in _NOT_NOW:
        return BackendUnavailable(f"Redis cannot serve {where} now ({said}); nothing was done.")
    if code == "WRONGTYPE":
        return BackendRefused(
            f"{where}: this Redis key is no hash, so something else uses it: remove it, or choose "
            f"another key prefix ({said})."
        )
    if code == "NOPERM":
        return BackendRefused(
            f"The Redis user may not do this with {where}: extend its ACL ({said})."
        )
    if code in ("MOVED", "ASK", "CROSSSLOT"):
        return BackendRefused(
            f"This Redis is a node of a cluster, and {where} may live on another node: configure "
            f"the store as a cluster ({said})."
        )
    return BackendRefused(f"Redis refused the operation on {where} ({said}); nothing was done.")


def unanswered(lost: ConnectionLost, where: str, *, write: bool) -> PannierError:
    """The error for an operation whose answer did not come."""
    if not lost.sent:
        return BackendUnavailable(
            f"The connection to Redis was lost before {where} was asked for ({lost.reason}); "
            "nothing was done."
        )
    if write:
        return OutcomeUnknown(
            f"The write of {where} was sent and Redis did not answer it ({lost.reason}): it may or "
            "may not be done. Read the record, and compare its ETag with the SHA-1 of what was "
            "written."
        )
    if lost.timed_out:
        return OperationTimeout(
            f"Redis did not answer for {where} ({lost.reason}); reading again is safe."
        )
    return BackendUnavailable(
        f"The connection to Redis was lost before it answered for {where} ({lost.reason}); "
        "reading again is safe."
    )


def failure(answer: Any, where: str, *, write: bool) -> PannierError:
    """The error for whatever a command got that is not its reply."""
    if isinstance(answer, ReplyError):
        return refused(answer, where)
    if isinstance(answer, PannierError):
        return answer  # it was not sent
    if isinstance(answer, ConnectionLost):
        error = unanswered(answer, where, write=write)
        error.__cause__ = answer
        return error
    if isinstance(answer, Unreplicated):
        return OutcomeUnknown(
            f"The write of {where} is done on the Redis master, but {answer.reason}: a failover "
            "may lose it. Read the record later, or write it again."
        )
    return BackendRefused(
        f"Redis answered for {where} with a {type(answer).__name__}, which no such command has: "
        "is it a Redis server?"
    )


def spoken(error: ReplyError | str) -> str:
    """What the server said, without what it quotes of the command, in at most 160 characters."""
    text = str(error)
    for mark in (", with args", " with args", " script:", ", otherwise the HELLO"):
        text = text.split(mark, 1)[0]
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    return printable[:160].rstrip(" .")
