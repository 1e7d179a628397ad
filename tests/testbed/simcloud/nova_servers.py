"""Servers: list, show, act, create, delete."""

import random
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.compute import Compute
from tests.testbed.simcloud.effects import Fate, GoesToError
from tests.testbed.simcloud.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from tests.testbed.simcloud.flavors import FLAVORS, HUGE, Flavor
from tests.testbed.simcloud.gate import Call, Gate
from tests.testbed.simcloud.images import ImageStore
from tests.testbed.simcloud.model import (
    CONFIRM_RESIZE,
    DELETE,
    HARD_REBOOT,
    PAUSE,
    RESUME,
    SHELVE,
    SOFT_REBOOT,
    START,
    STOP,
    SUSPEND,
    UNPAUSE,
    UNRESCUE,
    UNSHELVE,
    Action,
    Server,
)
from tests.testbed.simcloud.nova import SERVER, V21, NovaService, decode
from tests.testbed.simcloud.novahttp import minor_version, nova_response, query_of
from tests.testbed.simcloud.settings import CurrentSettings, ServerSpec, draw
from tests.testbed.simcloud.tokens import TokenStore
from tests.testbed.simcloud.views import ServerView
from tests.testbed.simcloud.web import base_url

_ACTIONS: dict[str, tuple[str, Action]] = {
    "os-start": ("start", START),
    "os-stop": ("stop", STOP),
    "reboot": ("reboot", SOFT_REBOOT),
    "shelve": ("shelve", SHELVE),
    "unshelve": ("unshelve", UNSHELVE),
    "pause": ("pause", PAUSE),
    "unpause": ("unpause", UNPAUSE),
    "suspend": ("suspend", SUSPEND),
    "resume": ("resume", RESUME),
    "unrescue": ("unrescue", UNRESCUE),
    "confirmResize": ("confirm_resize", CONFIRM_RESIZE),
}
_NO_HOST = GoesToError(
    message="No valid host was found. There are not enough hosts available.", after_seconds=0.1
)


_CREATE_IMAGE = "createImage"


class _CreateImage(msgspec.Struct):
    name: str
    metadata: dict[str, str] = {}


class _CreateServer(msgspec.Struct):
    name: str
    flavor: str = msgspec.field(name="flavorRef")
    image: str | None = msgspec.field(name="imageRef", default=None)
    metadata: dict[str, str] = {}
    tags: list[str] = []


class _CreateBody(msgspec.Struct):
    server: _CreateServer


class ServersApi(NovaService):
    """``/compute/v2.1/servers``."""

    def __init__(
        self,
        gate: Gate,
        dials: CurrentSettings,
        compute: Compute,
        tokens: TokenStore,
        images: ImageStore,
    ) -> None:
        super().__init__(gate, compute, tokens)
        self._dials = dials
        self._images = images
        self._rng = random.Random(4711)

    def routes(self) -> list[Route]:
        return [
            self.route(
                "GET", f"{V21}/servers/detail", _list_kind("list_detail"), self._list_detail
            ),
            self.route("GET", f"{V21}/servers", _list_kind("list"), self._list_brief),
            self.route("GET", SERVER, "get", self._show),
            self.route("POST", f"{SERVER}/action", _action_kind, self._action),
            self.route("POST", f"{V21}/servers", "create", self._create),
            self.route("DELETE", SERVER, "delete", self._delete),
        ]

    # -- listings

    def _list_detail(self, call: Call) -> Response:
        page, view, links = self._page(call, "servers/detail")
        rendered = b",".join([view.detail(server) for server in page])
        return nova_response(call, b'{"servers":[' + rendered + b"]" + links + b"}")

    def _list_brief(self, call: Call) -> Response:
        page, view, links = self._page(call, "servers")
        rendered = b",".join([view.brief(server) for server in page])
        return nova_response(call, b'{"servers":[' + rendered + b"]" + links + b"}")

    def _page(self, call: Call, path: str) -> tuple[list[Server], ServerView, bytes]:
        project_id = self.project(call)
        query = query_of(call.request, self._dials.now.page_limit)
        view = self.view(call)
        page = [] if query is None else self.compute.listed(project_id, query)
        if query is None or not page or len(page) < query.limit:
            return page, view, b""
        parameters = [(k, v) for k, v in call.request.query_params.multi_items() if k != "marker"]
        following = urlencode([*parameters, ("marker", page[-1].id)])
        href = f"{base_url(call.request)}/compute/v2.1/{path}?{following}"
        links = msgspec.json.encode([{"rel": "next", "href": href}])
        return page, view, b',"servers_links":' + links

    # -- one server

    def _show(self, call: Call) -> Response:
        server = self.server(call)
        return nova_response(call, b'{"server":' + self.view(call).detail(server) + b"}")

    def _action(self, call: Call) -> Response:
        project_id = self.project(call)
        server_id = call.request.path_params["server_id"]
        if self.compute.find(server_id) is None:
            # This is Nova's message for an id that it never had.
            raise NotFoundError(f"Instance {server_id} has no mapping to a cell.")
        server = self.compute.get(project_id, server_id)
        name, argument = _read_action(call.body)
        if name in {"lock", "unlock"}:
            server.locked = name == "lock"
            self.compute.describe(server)
            return nova_response(call, b"", 202)
        if name == "shelveOffload":
            raise ForbiddenError(
                "Policy doesn't allow os_compute_api:os-shelve:shelve_offload to be performed."
            )
        if name == _CREATE_IMAGE:
            return self._create_image(call, server, argument)
        if name not in _ACTIONS:
            raise BadRequestError(f"There is no such action: {name}")
        action = _ACTIONS[name][1]
        if action is SOFT_REBOOT and argument == {"type": "HARD"}:
            action = HARD_REBOOT
        self.compute.act(server, action, call.fate)
        return nova_response(call, b"", 204 if action is CONFIRM_RESIZE else 202)

    def _create_image(self, call: Call, server: Server, argument: object) -> Response:
        try:
            wanted = msgspec.convert(argument, _CreateImage)
        except msgspec.ValidationError as error:
            raise BadRequestError(
                f"Invalid input for field/attribute createImage: {error}"
            ) from None
        seconds = draw(self._dials.now.image_seconds, self._rng)
        image = self._images.begin(wanted.name, server.project_id, wanted.metadata)

        def done(well: bool) -> None:  # noqa: FBT001 (a listener's shape)
            if well:
                image.status = "active"
            else:
                self._images.drop(image)

        try:
            self.compute.snapshot(server, seconds, call.fate, done)
        except ConflictError:
            self._images.drop(image)
            raise
        if minor_version(call.request) >= 45:
            return nova_response(call, msgspec.json.encode({"image_id": image.id}), 202)
        response = nova_response(call, b"", 202)
        response.headers["Location"] = f"{base_url(call.request)}/image/images/{image.id}"
        return response

    def _create(self, call: Call) -> Response:
        project_id = self.project(call)
        wanted = decode(call.body, _CreateBody).server
        flavor = _find_flavor(wanted.flavor)
        if flavor is None:
            raise BadRequestError(f"Flavor {wanted.flavor} could not be found.")
        if wanted.image is not None:
            self._images.check(wanted.image)
        spec = ServerSpec(
            name=wanted.name, project_id=project_id, metadata=wanted.metadata, tags=wanted.tags
        )
        fate: Fate | None = _NO_HOST if flavor is HUGE else call.fate
        server = self.compute.create(spec, flavor.name, wanted.image, fate)
        links = self.view(call).links(server)
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
        self.compute.act(self.server(call), DELETE, call.fate)
        return nova_response(call, b"", 204)


def _list_kind(first_page: str) -> Callable[[Request, bytes], str]:
    def kind(request: Request, _body: bytes) -> str:
        return "list_page" if "marker" in request.query_params else first_page

    return kind


def _action_kind(_request: Request, body: bytes) -> str:
    try:
        name, _ = _read_action(body)
    except BadRequestError:
        return "action_other"
    if name == _CREATE_IMAGE:
        return "create_image"
    return _ACTIONS[name][0] if name in _ACTIONS else "action_other"


def _read_action(body: bytes) -> tuple[str, object]:
    actions = decode(body, dict[str, object])
    if len(actions) != 1:
        raise BadRequestError("Malformed request body")
    return next(iter(actions.items()))


def _find_flavor(reference: str) -> Flavor | None:
    wanted = reference.rsplit("/", 1)[-1]
    return next((f for f in FLAVORS.values() if f.id == wanted), None)
