"""The application beside a sidecar, as it runs in a container: Python alone, nothing of ours.

`work` writes a record, reads it, waits for SIGTERM and writes another at its end, as applications
do. `dawdle` sends half of a record, and the rest only when the sidecar has stopped listening.
"""

from __future__ import annotations

import http.client
import signal
import socket
import sys
import time

SIDECAR = ("localhost", 3900)
RECORD = b'{"total": 3.10, "city": "Paris"}'


def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*SIDECAR, timeout=30)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def work() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("put", ask("PUT", "/v1/shop/Cart/42", RECORD)[0], flush=True)
    print("got", ask("GET", "/v1/shop/Cart/42") == (200, RECORD), flush=True)
    signal.sigwait({signal.SIGTERM})
    print("last", ask("PUT", "/v1/shop/Cart/last", RECORD)[0], flush=True)


def dawdle() -> None:
    head = (
        "PUT /v1/shop/Cart/slow HTTP/1.1\r\n"
        f"Host: localhost\r\nContent-Length: {len(RECORD)}\r\n\r\n"
    )
    with socket.create_connection(SIDECAR, timeout=30) as connection:
        connection.sendall(head.encode() + RECORD[:10])
        print("half", flush=True)
        while listens():
            time.sleep(0.05)
        connection.sendall(RECORD[10:])
        print("answer", connection.recv(1000).split(b"\r\n")[0].decode(), flush=True)


def listens() -> bool:
    try:
        socket.create_connection(SIDECAR, timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


if __name__ == "__main__":
    {"work": work, "dawdle": dawdle}[sys.argv[1]]()
