"""Records: states of every kind of class, defaults, unknown fields, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import BackendIntegrationMixin, InvalidRecord, StoreNotFound, records

Mixin = BackendIntegrationMixin
T = TypeVar("T")


def stored(record: Any) -> Any:
    """What a record's stored bytes say."""
    return json.loads(records.dump(record))


def again(record: Any) -> Any:
    """The record as another process would load it."""
    return records.load(type(record), records.dump(record))


def loaded(klass: type[Any], **state: Any) -> Any:
    """A record from a stored state."""
    return records.load(klass, json.dumps(state).encode())


# Typed fields -----------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    HI = "hi"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    when: date


class Movie(TypedDict, total=False):
    title: str
    shown: date


UserId = NewType("UserId", UUID)


@dataclasses.dataclass
class Node(Mixin):
    name: str
    children: list[Node] = dataclasses.field(default_factory=list)
    parent_day: date | None = None


@dataclasses.dataclass
class Cat:
    name: str
    born: date


@dataclasses.dataclass
class Dog:
    name: str
    born: date
    good: bool = True


@dataclasses.dataclass
class Email:
    kind: Literal["email"]
    address: str


@dataclasses.dataclass
class Phone:
    kind: Literal["phone"]
    address: str


class OwnState:
    """A class with a state of its own making."""

    def __init__(self, secret: int) -> None:
        self.secret = secret

    def get_state(self) -> dict[str, Any]:
        return {"s": self.secret}

    def set_state(self, state: dict[str, Any]) -> None:
        self.secret = state["s"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnState) and other.secret == self.secret

    __hash__ = None  # type: ignore[assignment]


DAY = date(2026, 11, 23)

HINTS: list[tuple[Any, Any, Any]] = [
    (Optional[date], DAY, "2026-11-23"),  # noqa: UP045 (the old spelling is the point)
    (date | None, None, None),
    (Annotated[date, "when"], DAY, "2026-11-23"),
    (Final[date], DAY, "2026-11-23"),
    (UserId, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Colour, Colour.RED, "red"),
    (Colour, Colour.PAIR, [1, 2]),
    (Level, Level.LOW, 1),
    (Word, Word.HI, "hi"),
    (Rights, Rights.READ | Rights.WRITE, 3),
    (bytearray, bytearray(b"\x00\xff"), "AP8="),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
    (list[date], [DAY], ["2026-11-23"]),
    (Sequence[date], [DAY], ["2026-11-23"]),
    (list[list[date] | None], [[DAY], None], [["2026-11-23"], None]),
    (tuple[date, ...], (DAY, DAY), ["2026-11-23", "2026-11-23"]),
    (tuple[int, date], (1, DAY), [1, "2026-11-23"]),
    (tuple[()], (), []),
    (tuple, (1, "a"), [1, "a"]),
    (set[int], {3, 1, 2}, [1, 2, 3]),
    (frozenset[date], frozenset({DAY}), ["2026-11-23"]),
    (deque[date], deque([DAY]), ["2026-11-23"]),
    (dict[str, date], {"b": DAY, "a": DAY}, {"b": "2026-11-23", "a": "2026-11-23"}),
    (Mapping[str, date], {"a": DAY}, {"a": "2026-11-23"}),
    (OrderedDict[str, int], OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (Point, Point(1, DAY), [1, "2026-11-23"]),
    (Movie, {"title": "M", "shown": DAY}, {"title": "M", "shown": "2026-11-23"}),
    (PurePosixPath, PurePosixPath("/a/b"), "/a/b"),
    (IPv4Address, IPv4Address("10.0.0.1"), "10.0.0.1"),
    (Cat | Dog, Dog("Rex", DAY), {"name": "Rex", "born": "2026-11-23", "good": True}),
    (Dog | Cat, Cat("Tom", DAY), {"name": "Tom", "born": "2026-11-23"}),
    (list[Email | Phone], [Phone("phone", "1"), Email("email", "2")],
     [{"kind": "phone", "address": "1"}, {"kind": "email", "address": "2"}]),
    (int | date, 5, 5),
    (int | date, DAY, "2026-11-23"),
    (date | str, "no day", "no day"),
    (str | date, "2026-11-23", "2026-11-23"),
    (int | str | None, "5", "5"),
    (Decimal | Literal["free"], "free", "free"),
    (Literal["a", 1], 1, 1),
    (Literal[Colour.RED, 7], Colour.RED, "red"),
    (Literal[Colour.RED, 7], 7, 7),
    (float, 3, 3),
    (float, 10**400, 10**400),
    (Any, {"a": [1, None]}, {"a": [1, None]}),
    (OwnState, OwnState(3), {"s": 3}),
    (dict[str, list[OwnState]], {"a": [OwnState(1)]}, {"a": [{"s": 1}]}),
    (Node, Node("a", [Node("b", [], DAY)]),
     {"name": "a", "children": [{"name": "b", "children": [], "parent_day": "2026-11-23"}],
      "parent_day": None}),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value", "text"), HINTS, ids=lambda value: str(value)[:40])
def test_a_typed_field_is_stored_in_json_and_restored_to_its_type(
    hint: Any, value: Any, text: Any
) -> None:
    klass = dataclasses.make_dataclass("Holder", [("field", hint)], bases=(Mixin,))
    record = klass(value)

    assert stored(record) == {"field": text}
    back = again(record)
    assert back.field == value
    assert type(back.field) is type(value)


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (date, "soon"), (date, 5), (datetime, "2026-13-01"), (UUID, "x"), (Decimal, "x"),
        (Decimal, "NaN"), (Decimal, True), (bytes, "%"), (Colour, "blue"), (list[date], "x"),
        (list[date], ["2026-11-23", 3]), (tuple[int, date], [1]), (dict[str, date], []),
        (Cat, "x"), (Cat, {"name": "Tom"}), (date | UUID, "neither"), (set[int], 3),
    ],
)  # fmt: skip
def test_a_stored_value_of_another_type_is_refused_with_its_place(hint: Any, text: Any) -> None:
    klass = dataclasses.make_dataclass("Holder", [("field", hint)], bases=(Mixin,))

    with pytest.raises(InvalidRecord, match=r"Holder\.field"):
        loaded(klass, field=text)


def test_a_decimal_takes_a_json_number() -> None:
    klass = dataclasses.make_dataclass("Holder", [("field", Decimal)], bases=(Mixin,))

    assert loaded(klass, field=1.1).field == Decimal("1.1")
    assert loaded(klass, field=3).field == Decimal(3)


def test_annotations_of_init_count_for_plain_classes() -> None:
    class Cart(Mixin):
        def __init__(self, id: int, made: date, cache: Colour | None = None) -> None:
            self.id = id
            self.made = made

    assert again(Cart(1, DAY)).made == DAY


def test_classes_of_a_function_may_name_each_other() -> None:
    class Local(Enum):
        A = 1

    @dataclasses.dataclass
    class Outer(Mixin):
        one: Local
        many: list[Local]

    assert again(Outer(Local.A, [Local.A])) == Outer(Local.A, [Local.A])


# Loading ----------------------------------------------------------------------------------------


def test_loading_calls_no_init_and_no_validator() -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("called")

    @dataclasses.dataclass
    class Data(Mixin):
        id: int
        __post_init__ = refuse

    @attrs.define
    class Attrs(Mixin):
        id: int = attrs.field(validator=refuse, converter=int)
        __attrs_post_init__ = refuse

    class Model(Mixin, pydantic.BaseModel):
        id: int
        check = pydantic.field_validator("id")(lambda value: refuse())
        model_post_init = refuse

    class Struct(Mixin, msgspec.Struct):
        id: int
        __post_init__ = refuse

    class Plain(Mixin):
        __init__ = refuse  # type: ignore[assignment]

    for klass in (Data, Attrs, Model, Struct, Plain):
        assert loaded(klass, id=3).id == 3


def test_a_loaded_pydantic_model_is_a_whole_model() -> None:
    class Model(Mixin, pydantic.BaseModel):
        id: int
        tags: list[str] = pydantic.Field(default_factory=list)
        twice: int = pydantic.Field(default_factory=lambda data: data["id"] * 2)
        handle: Any = pydantic.Field(default="closed", exclude=True)
        _private: int = 7

        @pydantic.computed_field
        def shown(self) -> str:
            return f"#{self.id}"

    model = loaded(Model, id=4)

    assert (model.tags, model.twice, model.handle, model._private) == ([], 8, "closed", 7)
    assert model.model_fields_set == {"id"}
    assert model.model_dump() == {"id": 4, "tags": [], "twice": 8, "shown": "#4"}
    assert model.model_copy() == model
    assert model == Model(id=4)
    assert stored(Model(id=4, handle=object())) == {"id": 4, "tags": [], "twice": 8}


def test_missing_fields_take_their_declared_defaults() -> None:
    @dataclasses.dataclass
    class Data(Mixin):
        id: int
        tags: list[str] = dataclasses.field(default_factory=list)
        day: date = DAY

    @attrs.define
    class Attrs(Mixin):
        id: int
        tags: list[str] = attrs.field(factory=list)
        day: date = DAY
        more: int = attrs.field(default=attrs.Factory(lambda self: self.id + 1, takes_self=True))

    class Struct(Mixin, msgspec.Struct):
        id: int
        tags: list[str] = []
        day: date = DAY

    class Plain(Mixin):
        id: int
        tags: list[str] = []  # noqa: RUF012
        day: date = DAY

    for klass in (Data, Attrs, Struct, Plain):
        one, other = loaded(klass, id=1), loaded(klass, id=2)
        assert (one.id, one.tags, one.day) == (1, [], DAY)
        assert one.tags is not other.tags
    assert loaded(Attrs, id=1).more == 2


@pytest.mark.parametrize("maker", [dataclasses.dataclass, attrs.define])
def test_a_missing_field_without_a_default_is_refused(maker: Any) -> None:
    klass = maker(type("Cart", (Mixin,), {"__annotations__": {"id": int, "total": int}}))

    with pytest.raises(InvalidRecord, match="lacks total"):
        loaded(klass, id=1)


def test_unknown_fields_are_kept_by_open_classes_and_ignored_by_closed_ones() -> None:
    class Plain(Mixin):
        id: int

    class Open(Mixin, pydantic.BaseModel, extra="allow"):
        id: int

    @dataclasses.dataclass
    class Data(Mixin):
        id: int

    @attrs.define(slots=False)
    class Attrs(Mixin):
        id: int

    class Struct(Mixin, msgspec.Struct):
        id: int

    class Closed(Mixin, pydantic.BaseModel):
        id: int

    for klass in (Plain, Open):
        assert stored(loaded(klass, id=1, more=[2])) == {"id": 1, "more": [2]}
        assert loaded(klass, id=1, more=[2]).more == [2]
    for klass in (Data, Attrs, Struct, Closed):
        assert stored(loaded(klass, id=1, more=[2])) == {"id": 1}
        assert not hasattr(loaded(klass, id=1, more=[2]), "more")


def test_a_plain_record_keeps_the_order_of_its_keys() -> None:
    class Plain(Mixin):
        id: int
        day: date
        late: int = 5

        def __init__(self) -> None:
            self.z = 1
            self.day = DAY
            self.id = 2

    assert list(stored(Plain())) == ["z", "day", "id", "late"]
    assert list(stored(again(Plain()))) == ["z", "day", "id", "late"]
    mixed = loaded(Plain, y=1, id=2, x=3, day="2026-11-23", late=4)
    assert list(stored(mixed)) == ["y", "id", "x", "day", "late"]


def test_structs_are_built_without_post_init_wherever_the_mixin_stands() -> None:
    def refuse(record: Any) -> None:
        raise AssertionError("called")

    class First(Mixin, msgspec.Struct):
        id: int
        __post_init__ = refuse

    class Second(msgspec.Struct, Mixin, frozen=True, kw_only=True, tag=True):
        id: int
        day: date = DAY
        __post_init__ = refuse

    class Inner(msgspec.Struct):
        day: date

    class Outer(Mixin, msgspec.Struct):
        inner: Inner
        more: list[Inner] = []

    assert loaded(First, id=3).id == 3
    assert (loaded(Second, id=4).id, loaded(Second, id=4).day) == (4, DAY)
    assert type(loaded(Second, id=4)) is Second
    assert again(Outer(Inner(DAY), [Inner(DAY)])) == Outer(Inner(DAY), [Inner(DAY)])


def test_generic_and_inherited_classes_are_records() -> None:
    class Box(Mixin, pydantic.BaseModel, Generic[T]):
        id: int
        content: T
        many: list[T]

    @dataclasses.dataclass
    class Base(Mixin):
        id: int

    @dataclasses.dataclass
    class Derived(Base):
        day: date = DAY
        made: int = dataclasses.field(init=False, default=4)
        hint: dataclasses.InitVar[int] = 3

    class Hidden(Mixin):
        __slots__ = ("__secret", "id")

        def __init__(self) -> None:
            self.id = 1
            self.__secret = 2

        def tell(self) -> int:
            return self.__secret

    box = Box[date](id=1, content=DAY, many=[DAY])
    assert again(box) == box
    assert again(Derived(1)) == Derived(1)
    assert again(Hidden()).tell() == 2


def test_a_stored_name_cannot_take_a_method_or_a_dunder_away() -> None:
    class Plain(Mixin):
        id: int

        @property
        def total(self) -> int:
            return 7

    record = loaded(Plain, id=1, save=2, total=3, __class__=4, get_state=5)

    assert callable(record.save) and callable(record.get_state)
    assert record.total == 7
    assert type(record) is Plain
    assert stored(record) == {"id": 1}


def test_class_variables_and_computed_names_are_no_state() -> None:
    class Plain(Mixin):
        shared: ClassVar[int] = 3

        def __init__(self) -> None:
            self.id = 1
            self._hidden = 2

        @cached_property
        def slow(self) -> int:
            return self.id * 10

    record = Plain()
    assert record.slow == 10
    assert stored(record) == {"id": 1, "_hidden": 2}
    records.restore(record, b'{"id":5}')
    assert record.slow == 50
    assert not hasattr(record, "_hidden")


def test_a_failed_load_into_an_object_changes_nothing_of_it() -> None:
    @dataclasses.dataclass
    class Data(Mixin):
        id: int
        day: date

    record = Data(1, DAY)
    for value in (b'{"id":2,"day":"x"}', b'{"id":2}', b"[]", b"3", b"{", b""):
        with pytest.raises(InvalidRecord):
            records.restore(record, value)
        assert record == Data(1, DAY)


def test_frozen_and_hashed_objects_stay_what_they_are() -> None:
    @attrs.frozen(cache_hash=True)
    class Hashed(Mixin):
        id: int

    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen(Mixin):
        id: int

    assert hash(again(Hashed(3))) == hash(Hashed(3))
    assert {again(Frozen(3))} == {Frozen(3)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        again(Frozen(3)).id = 4


# States -----------------------------------------------------------------------------------------


def test_get_state_is_fresh_and_plain_and_set_state_takes_nothing_of_the_callers() -> None:
    @dataclasses.dataclass
    class Data(Mixin):
        id: int
        items: list[Any]
        day: date

    record = Data(1, [[2]], DAY)
    state = record.get_state()
    assert state == {"id": 1, "items": [[2]], "day": "2026-11-23"}
    state["items"][0].append(3)
    assert record.items == [[2]]
    mine = {"id": 2, "items": [[4]], "day": DAY}
    record.set_state(mine)
    mine["items"][0].append(5)
    assert record == Data(2, [[4]], DAY)


def test_a_state_can_be_extended_by_a_subclass() -> None:
    class Locked(Mixin):
        def __init__(self) -> None:
            self.id = 1
            self.lock = object()

        def get_state(self) -> dict[str, Any]:
            self_without_lock = dict(vars(self))
            del self_without_lock["lock"]
            return self_without_lock

    record = Locked()
    lock = record.lock
    records.restore(record, b'{"id":2}')
    assert (record.id, record.lock) == (2, lock)
    assert stored(record) == {"id": 2}


def test_a_class_with_a_state_of_its_own_gets_it_back_as_it_is() -> None:
    record = OwnState(1)
    assert stored(record) == {"s": 1}
    records.restore(record, b'{"s":[2.5]}')
    assert record.secret == [2.5]
    assert again(OwnState(3)) == OwnState(3)


def test_subclasses_of_jsons_own_types_are_stored_as_those() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "other"

    class Whole(int):
        def __int__(self) -> int:
            return 7

    class Real(float):
        pass

    class Holder(Mixin):
        def __init__(self, value: Any) -> None:
            self.value = value

    for value, text in (
        (Text("a"), "a"),
        (Whole(3), 3),
        (Real(0.5), 0.5),
        (OrderedDict(b=1), {"b": 1}),
        ({Word.HI: {Text("k"): Whole(1)}}, {"hi": {"k": 1}}),
        (deque([Text("a")]), ["a"]),
        (Point(1, DAY), [1, "2026-11-23"]),
    ):
        assert stored(Holder(value)) == {"value": text}
        assert type(Holder(value).get_state()["value"]) is type(text)


def test_a_slot_that_the_stored_state_lacks_is_cleared() -> None:
    class Slotted(Mixin):
        __slots__ = ("id", "note")

    record = loaded(Slotted, id=1, note="old")
    records.restore(record, b'{"id":2}')

    assert record.id == 2
    assert not hasattr(record, "note")


def test_a_refusal_names_the_place() -> None:
    class Plain(Mixin):
        def __init__(self, **values: Any) -> None:
            vars(self).update(values)

    for values, place in (
        ({"a": [1, {"b": float("nan")}]}, r"Plain\.a\[1\]\.b: nan"),
        ({"a": {1: 2}}, r"Plain\.a: the key 1"),
        ({"a": object()}, r"Plain\.a: a object cannot be stored"),
        ({"a": Decimal("Infinity")}, r"Plain\.a: Infinity"),
        ({"a": Plain}, r"Plain\.a: the class Plain"),
    ):
        with pytest.raises(InvalidRecord, match=place):
            records.dump(Plain(**values))


def test_what_has_no_state_is_no_record() -> None:
    with pytest.raises(InvalidRecord, match="get_state"):
        records.dump(object())
    with pytest.raises(InvalidRecord, match="gave no dict"):
        records.dump(type("Odd", (), {"get_state": lambda self: [1]})())


def test_equal_sets_are_equal_bytes() -> None:
    klass = dataclasses.make_dataclass("Holder", [("field", set[str])], bases=(Mixin,))
    names = [f"name{number}" for number in range(50)]

    other_way = sorted(names, reverse=True)

    assert records.dump(klass(set(names))) == records.dump(klass(set(other_way)))


def test_objects_nested_hundreds_deep_are_stored_and_loaded() -> None:
    node = Node("leaf")
    for _ in range(200):
        node = Node("inner", [node])

    assert again(node) == node
    for _ in range(100):
        node = Node("inner", [node])
    with pytest.raises(InvalidRecord, match="deep"):
        records.dump(node)


floats = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@dataclasses.dataclass
class Everything(Mixin):
    whole: int
    real: float
    text: str
    raw: bytes
    day: date | None
    at: datetime
    price: Decimal
    token: UUID
    pairs: list[tuple[date, Decimal]]
    named: dict[str, frozenset[int]]


@given(
    st.builds(
        Everything,
        whole=st.integers(),
        real=floats,
        text=names,
        raw=st.binary(max_size=20),
        day=st.none() | st.dates(),
        at=st.datetimes(timezones=st.none() | st.timezones()),
        price=st.decimals(allow_nan=False, allow_infinity=False),
        token=st.uuids(),
        pairs=st.lists(st.tuples(st.dates(), st.decimals(allow_nan=False, allow_infinity=False))),
        named=st.dictionaries(names, st.frozensets(st.integers(), max_size=3), max_size=3),
    )
)
def test_states_come_back_whatever_they_hold(record: Everything) -> None:
    back = again(record)

    assert back == record
    assert repr(back.real) == repr(record.real)
    assert str(back.price) == str(record.price)
    assert back.at.utcoffset() == record.at.utcoffset()
    assert list(back.named) == list(record.named)


# Bound classes ----------------------------------------------------------------------------------


class Remembering:
    """A store that says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def upsert_record(self, schema: str, key: Any, record: Any) -> str:
        self.asked.append((schema, key))
        return "done"


def test_a_subclass_follows_its_base_until_it_is_bound_itself() -> None:
    class Cart(Mixin):
        id = 1

    class Special(Cart):
        pass

    first, second = Remembering(), Remembering()
    Cart.bind(first)
    assert Special().save() == "done"
    Special.bind(second)
    Special().save()
    Cart().save()

    assert first.asked == [("Special", 1), ("Cart", 1)]
    assert second.asked == [("Special", 1)]


def test_a_class_without_a_store_says_what_to_do() -> None:
    class Lonely(Mixin):
        id = 1

    with pytest.raises(StoreNotFound, match=r"Lonely\.bind\(store\)"):
        Lonely().save()


def test_records_import_neither_attrs_nor_pydantic_nor_pickle() -> None:
    code = (
        "import sys, pannier.records, pannier.filters\n"
        "print([name for name in ('attr', 'attrs', 'pydantic', 'pickle') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
