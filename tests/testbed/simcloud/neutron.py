"""The network service: its networks and security groups, by id and name."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.errors import ApiError
from tests.testbed.simcloud.gate import Call, Gate, Handler, ServiceName
from tests.testbed.simcloud.settings import CurrentSettings
from tests.testbed.simcloud.tokens import TokenStore
from tests.testbed.simcloud.web import base_url, json_response


class NetworksApi:
    """``/network``, and below it ``v2.0/networks`` and ``v2.0/security-groups``."""

    name: ServiceName = "network"

    def __init__(self, gate: Gate, dials: CurrentSettings, tokens: TokenStore) -> None:
        self._gate = gate
        self._dials = dials
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [
            self._route("/network", "network_version", _versions),
            self._route("/network/", "network_version", _versions),
            self._route("/network/v2.0/networks", "networks", self._list),
            self._route("/network/v2.0/security-groups", "security_groups", self._groups),
        ]

    def refuse(self, error: ApiError) -> Response:
        """Return ``error`` in Neutron's format."""
        body = {"type": "Error", "message": error.message, "detail": ""}
        return json_response({"NeutronError": body}, error.status)

    def server_name(self, server_id: str) -> str | None:
        del server_id
        return None

    def _route(self, path: str, kind: str, handler: Handler) -> Route:
        return Route(path, self._gate.guard(self, kind, handler), methods=["GET"])

    def _list(self, call: Call) -> Response:
        self._tokens.check(call.request.headers.get("x-auth-token"))
        wanted = {k: v for k, v in call.request.query_params.items() if k in {"id", "name"}}
        networks = [{"id": i, "name": n} for i, n in self._dials.now.networks.items()]
        found = [one for one in networks if wanted.items() <= one.items()]
        return json_response({"networks": found})

    def _groups(self, call: Call) -> Response:
        self._tokens.check(call.request.headers.get("x-auth-token"))
        query = call.request.query_params
        wanted = {k: v for k, v in query.items() if k in {"id", "name", "tenant_id", "project_id"}}
        groups = [_group(i, n) for i, n in self._dials.now.security_groups.items()]
        found = [one for one in groups if wanted.items() <= one.items()]
        return json_response({"security_groups": found})


def _group(group_id: str, name: str) -> dict[str, str]:
    project = credentials.PROJECT_ID
    return {"id": group_id, "name": name, "tenant_id": project, "project_id": project}


def _versions(call: Call) -> Response:
    return json_response({"versions": [_version(call.request)]})


def _version(request: Request) -> dict[str, object]:
    href = f"{base_url(request)}/network/v2.0/"
    return {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}
