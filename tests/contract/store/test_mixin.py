"""A record's own save, update, delete and reload, on the store its class is bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from pannier import BackendIntegrationMixin, ObjectDoesNotExist
from tests.contract.store.sides import Side


@dataclass
class Basket(BackendIntegrationMixin):
    id: int
    total: int = 0


class Plain(BackendIntegrationMixin):
    def __init__(self, id: int, total: int = 0) -> None:
        self.id = id
        self.total = total


@attrs.define
class Attrs(BackendIntegrationMixin):
    id: int
    total: int = 0


class Model(BackendIntegrationMixin, pydantic.BaseModel):
    id: int
    total: int = 0


class Struct(BackendIntegrationMixin, msgspec.Struct):
    id: int
    total: int = 0


KLASSES: list[type[Any]] = [Basket, Plain, Attrs, Model, Struct]


@pytest.mark.parametrize("klass", KLASSES)
async def test_a_record_saves_updates_reloads_and_deletes_itself(
    store: Side, klass: type[Any]
) -> None:
    klass.bind(store.subject)
    schema = klass.get_schema_name()
    mine = klass(id=42, total=1)

    await store.call(mine.save)
    assert await store.count(schema) == 1
    mine.total = 2
    await store.call(mine.save)
    assert (await store.get_record(schema, klass, 42)).total == 2
    mine.total = 3
    await store.call(mine.update)
    other = klass(id=42)
    await store.call(other.reload)
    assert other.total == 3
    await store.call(mine.delete)
    assert await store.exists(schema, 42) is False


@pytest.mark.parametrize("klass", KLASSES)
async def test_a_missing_record_cannot_be_updated_deleted_or_reloaded(
    store: Side, klass: type[Any]
) -> None:
    klass.bind(store.subject)
    mine = klass(id=43, total=1)

    for method in (mine.update, mine.delete, mine.reload):
        with pytest.raises(ObjectDoesNotExist):
            await store.call(method)

    assert await store.count(klass.get_schema_name()) == 0
    assert mine.total == 1


async def test_the_schema_is_the_class_name_unless_the_class_says_otherwise(store: Side) -> None:
    class Renamed(Basket):
        @classmethod
        def get_schema_name(cls) -> str:
            return "elsewhere"

    Basket.bind(store.subject)

    await store.call(Renamed(1).save)

    assert await store.exists("elsewhere", 1) is True
    assert await store.exists("Basket", 1) is False
