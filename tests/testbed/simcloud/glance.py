"""The image service: images by id, and listings with filters by property."""

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.errors import ApiError
from tests.testbed.simcloud.gate import Call, Gate, Handler, ServiceName
from tests.testbed.simcloud.images import Image, ImageStore
from tests.testbed.simcloud.tokens import TokenStore
from tests.testbed.simcloud.web import base_url, json_response, request_id

_HOW = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
"""Parameters that say how to list, not what."""


class ImagesApi:
    """``/image`` and ``/image/v2/images``."""

    name: ServiceName = "image"

    def __init__(self, gate: Gate, images: ImageStore, tokens: TokenStore) -> None:
        self._gate = gate
        self._images = images
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [
            self._route("/image", "image_version", _versions),
            self._route("/image/", "image_version", _versions),
            self._route("/image/v2/images", "images", self._list),
            self._route("/image/v2/images/{image_id}", "image", self._show),
            self._route("/image/v2/images/{image_id}", "delete_image", self._delete, "DELETE"),
        ]

    def refuse(self, error: ApiError) -> Response:
        """Return ``error`` in Glance's format, an HTML page."""
        title = f"{error.status} {error.message}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return Response(page, error.status, media_type="text/html")

    def server_name(self, server_id: str) -> str | None:
        del server_id
        return None

    def _route(self, path: str, kind: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, self._gate.guard(self, kind, handler), methods=[method])

    def _list(self, call: Call) -> Response:
        self._check(call)
        wanted = {k: v for k, v in call.request.query_params.items() if k not in _HOW}
        found = [_view(image) for image in self._images.matching(wanted)]
        return _answer({"images": found, "first": "/v2/images", "schema": "/v2/schemas/images"})

    def _show(self, call: Call) -> Response:
        self._check(call)
        return _answer(_view(self._images.get(call.request.path_params["image_id"])))

    def _delete(self, call: Call) -> Response:
        self._check(call)
        self._images.drop(self._images.get(call.request.path_params["image_id"]))
        return Response(status_code=204)

    def _check(self, call: Call) -> None:
        self._tokens.check(call.request.headers.get("x-auth-token"))


def _versions(call: Call) -> Response:
    return json_response({"versions": [_version(call.request)]}, 300)


def _version(request: Request) -> dict[str, object]:
    href = f"{base_url(request)}/image/v2/"
    return {"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}


def _view(image: Image) -> dict[str, object]:
    created = datetime.fromtimestamp(image.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "owner": image.owner,
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "tags": [],
        "container_format": "bare",
        "disk_format": "raw",
        "min_disk": 0,
        "min_ram": 0,
        "size": 1024 if image.status == "active" else None,
        "created_at": created,
        "updated_at": created,
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def _answer(content: object) -> Response:
    headers = {"x-openstack-request-id": request_id()}
    return Response(msgspec.json.encode(content), 200, headers, media_type="application/json")
