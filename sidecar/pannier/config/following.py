"""The file followed as it changes: looked at, read when it is at rest, and applied.

Changes are found by looking at the files' inode, time and size four times a second. Against
`watchfiles` (inotify): that is a Rust extension of some MB and a thread, in a sidecar of 45 MB; it
sees nothing on network file systems; and a Kubernetes volume changes by the swap of a symbolic
link two directories up, which `stat` follows by itself. A look costs about 10 µs.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pannier.config.applying import Applier
from pannier.config.configuration import Configuration
from pannier.config.file_source import FileSource
from pannier.config.problems import ConfigurationRefused, listing

log = logging.getLogger("pannier.config")

LOOK_EVERY: Final = 0.25
"""Seconds between looks at the file and its secrets."""
SETTLED_AFTER: Final = 1.0
"""Seconds a file must have stayed as it is before a store that it no longer names is removed: a
writer may pause in the middle, and a removal cannot be undone."""


@dataclass(slots=True)
class Watch:
    """Decides when a file that is being changed may be read. Pure: it is told what was seen.

    It is read when two looks in a row see the same state, so that it is not read by halves.
    """

    seen: object = None
    since: float = 0.0
    """When the present state was first seen."""

    def at_rest(self, state: object, now: float) -> bool:
        """Whether the state is the one that the last look saw."""
        if state != self.seen:
            self.seen, self.since = state, now
            return False
        return True

    def settled(self, now: float) -> bool:
        """Whether the state is old enough to believe what is missing in it."""
        return now - self.since >= SETTLED_AFTER


class FollowedFile:
    """A file source, and the task that looks at it."""

    def __init__(self, path: Path, secrets_dir: Path | None) -> None:
        self._source = FileSource(path, secrets_dir)
        self._watch = Watch()
        self._task: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._postponed = False
        """The file at rest removes a store, and has not been at rest for long enough."""

    def first(self) -> Configuration:
        """The configuration to start with. Raises ConfigurationRefused if it has no good store."""
        configuration = self._source.read()
        if not configuration.stores:
            raise ConfigurationRefused(str(self._source.path), self._source.problems)
        self._report()
        return configuration

    def follow(self, applier: Applier) -> None:
        """Look at the file from now on."""
        self._task = asyncio.create_task(self._follow(applier), name=f"follow {self._source.path}")

    def reload(self) -> None:
        """Read the file at once, changed or not."""
        self._asked.set()

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self, applier: Applier) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._asked.wait()
            except TimeoutError:
                pass
            try:
                self._look(applier, asyncio.get_running_loop().time())
            except Exception:
                # A fault of ours must not end the following: later files would never be seen.
                log.exception("the configuration could not be followed; it is tried again")

    def _look(self, applier: Applier, now: float) -> None:
        """Read and apply the file if there is news that is at rest, or somebody asked."""
        asked = self._asked.is_set()
        self._asked.clear()
        state = self._source.state()
        at_rest = self._watch.at_rest(state, now)
        news = state != self._source.state_read or self._postponed
        if not asked and not (news and at_rest):
            return
        try:
            configuration = self._source.read()
        except ConfigurationRefused as refused:
            self._postponed = False
            log.error("the configuration was refused; the last good one runs on: %s", refused)
            applier.refuse(str(refused))
            return
        self._postponed = applier.would_remove(configuration) and not (
            asked or self._watch.settled(now)
        )
        if not self._postponed:
            applier.apply(configuration)
            self._report()

    def _report(self) -> None:
        """Log that the file was read, with everything that is wrong in it."""
        wrong = listing(self._source.path.name, self._source.problems)
        if wrong:
            log.error("the configuration is wrong in part; the rest of it is used:\n%s",
                      "\n".join(wrong))  # fmt: skip
        else:
            log.info("the configuration %s was read", self._source.path)
