"""What a record holds comes back as it went in, and never shares anything with the caller."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pannier import InvalidRecord, ObjectDoesNotExist
from tests.contract.store.carts import Anything, Cart
from tests.contract.store.sides import Side
from tests.contract.store.typed_carts import CLASSES, FIELDS, VALUES

VALUES_OF_JSON: list[Any] = [
    None, True, False, 0, -1, 1.0, -0.0, 0.1, 1e22, 1e-7, 5e-324, sys.float_info.max,
    2**53 + 1, 2**63, 2**64, -(2**64), 10**400, 7**12000, -(10**5000),
    "", "\x00\x1f\x7f", "\u2028\u2029", '"\\/', "🧺", "\ud7ff\ue000\uffff", "a" * 100_000,
    [], {}, [[[]]], [1, "1", 1.0, True, None], {"": 0, "a.b": 1, "a__b": 2, "ä": {"": [{}]}},
]  # fmt: skip


def nested(depth: int, value: Any = 0) -> Any:
    """`value` in `depth` arrays."""
    for _ in range(depth):
        value = [value]
    return value


def holding_itself() -> list[Any]:
    """A list that is its own item."""
    value: list[Any] = []
    value.append({"again": value})
    return value


REFUSED: dict[str, Callable[[], Any]] = {
    "nan": lambda: math.nan,
    "infinity": lambda: math.inf,
    "minus infinity in a list": lambda: [1, -math.inf],
    "an int for a key": lambda: {1: 2},
    "None for a key": lambda: {None: 2},
    "a tuple for a key": lambda: {"a": {(1, 2): 3}},
    "a lone surrogate": lambda: "\ud800",
    "a lone surrogate in a key": lambda: {"\udfff": 1},
    "itself": holding_itself,
    "513 levels": lambda: nested(512),
    "an object": object,
    "a function": lambda: nested,
    "a class": lambda: Cart,
    "a complex number": lambda: 1j,
    "a generator": lambda: (each for each in "ab"),
}


async def test_values_of_json_come_back_as_they_went_in(store: Side, schema: str) -> None:
    went_in = Anything(id="42", values=VALUES_OF_JSON)

    await store.insert_record(schema, "42", went_in)

    came_back = (await store.get_record(schema, Anything, "42")).state["values"]
    assert came_back == VALUES_OF_JSON
    # 1 == 1.0 == True and 0.0 == -0.0 in Python: the types and signs must be right as well.
    assert [type(value) for value in came_back] == [type(value) for value in VALUES_OF_JSON]
    assert [type(value) for value in came_back[-2]] == [int, str, float, bool, type(None)]
    assert math.copysign(1, came_back[6]) == -1


async def test_the_order_of_keys_comes_back(store: Side, schema: str) -> None:
    state = {"z": 1, "id": "42", "a": {"2": 0, "10": 0, "1": 0}, "M": 2, "": 3}

    await store.insert_record(schema, "42", Anything(**state))

    came_back = (await store.get_record(schema, Anything, "42")).state
    assert list(came_back) == ["z", "id", "a", "M", ""]
    assert list(came_back["a"]) == ["2", "10", "1"]


async def test_512_levels_are_kept(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Anything(id="42", deep=nested(511)))

    assert (await store.get_record(schema, Anything, "42")).state["deep"] == nested(511)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_json_cannot_hold_is_refused_and_nothing_is_stored(
    store: Side, schema: str, name: str
) -> None:
    await store.insert_record(schema, "41", Anything(id="41", value="old"))
    bad = Anything(id="42", value=REFUSED[name]())

    with pytest.raises(InvalidRecord) as raised:
        await store.insert_record(schema, "42", bad)
    with pytest.raises(InvalidRecord):
        await store.update_record(schema, "41", bad)

    assert isinstance(raised.value, ValueError)
    assert await store.exists(schema, "42") is False
    assert (await store.get_record(schema, Anything, "41")).state["value"] == "old"


async def test_what_is_stored_does_not_follow_the_callers_object(store: Side, schema: str) -> None:
    mine = Cart("42", 1, [["pear"]])
    await store.insert_record(schema, "42", mine)

    mine.items[0].append("plum")
    mine.total = 9

    assert await store.get_record(schema, Cart, "42") == Cart("42", 1, [["pear"]])


async def test_what_was_read_shares_nothing_with_what_is_stored(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Cart("42", 1, [["pear"]]))

    one = await store.get_record(schema, Cart, "42")
    [listed] = await store.filter_record(schema, Cart)
    one.items[0].append("plum")
    listed.items.clear()

    assert (await store.get_record(schema, Cart, "42")).items == [["pear"]]
    assert one.items == [["pear", "plum"]]


@pytest.mark.parametrize("name", CLASSES)
async def test_typed_fields_of_every_kind_of_class_come_back_as_their_types(
    store: Side, schema: str, name: str
) -> None:
    klass = CLASSES[name]
    went_in = klass(**VALUES)
    await store.insert_record(schema, 42, went_in)

    got = await store.get_record(schema, klass, 42)
    [listed] = await store.filter_record(schema, klass)

    for came_back in (got, listed):
        assert type(came_back) is klass
        assert came_back == went_in
        for field in FIELDS:
            value = getattr(came_back, field)
            assert value == VALUES[field]
            assert type(value) is type(VALUES[field])
    assert str(got.price) == str(VALUES["price"])


async def test_a_value_that_is_no_state_is_refused_when_it_is_read(
    store: Side, schema: str
) -> None:
    await store.write(schema, "42", b"[1]")

    with pytest.raises(InvalidRecord):
        await store.get_record(schema, Cart, "42")
    mine = Cart("42", 7)
    with pytest.raises(InvalidRecord):
        await store.reload_record(schema, mine)
    assert mine == Cart("42", 7)


async def test_a_record_of_a_megabyte_comes_back(store: Side, schema: str) -> None:
    text = "0123456789abcdef" * 60_000

    await store.insert_record(schema, "42", Anything(id="42", text=text))

    assert (await store.get_record(schema, Anything, "42")).state["text"] == text
    assert [record.state["id"] async for record in store.iter_records(schema, Anything)] == ["42"]
    await store.delete_record(schema, "42")
    with pytest.raises(ObjectDoesNotExist):
        await store.get_record(schema, Anything, "42")
