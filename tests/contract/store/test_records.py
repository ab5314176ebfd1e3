"""insert, update, delete, get, reload, exists and count: what each does, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pannier import (
    InvalidKey,
    InvalidSchema,
    ObjectDoesNotExist,
    ObjectExistError,
    PannierError,
)
from tests.contract.store.carts import Anything, Cart
from tests.contract.store.sides import Side

HOSTILE_KEYS = [
    "a/b", "/", "//", "../../etc/passwd", "..a", ".hidden", "~", "a~", "%2F", "%", "100%", "%00",
    "+", "a+b", " ", " a ", "a b", "?", "a?b=c", "#", "a#b", "&", "=", ":", "a:b", "a:count", ";",
    "\\", '"', "'", "`", "<b>", "{}", "[0]", "*", "a*", "$", "$(id)", "|", "null", "true", "NaN",
    "CON", "Key", "key", "KEY", "ä", "a\u0308", "ß", "İ", "漢字", "🧺", "\u200d", "\u202e",
    "\ufeff", "\u00a0", "\ue000", "\U0010fffd", "x" * 512, "ä" * 256, "🧺" * 128, "/" * 512,
    "%" * 512, "-1", "0", "00", "1e3", "v1", "healthz", "_", "__proto__", "a\\nb",
    "user@host", "a,b", "(",
]  # fmt: skip

REFUSED_KEYS = [
    "", ".", "..", "a\nb", "\x00", "a\x1f", "\x7f", "\x80", "a\x9fb", "x" * 513, "ä" * 257,
    "\ud800", "a\udfff", None, True, False, 1.5, b"42", ["42"],
]  # fmt: skip

REFUSED_SCHEMAS = ["", ".", "-a", ".a", "a/b", "a b", "ä", "a" * 129, "a:count", "a%2F", None, 3]


async def test_an_inserted_record_is_there_with_its_state(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Cart("42", 3.5, ["pear"]))

    assert await store.exists(schema, "42") is True
    assert await store.count(schema) == 1
    assert await store.get_record(schema, Cart, "42") == Cart("42", 3.5, ["pear"])


async def test_inserting_a_present_key_raises_and_changes_nothing(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Cart("42", 1))

    with pytest.raises(ObjectExistError) as raised:
        await store.insert_record(schema, "42", Cart("42", 2))

    assert isinstance(raised.value, ValueError)
    assert (await store.get_record(schema, Cart, "42")).total == 1
    assert await store.count(schema) == 1


async def test_updating_replaces_the_whole_state(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Anything(id="42", a=1, b=2))

    await store.update_record(schema, "42", Anything(id="42", b=3))

    assert (await store.get_record(schema, Anything, "42")).state == {"id": "42", "b": 3}
    assert await store.count(schema) == 1


async def test_updating_an_absent_key_raises_and_creates_nothing(store: Side, schema: str) -> None:
    with pytest.raises(ObjectDoesNotExist) as raised:
        await store.update_record(schema, "42", Cart("42"))

    assert isinstance(raised.value, ValueError)
    assert await store.exists(schema, "42") is False
    assert await store.count(schema) == 0


async def test_a_deleted_record_is_gone_and_can_be_inserted_again(store: Side, schema: str) -> None:
    await store.insert_record(schema, "42", Cart("42", 1))

    await store.delete_record(schema, "42")

    assert await store.exists(schema, "42") is False
    assert await store.count(schema) == 0
    with pytest.raises(ObjectDoesNotExist):
        await store.get_record(schema, Cart, "42")
    await store.insert_record(schema, "42", Cart("42", 2))
    assert (await store.get_record(schema, Cart, "42")).total == 2


async def test_deleting_an_absent_key_raises(store: Side, schema: str) -> None:
    await store.insert_record(schema, "41", Cart("41"))

    with pytest.raises(ObjectDoesNotExist):
        await store.delete_record(schema, "42")

    assert await store.count(schema) == 1


async def test_getting_an_absent_record_raises(store: Side, schema: str) -> None:
    with pytest.raises(ObjectDoesNotExist):
        await store.get_record(schema, Cart, "42")


async def test_reloading_sets_what_is_stored_now_into_the_same_object(
    store: Side, schema: str
) -> None:
    mine = Cart("42", 1, ["pear"])
    await store.insert_record(schema, "42", mine)
    await store.update_record(schema, "42", Cart("42", 2, ["plum"]))

    await store.reload_record(schema, mine)

    assert mine == Cart("42", 2, ["plum"])


async def test_reloading_an_absent_record_raises_and_leaves_the_object_alone(
    store: Side, schema: str
) -> None:
    mine = Cart("42", 1)

    with pytest.raises(ObjectDoesNotExist):
        await store.reload_record(schema, mine)

    assert mine == Cart("42", 1)


async def test_an_int_and_its_text_are_one_key(store: Side, schema: str) -> None:
    await store.insert_record(schema, 42, Cart(42, 1))

    assert await store.exists(schema, "42") is True
    assert (await store.get_record(schema, Cart, "42")).id == 42
    with pytest.raises(ObjectExistError):
        await store.insert_record(schema, "42", Cart("42"))
    mine = Cart(42)
    await store.reload_record(schema, mine)
    assert mine.total == 1
    await store.delete_record(schema, "42")
    assert await store.exists(schema, 42) is False


async def test_of_an_unknown_schema_count_is_0_and_filter_is_empty(
    store: Side, schema: str
) -> None:
    assert await store.count(schema) == 0
    assert await store.exists(schema, "42") is False
    assert await store.filter_record(schema, Cart) == []
    assert [record async for record in store.iter_records(schema, Cart)] == []


async def test_schemas_do_not_mix(store: Side, schema: str) -> None:
    other = schema + ".other"
    await store.insert_record(schema, "42", Cart("42", 1))
    await store.insert_record(other, "42", Cart("42", 2))

    await store.delete_record(schema, "42")

    assert await store.count(schema) == 0
    assert (await store.get_record(other, Cart, "42")).total == 2


async def test_every_valid_schema_name_is_taken(store: Side) -> None:
    for name in ("a", "0", "_", "A.b-c_d", "x" * 128, "a.", "a--", "layout"):
        await store.upsert_record(name, "42", Cart("42", 1))

        assert await store.exists(name, "42") is True
        assert await store.count(name) == 1


async def test_hostile_keys_stay_apart_and_come_back(store: Side, schema: str) -> None:
    for place, key in enumerate(HOSTILE_KEYS):
        await store.insert_record(schema, key, Cart(key, place))

    assert await store.count(schema) == len(HOSTILE_KEYS)
    for place, key in enumerate(HOSTILE_KEYS):
        assert await store.get_record(schema, Cart, key) == Cart(key, place)
    found = await store.filter_record(schema, Cart)
    assert sorted(cart.id for cart in found) == sorted(HOSTILE_KEYS)
    for key in HOSTILE_KEYS:
        await store.delete_record(schema, key)
    assert await store.count(schema) == 0


async def test_a_bad_key_is_refused_by_every_operation(store: Side, schema: str) -> None:
    for key in REFUSED_KEYS:
        for operation in (
            store.exists(schema, key),
            store.get_record(schema, Cart, key),
            store.insert_record(schema, key, Cart("x")),
            store.update_record(schema, key, Cart("x")),
            store.delete_record(schema, key),
            store.reload_record(schema, Anything(id=key)),
        ):
            with pytest.raises(InvalidKey):
                await operation
    assert await store.count(schema) == 0


async def test_a_bad_schema_name_is_refused_by_every_operation(store: Side) -> None:
    for name in REFUSED_SCHEMAS:
        for operation in (
            store.exists(name, "42"),
            store.count(name),
            store.get_record(name, Cart, "42"),
            store.insert_record(name, "42", Cart("42")),
            store.update_record(name, "42", Cart("42")),
            store.delete_record(name, "42"),
            store.reload_record(name, Cart("42")),
            store.filter_record(name, Cart),
        ):
            with pytest.raises(InvalidSchema):
                await operation


async def test_what_one_store_wrote_another_over_the_same_backend_reads(
    open_store: Callable[..., Side], schema: str
) -> None:
    one, other = open_store(), open_store()

    await one.insert_record(schema, "42", Cart("42", 1))

    assert (await other.get_record(schema, Cart, "42")).total == 1
    with pytest.raises(ObjectExistError):
        await other.insert_record(schema, "42", Cart("42", 2))


async def test_a_closed_store_refuses_and_can_be_closed_again(
    open_store: Callable[..., Side], schema: str
) -> None:
    store = open_store()
    await store.upsert_record(schema, "42", Cart("42"))

    await store.close()
    await store.close()

    with pytest.raises(PannierError):
        await store.exists(schema, "42")


async def test_a_store_is_a_context_manager_that_closes_it(
    open_store: Callable[..., Side], schema: str
) -> None:
    store = open_store()
    enter, leave = ("__enter__", "__exit__") if store.is_sync else ("__aenter__", "__aexit__")

    assert await store.call(getattr(store.subject, enter)) is store.subject
    await store.upsert_record(schema, "42", Cart("42"))
    await store.call(getattr(store.subject, leave), None, None, None)

    with pytest.raises(PannierError):
        await store.exists(schema, "42")
