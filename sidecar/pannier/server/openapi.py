"""The OpenAPI 3.1 document of the record port, made of the words the server itself uses.

Limits come from the settings, the operations from `server.openapi_operations`, what these refer to
from `server.openapi_parts`. A fuzz test holds the live server to it (tests/contract/http).
"""

from __future__ import annotations

from pannier.server.openapi_operations import paths
from pannier.server.openapi_parts import Json, headers, parameters, schemas
from pannier.server.settings import SidecarSettings
from pannier.version import installed_version


def document(settings: SidecarSettings) -> Json:
    """The whole document, with this sidecar's limits and security."""
    made: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Pannier",
            "version": installed_version(),
            "summary": "A key-value store beside every application.",
            "description": (
                "Records are JSON values under /v1/{store}/{schema}/{key}; the stored bytes are "
                "the bytes sent. Every refusal is a problem document (RFC 9457) with a `code`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths(settings),
        "components": {"schemas": schemas(), "parameters": parameters(), "headers": headers()},
    }
    if settings.api_token_file is not None:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return made
