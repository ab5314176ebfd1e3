"""What all connections of one store share: NameNodes, login, timeout. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pannier.webhdfs.login import Login


def check_address(address: str) -> str:
    """A NameNode's address, `http://host:port` or `https://host:port`. Raises ValueError."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    wrong = (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not address.isprintable()
        or " " in address
    )
    if wrong:
        # The address is not repeated: somebody may have put a password into it.
        raise ValueError("A NameNode is given as http://host:port or https://host:port")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


class Cluster:
    """The NameNodes of one HDFS, with the one that served last in front, and how to log in.

    Shared by all connections of a store: when one of them has found the active NameNode, all know.
    """

    def __init__(
        self, addresses: Sequence[str], login: Login, *, request_timeout: float = 5.0
    ) -> None:
        if not addresses:
            raise ValueError("At least one NameNode is needed")
        if not request_timeout > 0:
            raise ValueError(f"request_timeout must be more than 0 seconds, not {request_timeout}")
        self.addresses = tuple(check_address(address) for address in addresses)
        self.login = login
        self.request_timeout = request_timeout
        """Seconds to wait for one answer once its request was sent; may change at any time."""
        self._active = 0

    def in_order(self) -> list[str]:
        """All NameNodes, the one that served last first."""
        active = self._active
        return [*self.addresses[active:], *self.addresses[:active]]

    def serves(self, address: str) -> None:
        """Remember that this NameNode answered as the active one."""
        # Threads may race here; each value is a good guess, and a guess is all it is.
        self._active = self.addresses.index(address)

    def __repr__(self) -> str:
        return f"<Cluster {', '.join(self.addresses)}>"
