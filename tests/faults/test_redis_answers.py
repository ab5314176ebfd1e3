"""What Redis answers, or what is left of an answer, and how the store takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import pytest

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
)
from pannier.operations import ALWAYS, IF_ABSENT, IF_PRESENT, Outcome, Write, if_match
from tests.faults.redis_load import SCHEMA, Load, eventually, works_again
from tests.real.proxy import Proxy, proxy
from tests.real.redis import RedisServer
from tests.real.redis_sides import redis_store

__all__ = ["redis_store"]

Opener = Callable[..., Any]


@pytest.fixture
def settings(redis_server: RedisServer, redis_prefix: str) -> dict[str, Any]:
    return {
        "port": redis_server.port, "key_prefix": redis_prefix, "max_connections": 2,
        "connection_timeout": 2.0, "request_timeout": 2.0,
    }  # fmt: skip


@pytest.fixture
def middle(redis_server: RedisServer, settings: dict[str, Any]) -> Any:
    """A proxy before the shared server; the settings lead through it."""
    with proxy(redis_server.port) as running:
        settings["port"] = running.port
        yield running


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "read": lambda store: store.read(SCHEMA, "a"),
    "contains": lambda store: store.contains(SCHEMA, "a"),
    "put": lambda store: store.write(SCHEMA, "a", b"1"),
    "insert": lambda store: store.write(SCHEMA, "a", b"1", IF_ABSENT),
    "update": lambda store: store.write(SCHEMA, "a", b"1", IF_PRESENT),
    "compare": lambda store: store.write(SCHEMA, "a", b"1", if_match("0" * 40)),
    "erase": lambda store: store.erase(SCHEMA, "a"),
    "compare-erase": lambda store: store.erase(SCHEMA, "a", if_match("0" * 40)),
    "read_many": lambda store: store.read_many(SCHEMA, ["a", "b"]),
    "atomic": lambda store: store.write_many(SCHEMA, [Write("a", b"1")], atomic=True),
    "count": lambda store: store.size(SCHEMA),
    "scan": lambda store: store.scan(SCHEMA, None, 10),
}


# Replies that are errors ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_key_of_another_kind_is_refused_by_name_and_left_as_it_is(
    operation: str, redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    name = settings["key_prefix"] + SCHEMA
    redis_server.call("SET", name, "of another program")
    store = redis_store(**settings)
    with pytest.raises(BackendRefused, match=f"{name}.*WRONGTYPE"):
        await OPERATIONS[operation](store)
    results = await store.write_many(SCHEMA, [Write("a", b"1"), Write("b", None)])
    assert [type(result) for result in results] == [BackendRefused, BackendRefused]
    assert redis_server.call("GET", name) == b"of another program"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_the_user_may_not_do_is_refused_and_not_done(
    operation: str, redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    name = settings["key_prefix"] + SCHEMA
    user = settings["key_prefix"] + "user"
    redis_server.call("ACL", "SETUSER", user, "on", ">pw", f"~{name}", "+hmget", "-@all")
    store = redis_store(**settings, username=user, password="pw")
    with pytest.raises(BackendRefused, match="ACL"):
        await OPERATIONS[operation](store)
    assert not redis_server.call("EXISTS", name)
    redis_server.call("ACL", "DELUSER", user)


async def test_a_user_who_may_not_delete_gets_no_half_of_an_atomic_batch(
    redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    prefix = settings["key_prefix"]
    user = prefix + "user"
    redis_server.call(
        "ACL", "SETUSER", user, "on", ">pw", f"~{prefix}*", "+@all", "-hdel"
    )  # fmt: skip
    store = redis_store(**settings, username=user, password="pw")
    await store.write(SCHEMA, "b", b"1")
    with pytest.raises(BackendRefused, match="NOPERM"):
        await store.write_many(SCHEMA, [Write("a", b"1"), Write("b", None)], atomic=True)
    assert await store.read_many(SCHEMA, ["a", "b"]) == [None, b"1"]
    redis_server.call("ACL", "DELUSER", user)


async def test_scripts_the_server_forgot_are_loaded_and_run_once(
    redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "a", b"0")
    for number in range(1, 6):
        redis_server.call("SCRIPT", "FLUSH")
        tag = sha1(b"%d" % (number - 1)).hexdigest()
        # A compare-and-set that ran twice would find its own value, and say MISMATCH.
        outcome = await store.write(SCHEMA, "a", b"%d" % number, if_match(tag))
        assert outcome is Outcome.REPLACED
    redis_server.call("SCRIPT", "FLUSH")
    writes = [Write("a", b"x", IF_PRESENT), Write("c", b"y", IF_ABSENT), Write("c", None)]
    results = await store.write_many(SCHEMA, writes, atomic=True)
    assert results == [Outcome.REPLACED, Outcome.CREATED, Outcome.DELETED]
    redis_server.call("SCRIPT", "FLUSH")
    results = await store.write_many(SCHEMA, [Write("c", b"1"), Write("c", b"2", IF_PRESENT)])
    assert results == [Outcome.CREATED, Outcome.REPLACED]
    assert await store.read(SCHEMA, "c") == b"2"


async def test_scripts_flushed_under_load_are_never_run_twice_or_lost(
    redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "n", b"0")
    ends = False

    async def count_up() -> int:
        """Compare-and-set increments, as a merge patch makes them."""
        done = 0
        for _ in range(2000):
            if ends:
                break
            value = await store.read(SCHEMA, "n")
            tag = sha1(value).hexdigest()
            outcome = await store.write(SCHEMA, "n", b"%d" % (int(value) + 1), if_match(tag))
            done += outcome is Outcome.REPLACED
        return done

    workers = [asyncio.create_task(count_up()) for _ in range(4)]
    for _ in range(30):
        await asyncio.to_thread(redis_server.call, "SCRIPT", "FLUSH")
    ends = True
    assert sum(await asyncio.gather(*workers)) == int(await store.read(SCHEMA, "n"))


async def test_a_layout_of_another_number_of_buckets_is_refused_before_anything_is_hidden(
    redis_store: Opener, settings: dict[str, Any], redis_server: RedisServer
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "a", b"1")
    record = settings["key_prefix"] + ":layout"
    assert redis_server.call("HGETALL", record) in (
        {b"layout": b"1", b"buckets": b"1"}, [b"layout", b"1", b"buckets", b"1"],
    )  # fmt: skip
    other = redis_store(**settings, hash_buckets=16)
    for operation in OPERATIONS.values():
        with pytest.raises(BackendRefused, match="set hash_buckets to 1"):
            await operation(other)
    with pytest.raises(BackendRefused, match="set hash_buckets to 1"):
        await other.ping()
    assert await redis_store(**settings).read(SCHEMA, "a") == b"1"


async def test_two_stores_that_open_at_once_agree_on_the_layout(
    redis_store: Opener, settings: dict[str, Any]
) -> None:
    stores = [redis_store(**settings, hash_buckets=1 + number % 2) for number in range(8)]
    opened = await asyncio.gather(*(store.open() for store in stores), return_exceptions=True)
    accepted = {1 + number % 2 for number, result in enumerate(opened) if result is None}
    assert len(accepted) == 1, "one number of buckets won, and only that one was accepted"


# Answers that do not come -----------------------------------------------------------------------


async def test_an_answer_cut_in_its_middle_is_asked_for_again_if_it_was_a_read(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings)
    value = b'"' + b"x" * 5000 + b'"'
    await store.write(SCHEMA, "a", value)
    for cut in (1, 4, 100, 4999):
        middle.cut_after = cut
        taken = middle.connections
        assert await store.read(SCHEMA, "a") == value
        assert middle.cut_after is None
        assert middle.connections > taken, "asked on another connection"


@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_an_answer_cut_in_its_middle_leaves_a_write_unknown_and_it_was_done(
    cut: int, redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "a", b"0")
    await store.write(SCHEMA, "a", b"1", IF_PRESENT)
    middle.cut_after = cut
    with pytest.raises(OutcomeUnknown, match=f"{SCHEMA}/a"):
        await store.write(SCHEMA, "a", b"2", IF_PRESENT)
    assert await store.read(SCHEMA, "a") == b"2"


async def test_a_batch_cut_in_its_middle_says_of_each_write_what_is_known(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "k0", b"0")
    middle.cut_after = len(b":0\r\n" + b":1\r\n" * 9) + 2
    results = await store.write_many(SCHEMA, [Write(f"k{n}", b"1") for n in range(20)])
    assert results[:10] == [Outcome.REPLACED] + [Outcome.CREATED] * 9
    assert [type(result) for result in results[10:]] == [OutcomeUnknown] * 10
    assert str(results[10]).startswith(f"The write of {SCHEMA}/k10 ")
    await works_again(store)


async def test_answers_swallowed_by_the_network_time_out_and_are_read_by_nobody_later(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    settings["request_timeout"] = 0.2
    load = Load(redis_store(**settings))
    async with load.running():
        for _ in range(3):
            await load.progress(50)
            middle.swallow = True
            await load.failures(4)
            middle.swallow = False
            middle.cut_all()
        await load.progress(50)
    assert set(load.errors) <= {
        "timeout", "outcome-unknown", "backend-unavailable", "pool-exhausted",
    }  # fmt: skip
    assert load.slowest < 2.0 + 0.2 + 2.0
    load.mixed_up += [key for key in load.acknowledged if not key.startswith("w")]
    assert not load.mixed_up


async def test_answers_late_by_less_than_the_timeout_are_just_late(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "a", b"1")
    middle.delay = 0.3
    assert await store.read(SCHEMA, "a") == b"1"
    middle.delay = 0.0
    assert store.stats()["closed"] == 0


async def test_an_answer_late_by_more_is_not_read_by_the_next_request(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings | {"request_timeout": 0.2, "max_connections": 1})
    await store.write(SCHEMA, "a", b"of a")
    await store.write(SCHEMA, "b", b"of b")
    middle.delay = 0.4
    with pytest.raises(OperationTimeout):
        await store.read(SCHEMA, "a")
    middle.delay = 0.0
    await works_again(store)
    assert await store.read(SCHEMA, "b") == b"of b"


async def test_an_answer_nobody_asked_for_closes_the_connection_and_answers_nobody(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    store = redis_store(**settings)
    await store.write(SCHEMA, "a", b"1")
    taken = middle.connections
    middle.inject(b"$5\r\nwrong\r\n")
    await asyncio.to_thread(lambda: None)
    for _ in range(3):
        assert await store.read(SCHEMA, "a") == b"1"
    assert middle.connections > taken, "another connection was dialed"


@pytest.mark.parametrize("mark", [b"+more\r\n", b"$-1", b"?\r\n"])
async def test_more_answers_than_questions_are_a_lost_connection_and_not_a_guess(
    mark: bytes, redis_store: Opener, settings: dict[str, Any]
) -> None:
    """The server is played here: no real one does this."""
    answered = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while data := await reader.read(65536):
            if b"HELLO" in data or b"INFO" in data:
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n" * data.count(b"HELLO"))
                writer.write(b"$-1\r\n" * data.count(b"INFO"))
            elif b"HMGET" in data:
                writer.write(b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n")
            else:
                answered += 1
                writer.write(b":0\r\n" + mark)
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    async with server:
        store = redis_store(**settings | {"port": server.sockets[0].getsockname()[1]})
        with pytest.raises((OutcomeUnknown, BackendUnavailable)):
            await store.write(SCHEMA, "a", b"1", ALWAYS)
        assert answered == 1, "a write is never sent twice"
        await store.close()


async def test_a_cancelled_operation_takes_its_connection_with_it_or_leaves_it_clean(
    redis_store: Opener, settings: dict[str, Any], middle: Proxy
) -> None:
    """Whoever comes next gets their own answer, and no slot of the pool is lost."""
    store = redis_store(**settings)
    keys = [f"k{number}" for number in range(8)]
    for key in keys:
        await store.write(SCHEMA, key, key.encode())
    for number in range(40):
        task = asyncio.ensure_future(store.read(SCHEMA, keys[number % 8]))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        key = keys[(number + 3) % 8]
        assert await store.read(SCHEMA, key) == key.encode()
    await eventually(lambda: store.stats()["in_use"] == 0, str(store.stats()))


async def test_errors_hold_no_record_and_no_password(
    redis_store: Opener, settings: dict[str, Any], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis("--rename-command", "HSET", "", "--rename-command", "HMGET", "HOTHER")
    store = redis_store(**settings | {"port": server.port})
    with pytest.raises(PannierError) as refused:
        await store.write(SCHEMA, "a", b'"of the record"')
    assert "of the record" not in str(refused.value)
    assert "unknown command" in str(refused.value)
