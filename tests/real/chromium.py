"""A real Chromium without a screen, told what to do by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ : JSON over a WebSocket. It has a profile of its
own, empty at the start, and asks nobody for anything but the page it is sent to.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.real.programs import program
from tests.real.redis import until

START_SECONDS = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-breakpad", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1",
)  # fmt: skip


class Page:
    """One page. What it complains about, in script or policy, is in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(30):
            return await answer

    async def show(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Load `url` in a window of this many CSS pixels; return once it has loaded."""
        for domain in ("Page", "Log", "Runtime"):
            await self.call(f"{domain}.enable")
        await self.resize(width, height)
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(30):
            await self._loaded.wait()

    async def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    async def scheme(self, name: str) -> None:
        """Prefer `dark` or `light`, as a person's system does."""
        feature = {"name": "prefers-color-scheme", "value": name}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 30.0) -> None:
        """Return once a JavaScript expression is true in the page."""
        deadline = time.monotonic() + seconds
        while not await self.evaluate(expression):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {expression}"
            await asyncio.sleep(0.05)

    async def screenshot(self) -> bytes:
        """What is to be seen, as a PNG."""
        return b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def close(self) -> None:
        """Hear no more of it."""
        await self._socket.close()
        await self._reading

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            method, detail = told.get("method"), told.get("params", {})
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if answer.done():
                    continue
                if "error" in told:
                    answer.set_exception(AssertionError(told["error"]["message"]))
                else:
                    answer.set_result(told["result"])
            elif method == "Page.loadEventFired":
                self._loaded.set()
            elif method == "Log.entryAdded":
                self.complaints.append(detail["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(detail["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and detail["type"] in ("error", "warning"):
                self.complaints.append(str(detail["args"]))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """A browser with one empty page, ended at the end with all its processes."""
    process = launch(profile)
    try:
        address = await started(process, profile)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json/list") as answer:
                targets = await answer.json(content_type=None)
            (target,) = (each for each in targets if each["type"] == "page")
            socket = await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
            page = Page(socket)
            try:
                yield page
            finally:
                await page.close()
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        finally:
            await asyncio.to_thread(end_group, process.pid)


def launch(profile: Path) -> subprocess.Popen[bytes]:
    """Start it, with its log beside the profile."""
    command = [program("chromium"), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with log_of(profile).open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )


def log_of(profile: Path) -> Path:
    """What it printed."""
    return profile.with_name(f"{profile.name}.log")


async def started(process: subprocess.Popen[bytes], profile: Path) -> str:
    """The address of its DevTools, once they listen."""
    deadline = time.monotonic() + START_SECONDS
    while (port := port_of(profile)) is None:
        alive = process.poll() is None and time.monotonic() < deadline
        assert alive, log_of(profile).read_text()
        await asyncio.sleep(0.05)
    return f"127.0.0.1:{port}"


def port_of(profile: Path) -> str | None:
    """The port it has written into its profile; None until then."""
    told = profile / "DevToolsActivePort"
    lines = told.read_text().splitlines() if told.exists() else []
    return lines[0] if len(lines) == 2 else None


def end_group(group: int) -> None:
    """End what a browser may leave of itself, and wait for it: orphans become our children."""

    def is_empty() -> bool:
        try:
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
            os.killpg(group, signal.SIGKILL)
        except (ChildProcessError, ProcessLookupError):
            return True
        return False

    until(is_empty, "the browser's processes end", 20)
