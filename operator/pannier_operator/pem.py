"""Whether certificates and keys from Secrets can be used, by OpenSSL's own judgement.

The sidecar will load them in the same way (`pannier.redis.address`); here they are only tried, so
that a StoreBackend's status can say it first. Nothing says a byte of what they hold.
"""

from __future__ import annotations

import os
import ssl


def check_ca(text: str) -> None:
    """Raise ValueError if `text` holds no certificates that can be trusted."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(_reason(error)) from None


def check_pair(certificate: str, key: str) -> None:
    """Raise ValueError if the two are not a certificate and its key, without a passphrase."""
    files: list[int] = []
    try:
        # OpenSSL's binding reads files only: these exist in memory alone.
        paths = [_memory_file(text, files) for text in (certificate, key)]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # An encrypted key fails here; with no password OpenSSL would ask the terminal.
        context.load_cert_chain(paths[0], paths[1], password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ValueError(_reason(error)) from None
    finally:
        for descriptor in files:
            os.close(descriptor)


def _memory_file(text: str, files: list[int]) -> str:
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    files.append(descriptor)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return f"/proc/self/fd/{descriptor}"


def _reason(error: Exception) -> str:
    """OpenSSL's reason in words, such as `key values mismatch`; its own text names C files."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return (str(error) or type(error).__name__).splitlines()[0].partition(" (_ssl")[0].rstrip(".")
