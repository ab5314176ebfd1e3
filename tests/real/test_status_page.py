"""The status page in a real Chromium: readable, live, and without a complaint of the browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pannier.config.served import ServedStore, StoreTable
from pannier.server import status_page
from tests.real.chromium import Page, chromium
from tests.real.prometheus_parts.story import Load
from tests.real.proxy import Proxy, proxy
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar

CONFIG = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: carts}}
spec:
  type: redis
  redis: {{host: 127.0.0.1, port: {port}, keyPrefix: "{prefix}"}}
  pool: {{maxConnections: 4, minIdle: 1, idleTimeout: 1s, connectionTimeout: 5s}}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: down}}
spec: {{type: redis, redis: {{host: 127.0.0.1, port: 1}}}}
"""
CARD = "[...document.querySelectorAll('.store')].find(card => card.querySelector('h2').textContent"
ROWS = "[...card.querySelectorAll('dl div')].map(row => row.innerText.split('\\n'))"


def of_carts(expression: str) -> str:
    """A JavaScript expression over the card of `carts` and its figures."""
    pool = f"Object.fromEntries({ROWS})"
    return f"(() => {{const card = {CARD} === 'carts'), pool = {pool}; return {expression}}})()"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with chromium(tmp_path / "profile") as page:
        yield page


@pytest.fixture
def slow(redis_server: RedisServer) -> Iterator[Proxy]:
    with proxy(redis_server.port) as slow:
        yield slow


@pytest.fixture
def running(tmp_path: Path, slow: Proxy, redis_prefix: str) -> Iterator[Sidecar]:
    config = tmp_path / "stores.yaml"
    config.write_text(CONFIG.format(port=slow.port, prefix=redis_prefix))
    with sidecar(tmp_path, "--config", str(config), wait=False) as running:
        until(lambda: b"carts: ready" in running.log.read_bytes(), "carts is ready", 20)
        yield running


async def test_it_shows_a_pool_fill_and_idle_cleanup_empty_it(
    running: Sidecar, slow: Proxy, page: Page
) -> None:
    await page.show(running.admin_url)
    await page.until(of_carts("pool.idle === '1' && pool.max === '4'"))
    await page.evaluate("window.mark = 'the page was never loaded anew'")
    slow.delay = 0.5
    load = Load(running, "carts", 12)
    try:
        await page.until(of_carts("pool['in use'] === '4' && +pool.waiting > 0"))
        bar = of_carts("card.querySelector('.gauge .use').getBoundingClientRect().width"
                       " / card.querySelector('.gauge').getBoundingClientRect().width")  # fmt: skip
        assert await page.evaluate(bar) == pytest.approx(1, abs=0.01)
    finally:
        slow.delay = 0
        load.stop()
    await page.until(of_carts("pool['in use'] === '0' && pool.idle === '1'"))
    await page.until(of_carts("+card.querySelector('.closed b').textContent >= 3"))
    assert "each after 1s without use, down to 1" in await page.evaluate(of_carts("card.innerText"))
    assert await page.evaluate("window.mark") == "the page was never loaded anew"
    assert page.complaints == []


@pytest.mark.parametrize("width", [1280, 400])
async def test_it_is_readable_wide_and_narrow_dark_and_light(
    running: Sidecar, page: Page, width: int
) -> None:
    await page.show("about:blank", width=width)
    blank = len(await page.screenshot())
    await page.show(running.admin_url, width=width, height=1200)
    pictures, grounds = [], []
    for scheme in ("light", "dark"):
        await page.scheme(scheme)
        pictures.append(await page.screenshot())
        grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert await page.evaluate(LOWEST_CONTRAST) >= 4.5
    assert all(len(picture) > 5 * blank for picture in pictures)
    assert len(set(pictures)) == len(set(grounds)) == 2
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    smallest = "Math.min(...[...document.querySelectorAll('main *, footer *')]"
    smallest += ".map(one => parseFloat(getComputedStyle(one).fontSize)))"
    assert await page.evaluate(smallest) >= 13
    columns = "new Set([...document.querySelectorAll('.store')].map(card => card.offsetLeft)).size"
    assert await page.evaluate(columns) == (2 if width == 1280 else 1)
    assert page.complaints == []


LOWEST_CONTRAST = """(() => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const bright = color => {
    const [red, green, blue] = parts(color).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = one => {
    const color = getComputedStyle(one).backgroundColor;
    return parts(color)[3] === 0 && one.parentElement ? ground(one.parentElement) : color;
  };
  const texts = [...document.querySelectorAll("h1, h2, p, dt, dd, span, a")]
    .filter(one => one.offsetParent && one.textContent.trim());
  return Math.min(...texts.map(one => {
    const [low, high] = [bright(getComputedStyle(one).color), bright(ground(one))]
      .sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  }));
})()"""
"""WCAG 2.1, 1.4.3: the ratio of every text to what is behind it; 4.5 is enough."""


async def test_it_says_that_the_sidecar_is_gone(running: Sidecar, page: Page) -> None:
    await page.show(running.admin_url)
    assert await page.evaluate("document.querySelector('.lost').offsetParent === null")
    running.stop()
    await page.until("document.querySelector('.lost').offsetParent !== null")


async def test_a_hostile_error_is_text_and_nothing_else(page: Page, tmp_path: Path) -> None:
    hostile = (
        "</p><script>document.title='taken'</script><img src=x onerror=\"document.title='x'\">"
    )
    served = ServedStore("<b>shop</b>", "redis", "unavailable", error=hostile)
    table = StoreTable(stores={"shop": served}, error=hostile)
    pool = {"max": 4, "in_use": 0, "idle": 0, "opening": 0, "pending": 0}
    status = {
        "version": "<i>1</i>",
        "config": {"version": hostile, "source": "file", "appliedAt": None, "error": hostile},
        "stores": [{"name": served.name, "type": "redis", "state": served.state,
                    "error": hostile, "pool": pool}],
    }  # fmt: skip
    file = tmp_path / "page.html"
    file.write_bytes(status_page.answer(status, table, follows_operator=False).body)
    await page.show(file.as_uri())
    assert await page.evaluate("document.title") == "Pannier: 0 of 1 stores are ready."
    assert await page.evaluate("document.querySelectorAll('img, b, i, script').length") == 1
    assert await page.evaluate("document.querySelector('.store .error').textContent") == hostile
    assert await page.evaluate("document.querySelector('h2').textContent") == "<b>shop</b>"


async def test_a_complaint_of_the_browser_would_be_heard(running: Sidecar, page: Page) -> None:
    await page.show(running.admin_url)
    assert page.complaints == []
    script = "const one = document.createElement('script'); one.textContent = 'window.taken = 1';"
    await page.evaluate(f"{script} document.body.append(one)")
    await page.until("true")
    assert await page.evaluate("window.taken === undefined")
    assert any("Content Security Policy" in each for each in page.complaints)


@pytest.mark.parametrize(
    ("connected", "words"),
    [(None, None), (True, "The operator is connected."), (False, "The operator is not connected")],
)
def test_it_tells_of_the_operator_where_there_is_one(connected: bool | None, words: str) -> None:
    config = {"version": "v1", "source": "stream", "appliedAt": None, "error": None}
    status = {"version": "1", "config": config, "stores": []}
    table = StoreTable(stream_connected=bool(connected))
    made = status_page.answer(status, table, follows_operator=connected is not None)
    html = made.body.decode()
    assert (words in html) if words else "The operator is" not in html
