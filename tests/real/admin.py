"""What an admin port of 127.0.0.1 says, a sidecar's and the operator's alike."""

from __future__ import annotations

import http.client


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        with connection.getresponse() as answer:  # it holds the socket where the server closes
            return answer.status, answer.read().decode()
    finally:
        connection.close()


def sample(text: str, name: str) -> float:
    """The value of a sample in Prometheus' text format, by its whole name; 0 where it is not."""
    for line in text.splitlines():
        found, _, value = line.rpartition(" ")
        if found == name:
            return float(value)
    return 0.0
