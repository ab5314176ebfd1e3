"""What both sides keep for a socket, and do to it: keep it alive, or end it for its owner."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A server that vanished without a word is noticed on an idle connection within 45 seconds."""

KEPT_BUFFER = 512 * 1024
"""Bytes of a reply's buffer that hiredis keeps for the next reply.

With its own 16 KiB each page of a scan is read into a new one, and glibc gives the heap back to the
kernel and takes it anew: 190 page faults for 1,000 records of 250 bytes, most of an export's time
in the kernel.
"""


def keep_alive(descriptor: int) -> None:
    """Have the kernel probe an idle TCP connection. `descriptor` stays its owner's."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def shut_down(descriptor: int) -> None:
    """End the connection now, whoever reads from it in whichever thread or loop.

    The descriptor itself is left to its owner to close, which sees the end of the stream. Never
    after a fork: it would end the parent's connection.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
        sock.shutdown(socket.SHUT_RDWR)
