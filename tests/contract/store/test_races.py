"""Many at once: one winner in every race, no answer to the wrong question, no lost slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import pytest

from pannier import ConnectionMode, ObjectDoesNotExist, ObjectExistError
from pannier.operations import IF_ABSENT, Outcome, if_match
from tests.contract.store.carts import Anything, Cart
from tests.contract.store.sides import Side

RIVALS = 24


async def at_once(*calls: Any) -> list[Any]:
    """What each of the calls gave or raised, all begun before any is waited for."""
    return await asyncio.gather(*calls, return_exceptions=True)


def rivals(request: pytest.FixtureRequest) -> int:
    """How many take part in a race; fewer where an operation takes milliseconds."""
    return RIVALS // 3 if "hdfs" in request.node.callspec.id else RIVALS


async def test_of_many_inserts_of_one_key_one_wins(
    open_store: Callable[..., Side], schema: str, request: pytest.FixtureRequest
) -> None:
    stores = [open_store() for _ in range(3)]
    count = rivals(request)
    for key in map(str, range(5)):
        results = await at_once(
            *(stores[one % 3].insert_record(schema, key, Cart(key, one)) for one in range(count))
        )

        winners = [place for place, result in enumerate(results) if result is None]
        losers = [result for result in results if isinstance(result, ObjectExistError)]
        assert (len(winners), len(losers)) == (1, count - 1), results
        assert (await stores[0].get_record(schema, Cart, key)).total == winners[0]
    assert await stores[0].count(schema) == 5


async def test_of_many_deletes_of_one_key_one_succeeds(
    store: Side, schema: str, request: pytest.FixtureRequest
) -> None:
    await store.insert_record(schema, "42", Cart("42"))
    count = rivals(request)

    results = await at_once(*(store.delete_record(schema, "42") for _ in range(count)))

    assert results.count(None) == 1
    assert sum(isinstance(result, ObjectDoesNotExist) for result in results) == count - 1
    assert await store.exists(schema, "42") is False


async def test_readers_see_the_old_or_the_new_and_never_a_part(
    store: Side, schema: str, request: pytest.FixtureRequest
) -> None:
    size = 20_000
    await store.insert_record(schema, "42", Anything(id="42", text="0" * size))
    count = rivals(request)

    results = await at_once(
        *(store.update_record(schema, "42", Anything(id="42", text=f"{one % 10}" * size))
          for one in range(count)),
        *(store.get_record(schema, Anything, "42") for _ in range(count)),
    )  # fmt: skip

    assert results[:count] == [None] * count
    for record in results[count:]:
        assert len(record.state["text"]) == size
        assert len(set(record.state["text"])) == 1


async def test_every_answer_goes_to_its_own_question(
    store: Side, schema: str, request: pytest.FixtureRequest
) -> None:
    count = rivals(request) * 3
    await at_once(
        *(store.insert_record(schema, f"k{one}", Cart(f"k{one}", one)) for one in range(count))
    )

    found = await at_once(
        *(store.get_record(schema, Cart, f"k{one}") for one in range(count)),
        *(store.exists(schema, f"none{one}") for one in range(count)),
    )

    assert found[:count] == [Cart(f"k{one}", one) for one in range(count)]
    assert found[count:] == [False] * count


async def test_one_connection_serves_many_at_once(
    open_store: Callable[..., Side], schema: str, request: pytest.FixtureRequest
) -> None:
    if "memory-" in request.node.callspec.id and "sidecar" not in request.node.callspec.id:
        options: dict[str, Any] = {}  # it has no connections
    else:
        options = {"max_connections": 1}
    store = open_store(**options)
    count = rivals(request)

    await at_once(*(store.upsert_record(schema, f"k{one}", Cart(one)) for one in range(count)))
    found = await at_once(*(store.get_record(schema, Cart, f"k{one}") for one in range(count)))

    assert found == [Cart(one) for one in range(count)]
    assert store.stats()["in_use"] == 0


async def test_a_single_shared_connection_serves_many_at_once(
    open_store: Callable[..., Side], schema: str, request: pytest.FixtureRequest
) -> None:
    if "memory-" in request.node.callspec.id and "sidecar" not in request.node.callspec.id:
        options: dict[str, Any] = {}
    elif "grouped" in request.node.callspec.id:
        return  # the sidecar's own store is always pooled
    else:
        options = {"connection_mode": ConnectionMode.SINGLE}
    store = open_store(**options)
    count = rivals(request)

    await at_once(*(store.upsert_record(schema, f"k{one}", Cart(one)) for one in range(count)))
    found = await at_once(*(store.get_record(schema, Cart, f"k{one}") for one in range(count)))

    assert found == [Cart(one) for one in range(count)]


async def test_compare_and_set_loses_no_increment(
    store: Side, schema: str, request: pytest.FixtureRequest
) -> None:
    if "cas" not in store.capabilities:
        return
    await store.write(schema, "42", b"0", IF_ABSENT)

    async def increment() -> None:
        while True:
            value = await store.read(schema, "42")
            tag = sha1(value).hexdigest()
            more = b"%d" % (int(value) + 1)
            if await store.write(schema, "42", more, if_match(tag)) is Outcome.REPLACED:
                return

    results = await at_once(*(increment() for _ in range(12)))

    assert results == [None] * 12
    assert await store.read(schema, "42") == b"12"


async def test_a_cancelled_call_leaves_the_store_whole(
    open_store: Callable[..., Side], schema: str, request: pytest.FixtureRequest
) -> None:
    store = open_store()
    if store.is_sync:
        return  # a thread cannot be cancelled
    await store.insert_record(schema, "42", Cart("42", 7))
    for _ in range(30):
        task = asyncio.ensure_future(store.get_record(schema, Cart, "42"))
        await asyncio.sleep(0)
        task.cancel()
        await at_once(task)

    found = await at_once(*(store.get_record(schema, Cart, "42") for _ in range(10)))

    assert found == [Cart("42", 7)] * 10
    assert store.stats()["in_use"] == 0
