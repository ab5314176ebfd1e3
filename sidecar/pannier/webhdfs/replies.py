"""What WebHDFS's refusals mean. Pure.

A refusal comes as `{"RemoteException": {"exception", "javaClassName", "message"}}` with a status
that says little (every IOException is 403), so the exception's name decides.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from pannier.errors import BackendRefused, BackendUnavailable, PannierError, StoreFull


class Kind(Enum):
    """What a refusal means to the operation that met it."""

    MISSING = "missing"
    """The file, or the directory it should be in, is not there."""
    EXISTS = "exists"
    """There is a file at the destination already."""
    NOT_NOW = "not now"
    """Not applied, and it can work later or elsewhere: standby, safe mode, starting."""
    REFUSED = "refused"
    """Not applied, and a retry will not help: permission, an impossible path."""
    FULL = "full"
    """Not applied: a quota is used up."""
    FAILED = "failed"
    """The server failed in the middle: a change may have been applied."""


class Refusal(Exception):
    """The server answered with something else than success."""

    def __init__(self, kind: Kind, error: PannierError, *, exception: str | None = None) -> None:
        super().__init__(str(error))
        self.kind = kind
        self.error = error
        """What the caller of the library sees, if nothing else can be made of it."""
        self.exception = exception
        """HDFS's own name for it; None where a filter, a proxy or a stranger answered."""

    @property
    def elsewhere(self) -> bool:
        """Whether another NameNode may take the request."""
        return self.exception in _ELSEWHERE


class AnswerLost(Exception):
    """A request was sent and its answer did not come; its text says how, without the URL."""

    def __init__(self, how: str, *, timed_out: bool = False) -> None:
        super().__init__(how)
        self.timed_out = timed_out


class Unreachable(Exception):
    """No connection could be made, so nothing was sent; its cause is the system's error."""


_KINDS = {
    "FileNotFoundException": Kind.MISSING,
    "FileAlreadyExistsException": Kind.EXISTS,
    "SafeModeException": Kind.NOT_NOW,
    "StandbyException": Kind.NOT_NOW,
    "RetriableException": Kind.NOT_NOW,
    "ObserverRetryOnActiveException": Kind.NOT_NOW,
    "NSQuotaExceededException": Kind.FULL,
    "DSQuotaExceededException": Kind.FULL,
    "QuotaByStorageTypeExceededException": Kind.FULL,
    "QuotaExceededException": Kind.FULL,
    "DiskOutOfSpaceException": Kind.FULL,
    "PathComponentTooLongException": Kind.REFUSED,
    "MaxDirectoryItemsExceededException": Kind.FULL,
    "AccessControlException": Kind.REFUSED,
    "AuthorizationException": Kind.REFUSED,
    "SecurityException": Kind.NOT_NOW,
    "InvalidToken": Kind.NOT_NOW,
    "AuthenticationException": Kind.NOT_NOW,
    "InvalidPathException": Kind.REFUSED,
    "IllegalArgumentException": Kind.REFUSED,
    "ParentNotDirectoryException": Kind.REFUSED,
    "PathIsNotDirectoryException": Kind.REFUSED,
    "PathIsNotEmptyDirectoryException": Kind.REFUSED,
    "UnresolvedPathException": Kind.REFUSED,
    "SnapshotAccessControlException": Kind.REFUSED,
    "UnsupportedOperationException": Kind.REFUSED,
    "HadoopIllegalArgumentException": Kind.REFUSED,
}
_ELSEWHERE = frozenset({"StandbyException", "RetriableException", "ObserverRetryOnActiveException"})
_OF_LOGIN = frozenset({"SecurityException", "InvalidToken", "AuthenticationException"})
"""What a name, ticket or token meets that is not believed: a new one may be, so not refused."""
_ERRORS: dict[Kind, type[PannierError]] = {
    Kind.MISSING: BackendRefused,
    Kind.EXISTS: BackendRefused,
    Kind.NOT_NOW: BackendUnavailable,
    Kind.REFUSED: BackendRefused,
    Kind.FULL: StoreFull,
    Kind.FAILED: BackendUnavailable,
}


def refusal(operation: str, status: int, body: bytes) -> Refusal:
    """What an answer of `status` (not 2xx) to `operation` means."""
    name, message = remote_exception(body)
    if name is None:
        return without_exception(operation, status)
    kind = _KINDS.get(name, Kind.FAILED)
    text = f"HDFS answered {operation} with {name}: {message}"
    if name in _OF_LOGIN:
        text = f"HDFS refuses this login (username, Kerberos ticket or delegation token): {message}"
    return Refusal(kind, _ERRORS[kind](text), exception=name)


def without_exception(operation: str, status: int) -> Refusal:
    """The meaning of a refusal whose body is not WebHDFS's: a filter or a proxy answered."""
    if status == 401:
        text = "HDFS refuses this login (401): check username, kerberos ticket or token."
        return Refusal(Kind.NOT_NOW, BackendUnavailable(text))
    text = f"The server answered {operation} with status {status} and no word of HDFS."
    if status == 403:
        return Refusal(Kind.REFUSED, BackendRefused(text))
    if status < 500:
        return Refusal(Kind.REFUSED, BackendRefused(f"{text} Is this WebHDFS's address?"))
    return Refusal(Kind.FAILED, BackendUnavailable(text))


def remote_exception(body: bytes) -> tuple[str | None, str]:
    """The exception's short name and the first line of its message, without what cannot be shown.

    A NameNode wraps some exceptions in a RemoteException that names the real class in its message.
    """
    try:
        document = json.loads(body)["RemoteException"]
        name, message = str(document["exception"]), str(document.get("message") or "")
    except (ValueError, KeyError, TypeError):
        return None, ""
    if name not in _KINDS:
        for known in _KINDS:
            if f".{known}" in message or f"${known}" in message or message.startswith(known):
                name = known
                break
    line = message.split("\n", 1)[0]
    return name, "".join(char for char in line if char.isprintable())[:300]


def document(body: bytes, *members: str) -> Any:
    """A member (of a member ...) of a JSON answer; Refusal where the answer is something else."""
    try:
        found = json.loads(body)
        for member in members:
            found = found[member]
    except (ValueError, KeyError, TypeError):
        text = f"The answer holds no {'.'.join(members)}: is this WebHDFS's address?"
        raise Refusal(Kind.REFUSED, BackendRefused(text)) from None
    return found
