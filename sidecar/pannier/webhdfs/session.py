"""One WebHDFS connection: a `requests.Session` of its own, failed answers told from lost ones.

A session is used by one operation at a time; it keeps one connection to the NameNode alive, and
opens one to a DataNode for each file it moves (DataNodes close theirs after every answer).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from pannier.errors import BackendRefused, BackendUnavailable, PoolClosed
from pannier.webhdfs.login import KerberosLogin, client_for
from pannier.webhdfs.namenodes import Cluster
from pannier.webhdfs.names import url_path
from pannier.webhdfs.replies import AnswerLost, Kind, Refusal, Unreachable, refusal

CONNECT_SECONDS = 2.0
"""The longest wait for a TCP connection: a host that is gone must not spend the whole request."""
FRESH_SECONDS = 5.0
"""A change is not sent on a connection idle for longer: the server may be closing it just now."""
PATIENCE_SECONDS = 1.0
"""How long NameNodes that answer "not now" (a failover under way) are asked again."""
PAUSE_SECONDS = 0.1
MAX_ANSWER = 64 << 20
"""Bytes of the largest answer that is read; a larger file is no record of ours."""
MIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer, or a redirect where one was asked for."""

    status: int
    body: bytes
    location: str | None
    date: str | None

    @property
    def server_time(self) -> float | None:
        """The server's clock, in seconds since the epoch, from its Date header."""
        try:
            return parsedate_to_datetime(self.date).timestamp() if self.date else None
        except ValueError:
            return None


class Session:
    """Requests to the NameNodes of one cluster and, one redirect on, to its DataNodes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.reachable = True
        """False once no NameNode could be reached or an answer was lost: then dial anew."""
        self._client: Any = None
        self._session: Any = None
        self._closed = False
        self._answered_at = 0.0

    # Life -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Log in and prove that a NameNode serves. Raises BackendUnavailable, its cause chained."""
        from pannier.webhdfs.transport import PlainSession

        session = PlainSession(cookies=isinstance(self.cluster.login, KerberosLogin))
        try:
            self._client = client_for(self.cluster.login, self.cluster.addresses, session)
            self._session = session
            if self._closed:  # by another thread, which may have come too early to close anything
                raise BackendUnavailable("The connection was closed while it was opened.")
            self.probe()
        except BaseException:
            self.close()
            session.close()
            raise
        self.reachable = True

    def close(self) -> None:
        """Close for good; a closed session may be closed again, from any thread."""
        self._closed = True
        session, self._session, self._client = self._session, None, None
        if session is not None:
            session.close()

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def probe(self) -> None:
        """Return if a NameNode serves; raise the error that says why none does."""
        deadline = self.deadline()
        try:
            # Without patience: the pool rations its dials, and borrowers wait for this answer.
            self._ask_each("GET", "/", deadline, True, {"op": "GETFILESTATUS"})
        except Refusal as failure:
            # The root may be hidden from us; the NameNode that says so serves.
            if failure.exception == "AccessControlException":
                return
            raise BackendUnavailable(str(failure.error)) from None
        except AnswerLost as failure:
            raise BackendUnavailable(f"HDFS did not answer: {failure}") from None
        except Unreachable as failure:
            raise unavailable(failure) from failure.__cause__

    def deadline(self) -> float:
        """When an operation that starts now must end: two answers' time, on the monotonic clock."""
        return time.monotonic() + 2 * self.cluster.request_timeout

    # Requests -------------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        operation: str,
        path: str,
        deadline: float,
        *,
        again: bool = True,
        params: dict[str, str] | None = None,
    ) -> Reply:
        """One operation of the NameNode that is active, found among all.

        `again`: it may be sent once more after its answer was lost (it reads, or doing it twice is
        doing it once). Raises Refusal, Unreachable (nothing was sent), AnswerLost (it may have
        been, or may yet be, carried out). A redirect is returned, not followed.
        """
        params = {**(params or {}), "op": operation}
        patience = min(time.monotonic() + PATIENCE_SECONDS, deadline)
        while True:
            try:
                return self._ask_each(method, path, deadline, again, params)
            except Refusal as failure:
                if not failure.elsewhere or time.monotonic() >= patience:
                    raise
            time.sleep(PAUSE_SECONDS)

    def _ask_each(
        self, method: str, path: str, deadline: float, again: bool, params: dict[str, str]
    ) -> Reply:
        """Ask each NameNode in turn; the failure that says most if none serves."""
        worst: Refusal | AnswerLost | Unreachable | None = None
        for address in self.cluster.in_order():
            if worst is not None and time.monotonic() >= deadline:
                break
            url = f"{address}/webhdfs/v1{url_path(path)}"
            try:
                reply = self._ask_one(method, url, deadline, again, params)
            except Unreachable as failure:
                # A NameNode that answers says more than one that does not.
                worst = worst or failure
            except AnswerLost as failure:
                worst = failure
                if not again:
                    break
            except Refusal as failure:
                worst = failure
                if not failure.elsewhere:
                    self.cluster.serves(address)
                    break
            else:
                self.cluster.serves(address)
                self.reachable = True
                return reply
        assert worst is not None
        if not isinstance(worst, Refusal):
            self.reachable = False
        raise worst

    def _ask_one(
        self, method: str, url: str, deadline: float, again: bool, params: dict[str, str]
    ) -> Reply:
        """Ask one NameNode; a kept connection that it closed meanwhile is worth a second try."""
        try:
            reply = self._exchange(method, url, deadline, params, None, again)
        except AnswerLost as failure:
            if not again or failure.timed_out:
                raise
            reply = self._exchange(method, url, deadline, params, None, again)
        if reply.status >= 400:
            raise refusal(params["op"], reply.status, reply.body)
        return reply

    def follow(
        self, method: str, operation: str, reply: Reply, deadline: float, data: bytes | None = None
    ) -> Reply:
        """The one hop to the DataNode that a NameNode's answer names. Raises as `ask` does."""
        if reply.location is None:
            return reply  # an HttpFS gateway answers by itself
        if urlsplit(reply.location).scheme not in ("http", "https"):
            text = f"HDFS redirects {operation} to something that is neither http nor https."
            raise Refusal(Kind.REFUSED, BackendRefused(text))
        answer = self._exchange(method, reply.location, deadline, None, data, True)
        if answer.status >= 400:
            raise refusal(operation, answer.status, answer.body)
        if answer.location is not None and answer.status >= 300:
            text = f"HDFS redirects {operation} more than once."
            raise Refusal(Kind.REFUSED, BackendRefused(text))
        return answer

    def _exchange(
        self,
        method: str,
        url: str,
        deadline: float,
        params: dict[str, str] | None,
        data: bytes | None,
        again: bool,
    ) -> Reply:
        """Send one request and read its whole answer, each wait bounded."""
        from pannier.webhdfs import transport

        client, session = self._client, self._session
        if client is None:
            raise Unreachable("the connection was closed") from PoolClosed()
        now = time.monotonic()
        if not again and now - self._answered_at > FRESH_SECONDS:
            session.drop_connections()
        until = max(min(now + self.cluster.request_timeout, deadline), now + MIN_SECONDS)
        client._timeout = (min(CONNECT_SECONDS, until - now), until - now)
        failed: Exception
        try:
            # The library's own operations follow redirects, guess at `#LATEST` in paths and
            # resend whatever failed; its lowest one sends once.
            response = client._request(
                method, url, params=params, data=data, allow_redirects=False, stream=True
            )
            try:
                body = b"".join(pieces(response.raw, until))
            finally:
                # What was not read to its end is closed here, what was read is kept alive.
                response.close()
        except transport.ERRORS as error:
            failed = error
        else:
            self._answered_at = time.monotonic()
            headers = response.headers
            return Reply(response.status_code, body, headers.get("Location"), headers.get("Date"))
        # Raised here and not above: the library's exceptions hold the URL, and in it the token.
        if transport.never_sent(failed):
            text = f"{urlsplit(url).hostname}:{urlsplit(url).port}: {transport.reason(failed)}"
            raise Unreachable(text) from transport.system_error(failed)
        raise AnswerLost(transport.reason(failed), timed_out=transport.timed_out(failed))


def pieces(raw: Any, until: float) -> Iterator[bytes]:
    """An answer's body as it arrives; TimeoutError once `until` is past, however it trickles.

    Raises Refusal where it is too large to be held.
    """
    size = 0
    while piece := raw.read1(65536):
        size += len(piece)
        if size > MAX_ANSWER:
            text = f"HDFS answered with more than {MAX_ANSWER} bytes: no record is so large."
            raise Refusal(Kind.REFUSED, BackendRefused(text))
        yield piece
        if time.monotonic() > until:
            raise TimeoutError("the answer came too slowly")


def unavailable(failure: Unreachable) -> BackendUnavailable:
    """The library's error for servers none of which could be reached."""
    return BackendUnavailable(f"HDFS cannot be reached ({failure}); nothing was sent.")
