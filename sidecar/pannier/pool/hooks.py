"""What a connector may offer the pool beside its three methods. All optional, none does I/O.

A caller's own class needs none of them; the pool then knows less, and errs on the safe side:

- `looks_alive() -> bool`: what the socket shows at once, without a round trip. False where it is
  closed, or readable though nothing was asked (an end of file, or bytes that nobody awaits). A
  class without it is trusted for 0.5 s after its last use, then asked by `is_connected()`.
- `reusable` (attribute, property or method): after an error inside a borrower's block, whether no
  reply is outstanding, so that the next borrower cannot read another's. A class without it is
  closed after every error.
- `abandon()`: close the file descriptor at once, without a goodbye, an await, a call to the event
  loop, or a `shutdown` of the socket, which a forked parent may share. For a connection whose loop
  is gone, whose pool was dropped, or that came over a fork.
- `preferred_mode`: the `ConnectionMode` a manager picks when it is told none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pannier.pool.modes import ConnectionMode


def alive_hook(connector_class: type[Any]) -> Callable[[Any], bool] | None:
    """The class's `looks_alive`, called with a connector; None where it has none."""
    hook = getattr(connector_class, "looks_alive", None)
    return hook if callable(hook) else None


def seems_alive(looks_alive: Callable[[Any], bool], connector: Any) -> bool:
    """The connector's own look at its socket; a look that fails is a bad sign."""
    try:
        return looks_alive(connector)
    except Exception:
        return False


def is_reusable(connector: Any) -> bool:
    """Whether the connector says that no reply is outstanding; False where it says nothing."""
    says = getattr(connector, "reusable", False)
    return bool(says() if callable(says) else says)


def abandon(connector: Any) -> bool:
    """Drop the connection without a goodbye, where the connector can; whether it could."""
    hook = getattr(connector, "abandon", None)
    if not callable(hook):
        return False
    try:
        hook()
    except Exception:
        return False
    return True


def mode_of(connector_class: type[Any]) -> ConnectionMode:
    """The mode the class prefers, POOLED where it is silent."""
    preferred = getattr(connector_class, "preferred_mode", None)
    return preferred if isinstance(preferred, ConnectionMode) else ConnectionMode.POOLED


def pool_name(connector_class: type[Any], config: dict[str, Any]) -> str:
    """A pool's name in errors and logs where it was given none; nothing but class and address."""
    name = connector_class.__name__
    if "host" in config:
        name += f" {config['host']}"
        if "port" in config:
            name += f":{config['port']}"
    return name
