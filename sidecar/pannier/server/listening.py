"""Listening sockets: where `--listen` and `--unix-socket` mean, bound or refused in clear words."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import socket
import stat
from pathlib import Path

from pannier.errors import PannierError

BACKLOG = 1024
TRIES_FOR_ONE_PORT = 20
"""Port 0 asks for one free port on both loopback addresses; the second may be taken."""

FILES_OF_OUR_OWN = 128
"""Files kept free of clients: sockets to backends, logs, configuration."""


class CannotListen(PannierError):
    """An address is taken or cannot be bound; the sidecar does not start."""

    title = "Cannot listen"


def parse(text: str) -> tuple[str, int]:
    """The host and port of `HOST:PORT`, `[IPV6]:PORT` or `PORT`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "localhost", text
    try:
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif host != "localhost":
            host = str(ipaddress.IPv4Address(host))
    except ValueError:
        raise ValueError(
            f"{text!r} is no address to listen on: write localhost:3900, 0.0.0.0:3900 or "
            "[::1]:3900."
        ) from None
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 0 to 65535.")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host` (as `parse` gives it)."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def bind(text: str, flag: str) -> list[socket.socket]:
    """The bound sockets of a listen setting; `flag` is named in errors. Raises CannotListen."""
    try:
        host, port = parse(text)
    except ValueError as error:
        raise CannotListen(f"{flag}: {error}") from None
    if host != "localhost":
        return [_bind(host, port, flag)]
    for attempt in range(TRIES_FOR_ONE_PORT):
        first = _bind("127.0.0.1", port, flag)
        try:
            second = _bind("::1", first.getsockname()[1], flag)
        except CannotListen as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (
                errno.EADDRNOTAVAIL,
                errno.EAFNOSUPPORT,
            ):
                return [first]  # this machine has no IPv6 loopback
            first.close()
            if port or attempt == TRIES_FOR_ONE_PORT - 1:
                raise
        except BaseException:
            first.close()
            raise
        else:
            return [first, second]
    raise AssertionError("the last try returns or raises")


def _bind(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"Cannot listen on {name}: {error.strerror}.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        # Listening now, not later: a port that only looks free is found out here.
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"{name} is taken: another program, perhaps another sidecar, listens there. Stop "
                f"it, or choose another port with {flag}."
            ) from error
        raise CannotListen(f"Cannot listen on {name}: {error.strerror}.") from error
    return bound


def bind_unix(path: Path) -> socket.socket:
    """A bound unix socket of mode 0660. Raises CannotListen.

    A socket file that nobody answers on (of a sidecar that was killed) is replaced.
    """
    remove_dead_socket(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    try:
        bound.bind(str(path))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise CannotListen(f"Cannot listen on {path}: {error.strerror or error}.") from error
    finally:
        os.umask(mask)
    return bound


def remove_dead_socket(path: Path) -> None:
    """Remove the socket file at `path` if nobody answers on it; anything else stays."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise CannotListen(f"{path} exists and is no socket: remove it, or choose another.")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise CannotListen(f"Cannot listen on {path}: {error.strerror or error}.") from error
    raise CannotListen(f"{path} is taken: another sidecar answers on it.")


def most_clients(asked: int) -> int:
    """How many connections may be open: `asked`, or fewer if so many files cannot be.

    The soft limit of open files is raised to the hard one first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    if soft == resource.RLIM_INFINITY:
        return asked
    return max(1, min(asked, soft - min(FILES_OF_OUR_OWN, soft // 2)))


def url(address: tuple[str, int]) -> str:
    """How a person opens this address: `http://127.0.0.1:3900`."""
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
