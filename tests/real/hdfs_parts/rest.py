"""Plain WebHDFS requests of the tests' own, so that a store is not checked by itself."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

Reply = tuple[int, bytes]


class Rest:
    """A NameNode's (or DataNode's) HTTP side, spoken with the standard library only."""

    def __init__(self, port: int, user: str, seconds: float = 10) -> None:
        self.port = port
        self.user = user
        self.seconds = seconds

    def call(
        self, method: str, path: str, operation: str, data: bytes | None = None, **params: Any
    ) -> Reply:
        """One WebHDFS request as `user`, one redirect followed: status and body."""
        query = urlencode({"op": operation, "user.name": self.user, **params})
        target = f"/webhdfs/v1{quote(path)}?{query}"
        status, location, body = self._send("127.0.0.1", self.port, method, target, None)
        if location is None:
            return status, body
        to = urlsplit(location)
        assert to.hostname is not None and to.port is not None
        status, _, body = self._send(
            to.hostname, to.port, method, f"{to.path}?{to.query}", data or b""
        )
        return status, body

    def jmx(self, bean: str) -> dict[str, Any] | None:
        """One bean of /jmx, or None while the server does not answer."""
        try:
            _, _, body = self._send("127.0.0.1", self.port, "GET", f"/jmx?qry={bean}", None)
            beans = json.loads(body)["beans"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return None
        return dict(beans[0]) if beans else None

    def create(self, path: str, data: bytes) -> None:
        self._must("PUT", path, "CREATE", data, overwrite="true")

    def open(self, path: str) -> bytes:
        return self._must("GET", path, "OPEN")

    def make_directory(self, path: str, permission: str = "755") -> None:
        self._must("PUT", path, "MKDIRS", permission=permission)

    def set_owner(self, path: str, owner: str) -> None:
        self._must("PUT", path, "SETOWNER", owner=owner)

    def set_permission(self, path: str, permission: str) -> None:
        self._must("PUT", path, "SETPERMISSION", permission=permission)

    def set_space_quota(self, path: str, size: int) -> None:
        """What `hdfs dfsadmin -setSpaceQuota` does, without its second of JVM start."""
        self._must("PUT", path, "SETQUOTA", storagespacequota=size)

    def set_name_quota(self, path: str, names: int) -> None:
        """What `hdfs dfsadmin -setQuota` does."""
        self._must("PUT", path, "SETQUOTA", namespacequota=names)

    def delete(self, path: str) -> None:
        self._must("DELETE", path, "DELETE", recursive="true")

    def set_times(self, path: str, modified_ms: int) -> None:
        self._must("PUT", path, "SETTIMES", modificationtime=modified_ms, accesstime=-1)

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        return [str(entry["pathSuffix"]) for entry in self.listing(path)]

    def listing(self, path: str) -> list[dict[str, Any]]:
        body = self._must("GET", path, "LISTSTATUS")
        return list(json.loads(body)["FileStatuses"]["FileStatus"])

    def _must(
        self, method: str, path: str, operation: str, data: bytes | None = None, **params: Any
    ) -> bytes:
        status, body = self.call(method, path, operation, data, **params)
        if status >= 300:
            raise RuntimeError(f"{operation} {path}: {status} {body[:500]!r}")
        return body

    def _send(
        self, host: str, port: int, method: str, target: str, data: bytes | None
    ) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(host, port, timeout=self.seconds)
        try:
            connection.request(method, target, data, {"Content-Type": "application/octet-stream"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Location"), answer.read()
        finally:
            connection.close()
