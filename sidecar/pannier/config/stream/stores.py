"""What the operator wants served: applied, reported on, and kept for a restart of the container.

Streams come and go; this stays. No network here. It does what the pure parts decide: `turns`
which snapshot counts, `reading` what it says, `last_good` what is kept of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from pannier.config.applying import Applier
from pannier.config.configuration import Configuration
from pannier.config.served import StoreTable
from pannier.config.stream.last_good import LastGood, Moment
from pannier.config.stream.last_good_file import LastGoodFile, now
from pannier.config.stream.messages import ANSWER_WITHIN, Applied, Snapshot, StoreReport
from pannier.config.stream.reading import Malformed, check_entries, read_entries
from pannier.config.stream.reports import report_of
from pannier.config.stream.turns import Turns, Verdict

log = logging.getLogger("pannier.config")

SETTLE_WITHIN: Final = 0.8 * ANSWER_WITHIN
"""Seconds that new backends get to answer before a snapshot is answered without them."""
HEARD_EVERY: Final = 60.0
"""Seconds between notes in the file that the operator is still there."""
WRITE_AGAIN: Final = 30.0
"""Seconds until the file is tried again after it could not be written."""


class StreamStores:
    """The stores of one sidecar that takes its configuration from `operator`."""

    def __init__(
        self,
        table: StoreTable,
        *,
        operator: str,
        file: LastGoodFile | None = None,
        max_age: float = 24 * 3600.0,
        clock: Callable[[], float] = monotonic,
        moment: Callable[[], Moment] = now,
    ) -> None:
        self.version: str | None = None
        """The version that runs, as `hello` says it; None: none, or parts of several."""
        self._table = table
        self._operator = operator
        self._file = file
        self._max_age = max_age
        self._clock = clock
        self._moment = moment
        self._turns = Turns(epoch=None, now=clock())
        self._applier: Applier | None = None
        self._names: list[str] = []
        """The stores that the operator is told of."""
        self._last_good = LastGood()
        self._heard: Moment | None = None
        """When the operator was last heard; None: never, and nothing is kept."""
        self._noted: Moment | None = None
        """The same, as the file says it."""
        self._unheard = False
        """What runs is from the file, and no operator was heard since the start."""
        self._write_at = self._retry_at = 0.0
        table.source = "stream"

    # The start ----------------------------------------------------------------------------------

    def first(self) -> Configuration | None:
        """The kept configuration, if there is one that may be served."""
        kept = self._file.read() if self._file is not None else None
        if kept is None:
            return None
        try:
            check_entries(kept.stores)
        except Malformed as error:
            log.warning("the kept configuration is not used: it holds %s", error)
            return None
        self._last_good.begin_with(kept)
        self._turns = Turns(epoch=kept.epoch, now=self._clock())
        self._heard = self._noted = kept.heard
        self._unheard = True
        self._names = [entry.name for entry in kept.stores]
        self.version = kept.version if kept.whole else None
        log.info("the kept configuration %s is served until the operator is heard", kept.version)
        return read_entries(self.version or "kept", kept.stores).configuration

    def use(self, applier: Applier) -> None:
        """Apply what comes with `applier`."""
        self._applier = applier

    # While a stream lives -----------------------------------------------------------------------

    def judge(self, snapshot: Snapshot) -> Verdict:
        """Whether this snapshot counts."""
        return self._turns.judge(snapshot, self._clock())

    @property
    def epoch(self) -> int | None:
        """The term of the leader whose configuration runs."""
        return self._turns.epoch

    async def take(self, snapshot: Snapshot) -> Applied:
        """Apply a snapshot that counts; gives its answer, within `ANSWER_WITHIN`."""
        assert self._applier is not None
        read = read_entries(snapshot.version, snapshot.stores)
        self._names = [entry.name for entry in snapshot.stores]
        self._applier.apply(read.configuration)
        self.version = snapshot.version
        self._last_good.take(snapshot)
        self.heard()
        await self._applier.settled(within=SETTLE_WITHIN)
        # Of the kept ones there is nothing to acknowledge; how they fare is told by `state`.
        kept = read.configuration.kept
        reports = {name: each for name, each in self.reports().items() if name not in kept}
        self.keep()
        count = dict.fromkeys(("applied", "pending", "rejected"), 0)
        for report in reports.values():
            count[report.state] += 1
        log.info(
            "configuration %s: %d applied, %d pending, %d rejected, %d kept as they are",
            snapshot.version, *count.values(), len(kept),
        )  # fmt: skip
        for warning in read.warnings:
            log.warning("ignored in the configuration: %s", warning)
        return Applied(
            version=snapshot.version,
            nonce=snapshot.nonce,
            stores=reports,
            warnings=read.warnings,
        )

    def reports(self) -> dict[str, StoreReport]:
        """How each store is now, the kept ones too."""
        assert self._applier is not None
        ends = self._applier.ends()
        served = self._table.stores
        return {
            name: report_of(ends[name], served[name].state)
            for name in self._names
            if name in ends and name in served
        }

    def heard(self) -> None:
        """The operator takes this sidecar for one of its own: what is kept is as good as new."""
        self._heard, self._unheard = self._moment(), False

    def ended(self) -> None:
        """The stream has ended."""
        self._turns.ended(self._clock())

    # The file -----------------------------------------------------------------------------------

    def keep(self) -> None:
        """Write the file, if what is good has changed, or the operator was heard lately."""
        if self._file is None or self._applier is None or self._heard is None:
            return
        self._last_good.settle(self._applier.ends())
        at = self._clock()
        due = self._last_good.news or (self._heard != self._noted and at >= self._write_at)
        if not due or at < self._retry_at:
            return
        kept = self._last_good.kept(operator=self._operator, heard=self._heard)
        if self._file.write(kept):
            self._last_good.news, self._noted = False, self._heard
            self._write_at = at + min(HEARD_EVERY, self._max_age / 4)
        else:
            self._retry_at = at + WRITE_AGAIN

    def unauthorized(self, said: str) -> None:
        """The operator does not take this sidecar for one of its own; `said` is how it put it.

        Nothing is kept any more. What came over a stream of this process serves on: it was
        authorized, and a fault of the operator must not end it. What came from the file was not.
        """
        if self._file is not None:
            self._file.drop()
        self._heard = None
        if self._unheard:
            self._forget(f"{said}: what was kept is dropped")

    def expire(self) -> None:
        """Serve the kept configuration no more once it is too old without the operator."""
        if not self._unheard or self._heard is None:
            return
        age = self._heard.age(self._moment())
        if age is not None and age <= self._max_age:
            return
        if self._file is not None:
            self._file.drop()
        self._heard = None
        self._forget("the kept configuration is older than --last-good-max-age")

    def _forget(self, reason: str) -> None:
        assert self._applier is not None
        log.error("%s; no store is served until the operator sends a configuration", reason)
        self._unheard = False
        self.version, self._names = None, []
        self._last_good = LastGood()
        self._applier.forget(reason)
