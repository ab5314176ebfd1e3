"""Who may ask: the checks of Host, Origin and token, in this order. Reads the token file only.

A browser page can send requests to localhost, and a page whose own name resolves to 127.0.0.1 can
read the answers (DNS rebinding). It cannot forge `Host` or drop `Origin`: so both are checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path

from pannier.errors import PannierError
from pannier.server.refusals import Forbidden, Unauthorized

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]*)?")
_KNOWN_HOSTS_KEPT = 64


class TokenFile:
    """The token of `--api-token-file`, read again when the file changes.

    A file that cannot be read, or is empty, raises at the start; later the last token stays good.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._token = b""
        self._refresh()

    def matches(self, authorization: bytes | None) -> bool:
        """Whether this `Authorization` value brings the token; takes the same time for any."""
        try:
            self._refresh()
        except (OSError, ValueError):
            pass
        scheme, _, given = (authorization or b"").partition(b" ")
        same = compare_digest(given.strip(b" "), self._token)
        return same and scheme.lower() == b"bearer"

    def _refresh(self) -> None:
        found = os.stat(self.path)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return
        token = self.path.read_bytes().strip()
        if not token:
            raise ValueError(f"the token file {self.path} is empty")
        self._token, self._stamp = token, stamp

    def __repr__(self) -> str:
        return f"<TokenFile {self.path}>"


class Admission:
    """The three checks of one port."""

    def __init__(
        self,
        *,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        token_file: TokenFile | None = None,
    ) -> None:
        hosts = {host.lower().encode() for host in (*LOCAL_HOSTS, *allow_hosts)}
        self._any_host = b"*" in hosts
        self._hosts = hosts
        self._origins = {origin.encode() for origin in allow_origins}
        self.token_file = token_file
        self.known_hosts: set[bytes] = set()
        """Host values seen and let in, so that the usual one costs a set look-up."""

    def refusal(
        self, host: bytes | None, origin: bytes | None, authorization: bytes | None
    ) -> PannierError | None:
        """Why a request with these header values is refused, or None."""
        refusal = self.source_refusal(host, origin)
        if refusal is not None or self.token_file is None or self.token_file.matches(authorization):
            return refusal
        return Unauthorized("Send the token of --api-token-file as Authorization: Bearer.")

    def source_refusal(self, host: bytes | None, origin: bytes | None) -> PannierError | None:
        """Why a request is refused for where it comes from, whatever its token."""
        if host is not None and host not in self.known_hosts and not self._host_allowed(host):
            return Forbidden(
                f"The Host {host.decode(errors='replace')!r} is none of this sidecar's names: use "
                "localhost, or allow it with --allow-host."
            )
        if origin is not None and not self.origin_allowed(origin):
            return Forbidden(
                "Requests of web pages (those with an Origin) are refused: allow this one with "
                "--allow-origin."
            )
        return None

    def origin_allowed(self, origin: bytes) -> bool:
        """Whether pages of this origin may call."""
        return b"*" in self._origins or origin in self._origins

    def _host_allowed(self, host: bytes) -> bool:
        parts = _HOST.fullmatch(host)
        if parts is None or not (self._any_host or parts[1].lower() in self._hosts):
            return False
        if len(self.known_hosts) < _KNOWN_HOSTS_KEPT:
            self.known_hosts.add(host)
        return True
