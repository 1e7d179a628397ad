"""What all parts of the compute service share: the caller's project, and the server of a call."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.compute import Compute
from tests.testbed.simcloud.errors import ApiError, BadRequestError, ForbiddenError
from tests.testbed.simcloud.gate import Call, Gate, Handler, ServiceName
from tests.testbed.simcloud.model import Server
from tests.testbed.simcloud.novahttp import minor_version, nova_error
from tests.testbed.simcloud.tokens import TokenStore
from tests.testbed.simcloud.views import ServerView
from tests.testbed.simcloud.web import base_url

V21 = "/compute/v2.1"
SERVER = f"{V21}/servers/{{server_id}}"

_Shape = TypeVar("_Shape")


class NovaService:
    """A part of the compute service; calls through ``gate`` are counted and may fail."""

    name: ServiceName = "compute"

    def __init__(self, gate: Gate, compute: Compute, tokens: TokenStore) -> None:
        self.compute = compute
        self._gate = gate
        self._tokens = tokens
        self._views: dict[tuple[str, int], ServerView] = {}

    def route(
        self,
        method: str,
        path: str,
        kind: str | Callable[[Request, bytes], str],
        handler: Handler,
    ) -> Route:
        """Return the route that passes calls through the gate to ``handler``."""
        return Route(path, self._gate.guard(self, kind, handler), methods=[method])

    def refuse(self, error: ApiError) -> Response:
        return nova_error(error)

    def server_name(self, server_id: str) -> str | None:
        server = self.compute.find(server_id)
        return None if server is None else server.name

    def project(self, call: Call) -> str:
        """Return the id of the project of the caller's token.

        Raises:
            UnauthorizedError: the token is missing or invalid.
            ForbiddenError: the token is not scoped to a project, or its user may only look.
            ApiError: the requested microversion is not supported.
        """
        token = self._tokens.check(call.request.headers.get("x-auth-token"))
        minor_version(call.request)
        only_looks = token.user_name == credentials.READER and call.request.method != "GET"
        if token.project_id is None or only_looks:
            raise ForbiddenError("Policy doesn't allow os_compute_api:servers to be performed.")
        return token.project_id

    def server(self, call: Call) -> Server:
        """Return the server of the call.

        Raises:
            NotFoundError: the caller's project does not have this server.
        """
        return self.compute.get(self.project(call), call.request.path_params["server_id"])

    def view(self, call: Call) -> ServerView:
        """Return the renderer for the caller's address and microversion."""
        key = (base_url(call.request), minor_version(call.request))
        if key not in self._views:
            self._views[key] = ServerView(*key)
        return self._views[key]


def decode(body: bytes, shape: type[_Shape]) -> _Shape:
    """Return the request's body as ``shape``.

    Raises:
        BadRequestError: it is not JSON, or has another shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"Malformed request body: {error}") from None
