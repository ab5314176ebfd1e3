"""The TLS context a server listens with. A certificate that is loaded later serves new handshakes.

OpenSSL takes certificates from files alone: they pass through memory (memfd), never through a disk,
so that a read-only root file system is enough.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator

from pannier_operator.certificates.issuing import Leaf


def server_context() -> ssl.SSLContext:
    """A context for servers, which has no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Serve `leaf` from the next handshake on; connections that are open keep theirs."""
    with _readable(leaf.certificate_pem() + leaf.key_pem()) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _readable(text: str) -> Iterator[str]:
    """The path of a file that holds `text`, gone afterwards, and nobody else's to read."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("certificate", os.MFD_CLOEXEC), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", prefix="certificate-") as file:
            file.write(text)
            file.flush()
            yield file.name
