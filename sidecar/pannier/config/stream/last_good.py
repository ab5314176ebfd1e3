"""The last good configuration: which entries are good, what is kept, and for how long. Pure.

A store's last good entry is the newest that was applied. While a newer one is rejected, or pending
because its backend is not reached, the one before it stays good: it is what serves, and what is to
serve again when the sidecar's container is restarted while the operator is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from pannier.config.stream.messages import Snapshot, StoreEntry

if TYPE_CHECKING:
    from pannier.config.keeper import End

FORMAT: Final = 1
MOST_AHEAD: Final = 300.0
"""Seconds that a kept moment may lie ahead of the wall clock, which may have been set back."""


class Moment(Struct, frozen=True, kw_only=True, rename="camel"):
    """A point in time by two clocks: one that may be set, one that ends with the machine's run."""

    wall: float
    """Seconds since the epoch."""
    boot: str
    """Names the run of the machine; empty where the system does not say."""
    up: float
    """Seconds since that run began, sleep included: nobody sets it."""

    def age(self, now: Moment) -> float | None:
        """Seconds from this moment to `now`; None where the clocks contradict each other."""
        if self.boot and self.boot == now.boot:
            passed = now.up - self.up
            return passed if passed >= 0 else None
        passed = now.wall - self.wall
        return max(0.0, passed) if passed >= -MOST_AHEAD else None


class Kept(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="last-good"):
    """What the file holds."""

    format: int = FORMAT
    operator: str
    """The address of the operator that it came from."""
    version: str
    """The version of the snapshot that was applied last."""
    whole: bool
    """Whether the entries are that version; if not, some are older ones that are still good."""
    epoch: int
    heard: Moment
    """When the operator was last heard."""
    stores: list[StoreEntry]


encode = msgspec.json.Encoder().encode
_kept: Final = msgspec.json.Decoder(Kept)


class Unusable(ValueError):
    """A kept configuration that is not to be used; the text says why, and quotes nothing of it."""


def decode(content: bytes, *, operator: str, now: Moment, max_age: float) -> Kept:
    """What a file holds. Raises Unusable."""
    try:
        kept = _kept.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unusable("it is damaged, or not Pannier's") from None
    if kept.format != FORMAT:
        raise Unusable("another version of Pannier wrote it")
    if kept.operator != operator:
        raise Unusable("it came from another operator")
    age = kept.heard.age(now)
    if age is None:
        raise Unusable("its time is not known: the clock was set")
    if age > max_age:
        raise Unusable("it is older than --last-good-max-age")
    return kept


class LastGood:
    """Which entries are good, as snapshots come and their stores are settled."""

    def __init__(self) -> None:
        self.version = ""
        self.epoch = 0
        self.news = False
        """Whether something is not in the file yet."""
        self._good: dict[str, StoreEntry] = {}
        self._wanted: dict[str, StoreEntry] = {}
        """What the newest snapshot asks for, but for what it keeps."""
        self._named: set[str] = set()
        """All that it names."""
        self._proven: set[str] = set()
        """Names whose good entry was applied; the others' were only ever pending."""

    def begin_with(self, kept: Kept) -> None:
        """Go on from a file, whose entries have proven themselves."""
        self.version, self.epoch = kept.version, kept.epoch
        self._good = {entry.name: entry for entry in kept.stores}
        self._wanted = dict(self._good)
        self._named = set(self._good)
        self._proven = set(self._good)

    def take(self, snapshot: Snapshot) -> None:
        """A snapshot has come: what it does not name is gone, the rest is to be settled."""
        named = self._named = {entry.name for entry in snapshot.stores}
        self.version, self.epoch = snapshot.version, snapshot.epoch
        self._good = {name: entry for name, entry in self._good.items() if name in named}
        self._proven &= named
        self._wanted = {entry.name: entry for entry in snapshot.stores if not entry.keep}
        self.news = True

    def settle(self, ends: Mapping[str, End | None]) -> None:
        """Note what became of the stores so far."""
        for name, entry in self._wanted.items():
            end = ends.get(name)
            if end is None or end.state == "rejected" or self._good.get(name) is entry:
                if end is not None and end.state == "applied":
                    self._proven.add(name)
                continue
            # A first one is installed though its backend is not reached: nothing better is known.
            if end.state == "applied" or name not in self._proven:
                self._good[name] = entry
                self.news = True
            if end.state == "applied":
                self._proven.add(name)

    @property
    def whole(self) -> bool:
        """Whether the good entries are all that the newest snapshot asks for."""
        return self._named == self._good.keys() and all(
            self._good[name] is entry for name, entry in self._wanted.items()
        )

    def kept(self, *, operator: str, heard: Moment) -> Kept:
        """What to write into the file."""
        return Kept(
            operator=operator,
            version=self.version,
            whole=self.whole,
            epoch=self.epoch,
            heard=heard,
            stores=list(self._good.values()),
        )
