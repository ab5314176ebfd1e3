"""Which node of a Redis Cluster has which keys. Pure.

A key lives in one of 16,384 slots, and a slot on one master. See
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from typing import Any

Node = tuple[str, int]
"""Host and port."""

SLOTS = 16384

_REDIRECTION = re.compile(r"(MOVED|ASK) ([0-9]{1,5}) (\S*):([0-9]{1,5})")


def slot_of(name: str) -> int:
    """The slot of a Redis key without braces, as all of Pannier's are (see `pannier.redis.layout`).

    redis-py has such a function too, and costs 7 MB and 0.1 s of CPU to import.
    """
    return crc_hqx(name.encode(), 0) % SLOTS


class SlotMap:
    """The master of each slot, as one node told it."""

    __slots__ = ("_masters",)

    def __init__(self) -> None:
        self._masters: list[Node | None] = [None] * SLOTS

    def learn(self, reply: Any, told_by: Node) -> None:
        """Take over a node's answer to CLUSTER SLOTS; a node may not know its own host."""
        masters: list[Node | None] = [None] * SLOTS
        for start, end, (host, port, *_), *_ in reply:
            node = ((host or b"").decode() or told_by[0], int(port))
            masters[start : end + 1] = [node] * (end + 1 - start)
        self._masters = masters

    def move(self, slot: int, node: Node) -> None:
        """A slot was found elsewhere."""
        self._masters[slot] = node

    def master_of(self, slot: int) -> Node | None:
        """The node that has the slot; None where nobody has it, or nothing was learned yet."""
        return self._masters[slot]

    @property
    def masters(self) -> list[Node]:
        """All nodes that have slots, in the order of their addresses."""
        return sorted({node for node in self._masters if node is not None})


def redirection(text: str, told_by: Node) -> tuple[str, int, Node] | None:
    """What an error reply says of where a key is: MOVED or ASK, the slot and the node."""
    found = _REDIRECTION.match(text)
    if found is None:
        return None
    return found[1], int(found[2]) % SLOTS, (found[3] or told_by[0], int(found[4]))
