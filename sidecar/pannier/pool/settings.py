"""The pool's settings, with their bounds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """All durations are seconds. Every setting can be changed on a live pool."""

    max_connections: int = 10
    """In use + idle + opening never pass this."""
    min_idle: int = 0
    """Opened ahead and kept by the reaper; at most max_connections."""
    connection_timeout: float = 30.0
    """The longest wait for a connection, dialing included."""
    idle_timeout: float = 300.0
    """An idle connection is closed after this long without use."""
    max_lifetime: float | None = None
    """A connection is replaced at about this age (jittered at its birth); None: never."""
    max_waiting: int | None = None
    """How many operations may wait; the next is refused at once. None: no bound."""
    leak_threshold: float | None = None
    """A connector held longer is logged with where it was taken; None: off."""

    def __post_init__(self) -> None:
        if self.max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {self.max_connections}")
        if not 0 <= self.min_idle <= self.max_connections:
            raise ValueError(
                f"min_idle must be from 0 to max_connections ({self.max_connections}), "
                f"not {self.min_idle}"
            )
        for name in ("connection_timeout", "idle_timeout", "max_lifetime", "leak_threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {value}")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting must not be negative, not {self.max_waiting}")
