"""What we ask of `requests`, and what its exceptions mean. Imported when the first session opens.

`requests` spends most of a small exchange's time on what WebHDFS does not need: cookies of a login
that every request repeats, redirects that are followed by hand, proxies of the environment. Without
them a read takes 2.3 ms of CPU instead of 3.2 (two exchanges; `python -m tests.bench hdfs`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.client import HTTPException
from ssl import SSLCertVerificationError
from typing import Any, cast
from urllib.parse import urlencode

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as UrllibTimeout


class NoCookies(RequestsCookieJar):
    """A jar that nothing goes into."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


class OneConnection(HTTPAdapter):
    """One kept connection to each host: a session has one request under way at a time."""

    def __init__(self, *, cookies: bool) -> None:
        self._cookies = cookies
        super().__init__(pool_connections=4, pool_maxsize=1)

    def build_response(
        self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse
    ) -> requests.Response:
        if self._cookies:
            return super().build_response(req, resp)
        # Cookies are read from this attribute, and only if it is set.
        original = getattr(resp, "_original_response", None)
        setattr(resp, "_original_response", None)  # noqa: B010
        try:
            return super().build_response(req, resp)
        finally:
            setattr(resp, "_original_response", original)  # noqa: B010


class PlainSession(requests.Session):
    """A session that sends what it is told, follows nothing, and heeds no environment but the CA's.

    Neither a proxy nor a netrc of the application's environment is meant for HDFS. `cookies` are
    for Kerberos, which would log in anew at every request without them.
    """

    def __init__(self, *, cookies: bool) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, OneConnection(cookies=cookies))
        if not cookies:
            self.cookies = NoCookies()
        self.headers["Accept-Encoding"] = "identity"

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """The request as it stands: no cookies, hooks, netrc or files to look for."""
        if not isinstance(self.cookies, NoCookies):
            return super().prepare_request(request)
        prepared = requests.PreparedRequest()
        prepared.method = request.method
        # DataNodes are named with all parameters in the URL; NameNodes get the login's beside ours.
        parameters: Any = request.params and {**cast(Any, self.params), **request.params}
        query = urlencode(parameters) if parameters else ""
        prepared.url = f"{request.url}?{query}" if query else request.url
        prepared.headers = CaseInsensitiveDict({**self.headers, **request.headers})
        prepared.body = request.data or None
        if prepared.body is not None or request.method == "PUT":
            prepared.headers["Content-Length"] = str(len(prepared.body or b""))
        prepared.hooks = default_hooks()
        setattr(prepared, "_cookies", self.cookies)  # noqa: B010
        return prepared

    def merge_environment_settings(self, *arguments: Any, **keywords: Any) -> Any:
        """Only what the session says; nothing is looked up."""
        return {"proxies": {}, "stream": True, "verify": self.verify, "cert": self.cert}

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def drop_connections(self) -> None:
        """Close the kept connections; the next request opens its own."""
        for adapter in self.adapters.values():
            adapter.close()


ERRORS = (OSError, ValueError, HTTPException, HTTPError)
"""All that an exchange raises: requests' exceptions are OSErrors (or, for a bad URL, ValueErrors),
and reading a body raises those of urllib3 and http.client."""


def never_sent(error: BaseException) -> bool:
    """Whether no connection was made at all, so that no server has seen the request."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    return any(
        isinstance(cause, NewConnectionError | SSLCertVerificationError) for cause in causes(error)
    )


def timed_out(error: BaseException) -> bool:
    """Whether it was the time that ended the exchange, and not the other side."""
    kinds = requests.Timeout | UrllibTimeout | TimeoutError
    return any(isinstance(cause, kinds) for cause in causes(error))


def system_error(error: BaseException) -> BaseException | None:
    """A copy of the operating system's (or TLS's) own error below an exception of the libraries.

    A copy, because the original leads back to exceptions that hold the URL, and in it the token.
    """
    for cause in causes(error):
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            return type(cause)(*cause.args)
    return None


def reason(error: BaseException) -> str:
    """What happened, in words that hold no URL."""
    if timed_out(error):
        return "no answer in time"
    found = system_error(error)
    if found is not None:
        return getattr(found, "strerror", None) or type(found).__name__
    return "the connection was cut"


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what is under it, by urllib3's `reason`, arguments, cause and context."""
    seen: set[int] = set()
    ahead: list[BaseException] = [error]
    while ahead:
        found = ahead.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        under = [getattr(found, "reason", None), *found.args, found.__cause__, found.__context__]
        ahead.extend(cause for cause in under if isinstance(cause, BaseException))
