"""One dial of the operator: TLS, the token, the WebSocket's handshake, and what its failure means.

The client is the `websockets` library's: kept well, documented, and it costs 0.8 MB and 12 ms of
CPU on top of the server, where aiohttp's client costs 3.3 MB and 60 ms. (aiohttp's own
WebSocketReader and Writer are in the process already and would cost nothing, but the handshake,
closing and keep-alive of a client would be ours to keep.)
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol

from pannier.config.stream.credentials import CredentialUnusable, read_token, trusting
from pannier.config.stream.messages import MAX_SNAPSHOT_BYTES, PATH, PING_EVERY, SUBPROTOCOL
from pannier.config.stream.redialing import Cause, cause_of_status
from pannier.config.stream.reports import printable
from pannier.version import installed_version

OPEN_WITHIN: Final = 10.0
"""Seconds that a dial may take, from the address to the end of the handshake."""
CLOSE_WITHIN: Final = 1.0
"""Seconds to wait for the other end when the stream is closed."""
FRAMES_AHEAD: Final = 2
"""Messages read ahead of the one that is being applied; each may have 4 MiB."""

_wire_log = logging.getLogger("pannier.config.wire")
"""The library logs headers and frames, and so tokens and credentials, at level debug: it gets a
logger that writes nothing. What it raises is logged by `source`."""
_wire_log.disabled = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Where the operator is, and what is needed to speak with it."""

    operator: str
    """`wss://host:port`"""
    token_file: Path
    ca_file: Path
    last_good_file: Path | None = None
    last_good_max_age: float = 24 * 3600.0
    ping_every: float = PING_EVERY


class CannotDial(Exception):
    """There is no stream; the text says why, without a credential."""

    def __init__(self, cause: Cause, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.retry_after = retry_after


async def dial(settings: StreamSettings) -> ClientConnection:
    """An open stream. Raises CannotDial."""
    try:
        token = read_token(settings.token_file)
        context = trusting(settings.ca_file)
    except CredentialUnusable as error:
        raise CannotDial(Cause.UNREACHABLE, str(error)) from None
    address = urlsplit(settings.operator)
    try:
        connection = await connect(
            f"wss://{address.netloc}{PATH}",
            ssl=context,
            # With a host of its own a redirect to another one is refused.
            host=address.hostname,
            port=address.port or 443,
            proxy=None,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            additional_headers={"Authorization": f"Bearer {token}"},
            user_agent_header=f"pannier/{installed_version()}",
            open_timeout=OPEN_WITHIN,
            close_timeout=CLOSE_WITHIN,
            ping_interval=settings.ping_every,
            ping_timeout=2 * settings.ping_every,
            max_size=MAX_SNAPSHOT_BYTES,
            max_queue=FRAMES_AHEAD,
            logger=_wire_log,
        )
    except InvalidStatus as error:
        raise _refused(error.response, token) from None
    except Exception as error:
        # Whatever a hostile or broken peer makes the library raise, a dial has come to nothing.
        if isinstance(error.__context__, InvalidStatus):  # a redirect that is not followed
            raise _refused(error.__context__.response, token) from None
        raise CannotDial(Cause.UNREACHABLE, _reason(error)) from None
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close(1002, f"the subprotocol {SUBPROTOCOL} is demanded")
        raise CannotDial(Cause.UNREACHABLE, f"it does not speak {SUBPROTOCOL}")
    return connection


def _refused(response: Response, token: str) -> CannotDial:
    """An HTTP answer in place of the WebSocket, with what the operator says about it."""
    said = printable((response.body or b"").decode("utf-8", "replace"), 200)
    reason = f"HTTP {response.status_code}"
    if said and token not in said:
        reason += f": {said}"
    wait = response.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 9 else None
    return CannotDial(cause_of_status(response.status_code), reason, seconds)


def _reason(error: Exception) -> str:
    """Why a dial failed, in words for the log."""
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_WITHIN:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, InvalidMessage):
        return "it does not speak HTTP"
    if isinstance(error, InvalidHandshake):
        return "it does not serve WebSockets as it should"
    return type(error).__name__
