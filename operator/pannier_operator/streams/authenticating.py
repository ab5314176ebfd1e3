"""Who dials: a service-account token, reviewed by the API server, becomes a pod and its audience.

An API server that cannot answer is never a refusal: a sidecar that is refused drops what it keeps.
No token is logged, kept or shown.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, ApiException, AuthenticationV1Api

from pannier.config.stream.messages import AUDIENCE
from pannier_operator.streams.hearsay import printable
from pannier_operator.streams.limiting import Pace, RefusedTokens
from pannier_operator.wanted import Audience, Pod

log = logging.getLogger("pannier_operator.streams")

REVIEW_WITHIN: Final = 5.0
"""Seconds for one TokenReview."""
WAIT_WITHIN: Final = 8.0
"""Seconds a dialer waits for its turn and its review together."""
AT_ONCE: Final = 16
"""TokenReviews under way."""
PER_SECOND: Final = 500.0
"""TokenReviews begun a second. A storm of 5,000 sidecars is spread over ten seconds."""

_USERNAME: Final = re.compile(r"system:serviceaccount:([a-z0-9.-]{1,253}):([a-z0-9.-]{1,253})\Z")
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"

_CANNOT_TELL: Final = re.compile(
    r"time[d]?[ -]?out|deadline|unavailable|connection|etcd|\bEOF\b|cancell?ed|rate limit|too many",
    re.IGNORECASE,
)
"""Errors inside a review that say that the API server could not look, not what it saw."""


class Refused(Exception):
    """The token is not one of a sidecar that is served here."""

    def __init__(self, reason: str, detail: str) -> None:
        """`reason` is one of `figures.REFUSALS`, `detail` a sentence without the token."""
        super().__init__(detail)
        self.reason = reason


class Later(Exception):
    """It cannot be told now; `retry_after` in whole seconds."""

    def __init__(self, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after = random.randint(2, 10) if retry_after is None else retry_after


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose stream it is."""

    pod: Pod
    audience: Audience


class _User(msgspec.Struct):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct):
    authenticated: bool = False
    audiences: list[str] = []
    user: _User = msgspec.field(default_factory=_User)
    error: str = ""


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


_reviews: Final = msgspec.json.Decoder(_Review)


class Authenticator:
    """Asks the API server, not too often and not too much at once."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        serves: Callable[[str], bool] = lambda namespace: True,
        clock: Callable[[], float] = time.monotonic,
        at_once: int = AT_ONCE,
        per_second: float = PER_SECOND,
    ) -> None:
        """`serves(namespace)` says whether this operator watches the namespace."""
        self._api = AuthenticationV1Api(api_client)
        self._serves = serves
        self._clock = clock
        self._refused = RefusedTokens()
        self._pace = Pace(per_second)
        self._room = asyncio.Semaphore(at_once)

    async def authenticate(self, token: str) -> Identity:
        """Who brings this token. Raises Refused or Later."""
        known = self._refused.reason(token, self._clock())
        if known is not None:
            raise Refused(known, "this token was refused a moment ago")
        try:
            async with asyncio.timeout(WAIT_WITHIN):
                wait = self._pace.turn(self._clock(), WAIT_WITHIN / 2)
                if wait is None:
                    raise Later("too many sidecars dial at once")
                if wait:
                    await asyncio.sleep(wait)
                async with self._room:
                    status = await self._review(token)
        except TimeoutError:
            raise Later("the API server did not answer in time") from None
        try:
            return self._identity(status)
        except Refused as refused:
            self._refused.add(token, refused.reason, self._clock())
            raise

    async def _review(self, token: str) -> _Status:
        """What the API server says of the token. Raises Later."""
        review: Any = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            # The generated models cost a millisecond an answer; three fields are read without.
            answer: Any = await self._api.create_token_review_without_preload_content(
                body=review, _request_timeout=REVIEW_WITHIN
            )
            async with answer:
                body = await answer.read()
        except ApiException as error:
            raise self._unanswered(int(error.status or 0), error.headers) from None
        except (aiohttp.ClientError, OSError) as error:
            log.warning("TokenReview failed: %s", type(error).__name__)
            raise Later("the API server is not reached") from None
        if not 200 <= answer.status < 300:
            raise self._unanswered(answer.status, answer.headers)
        try:
            return _reviews.decode(body).status
        except msgspec.MsgspecError:
            log.warning("TokenReview was answered with something else")
            raise Later("the API server's answer is not understood") from None

    def _unanswered(self, status: int, headers: Any) -> Later:
        if status in (401, 403):
            log.error(
                "the operator may not create TokenReviews (%d): its ClusterRole needs "
                "create on tokenreviews.authentication.k8s.io",
                status,
            )
        else:
            log.warning("TokenReview was answered with %d", status)
        after = str((headers or {}).get("Retry-After", ""))
        return Later(
            f"the API server answered the review with {status}",
            min(int(after), 60) + random.randint(1, 5) if after.isdecimal() else None,
        )

    def _identity(self, status: _Status) -> Identity:
        """Whose token it is. Raises Refused, or Later where the review could not look."""
        if not status.authenticated:
            if _CANNOT_TELL.search(status.error):
                log.warning("TokenReview could not look: %s", printable(status.error))
                raise Later("the API server could not review the token")
            raise Refused("token-refused", printable(status.error) or "the token is not known")
        if AUDIENCE not in status.audiences:
            raise Refused("wrong-audience", f"the token is not for the audience {AUDIENCE}")
        user = _USERNAME.match(status.user.username)
        name = status.user.extra.get(_POD_NAME, [])
        uid = status.user.extra.get(_POD_UID, [])
        if user is None or len(name) != 1 or len(uid) != 1 or not name[0] or not uid[0]:
            raise Refused("not-a-pod", "the token is not bound to a pod")
        namespace, service_account = user.groups()
        if not self._serves(namespace):
            raise Refused("namespace-not-served", f"namespace {namespace} is not served here")
        return Identity(Pod(namespace, name[0], uid[0]), Audience(namespace, service_account))
