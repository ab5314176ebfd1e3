"""The bare `hdfs` library doing the same work: what the sidecar on HDFS is compared with.

`python -m tests.bench.hdfs_library GET|PUT NAMENODE BASE_PATH THREADS KEYS SECONDS` prints one
JSON object. Its session's pool is sized to the threads; with requests' default of ten connections
and 16 threads it would dial anew for many requests.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import requests
from hdfs import InsecureClient
from requests.adapters import HTTPAdapter

from tests.bench.records import RECORD, SCHEMA, key
from tests.real.hdfs import USER


def main() -> None:
    """Work on all threads until the time is over, and print what it came to."""
    operation, namenode, base_path = sys.argv[1:4]
    threads, keys, seconds = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_connections=threads, pool_maxsize=threads))
    client = InsecureClient(namenode, user=USER, session=session)
    client.status(base_path)  # connect before the clock runs
    times: list[float] = []
    failures: list[BaseException] = []
    before, end = time.process_time(), time.perf_counter() + seconds

    def work(number: int) -> None:
        place = number * keys // threads
        try:
            while (began := time.perf_counter()) < end:
                path = f"{base_path}/{SCHEMA}/{key(place % keys)}.json"
                if operation == "GET":
                    with client.read(path) as reader:
                        assert len(reader.read()) == len(RECORD)
                else:
                    client.write(path, RECORD.encode(), overwrite=True)
                times.append(time.perf_counter() - began)
                place += 1
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    spent = time.process_time() - before
    times.sort()
    figures = {
        "requests": len(times),
        "cpu_seconds": spent,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
