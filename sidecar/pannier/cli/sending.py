"""Records sent to a sidecar in batches by a few threads, each with a connection of its own.

Every record of one key goes through the same thread, so that of two lines with one key the later
one wins, as in the input. What the backend cannot take now is sent again for a while; what it
refuses is noted by line.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal
from zlib import crc32

import msgspec

from pannier.cli.client import BrokenOff, Client, Endpoint, Refusal, Unreachable, path_of
from pannier.cli.endings import Ending
from pannier.cli.moved import Moved

Mode = Literal["put", "insert"]

BATCH_RECORDS: Final = 500
FIRST_RECORDS: Final = 100
BATCH_SECONDS: Final = 5.0
"""A batch is to be answered in about this time. HDFS may create ten records a second: 500 from each
thread would take longer than an answer is waited for."""
STORED: Final = (201, 204)
BATCH_BYTES: Final = 2 * 1024 * 1024
"""A batch is sent at this size; a larger record goes alone."""
QUEUED: Final = 2
"""Batches waiting for a thread: enough to keep it busy, few enough for constant memory."""

FATAL: Final = frozenset({401, 403, 404, 405, 501})
"""Statuses of a whole batch that every other batch would get too."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record of the input."""

    number: int
    key: str | None
    """None for a line that could not be read."""
    record: bytes


@dataclass(slots=True)
class Batch:
    """Lines of one schema, in their order."""

    schema: str
    lines: list[Line] = field(default_factory=list)
    size: int = 0

    def body(self, mode: Mode) -> bytes:
        """The body of a batchWrite; the records' bytes are copied as they are."""
        head = f'{{"op":"{mode}","key":'.encode()
        operations = [
            b'%b%b,"record":%b}' % (head, msgspec.json.encode(line.key), line.record)
            for line in self.lines
        ]
        return b'{"operations":[' + b",".join(operations) + b"]}"

    def half(self) -> tuple[Batch, Batch]:
        """The same lines in two batches."""
        middle = len(self.lines) // 2
        return Batch(self.schema, self.lines[:middle]), Batch(self.schema, self.lines[middle:])


class Pace:
    """How many records a batch holds, by how long the batches before it took."""

    def __init__(self) -> None:
        self.records = FIRST_RECORDS

    def learn(self, records: int, seconds: float) -> None:
        """Take notice of a batch that was answered."""
        fitting = int(records * BATCH_SECONDS / max(seconds, 0.001))
        if seconds > BATCH_SECONDS:
            self.records = max(1, min(self.records, fitting))
        else:
            # A short batch, as the last of a schema, says little of how many more would fit.
            self.records = min(BATCH_RECORDS, max(self.records, fitting))


class Result(msgspec.Struct):
    """What became of one operation of a batch."""

    status: int
    code: str | None = None


class Results(msgspec.Struct):
    """The answer to a batchWrite."""

    results: list[Result]


class Sender:
    """Sends records of one store. `refused` and `stored` are called from its threads, in turn."""

    def __init__(
        self,
        endpoint: Endpoint,
        store: str,
        moved: Moved,
        *,
        mode: Mode,
        threads: int,
        retry_for: float,
        refused: Callable[[Line, str], None],
        stored: Callable[[str, Line], None],
    ) -> None:
        self._store = store
        self._moved = moved
        self._mode: Mode = mode
        self._retry_for = retry_for
        self._refused = refused
        self._stored = stored
        self._pace = Pace()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._open: list[dict[str, Batch]] = [{} for _ in range(threads)]
        self._queues: list[queue.Queue[Batch | None]] = [
            queue.Queue(QUEUED) for _ in range(threads)
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(each, Client(endpoint)), daemon=True)
            for each in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def send(self, schema: str, line: Line) -> None:
        """Take one record. Raises what ended a thread."""
        place = crc32((line.key or "").encode()) % len(self._queues)
        batch = self._open[place].setdefault(schema, Batch(schema))
        batch.lines.append(line)
        batch.size += len(line.record)
        if len(batch.lines) >= self._pace.records or batch.size >= BATCH_BYTES:
            del self._open[place][schema]
            self._enqueue(place, batch)

    def finish(self) -> None:
        """Send what is left and wait for the end. Raises what ended a thread."""
        for place, batches in enumerate(self._open):
            for batch in batches.values():
                self._enqueue(place, batch)
            self._enqueue(place, None)
        for thread in self._threads:
            thread.join()
        self._raise_failure()

    def stop(self, within: float = 10.0) -> None:
        """Send nothing more; wait for batches under way, so that the figures are true."""
        self._stop.set()
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _enqueue(self, place: int, batch: Batch | None) -> None:
        while True:
            self._raise_failure()
            try:
                return self._queues[place].put(batch, timeout=0.1)
            except queue.Full:
                continue

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self, batches: queue.Queue[Batch | None], client: Client) -> None:
        try:
            while not self._stop.is_set():
                try:
                    batch = batches.get(timeout=0.1)
                except queue.Empty:
                    continue
                if batch is None:
                    return
                self._deliver(client, batch)
        except BaseException as error:
            self._failure = error
            self._stop.set()
        finally:
            client.close()

    def _deliver(self, client: Client, batch: Batch) -> None:
        """Send a batch until every line is stored or refused."""
        deadline = time.monotonic() + self._retry_for
        pause = 0.1
        while True:
            trouble: Ending
            try:
                answer = self._post(client, batch)
            except Refusal as refusal:
                if refusal.status in FATAL:
                    raise
                if refusal.status != 503:
                    # One line of it is refused, and all with it: find out which.
                    self._split(client, batch, refusal)
                    return
                trouble = refusal
            except (Unreachable, BrokenOff) as error:
                trouble = error
            else:
                batch, again = self._note(batch, answer)
                if not again:
                    return
                trouble = Ending(1, f"{again}: some records could not be stored")
            if time.monotonic() >= deadline or self._stop.is_set():
                raise trouble
            self._stop.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2.0, pause * 2)

    def _post(self, client: Client, batch: Batch) -> list[Result]:
        path = path_of(self._store, batch.schema, action=":batchWrite")
        headers = {"Content-Type": "application/json"}
        began = time.monotonic()
        reply = client.request("POST", path, batch.body(self._mode), headers)
        self._pace.learn(len(batch.lines), time.monotonic() - began)
        return msgspec.json.decode(reply.body, type=Results).results

    def _split(self, client: Client, batch: Batch, refusal: Refusal) -> None:
        if len(batch.lines) == 1:
            self.refuse(batch.lines[0], str(refusal))
            return
        for half in batch.half():
            self._deliver(client, half)

    def _note(self, batch: Batch, answer: list[Result]) -> tuple[Batch, str | None]:
        """Note each line's result; gives the lines to send again, and why."""
        left = Batch(batch.schema)
        again: str | None = None
        moved = self._moved
        answered = list(zip(batch.lines, answer, strict=True))
        last = {line.key: line.number for line, result in answered if result.status in STORED}
        for line, result in answered:
            if result.status in (503, 504) and line.number < last.get(line.key, -1):
                # A later line of the same key is stored: sent again, this one would undo it.
                with self._lock:
                    moved.present += self._mode == "insert"
                    moved.records += self._mode == "put"
            elif result.status in STORED:
                with self._lock:
                    moved.records += 1
                    moved.bytes += len(line.record)
                    self._stored(batch.schema, line)
            elif result.status == 409 and self._mode == "insert":
                with self._lock:
                    moved.present += 1
                    self._stored(batch.schema, line)
            elif result.status in (503, 504):
                # To send a put once more is safe: it ends in the same record.
                left.lines.append(line)
                again = result.code or f"status {result.status}"
            else:
                self.refuse(line, result.code or f"status {result.status}")
        return left, again

    def refuse(self, line: Line, why: str) -> None:
        """Count and report a line that is not stored."""
        with self._lock:
            self._moved.refused += 1
            self._refused(line, why)
