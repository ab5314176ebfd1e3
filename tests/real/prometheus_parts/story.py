"""Two real sidecars under load while their backends fail, watched by a real Prometheus.

`cart-1` has four stores: `carts` is asked in bursts and rests between them, `slow` has a small pool
before a Redis whose answers are held back, `doomed` loses its Redis, `notes` is in memory. `cart-2`
serves the same and nothing happens to it. The story is told once; the times at which each part of
it was true are kept, so that many tests can ask Prometheus about them afterwards. `cart-3` is to
be configured by an operator that is not there.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.programs import free_port
from tests.real.prometheus import Prometheus, prometheus
from tests.real.prometheus_parts.boards import alerts
from tests.real.proxy import proxy
from tests.real.redis import RedisServer, until
from tests.real.sidecar import Sidecar, sidecar

CONFIG = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: carts}}
spec:
  type: redis
  redis: {{host: 127.0.0.1, port: {healthy}, keyPrefix: "{prefix}"}}
  pool: {{maxConnections: 8, minIdle: 1, idleTimeout: 1s, connectionTimeout: 2s}}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: slow}}
spec:
  type: redis
  redis: {{host: 127.0.0.1, port: {slow}}}
  pool: {{maxConnections: 2, minIdle: 2, connectionTimeout: 10s, maxWaiting: 2}}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: doomed}}
spec:
  type: redis
  redis: {{host: 127.0.0.1, port: {doomed}}}
---
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {{name: notes}}
spec: {{type: memory, memory: {{}}}}
"""

HELD_BACK = 2.0
"""Seconds that the slow Redis' answers are held back."""
LEAK_THRESHOLD = "1600ms"
"""Less than that, and more than a busy machine makes a healthy Redis take."""
BURST, REST = 0.5, 1.7
"""Seconds that `carts` is asked, and is left alone: longer than its idleTimeout."""
PATIENCE = 60.0
"""Seconds that a part of the story may take on a busy machine; idle it takes 3 to 5."""


@dataclass
class Story:
    """What was seen: the Prometheus that knows it, and when (seconds since the epoch)."""

    prometheus: Prometheus
    begun: float = 0.0
    healthy: float = 0.0
    """All is well, under load."""
    faulty: float = 0.0
    """`slow` is slow, `doomed` is down, a configuration was refused; `carts` is well."""
    rested: float = 0.0
    """Nobody asks any more, and idleTimeout is over."""
    asked: int = 0
    """Requests that were answered, whatever the answer, to `cart-1`."""


class Load:
    """Clients that ask one store of one sidecar, each on its own connection, until they stop."""

    def __init__(self, running: Sidecar, store: str, clients: int, *, bursts: bool = False) -> None:
        self.asked = 0
        self._port = running.port
        self._store = store
        self._bursts = bursts
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish what it asks."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _ask(self, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        asked = 0
        while not self._stop.is_set():
            if self._bursts and time.time() % (BURST + REST) > BURST:
                self._stop.wait(0.02)
                continue
            path = f"/v1/{self._store}/Cart/{number}"
            method, body = ("PUT", b'{"total": 3}') if asked % 2 else ("GET", None)
            client.request(method, path, body)
            answer = client.getresponse()
            answer.read()
            asked += 1
            self._stop.wait(0.02 if answer.status < 500 else 0.1)
        client.close()
        with self._lock:
            self.asked += asked


@contextmanager
def told(
    directory: Path, *, dwell: float = 0.0, look: Callable[[Sidecar], object] = id
) -> Iterator[Story]:
    """Tell the whole story; then its Prometheus can be asked until the end of the block.

    For pictures: each part of it goes on for `dwell` seconds more, and `look` is called with
    `cart-1` while all is wrong.
    """
    with ExitStack() as parts:
        healthy, doomed = (redis(parts, directory / name) for name in ("healthy", "doomed"))
        slow = parts.enter_context(proxy(healthy.port))
        ports = {"healthy": healthy.port, "slow": slow.port, "doomed": doomed.port}
        config = directory / "stores.yaml"
        config.write_text(CONFIG.format(prefix="pannier:", **ports))
        calm = directory / "calm.yaml"
        calm.write_text(CONFIG.format(prefix="calm:", **{**ports, **calm_ports(healthy)}))
        first, second = (
            parts.enter_context(
                sidecar(directory, "--config", str(file), "--leak-threshold", LEAK_THRESHOLD)
            )
            for file in (config, calm)
        )
        # wait=False: it is never ready.
        operator = f"wss://127.0.0.1:{free_port()}"
        third = parts.enter_context(sidecar(directory, "--operator", operator, wait=False))
        watching = parts.enter_context(
            prometheus(
                directory,
                {
                    f"127.0.0.1:{one.admin_port}": {"namespace": "shop", "pod": pod}
                    for pod, one in (("cart-1", first), ("cart-2", second), ("cart-3", third))
                },
            )
        )
        story = Story(watching)
        loads = [
            Load(first, "carts", 10, bursts=True),
            Load(first, "slow", 1),
            Load(first, "doomed", 2),
            Load(first, "notes", 1),
        ]
        others = [Load(second, "carts", 4, bursts=True)]
        parts.callback(lambda: [load.stop() for load in (*loads, *others)])

        story.begun = seen(watching, "vector(time())", lambda values: bool(values))
        closed_idle = 'increase(pannier_pool_closed_total{pod="cart-1",reason="idle"}[4s]) > 0'
        seen(watching, closed_idle, bool)
        story.healthy = seen(watching, "sum_over_time(up[7s]) >= 13", lambda them: len(them) == 3)

        time.sleep(dwell)
        slow.delay = HELD_BACK
        loads.append(Load(first, "slow", 10))
        doomed.kill()
        config.write_text(CONFIG.format(prefix="other:", **ports))
        # As long as a rate looks back, so that it sees the faults alone.
        seen(watching, 'max_over_time(pannier_store_up{store="doomed"}[5s]) == 0', bool)
        story.faulty = all_hold(watching)
        look(first)
        time.sleep(dwell)

        for load in (*loads, *others):
            load.stop()
        story.asked = sum(load.asked for load in loads)
        slow.delay = 0.0
        counted = 'sum(pannier_http_requests_total{pod="cart-1"})'
        seen(watching, f"{counted} >= {story.asked}", bool)
        rested = (
            'pannier_pool_connections{store="carts",state="idle"}'
            ' == ignoring (state) pannier_pool_connections_idle_min{store="carts"}'
        )
        story.rested = seen(watching, rested, two)
        yield story


def two(values: list[float]) -> bool:
    """Whether there is a value of each sidecar."""
    return len(values) == 2


def seen(watching: Prometheus, expression: str, enough: Callable[[list[float]], bool]) -> float:
    """When `expression` gave enough values, which must be soon."""
    when = 0.0

    def came() -> bool:
        nonlocal when
        when = time.time()
        return enough(watching.values(expression, when))

    until(came, expression, PATIENCE)
    return when


def all_hold(watching: Prometheus) -> float:
    """When every alert held at once."""
    when = 0.0
    expressions = list(alerts().values())

    def came() -> bool:
        nonlocal when
        when = time.time()
        return all(watching.query(expression, when) for expression in expressions)

    until(came, "every alert holds", PATIENCE)
    return when


def redis(parts: ExitStack, directory: Path) -> RedisServer:
    """A Redis of the story's own, killed at its end."""
    directory.mkdir()
    server = RedisServer(directory)
    parts.callback(server.kill)
    server.start()
    return server


def calm_ports(healthy: RedisServer) -> dict[str, int]:
    """All stores of `cart-2` are on the Redis that stays well."""
    return {"slow": healthy.port, "doomed": healthy.port}
