"""Records moved between stores by `pannier export` and `pannier import`, each process metered.

A step has sidecars of its own, so that what they took is what the step took. What arrives is
compared twice: by `import --verify`, and here, by a fingerprint that Pannier has no part in.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import msgspec

from tests.real.redis import RedisServer
from tests.real.sidecar import Sidecar, sidecar

SCHEMA = "Cart"
STORE = "moved"
SIZE = 250
"""Bytes of a record."""

METERED = """
import json, os, sys, time
from pannier.cli import main
code = main(sys.argv[2:])
sys.stdout.flush()
peak = next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM"))
with open(sys.argv[1], "w") as file:
    json.dump({"cpu": time.process_time(), "peak": int(peak) / 1024}, file)
os._exit(code)
"""
"""Runs a command of the line and writes down its CPU seconds and the most memory (MB) it held.
(getrusage would count what its parent held when it forked.)"""


@dataclass
class Figures:
    """What one process took."""

    cpu: float
    """Seconds of user and system time."""
    peak: float
    """MB of memory, at most."""


@dataclass
class Step:
    """One move that has ended."""

    name: str
    records: int
    seconds: float
    processes: dict[str, Figures] = field(default_factory=dict)
    """By name: `export`, `import`, and the sidecar of each side."""
    compared: int | None = None
    """Records that `import --verify` compared; None where nothing was imported."""
    different: int = 0


def document(spec: str) -> str:
    """A store of that spec, as a file of documents."""
    return (
        "apiVersion: pannier.dev/v1alpha1\nkind: StoreBackend\n"
        f"metadata: {{name: {STORE}}}\nspec: {spec}\n"
    )


def redis_spec(port: int, prefix: str = "pannier:") -> str:
    """A Redis server."""
    return f'{{type: redis, redis: {{host: 127.0.0.1, port: {port}, keyPrefix: "{prefix}"}}}}'


def cluster_spec(nodes: list[str], prefix: str = "pannier:") -> str:
    """A Redis Cluster, the schema spread over all of it."""
    return (
        f"{{type: redis, redis: {{cluster: {{nodes: {json.dumps(nodes)}}}, hashBuckets: 64, "
        f'keyPrefix: "{prefix}"}}}}'
    )


def memory_spec(records: int) -> str:
    """Memory with room for so many."""
    return f"{{type: memory, memory: {{maxBytes: {records * 700}}}}}"


def hdfs_spec(namenode: str, user: str, base_path: str) -> str:
    """HDFS, on as many connections as its sidecar's benchmark has."""
    return (
        f'{{type: hdfs, hdfs: {{namenodes: ["{namenode}"], username: {user}, basePath: '
        f"{base_path}}}, pool: {{maxConnections: 16, connectionTimeout: 1m}}, requestTimeout: 30s}}"
    )


@contextmanager
def serving(directory: Path, spec: str) -> Iterator[Sidecar]:
    """A sidecar of that one store."""
    file = directory / f"stores-{time.monotonic_ns()}.yaml"
    file.write_text(document(spec))
    with sidecar(directory, "--config", str(file)) as running:
        yield running


def copy(directory: Path, name: str, source: Sidecar, target: Sidecar) -> Step:
    """`export | import --verify` of the whole schema."""
    out, taken = directory / "export.json", directory / "import.json"
    with Meter(name, {"source's sidecar": source, "target's sidecar": target}) as meter:
        exporting = subprocess.Popen(
            metered(out, "export", f"{STORE}/", "--json", "--url", source.url),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with exporting:
            importing = subprocess.run(
                metered(taken, "import", f"{STORE}/", "--verify", "--json", "--url", target.url),
                stdin=exporting.stdout, capture_output=True, check=False,
            )  # fmt: skip
            assert exporting.stderr is not None
            exported = exporting.stderr.read()
    return meter.step({"export": (out, exported), "import": (taken, importing.stdout)})


def export_to(directory: Path, name: str, source: Sidecar, file: Path) -> Step:
    """`export` of the whole schema into a file."""
    out = directory / "export.json"
    with Meter(name, {"source's sidecar": source}) as meter:
        ended = subprocess.run(
            metered(out, "export", f"{STORE}/", "-o", str(file), "--json", "--url", source.url),
            capture_output=True, check=False,
        )  # fmt: skip
    return meter.step({"export": (out, ended.stdout)})


def import_from(directory: Path, name: str, file: Path, target: Sidecar) -> Step:
    """`import --verify` of a file."""
    taken = directory / "import.json"
    words = ("import", f"{STORE}/", "-f", str(file), "--verify", "--json", "--url", target.url)
    with Meter(name, {"target's sidecar": target}) as meter:
        ended = subprocess.run(metered(taken, *words), capture_output=True, check=False)
    return meter.step({"import": (taken, ended.stdout)})


def metered(figures: Path, *words: str) -> list[str]:
    """The command line of a metered `pannier`."""
    figures.unlink(missing_ok=True)
    return [sys.executable, "-c", METERED, str(figures), *words]


class Meter:
    """Times a step and its sidecars."""

    def __init__(self, name: str, sidecars: dict[str, Sidecar]) -> None:
        self._name = name
        self._sidecars = sidecars
        self._before: dict[str, float] = {}
        self._took = 0.0

    def __enter__(self) -> Meter:
        self._before = {name: cpu_of(each) for name, each in self._sidecars.items()}
        self._took = -time.monotonic()
        return self

    def __exit__(self, *ended: object) -> None:
        self._took += time.monotonic()

    def step(self, commands: dict[str, tuple[Path, bytes]]) -> Step:
        """The step of these commands, each with its figures' file and what it said at its end."""
        step = Step(self._name, 0, self._took)
        for name, (figures, said) in commands.items():
            summary = json.loads(said.splitlines()[-1])
            assert summary["complete"], said
            step.processes[name] = Figures(**json.loads(figures.read_text()))
            step.records = summary.get("imported") or summary.get("exported") or 0
            if summary["compared"] is not None:
                step.compared = summary["compared"]
                step.different = summary["different"] + summary["refused"]
        for name, each in self._sidecars.items():
            step.processes[name] = Figures(cpu_of(each) - self._before[name], peak_of(each))
        return step


def cpu_of(running: Sidecar) -> float:
    """User and system time of a sidecar so far."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_of(running: Sidecar) -> float:
    """The most memory in MB that a sidecar held."""
    status = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


# What is moved, and whether it is the same ------------------------------------------------------


def value_of(number: int) -> bytes:
    """A record of 250 bytes that no other number has."""
    start = f'{{"number":{number},"price":{number % 997}.90,"note":"'
    return f'{start}{"x" * (SIZE - len(start) - 2)}"}}'.encode()


def fill(server: RedisServer, prefix: str, count: int) -> int:
    """Put `count` records straight into Redis; their fingerprint."""
    whole = 0
    with server.client() as client:
        for first in range(0, count, 10_000):
            chunk = {f"cart:{n}": value_of(n) for n in range(first, min(first + 10_000, count))}
            client.hset(prefix + SCHEMA, mapping=chunk)  # type: ignore[arg-type]
            whole += sum(fingerprint(key, value) for key, value in chunk.items())
    return whole


def fingerprint(key: str, record: bytes) -> int:
    """Of one record; those of many are added, in any order."""
    return int.from_bytes(sha1(key.encode() + b"\0" + record).digest(), "big")


class Line(msgspec.Struct):
    """A line of an export."""

    key: str
    record: msgspec.Raw


def fingerprint_of(file: Path) -> tuple[int, int]:
    """The number of lines in an export, and the fingerprint of their records."""
    whole = count = 0
    decode = msgspec.json.Decoder(Line).decode
    with file.open("rb") as lines:
        for text in lines:
            line = decode(text)
            whole += fingerprint(line.key, bytes(line.record))
            count += 1
    return count, whole
