"""Where a Redis server is and how to log in to it. Pure but for reading the TLS files it names.

Our own words instead of redis-py's Connection classes: importing those costs every sidecar 7 to
10 MB of memory and 0.1 s of CPU at its start (measured with redis 8.1.0: `python -c "import
redis.asyncio.connection"` on top of aiohttp), a fifth of what it may use at all, and they have no
place for a server name or for certificates held in memory.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from tempfile import NamedTemporaryFile


@dataclass(frozen=True, kw_only=True)
class RedisTls:
    """TLS to the server: whom to trust, and who we are. PEM text wins over a file of its kind."""

    ca_file: str | None = None
    """Trusted certificates; without any CA of its own it trusts what the system trusts."""
    ca_data: str | None = field(default=None, repr=False)
    cert_file: str | None = None
    """Our certificate, for servers that ask for one (`tls-auth-clients yes`, Redis's default)."""
    cert_data: str | None = field(default=None, repr=False)
    key_file: str | None = None
    key_data: str | None = field(default=None, repr=False)
    server_name: str | None = None
    """The name the server's certificate must have; None: the host that is dialed."""

    def context(self) -> ssl.SSLContext:
        """A context that checks the server's certificate and name (always: there is no off switch).

        Raises ValueError, saying which part is wrong, without a byte of its contents.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_data)
        except (OSError, ValueError) as error:
            raise ValueError(f"The TLS CA cannot be used: {plain(error)}.") from None
        has_certificate = bool(self.cert_file or self.cert_data)
        has_key = bool(self.key_file or self.key_data)
        if has_key and not has_certificate:
            raise ValueError("A TLS key needs its certificate beside it.")
        if has_certificate:
            try:
                self._load_certificate(context)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"The TLS certificate and key cannot be used: {plain(error)}."
                ) from None
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        """OpenSSL's binding reads files only: text goes through a file that exists in memory."""
        with ExitStack() as files:
            certificate, key = self.cert_file, self.key_file
            if self.cert_data is not None:
                certificate = files.enter_context(_memory_file(self.cert_data))
            if self.key_data is not None:
                key = files.enter_context(_memory_file(self.key_data))
            if certificate is not None:
                # An encrypted key fails here; with no password OpenSSL would ask the terminal.
                context.load_cert_chain(certificate, key, password=lambda: b"")


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """One server and the login on it."""

    host: str = "127.0.0.1"
    port: int = 6379
    unix_socket: str | None = None
    """A path: dialed instead of host and port."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None
    """For TLS: the name the server's certificate must have."""

    def __str__(self) -> str:
        if self.unix_socket is not None:
            return self.unix_socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def node_of(text: str, port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[address]:port`; `port` where it is left out.

    Raises ValueError.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]+))(?::([0-9]{1,5}))?", text)
    number = int(match[3]) if match and match[3] else port
    if match is None or not 0 < number < 65536:
        raise ValueError(f"A node is host or host:port, which {text!r} is not.")
    return match[1] or match[2], number


def plain(error: BaseException) -> str:
    """What an error of the operating system or of OpenSSL says, in one line."""
    if isinstance(error, OSError) and (error.errno or 0) > 0 and error.strerror:
        is_system = not isinstance(error, (ssl.SSLError, socket.gaierror))
        # asyncio puts the address in there, which the message names already.
        return os.strerror(error.errno or 0) if is_system else error.strerror
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """The path of a file that holds `text`: on Linux one in memory, so no secret meets a disk."""
    if not hasattr(os, "memfd_create"):
        with NamedTemporaryFile() as file:  # mode 0600
            file.write(text.encode())
            file.flush()
            yield file.name
        return
    with os.fdopen(os.memfd_create("pannier-pem"), "wb") as file:
        file.write(text.encode())
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
