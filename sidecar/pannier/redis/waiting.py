"""Waiting for replicas: the WAIT behind a pipeline of writes, and what its answer means for them.

WAIT counts the replicas that have every write this connection made before it, so it goes last in
the writes' own pipeline (https://redis.io/docs/latest/commands/wait/). It undoes nothing: a write
that too few replicas confirmed in time is done on the master all the same, and may be lost in a
failover. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from hiredis import ReplyError

from pannier.errors import BackendRefused
from pannier.redis import commands as commands
from pannier.redis.replies import ConnectionLost, Unreplicated, code_of, spoken

MOST_REPLICAS: Final = 16
"""Replicas that can be waited for."""


class ReplicaWait:
    """How many replicas must have a write, and for how many seconds they are waited for."""

    __slots__ = ("packed", "replicas", "timeout")

    def __init__(self, replicas: int, timeout: float) -> None:
        """Raises ValueError for numbers that cannot be."""
        if not 1 <= replicas <= MOST_REPLICAS:
            raise ValueError(f"wait_replicas is {replicas}: from 1 to {MOST_REPLICAS} are possible")
        if not timeout >= 0.001:
            # In milliseconds on the wire, where 0 would wait for ever.
            raise ValueError(f"wait_timeout is {timeout:g} s: at least 0.001 is needed")
        self.replicas = replicas
        self.timeout = timeout
        self.packed = commands.wait(replicas, timeout)
        """The command, which is answered by one reply."""

    def settled(self, answers: list[Any]) -> list[Any]:
        """The writes' answers, where the last of `answers` is the WAIT's own.

        In place of each reply that too few replicas stand for there is an Unreplicated. An answer
        may be the ConnectionLost that ate it.
        """
        *written, said = answers
        if type(said) is int and said >= self.replicas:
            return written
        reason = self._reason(said)
        return [
            answer if isinstance(answer, Exception) else Unreplicated(answer, reason)
            for answer in written
        ]

    def _reason(self, said: Any) -> str:
        if type(said) is int:
            return f"{said} of {self.replicas} replicas had it within {self.timeout:g} s"
        if isinstance(said, ConnectionLost):
            return f"the connection was lost before a replica was known to have it ({said.reason})"
        if isinstance(said, ReplyError):
            return f"Redis did not wait for its replicas ({spoken(said)})"
        return "Redis did not say how many replicas have it"


def check_probe(answer: Any) -> None:
    """Raise BackendRefused where the answer to `commands.WAIT_PROBE` shows that WAIT cannot be had.

    A replica refuses it too, but only for now: who is asked may be the master later.
    """
    if isinstance(answer, ReplyError) and (
        code_of(answer) == "NOPERM" or str(answer).startswith("ERR unknown command")
    ):
        raise BackendRefused(
            "The store waits for replicas, and this Redis or its user has no WAIT: extend the "
            f"user's ACL by +wait, or do not ask for replicas ({spoken(answer)})."
        )
