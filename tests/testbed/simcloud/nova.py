"""Nova's API: from HTTP to the servers and back."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.compute import Compute
from tests.testbed.simcloud.effects import Fate, GoesToError
from tests.testbed.simcloud.errors import ApiError, BadRequestError, ForbiddenError, NotFoundError
from tests.testbed.simcloud.flavors import FLAVORS, HUGE, Flavor
from tests.testbed.simcloud.gate import Call, Gate, ServiceName
from tests.testbed.simcloud.model import (
    DELETE,
    HARD_REBOOT,
    SHELVE,
    SHELVE_OFFLOAD,
    SOFT_REBOOT,
    START,
    STOP,
    UNSHELVE,
    Action,
    Server,
)
from tests.testbed.simcloud.novahttp import (
    minor_version,
    nova_error,
    nova_response,
    query_of,
    version_document,
)
from tests.testbed.simcloud.settings import Dials, ServerSpec
from tests.testbed.simcloud.tokens import TokenStore
from tests.testbed.simcloud.views import ServerView
from tests.testbed.simcloud.web import base_url

_ACTIONS: dict[str, tuple[str, Action]] = {
    "os-start": ("start", START),
    "os-stop": ("stop", STOP),
    "reboot": ("reboot", SOFT_REBOOT),
    "shelve": ("shelve", SHELVE),
    "shelveOffload": ("shelve_offload", SHELVE_OFFLOAD),
    "unshelve": ("unshelve", UNSHELVE),
}
_Shape = TypeVar("_Shape")
_NO_HOST = GoesToError(
    message="No valid host was found. There are not enough hosts available.", after_seconds=0.1
)


class _CreateServer(msgspec.Struct):
    name: str
    flavor: str = msgspec.field(name="flavorRef")
    image: str | None = msgspec.field(name="imageRef", default=None)
    metadata: dict[str, str] = {}
    tags: list[str] = []


class _CreateBody(msgspec.Struct):
    server: _CreateServer


class _MetadataBody(msgspec.Struct):
    metadata: dict[str, str]


class _MetaBody(msgspec.Struct):
    meta: dict[str, str]


class _TagsBody(msgspec.Struct):
    tags: list[str]


class NovaApi:
    """The compute service at ``/compute/v2.1``."""

    name: ServiceName = "compute"

    def __init__(self, dials: Dials, compute: Compute, tokens: TokenStore) -> None:
        self._dials = dials
        self._compute = compute
        self._tokens = tokens
        self._views: dict[tuple[str, int], ServerView] = {}

    def routes(self, gate: Gate) -> list[Route]:
        v21 = "/compute/v2.1"
        server = f"{v21}/servers/{{server_id}}"

        def route(
            path: str,
            kind: str | Callable[[Request, bytes], str],
            handler: Callable[[Call], Response],
            method: str = "GET",
        ) -> Route:
            return Route(path, gate.guard(self, kind, handler), methods=[method])

        return [
            route(f"{v21}/servers/detail", _list_kind("list_detail"), self._list_detail),
            route(f"{v21}/servers", _list_kind("list"), self._list_brief),
            route(server, "get", self._show),
            route(f"{server}/action", _action_kind, self._action, "POST"),
            route(f"{v21}/servers", "create", self._create, "POST"),
            route(server, "delete", self._delete, "DELETE"),
            route(f"{server}/metadata", "metadata", self._metadata),
            route(f"{server}/metadata", "metadata", self._merge_metadata, "POST"),
            route(f"{server}/metadata", "metadata", self._replace_metadata, "PUT"),
            route(f"{server}/metadata/{{key}}", "metadata", self._put_meta, "PUT"),
            route(f"{server}/metadata/{{key}}", "metadata", self._delete_meta, "DELETE"),
            route(f"{server}/tags", "tags", self._tags),
            route(f"{server}/tags", "tags", self._replace_tags, "PUT"),
            route(f"{server}/tags/{{tag}}", "tags", self._put_tag, "PUT"),
            route(f"{server}/tags/{{tag}}", "tags", self._delete_tag, "DELETE"),
            route(f"{v21}/flavors", "flavors", self._flavors),
            route(f"{v21}/flavors/detail", "flavors", self._flavors),
            route(f"{v21}/flavors/{{flavor_id}}", "flavors", self._flavor),
            route(v21, "compute_version", self._version),
            route(f"{v21}/", "compute_version", self._version),
            route("/compute", "compute_version", self._versions),
            route("/compute/", "compute_version", self._versions),
        ]

    def refuse(self, error: ApiError) -> Response:
        return nova_error(error)

    def server_name(self, server_id: str) -> str | None:
        server = self._compute.find(server_id)
        return None if server is None else server.name

    # -- listings

    def _list_detail(self, call: Call) -> Response:
        page, view, links = self._page(call, "servers/detail")
        rendered = b",".join([view.detail(server) for server in page])
        return nova_response(call, b'{"servers":[' + rendered + b"]" + links + b"}")

    def _list_brief(self, call: Call) -> Response:
        page, view, links = self._page(call, "servers")
        rendered = msgspec.json.encode([view.brief(server) for server in page])
        return nova_response(call, b'{"servers":' + rendered + links + b"}")

    def _page(self, call: Call, path: str) -> tuple[list[Server], ServerView, bytes]:
        project_id = self._project(call)
        query = query_of(call.request, self._dials.now.page_limit)
        view = self._view(call)
        page = [] if query is None else self._compute.listed(project_id, query)
        if query is None or not page or len(page) < query.limit:
            return page, view, b""
        parameters = [(k, v) for k, v in call.request.query_params.multi_items() if k != "marker"]
        following = urlencode([*parameters, ("marker", page[-1].id)])
        href = f"{base_url(call.request)}/compute/v2.1/{path}?{following}"
        links = msgspec.json.encode([{"rel": "next", "href": href}])
        return page, view, b',"servers_links":' + links

    # -- one server

    def _show(self, call: Call) -> Response:
        server = self._server(call)
        return nova_response(call, b'{"server":' + self._view(call).detail(server) + b"}")

    def _action(self, call: Call) -> Response:
        server = self._server(call)
        name, argument = _read_action(call.body)
        if name in {"lock", "unlock"}:
            server.locked = name == "lock"
            self._compute.describe(server)
            return nova_response(call, b"", 202)
        if name not in _ACTIONS:
            raise BadRequestError(f"There is no such action: {name}")
        action = _ACTIONS[name][1]
        if action is SOFT_REBOOT and argument == {"type": "HARD"}:
            action = HARD_REBOOT
        self._compute.act(server, action, call.fate)
        return nova_response(call, b"", 202)

    def _create(self, call: Call) -> Response:
        project_id = self._project(call)
        wanted = _decode(call.body, _CreateBody).server
        flavor = _find_flavor(wanted.flavor)
        if flavor is None:
            raise BadRequestError(f"Flavor {wanted.flavor} could not be found.")
        spec = ServerSpec(
            name=wanted.name, project_id=project_id, metadata=wanted.metadata, tags=wanted.tags
        )
        fate: Fate | None = _NO_HOST if flavor is HUGE else call.fate
        server = self._compute.create(spec, flavor.name, wanted.image, fate)
        links = self._view(call).links(server)
        answer = {
            "id": server.id,
            "links": links,
            "OS-DCF:diskConfig": "MANUAL",
            "security_groups": [{"name": "default"}],
            "adminPass": "not-a-real-one",
        }
        response = nova_response(call, msgspec.json.encode({"server": answer}), 202)
        response.headers["Location"] = str(links[0]["href"])
        return response

    def _delete(self, call: Call) -> Response:
        self._compute.act(self._server(call), DELETE, call.fate)
        return nova_response(call, b"", 204)

    # -- metadata and tags

    def _metadata(self, call: Call) -> Response:
        return _metadata_response(call, self._server(call))

    def _merge_metadata(self, call: Call) -> Response:
        server = self._server(call)
        server.metadata = server.metadata | _decode(call.body, _MetadataBody).metadata
        self._compute.describe(server)
        return _metadata_response(call, server)

    def _replace_metadata(self, call: Call) -> Response:
        server = self._server(call)
        server.metadata = _decode(call.body, _MetadataBody).metadata
        self._compute.describe(server)
        return _metadata_response(call, server)

    def _put_meta(self, call: Call) -> Response:
        server = self._server(call)
        meta = _decode(call.body, _MetaBody).meta
        if list(meta) != [call.request.path_params["key"]]:
            raise BadRequestError("Request body and URI mismatch")
        server.metadata = server.metadata | meta
        self._compute.describe(server)
        return nova_response(call, msgspec.json.encode({"meta": meta}))

    def _delete_meta(self, call: Call) -> Response:
        server = self._server(call)
        key = call.request.path_params["key"]
        if key not in server.metadata:
            raise NotFoundError("Metadata item was not found")
        server.metadata = {k: v for k, v in server.metadata.items() if k != key}
        self._compute.describe(server)
        return nova_response(call, b"", 204)

    def _tags(self, call: Call) -> Response:
        return _tags_response(call, self._server(call))

    def _replace_tags(self, call: Call) -> Response:
        server = self._server(call)
        server.tags = sorted(set(_decode(call.body, _TagsBody).tags))
        self._compute.describe(server)
        return _tags_response(call, server)

    def _put_tag(self, call: Call) -> Response:
        server = self._server(call)
        tag = call.request.path_params["tag"]
        if tag in server.tags:
            return nova_response(call, b"", 204)
        server.tags = [*server.tags, tag]
        self._compute.describe(server)
        return nova_response(call, b"", 201)

    def _delete_tag(self, call: Call) -> Response:
        server = self._server(call)
        tag = call.request.path_params["tag"]
        if tag not in server.tags:
            raise NotFoundError(f"Instance {server.id} has no tag '{tag}'")
        server.tags = [t for t in server.tags if t != tag]
        self._compute.describe(server)
        return nova_response(call, b"", 204)

    # -- flavors and versions

    def _flavors(self, call: Call) -> Response:
        self._project(call)
        flavors = [_flavor_view(flavor) for flavor in FLAVORS.values()]
        return nova_response(call, msgspec.json.encode({"flavors": flavors}))

    def _flavor(self, call: Call) -> Response:
        self._project(call)
        wanted = call.request.path_params["flavor_id"]
        flavor = next((f for f in FLAVORS.values() if f.id == wanted), None)
        if flavor is None:
            raise NotFoundError(f"Flavor {wanted} could not be found.")
        return nova_response(call, msgspec.json.encode({"flavor": _flavor_view(flavor)}))

    def _version(self, call: Call) -> Response:
        document = version_document(call.request)
        return nova_response(call, msgspec.json.encode({"version": document}))

    def _versions(self, call: Call) -> Response:
        document = version_document(call.request)
        return nova_response(call, msgspec.json.encode({"versions": [document]}))

    # -- who asks, and about what

    def _project(self, call: Call) -> str:
        token = self._tokens.check(call.request.headers.get("x-auth-token"))
        if token.project_id is None:
            raise ForbiddenError("Policy doesn't allow os_compute_api:servers to be performed.")
        return token.project_id

    def _server(self, call: Call) -> Server:
        return self._compute.get(self._project(call), call.request.path_params["server_id"])

    def _view(self, call: Call) -> ServerView:
        key = (base_url(call.request), minor_version(call.request))
        if key not in self._views:
            self._views[key] = ServerView(*key)
        return self._views[key]


def _list_kind(first_page: str) -> Callable[[Request, bytes], str]:
    def kind(request: Request, _body: bytes) -> str:
        return "list_page" if "marker" in request.query_params else first_page

    return kind


def _action_kind(_request: Request, body: bytes) -> str:
    try:
        name, _ = _read_action(body)
    except BadRequestError:
        return "action_other"
    return _ACTIONS[name][0] if name in _ACTIONS else "action_other"


def _read_action(body: bytes) -> tuple[str, object]:
    actions = _decode(body, dict[str, object])
    if len(actions) != 1:
        raise BadRequestError("Malformed request body")
    return next(iter(actions.items()))


def _decode(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"Malformed request body: {error}") from None


def _metadata_response(call: Call, server: Server) -> Response:
    return nova_response(call, msgspec.json.encode({"metadata": server.metadata}))


def _tags_response(call: Call, server: Server) -> Response:
    return nova_response(call, msgspec.json.encode({"tags": server.tags}))


def _find_flavor(reference: str) -> Flavor | None:
    wanted = reference.rsplit("/", 1)[-1]
    return next((f for f in FLAVORS.values() if f.id == wanted), None)


def _flavor_view(flavor: Flavor) -> dict[str, object]:
    return {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mib,
        "disk": flavor.disk_gib,
        "swap": "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
        "links": [],
    }
