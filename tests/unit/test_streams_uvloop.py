"""The stream server on the operator's own loop: uvloop's TLS is another than asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from pannier.config.stream.messages import MAX_REPORT_BYTES, Close
from tests.real.certificates import make_certificates
from tests.unit.stream_world import World, store, until, world


async def pushes(operator: World) -> None:
    operator.want("shop", store("cart"))
    sidecar = await operator.enter()
    await sidecar.follow()
    await until(lambda: operator.tally(store("cart")).synced == 1)


async def hangs_up_without_room(operator: World) -> None:
    operator.server._most_opening = 0
    with pytest.raises(aiohttp.ClientError):
        await operator.dial()


async def says_why_it_ends_a_stream_in_mid_message(operator: World) -> None:
    sidecar = await operator.enter()
    await sidecar.follow()
    await sidecar.socket.send_str("x" * (MAX_REPORT_BYTES + 1))
    code, why = await sidecar.closed()
    assert (code, "larger" in why) == (Close.MALFORMED, True)


async def cuts_off_one_that_reads_nothing(operator: World) -> None:
    operator.want("shop", store("cart", size=3_000_000))
    deaf, good = await operator.enter("deaf"), await operator.enter("good")
    deaf.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    await good.follow()
    operator.want("shop", store("cart", 2))
    await good.follow()
    await until(lambda: operator.tally(store("cart", 2)).synced == 1)
    operator.clock.ahead = 16
    operator.fleet.tick()
    handler = operator.server._handler
    assert handler is not None
    await until(lambda: (operator.fleet.streams, handler.held) == (1, 1))


@pytest.mark.parametrize(
    "claim",
    [
        pushes,
        hangs_up_without_room,
        says_why_it_ends_a_stream_in_mid_message,
        cuts_off_one_that_reads_nothing,
    ],
    ids=lambda claim: claim.__name__,
)
def test_on_uvloop_it(claim: Callable[[World], Awaitable[None]], tmp_path: Path) -> None:
    failures: list[dict[str, Any]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, failure: failures.append(failure))
        async with world(make_certificates(tmp_path)) as operator:
            await claim(operator)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    assert failures == []
