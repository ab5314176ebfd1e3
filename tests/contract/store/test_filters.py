"""filter_record and iter_records: which records they give, on every store the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from pannier import BackendIntegrationMixin, InvalidFilter, records
from pannier.operations import Write
from tests.contract.store.carts import Anything
from tests.contract.store.sides import Side

HUGE = 10**9000

PEOPLE: list[dict[str, Any]] = [
    {"id": "ann", "age": 30, "name": "Ann", "address": {"city": "Paris", "zip": "075"}},
    {"id": "bob", "age": 30.0, "name": "Bob", "address": {"city": "Lyon"}, "tags": ["a", "b"]},
    {"id": "cyd", "age": "30", "name": "cyd", "address": "Paris", "tags": "ab"},
    {"id": "dan", "age": True, "name": None, "address": {"city": None}},
    {"id": "eve", "age": 1, "name": "Évé", "address": {"city": ["Paris"]}, "tags": []},
    {"id": "fay", "name": "", "in": 3, "a": {"in": 3, "eq": 4}, "x.y": 1},
    {"id": "gus", "age": -0.1, "name": "🧺", "address": {}, "a": {"in": [3], "eq": {"in": 5}}},
    {"id": "hal", "age": HUGE, "name": "a\u0301"},
]

CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "ann bob cyd dan eve fay gus hal"),
    # Equality: 1 == 1.0, a bool is no number, text is no number, null is a value.
    ({"age": 30}, "ann bob"),
    ({"age": 30.0}, "ann bob"),
    ({"age__eq": Decimal("30.00")}, "ann bob"),
    ({"age": "30"}, "cyd"),
    ({"age": True}, "dan"),
    ({"age": 1}, "eve"),
    ({"age": -0.1}, "gus"),
    ({"age": Decimal("-0.1")}, "gus"),
    ({"age": HUGE}, "hal"),
    ({"age": HUGE + 1}, ""),
    ({"name": None}, "dan"),
    ({"name": ""}, "fay"),
    ({"name": "\u00e1"}, ""),
    ({"tags": ["a", "b"]}, "bob"),
    ({"tags": ("a", "b")}, "bob"),
    ({"tags": ["b", "a"]}, ""),
    ({"tags": []}, "eve"),
    ({"address": {"zip": "075", "city": "Paris"}}, "ann"),
    ({"address": {}}, "gus"),
    # What is missing meets exists=False and nothing else.
    ({"age__ne": 30}, "cyd dan eve gus hal"),
    ({"age__ne": None}, "ann bob cyd dan eve gus hal"),
    ({"name__ne": None}, "ann bob cyd eve fay gus hal"),
    ({"age__exists": True}, "ann bob cyd dan eve gus hal"),
    ({"age__exists": False}, "fay"),
    ({"name__exists": True}, "ann bob cyd dan eve fay gus hal"),
    ({"none": None}, ""),
    ({"none__ne": 1}, ""),
    ({"none__in": [None, 1]}, ""),
    ({"none__exists": False}, "ann bob cyd dan eve fay gus hal"),
    # Order: numbers with numbers, text with text by code point, nothing else.
    ({"age__gt": 1}, "ann bob hal"),
    ({"age__gte": 1}, "ann bob eve hal"),
    ({"age__lt": 30}, "eve gus"),
    ({"age__lte": 30.0}, "ann bob eve gus"),
    ({"age__gt": HUGE - 1}, "hal"),
    ({"age__gt": HUGE}, ""),
    ({"age__lt": Decimal("-0.09999999999999999999999999999999999")}, "gus"),
    ({"age__gte": "3"}, "cyd"),
    ({"age__gte": False}, ""),
    ({"age__lte": None}, ""),
    ({"age__gt": [0]}, ""),
    ({"name__gt": "Z"}, "cyd eve gus hal"),
    ({"name__lt": "b"}, "ann bob fay hal"),
    ({"name__gte": "É"}, "eve gus"),
    ({"name__gt": "\uffff"}, "gus"),
    ({"age__gt": 0, "age__lt": 2}, "eve"),
    # In a list of values.
    ({"age__in": [1, "30", None]}, "cyd eve"),
    ({"age__in": (30,)}, "ann bob"),
    ({"age__in": {30, 1}}, "ann bob eve"),
    ({"age__in": []}, ""),
    ({"tags__in": [["a", "b"], []]}, "bob eve"),
    # Text.
    ({"name__contains": "n"}, "ann"),
    ({"name__contains": ""}, "ann bob cyd eve fay gus hal"),
    ({"name__contains": "é"}, "eve"),
    ({"tags__contains": "a"}, "bob cyd"),
    ({"name__startswith": "A"}, "ann"),
    ({"name__endswith": "b"}, "bob"),
    ({"age__startswith": "3"}, "cyd"),
    # Paths, and fields that are named like operators.
    ({"address__city": "Paris"}, "ann"),
    ({"address__city__eq": "Paris"}, "ann"),
    ({"address__city__exists": True}, "ann bob dan eve"),
    ({"address__city__exists": False}, "cyd fay gus hal"),
    ({"address__city": None}, "dan"),
    ({"address__city__ne": "Paris"}, "bob dan eve"),
    ({"address__city__zip": 1}, ""),
    ({"tags__0": "a"}, ""),
    ({"in": 3}, "fay"),
    ({"in__eq": 3}, "fay"),
    ({"in__in": [3]}, "fay"),
    ({"a__in__eq": 3}, "fay"),
    ({"a__in__in": [3, 4]}, "fay"),
    ({"a__eq__eq": 4}, "fay"),
    ({"a__eq__in__eq": 5}, "gus"),
    ({"a": {"in": 3, "eq": 4}}, "fay"),
    ({"x.y": 1}, "fay"),
    ({"x.y__gt": 1}, ""),
    # All must hold.
    ({"age": 30, "address__city": "Lyon"}, "bob"),
    ({"age": 30, "name": "Eve"}, ""),
    ({"age": 30, "age__eq": 30, "age__gte": 30, "age__in": [30]}, "ann bob"),
    ({"age": 30, "age__eq": 31}, ""),
]

REFUSED: list[dict[str, Any]] = [
    {"age__in": 3},
    {"age__in": "abc"},
    {"age__in": {"a": 1}},
    {"name__contains": 3},
    {"name__startswith": None},
    {"name__endswith": ["a"]},
    {"age__exists": 1},
    {"age__exists": "true"},
    {"age": float("nan")},
    {"age__lt": float("inf")},
    {"age__in": [float("-inf")]},
    {"age": object()},
    {"": 1},
    {"__a": 1},
    {"a__": 1},
    {"a____b": 1},
]


async def test_a_filter_gives_just_the_records_that_meet_it(people: Side, schema: str) -> None:
    wrong = {}
    for place, (keywords, names) in enumerate(CASES):
        found = await people.filter_record(schema, Anything, **keywords)
        streamed = [one.id async for one in people.iter_records(schema, Anything, **keywords)]
        ids = sorted(person.id for person in found)
        if ids != names.split() or sorted(streamed) != ids:
            wrong[place] = (str(keywords)[:200], ids, streamed)

    assert wrong == {}


async def test_a_filter_that_makes_no_sense_is_refused(store: Side, schema: str) -> None:
    for keywords in REFUSED:
        with pytest.raises(InvalidFilter):
            await store.filter_record(schema, Anything, **keywords)


@pytest.fixture
async def people(store: Side, schema: str) -> Side:
    """A store with PEOPLE in it."""
    for person in PEOPLE:
        await store.insert_record(schema, person["id"], Anything(**person))
    return store


class Colour(Enum):
    RED = "red"
    BLUE = 7


@dataclass
class Inner(BackendIntegrationMixin):
    price: Decimal
    day: date | None = None


@dataclass
class Event(BackendIntegrationMixin):
    id: str
    at: datetime
    price: Decimal
    token: UUID
    colour: Colour
    photo: bytes = b""
    day: date | None = None
    inner: Inner | None = None
    prices: dict[str, Decimal] = field(default_factory=dict)


def at(hour: int, zone: int = 0) -> datetime:
    """A moment, said in a zone `zone` hours east of Greenwich."""
    moment = datetime(2026, 11, 23, hour, tzinfo=UTC)
    return moment.astimezone(timezone(timedelta(hours=zone)))


EVENTS = [
    Event("a", at(9), Decimal("9.50"), UUID(int=1), Colour.RED, b"\x00", date(2026, 1, 2)),
    Event("b", at(10, zone=-9), Decimal(10), UUID(int=2**127), Colour.BLUE, b"\xff",
          inner=Inner(Decimal("1e2"), date(1999, 1, 1))),
    Event("c", at(11, zone=5), Decimal("1E+3"), UUID(int=3), Colour.RED,
          inner=Inner(Decimal(9)), prices={"x": Decimal(100)}),
]  # fmt: skip

TYPED_CASES: list[tuple[dict[str, Any], str]] = [
    ({"at": at(10)}, "b"),
    ({"at": at(10, zone=3)}, "b"),
    ({"at__gt": at(9, zone=12)}, "b c"),
    ({"at__lte": at(10, zone=-3)}, "a b"),
    ({"at__in": [at(9, zone=1), at(11, zone=-1)]}, "a c"),
    ({"at__ne": at(9, zone=7)}, "b c"),
    ({"at__gt": "2026-11-23T09:30:00+00:00"}, "b c"),
    ({"at__gt": datetime(2026, 1, 1)}, ""),
    ({"at__gt": 5}, ""),
    ({"at__gt": "soon"}, ""),
    ({"at": "soon"}, ""),
    ({"price__gt": Decimal("9.6")}, "b c"),
    ({"price__gt": 9}, "a b c"),
    ({"price__gte": 10.0}, "b c"),
    ({"price": "10.000"}, "b"),
    ({"price": 1000}, "c"),
    ({"price__in": [Decimal("9.5"), 10]}, "a b"),
    ({"price__lt": "10"}, "a"),
    ({"token": UUID(int=3)}, "c"),
    ({"token__gt": UUID(int=2)}, "b c"),
    ({"colour": Colour.BLUE}, "b"),
    ({"colour": "red"}, "a c"),
    ({"colour__in": [Colour.RED]}, "a c"),
    ({"photo": b"\xff"}, "b"),
    ({"day__gte": date(2026, 1, 1)}, "a"),
    ({"day": None}, "b c"),
    ({"day__ne": None}, "a"),
    ({"day__exists": True}, "a b c"),
    ({"inner__price__gt": Decimal(10)}, "b"),
    ({"inner__price__lt": 10}, "c"),
    ({"inner__day__lt": date(2000, 1, 1)}, "b"),
    ({"inner__exists": True, "inner": None}, "a"),
    ({"prices__x__gt": 99}, "c"),
    ({"price__startswith": "1"}, "b c"),
    ({"price__gt": 9, "at__lt": at(11), "colour": Colour.RED}, "a"),
]


async def test_typed_fields_compare_as_their_type(store: Side, schema: str) -> None:
    for event in EVENTS:
        await store.insert_record(schema, event.id, event)

    wrong = {}
    for keywords, names in TYPED_CASES:
        found = await store.filter_record(schema, Event, **keywords)
        if sorted(event.id for event in found) != names.split():
            wrong[str(keywords)] = found

    assert wrong == {}


async def test_iter_records_gives_many_records_once_each(
    store: Side, schema: str, few: Callable[[int], int]
) -> None:
    count = few(2500)
    await filled(store, schema, count)

    seen = [record.id async for record in store.iter_records(schema, Anything)]

    assert sorted(seen) == list(range(count))
    odd = [record.id async for record in store.iter_records(schema, Anything, odd=True)]
    assert sorted(odd) == list(range(1, count, 2))


async def test_iter_records_takes_no_more_memory_for_more_records(
    store: Side, schema: str, few: Callable[[int], int]
) -> None:
    peaks = []
    for count in (few(1500), few(3000)):
        name = f"{schema}.{count}"
        await filled(store, name, count, text="x" * 1000)
        tracemalloc.start()
        try:
            seen = 0
            async for _ in store.iter_records(name, Anything):
                seen += 1
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert seen == count

    # All 3000 would take 6 MB; a store of buckets has smaller pages while there is little in it.
    assert peaks[1] < max(1.5 * peaks[0], 3_000_000), peaks


async def test_a_walk_that_is_broken_off_leaves_the_store_usable(
    store: Side, schema: str, few: Callable[[int], int]
) -> None:
    await filled(store, schema, few(2500))
    for _ in range(20):
        walk = store.iter_records(schema, Anything)
        assert (await anext(walk)).state["odd"] in (True, False)
        await walk.aclose()

    assert await store.count(schema) == few(2500)


async def test_records_there_throughout_are_seen_while_others_come_and_go(
    store: Side, schema: str, few: Callable[[int], int]
) -> None:
    count = few(2500)
    await filled(store, schema, count)
    seen = set()
    extra = 0

    async for record in store.iter_records(schema, Anything):
        seen.add(record.id)
        if extra < few(300):
            await store.insert_record(schema, f"new{extra}", Anything(id=f"new{extra}", odd=None))
            await store.delete_record(schema, str(count - 1 - extra))
            extra += 1

    assert set(range(count - extra)) <= seen


@pytest.fixture
def few(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """A number of records, made smaller for a store that takes milliseconds for each."""
    slow = "hdfs" in request.node.callspec.id
    return lambda count: count // 50 if slow else count


async def filled(store: Side, schema: str, count: int, **more: Any) -> None:
    """Put records with the keys 0 to count - 1 into the store."""
    writes = [
        Write(str(number), records.dump(Anything(id=number, odd=number % 2 == 1, **more)))
        for number in range(count)
    ]
    for place in range(0, count, 500):
        await store.write_many(schema, writes[place : place + 500])
