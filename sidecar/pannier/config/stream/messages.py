"""The words of the operator's stream: every message, its bounds, and why it is closed. Pure.

One WebSocket message is one JSON object in a text frame, told apart by its `type`. Both ends read
these structs, so that they cannot disagree. A field that one end does not know is ignored: sidecars
and operators of different ages speak with each other for months.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

SUBPROTOCOL: Final = "pannier.v1"
"""The WebSocket subprotocol (RFC 6455 1.9); an operator that does not answer with it is none."""
PATH: Final = "/v1/stream"
"""Where the operator serves streams."""
AUDIENCE: Final = "pannier"
"""The audience of the service-account token that a sidecar brings (`Authorization: Bearer`)."""

MAX_SNAPSHOT_BYTES: Final = 4 * 1024 * 1024
"""The largest message an operator sends: a thousand stores of a kilobyte, with certificates."""
MAX_REPORT_BYTES: Final = 256 * 1024
"""The largest message a sidecar sends."""
ANSWER_WITHIN: Final = 0.5
"""Seconds within which a sidecar answers a snapshot with `applied`; what is not decided by then is
`pending`, and settled by a later `state`."""
PING_EVERY: Final = 15.0
"""Seconds between pings, both ways; after two missed the connection is dead."""

StoreState = Literal["applied", "pending", "rejected"]


class Close(IntEnum):
    """Why a stream was closed (RFC 6455 7.4: 4000 to 4999 are the application's own)."""

    GOING_AWAY = 1001
    """The operator stops: dial again, spread over some seconds."""
    MALFORMED = 4400
    """A message broke the protocol; the close reason says how."""
    UNAUTHORIZED = 4401
    """The token is no longer good, or the pod is gone: the kept configuration is dropped."""
    REAUTHENTICATE = 4408
    """The stream has reached its age: dial again with a fresh token, soon."""
    REPLACED = 4409
    """A newer stream of the same pod has taken its place."""
    LATER = 4503
    """The operator cannot tell now (API server away, not the leader): dial again with backoff. It
    never means unauthorized."""


# What an operator sends ---------------------------------------------------------------------------


class Credential(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one secret reference of a store holds."""

    name: str
    """The Secret's name."""
    key: str
    """The entry in it."""
    value: str

    def __repr__(self) -> str:
        return f"Credential({self.name}/{self.key})"


class StoreEntry(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One store of a snapshot: a document with its credentials, or word to keep what runs."""

    name: str
    uid: str = ""
    """Which StoreBackend of that name it is: one that was deleted and made anew has another."""
    document: dict[str, Any] | None = None
    """The StoreBackend as the API server has it (`apiVersion kind metadata spec`); None: keep."""
    credentials: list[Credential] = field(default_factory=list)
    keep: bool = False
    """The store cannot be resolved now: whatever the sidecar runs under this name, it keeps."""
    reason: str = ""
    """Why it is kept: a CamelCase reason, a colon and a sentence."""


class Snapshot(Struct, frozen=True, kw_only=True, rename="camel", tag="snapshot"):
    """The whole of what a sidecar is to run. A store that is not named is removed."""

    version: str
    epoch: int
    """The leader's term (the Lease's transitions). A lower one than was seen is ignored."""
    nonce: str
    """Names this push; the answer repeats it. Answers to older ones are ignored."""
    stores: list[StoreEntry]


# What a sidecar sends -----------------------------------------------------------------------------


class StoreReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What became of one store's configuration, and whether its backend is reached."""

    state: StoreState
    code: str = ""
    """The problem code (`pannier.errors`) where it is not applied."""
    message: str = ""
    """What is wrong, without a credential."""
    reachable: bool | None = None
    """Whether the backend that serves now answers; None: not known yet."""


class Hello(Struct, frozen=True, kw_only=True, rename="camel", tag="hello"):
    """The first message. One that says a `version` is followed at once by a `state`."""

    build: str
    """The sidecar's version."""
    version: str | None = None
    """The version of the configuration it runs, if it came from an operator; an operator that
    would push the same one pushes nothing."""


class Applied(Struct, frozen=True, kw_only=True, rename="camel", tag="applied"):
    """The answer to a snapshot, within `ANSWER_WITHIN`."""

    version: str
    nonce: str
    stores: dict[str, StoreReport]
    """Every store of the snapshot but the kept ones."""
    warnings: list[str] = field(default_factory=list)
    """Fields that were not known, and so were ignored."""


class State(Struct, frozen=True, kw_only=True, rename="camel", tag="state"):
    """How the stores of a version are now: sent when something changed since the last report."""

    version: str
    stores: dict[str, StoreReport]
    """Those that changed; all of them right after `hello`."""


class Bye(Struct, frozen=True, kw_only=True, tag="bye"):
    """The last message of a sidecar that stops: it is not to be counted as lost."""


Report = Hello | Applied | State | Bye

encode = msgspec.json.Encoder().encode
_snapshots: Final = msgspec.json.Decoder(Snapshot)
_reports: Final = msgspec.json.Decoder(Report)


def read_snapshot(text: str | bytes) -> Snapshot:
    """What an operator sent. Raises msgspec.MsgspecError, whose text quotes no value."""
    return _snapshots.decode(text)


def read_report(text: str | bytes) -> Report:
    """What a sidecar sent. Raises msgspec.MsgspecError, whose text quotes no value."""
    report: Report = _reports.decode(text)
    return report
