"""HTTP helpers for all services."""

import uuid

import msgspec
from starlette.requests import Request
from starlette.responses import Response


def base_url(request: Request) -> str:
    """Return the base URL that the caller used, ``http://host:port``.

    Links and the catalog contain it, so that they work for the caller.
    """
    return f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}"


def request_id() -> str:
    """Return a new ``x-openstack-request-id``."""
    return f"req-{uuid.uuid4()}"


def json_response(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return ``content`` (anything that msgspec encodes) as JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
