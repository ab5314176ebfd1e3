"""Which node of a cluster has which slot."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from pannier.redis.slots import SLOTS, SlotMap, redirection, slot_of

A, B, ASKED = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.9", 9)


def test_nothing_is_known_before_a_node_told() -> None:
    assert SlotMap().master_of(0) is None
    assert SlotMap().masters == []


def test_slots_are_their_masters_and_those_told_by_nobody_are_nobodys() -> None:
    slots = SlotMap()
    slots.learn([[0, 99, [b"10.0.0.2", 2, b"id"], [b"10.0.0.3", 3, b"id"]],
                 [200, SLOTS - 1, [b"10.0.0.1", 1, b"id"]]], ASKED)  # fmt: skip
    assert (slots.master_of(99), slots.master_of(100), slots.master_of(200)) == (B, None, A)
    assert slots.masters == [A, B]
    slots.move(100, A)
    assert slots.master_of(100) == A
    slots.learn([[5, 5, [b"10.0.0.2", 2]]], ASKED)
    assert slots.masters == [B]


def test_a_node_that_does_not_know_its_own_host_has_the_one_it_was_asked_at() -> None:
    slots = SlotMap()
    slots.learn([[0, 1, [b"", 7]], [2, 3, [None, 8]]], ASKED)
    assert slots.masters == [("10.0.0.9", 7), ("10.0.0.9", 8)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MOVED 3999 127.0.0.1:6381", ("MOVED", 3999, ("127.0.0.1", 6381))),
        ("ASK 1 redis.test:1", ("ASK", 1, ("redis.test", 1))),
        ("MOVED 1 ::1:6381", ("MOVED", 1, ("::1", 6381))),
        ("MOVED 3999 :6381", ("MOVED", 3999, ("10.0.0.9", 6381))),
        ("ERR MOVED 3999 127.0.0.1:6381", None),
        ("CLUSTERDOWN The cluster is down", None),
    ],
)
def test_a_redirection_says_which_way(text: str, found: object) -> None:
    assert redirection(text, ASKED) == found


@pytest.mark.parametrize("name", ["pannier:Cart", "p:/-.:Cart_1:16383", "a", "pannier::layout"])
def test_a_name_of_ours_is_in_the_slot_that_redis_py_says(name: str) -> None:
    assert slot_of(name) == key_slot(name.encode())
