"""The operator's stream followed: dialed, spoken on, and dialed again while the sidecar lives.

The counterpart of `config.following` for a file. What is said on a stream is `session`'s,
what becomes of it `stores`'.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable
from typing import Final

from pannier.config.applying import Applier
from pannier.config.configuration import Configuration
from pannier.config.served import StoreTable
from pannier.config.stream.dialing import CannotDial, StreamSettings, dial
from pannier.config.stream.last_good_file import LastGoodFile
from pannier.config.stream.redialing import LAST_BOUND, Cause, Redialing
from pannier.config.stream.session import Session
from pannier.config.stream.stores import StreamStores

log = logging.getLogger("pannier.config")

KEEP_EVERY: Final = 1.0
"""Seconds between looks whether the kept configuration is to be written anew, or is too old."""


class StreamSource:
    """The stream of one operator, and the task that keeps it."""

    def __init__(
        self,
        settings: StreamSettings,
        table: StoreTable,
        *,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._settings = settings
        self._table = table
        file = None
        if settings.last_good_file is not None:
            file = LastGoodFile(
                settings.last_good_file,
                operator=settings.operator,
                max_age=settings.last_good_max_age,
            )
        self._stores = StreamStores(
            table, operator=settings.operator, file=file, max_age=settings.last_good_max_age
        )
        self._redialing = Redialing(random)
        self._session: Session | None = None
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def first(self) -> Configuration | None:
        """The configuration to start with, if one was kept."""
        return self._stores.first()

    def follow(self, applier: Applier) -> None:
        """Dial the operator, and apply what it sends, from now on."""
        self._stores.use(applier)
        self._tasks = [asyncio.create_task(self._follow(), name="follow the operator")]
        if self._settings.last_good_file is not None:
            self._tasks.append(asyncio.create_task(self._keep(), name="keep the last good"))

    def redial(self) -> None:
        """Dial at once, with the token and the CA as they are now."""
        self._asked.set()
        if self._session is not None:
            self._session.end()

    async def close(self) -> None:
        """Say bye, and dial no more."""
        if self._session is not None:
            await self._session.leave()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _follow(self) -> None:
        while True:
            try:
                delay = await self._stream()
            except Exception:
                # A fault of ours must not end the following: no configuration would ever come.
                log.exception("the operator's stream failed; it is dialed again")
                delay = LAST_BOUND
            try:
                async with asyncio.timeout(delay):
                    await self._asked.wait()
            except TimeoutError:
                pass

    async def _stream(self) -> float:
        """One dial, and the stream if there is one; gives the seconds until the next dial."""
        loop = asyncio.get_running_loop()
        operator, table = self._settings.operator, self._table
        self._asked.clear()
        try:
            connection = await dial(self._settings)
        except CannotDial as error:
            delay = self._redialing.after(error.cause, retry_after=error.retry_after)
            self._ended(error.cause, f"the operator {operator} gives no stream: {error}", delay)
            return delay
        self._asked.clear()
        began = loop.time()
        self._session = Session(connection, self._stores)
        table.stream_connected = True
        log.info("the operator's stream is connected: %s", operator)
        try:
            cause, reason = await self._session.run()
        finally:
            self._session = None
            table.stream_connected = False
            self._stores.ended()
        delay = self._redialing.after(cause, lived=loop.time() - began)
        self._ended(cause, f"the operator's stream has ended: {reason}", delay)
        return delay

    def _ended(self, cause: Cause, said: str, delay: float) -> None:
        """Log why there is no stream now, and draw the consequences."""
        level = logging.INFO if cause in (Cause.REAUTHENTICATE, Cause.ASKED) else logging.WARNING
        # The reason is part of the format: the log keeps repeated messages back by their format.
        log.log(level, said.replace("%", "%%") + "; it is dialed again in %.1f s", delay)
        if cause is Cause.UNAUTHORIZED:
            self._stores.unauthorized(said)
        table = self._table
        if table.applied_at is None and not table.stores:
            table.error = said

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY)
            try:
                self._stores.keep()
                if self._session is None:
                    self._stores.expire()
            except Exception:
                log.exception("the last good configuration could not be kept")
