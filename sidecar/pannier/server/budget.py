"""The bytes of bodies and answers in flight, held under `--max-inflight-bytes`. Pure."""

from __future__ import annotations

from pannier.server.refusals import Overloaded


class Budget:
    """How many bytes are taken of how many."""

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, size: int, *, force: bool = False) -> None:
        """Take `size` bytes, or raise Overloaded and take none. Whatever is taken is given back.

        `force` takes in any case: for an answer that must go out because something was done.
        """
        if self.taken + size > self.limit and not force:
            raise Overloaded(
                f"Bodies and answers in flight take {self.taken} of {self.limit} bytes: send less "
                "at a time, or raise --max-inflight-bytes."
            )
        self.taken += size

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        self.taken -= size
