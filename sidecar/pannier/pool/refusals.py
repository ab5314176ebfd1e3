"""The pool's errors in words: which pool, its size, who waits, and the setting to change. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pannier.errors import BackendUnavailable, PannierError, PoolClosed, PoolFull, PoolTimeout


class Figures(NamedTuple):
    """The pool at the moment of a refusal."""

    name: str
    max: int
    in_use: int
    checking: int
    """Of those in use: set aside, and asked whether they are alive."""
    idle: int
    opening: int
    pending: int
    longest_wait: float
    """Seconds the longest waiter has waited; 0 where nobody waits."""

    def fields(self) -> dict[str, int]:
        """The gauges, for a problem document."""
        return {
            "max": self.max,
            "in_use": self.in_use,
            "idle": self.idle,
            "opening": self.opening,
            "pending": self.pending,
        }

    def __str__(self) -> str:
        waiting = f"{self.pending} waiting"
        if self.pending:
            waiting += f", the longest for {seconds(self.longest_wait)}"
        checking = f" ({self.checking} of them being checked)" if self.checking else ""
        return (
            f"Pool {self.name}: {self.in_use} of {self.max} connections in use{checking}, "
            f"{self.idle} idle, {self.opening} opening, {waiting}."
        )


def seconds(value: float) -> str:
    """A duration for a sentence: `2 s`, `0.25 s`."""
    return f"{value:.3g} s"


def timed_out(
    figures: Figures, waited: float, timeout: float, dial_error: BaseException | None
) -> PoolTimeout:
    """Nobody gave a connection back, and no dial ended, within connection_timeout."""
    text = (
        f"{figures} No connection became free within connection_timeout "
        f"({seconds(timeout)}; waited {seconds(waited)})."
    )
    if dial_error is not None:
        text += f" The last dial failed: {in_words(dial_error)}."
    if figures.checking or figures.opening:
        text += (
            " The backend has not answered the checks and dials under way: see whether it is"
            " stopped or slow, or raise connection_timeout (connectionTimeout)."
        )
    else:
        text += (
            " Raise max_connections (maxConnections), or connection_timeout (connectionTimeout),"
            " or hold connections for less long."
        )
    error = PoolTimeout(text, pool=figures.fields())
    error.__cause__ = dial_error
    return error


def full(figures: Figures, max_waiting: int) -> PoolFull:
    """The queue has its max_waiting operations."""
    return PoolFull(
        f"{figures} No more than {max_waiting} may wait. "
        "Raise max_waiting (maxWaiting) or max_connections (maxConnections).",
        pool=figures.fields(),
    )


def closed(figures: Figures) -> PoolClosed:
    """The pool was shut down."""
    return PoolClosed(f"{figures} It was shut down; nothing was sent.", pool=figures.fields())


def unreachable(figures: Figures, error: BaseException | None, next_in: float) -> PannierError:
    """The dial failed, and there is no connection that could serve instead.

    The cause comes first: a StoreBackend's status has room for 256 characters.
    """
    text = "The backend cannot be dialed"
    if error is not None:
        text += f": {in_words(error)}"
    text += "."
    if next_in > 0:
        text += f" The next dial is due in {seconds(next_in)}."
    text += f" Check that the backend runs, and its host, port and login. {figures}"
    refusal = BackendUnavailable(text, pool=figures.fields())
    refusal.__cause__ = error
    return refusal


def in_words(error: BaseException) -> str:
    """An error's text where it is known to hold no credential, else only its class.

    Ours never hold one, the operating system's neither; a driver's may quote a URL.
    """
    if isinstance(error, (PannierError, OSError)) and str(error):
        return str(error).rstrip(".")
    return type(error).__name__
