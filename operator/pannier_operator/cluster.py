"""The API server: how it is reached, and plain JSON from it. Every call has an end in time.

Whoever calls the API gets the `ApiClient` that `connect` makes. Its errors are shown by `said`
alone: their own text repeats headers and bodies, and a body may hold a Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config
from yaml import YAMLError

from pannier.errors import PannierError
from pannier_operator.settings import OperatorSettings

TIMEOUT: Final = 10.0
"""Seconds that one API call may take."""

METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Asks for an object without its content (kubernetes.io, "Receiving resources as Tables" and
"PartialObjectMetadata"): what a Secret holds never leaves the API server."""
METADATA_LIST: Final = METADATA_ONLY.replace("ObjectMetadata", "ObjectMetadataList")
"""The same of a list; an empty one may have null for its items."""

API_ERRORS: Final = (ApiException, aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError)
"""What a call may raise: the API server refused, was not reached, was too slow, made no sense."""


class CannotReach(PannierError):
    """There is nothing that says how the API server is reached; the operator does not start."""

    title = "No cluster"


@asynccontextmanager
async def connect(settings: OperatorSettings) -> AsyncIterator[ApiClient]:
    """A client of the API server that `settings` name. Nothing is dialed yet.

    Raises CannotReach. A pod's token is read again every minute, since Kubernetes replaces it.
    """
    configuration = Configuration()
    configuration.retries = 0
    try:
        if settings.kubeconfig is not None:
            await load_kube_config(
                str(settings.kubeconfig), client_configuration=configuration, persist_config=False
            )
        else:
            load_incluster_config(configuration)
        client = ApiClient(configuration)
    except (ConfigException, OSError, ValueError) as error:
        raise _cannot_tell(settings, str(error)) from None
    except (YAMLError, AttributeError, KeyError, TypeError):
        # What is no kubeconfig at all; the library's words for it are its own insides'.
        raise _cannot_tell(settings, "it is no kubeconfig") from None
    async with client as api:
        yield api


def _cannot_tell(settings: OperatorSettings, why: str) -> CannotReach:
    where = settings.kubeconfig or "the pod's service account"
    return CannotReach(
        f"{where} does not say how the API server is reached ({why}): give --kubeconfig, or "
        "run the operator in a pod."
    )


async def call(
    api: ApiClient,
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int] | None = None,
    body: Any = None,
    accept: str = "application/json",
    content_type: str = "application/json",
    timeout: float = TIMEOUT,
) -> Any:
    """The decoded JSON that the API server answers. Raises one of API_ERRORS.

    The generated classes are passed by: making models of 1,000 objects takes seconds, and what
    is kept here is a few fields.
    """
    async with asyncio.timeout(timeout):
        response = await _send(
            api,
            method,
            path,
            query=query,
            body=body,
            headers={"Accept": accept, "Content-Type": content_type},
            timeout=aiohttp.ClientTimeout(total=timeout),
        )
        answer = await response.read()
    if not 200 <= response.status <= 299:
        raise ApiException(status=response.status, reason=_message_of(answer) or response.reason)
    return msgspec.json.decode(answer)


async def _send(
    api: ApiClient,
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int] | None,
    body: Any,
    headers: Mapping[str, str],
    timeout: aiohttp.ClientTimeout,
) -> Any:
    request = await api.param_serialize(
        method,
        path,
        query_params=list((query or {}).items()),
        header_params=dict(headers),
        body=body,
        auth_settings=["BearerToken"],
    )
    return await api.call_api(*request, _request_timeout=timeout)


def _message_of(answer: bytes) -> str:
    """The `message` of a Status, which is what a refusal's body is."""
    try:
        status = msgspec.json.decode(answer)
    except msgspec.MsgspecError:
        return ""
    message = status.get("message") if isinstance(status, dict) else None
    return message if isinstance(message, str) else ""


def said(error: BaseException) -> str:
    """What an API call's error says, in one line without headers or bodies."""
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}" if error.status else str(error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
