"""Plain requests to an API server: the tests' own view of the cluster, without a client library.

A request costs a few milliseconds, where a kubectl costs a tenth of a second.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any


class ApiError(Exception):
    """What the API server refused, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One identity at one API server."""

    def __init__(self, port: int, token: str | None, context: ssl.SSLContext) -> None:
        self._port = port
        self._token = token
        self._context = context

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        seconds: float = 30,
    ) -> Any:
        """One request; its answer, read as JSON. Raises ApiError for a refusal, OSError for none.

        `seconds` bounds each wait for the server.
        """
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=seconds, context=self._context
        )
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            with connection.getresponse() as answer:  # it holds the socket once the server closes
                text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(answer.status, message_of(text))
        return json.loads(text)


def message_of(text: bytes) -> str:
    """The message of a Status object, or the text as it is."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace")[:500]
