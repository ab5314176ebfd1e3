"""One record with every typed field, as each kind of class that can be one."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pydantic

from pannier import BackendIntegrationMixin


class Colour(Enum):
    RED = "red"
    DARK = 2


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass(frozen=True)
class Address:
    city: str
    since: date


class DataclassCart(BackendIntegrationMixin):
    """Made a dataclass below, so that the fields are written once."""

    id: int
    made: datetime
    day: date
    at: time
    lasts: timedelta
    token: UUID
    price: Decimal
    colour: Colour
    size: Size
    photo: bytes
    address: Address
    maybe: datetime | None
    dates: list[date]
    pair: tuple[int, Decimal]
    tags: set[str]
    prices: dict[str, Decimal]
    either: int | Decimal | None
    free: Any


FIELDS = DataclassCart.__annotations__

VALUES: dict[str, Any] = {
    "id": 42,
    "made": datetime(2026, 11, 23, 14, 5, 6, 789, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "day": date(2026, 2, 28),
    "at": time(23, 59, 59, 999999),
    "lasts": timedelta(days=-2, seconds=5, microseconds=7),
    "token": UUID("12345678-1234-5678-9abc-123456789abc"),
    "price": Decimal("1.10000000000000000000000000000000000001"),
    "colour": Colour.DARK,
    "size": Size.LARGE,
    "photo": bytes(range(256)),
    "address": Address("Paris", date(1999, 12, 31)),
    "maybe": datetime(1, 1, 1, tzinfo=UTC),
    "dates": [date(1, 1, 1), date(9999, 12, 31)],
    "pair": (7, Decimal("-0.0")),
    "tags": {"b", "a"},
    "prices": {"b": Decimal("1E+5"), "a": Decimal("0.1")},
    "either": Decimal("2.50"),
    "free": {"any": ["thing", None, 1.5]},
}


def fields(hints: dict[str, Any]) -> dict[str, Any]:
    """A class body with these annotations."""
    return {"__annotations__": dict(hints), "__module__": __name__}


Base = BackendIntegrationMixin
plain_dataclass = dataclasses.dataclass(type("PlainDataclass", (Base,), fields(FIELDS)))
frozen_slots = dataclasses.dataclass(frozen=True, slots=True)(
    type("FrozenSlots", (Base,), fields(FIELDS))
)
attrs_class = attrs.define(type("AttrsClass", (Base,), fields(FIELDS)))
attrs_frozen = attrs.frozen(type("AttrsFrozen", (Base,), fields(FIELDS)))
attrs_dict = attrs.define(slots=False)(type("AttrsDict", (Base,), fields(FIELDS)))


class PydanticModel(Base, pydantic.BaseModel):
    __annotations__ = dict(FIELDS)


class FrozenModel(Base, pydantic.BaseModel, frozen=True):
    __annotations__ = dict(FIELDS)


class Struct(Base, msgspec.Struct):
    __annotations__ = dict(FIELDS)


class FrozenStruct(Base, msgspec.Struct, frozen=True, kw_only=True, tag=True):
    __annotations__ = dict(FIELDS)


class Plain(Base):
    """A plain class that annotates what it holds."""

    __annotations__ = dict(FIELDS)

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Slotted(Base):
    """A plain class without a `__dict__`."""

    __slots__ = tuple(FIELDS)
    __annotations__ = dict(FIELDS)

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    __hash__ = None  # type: ignore[assignment]


CLASSES: dict[str, type[Any]] = {
    "dataclass": plain_dataclass,
    "frozen slotted dataclass": frozen_slots,
    "attrs": attrs_class,
    "frozen attrs": attrs_frozen,
    "attrs with a dict": attrs_dict,
    "pydantic": PydanticModel,
    "frozen pydantic": FrozenModel,
    "msgspec": Struct,
    "frozen tagged msgspec": FrozenStruct,
    "plain": Plain,
    "slotted": Slotted,
}
