"""Keystone's API: login by password, application credential, token or a federated bearer token."""

import uuid

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.catalog import catalog, version_document
from tests.testbed.simcloud.clock import Time, iso_micros
from tests.testbed.simcloud.errors import (
    ApiError,
    BadRequestError,
    NotFoundError,
    UnauthorizedError,
)
from tests.testbed.simcloud.gate import Call, Gate, ServiceName
from tests.testbed.simcloud.grants import GrantStore
from tests.testbed.simcloud.login import ApplicationCredential, AuthRequest, Scope
from tests.testbed.simcloud.scopes import entitlement_claims
from tests.testbed.simcloud.settings import CurrentSettings
from tests.testbed.simcloud.tokens import Token, TokenStore
from tests.testbed.simcloud.web import base_url, json_response, request_id

_MEMBER = {"id": "9fe2ff9ee4384b1894a90878d3e92bab", "name": "member"}
_READER = {"id": "3c1d7a5e9b0f4e2c8d6a1b7f5e3c9d08", "name": "reader"}
_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
_KIND_BY_METHOD = {
    "password": "token_password",
    "application_credential": "token_application_credential",
    "token": "rescope",
}


class KeystoneApi:
    """The identity service at ``/identity/v3``."""

    name: ServiceName = "identity"

    def __init__(
        self, gate: Gate, time: Time, dials: CurrentSettings, tokens: TokenStore, grants: GrantStore
    ) -> None:
        self._gate = gate
        self._time = time
        self._dials = dials
        self._tokens = tokens
        self._grants = grants

    def routes(self) -> list[Route]:
        v3 = "/identity/v3"
        federation = (
            f"{v3}/OS-FEDERATION/identity_providers/{{provider}}/protocols/{{protocol}}/auth"
        )
        guard = self._gate.guard
        return [
            Route(
                f"{v3}/auth/tokens", guard(self, _token_kind, self._authenticate), methods=["POST"]
            ),
            Route(f"{v3}/auth/tokens", guard(self, "token_check", self._validate), methods=["GET"]),
            Route(
                f"{v3}/auth/tokens", guard(self, "token_revoke", self._revoke), methods=["DELETE"]
            ),
            Route(f"{v3}/auth/projects", guard(self, "projects", self._projects)),
            Route(federation, guard(self, "federation", self._federate), methods=["GET", "POST"]),
            Route(v3, guard(self, "identity_version", self._version)),
            Route(f"{v3}/", guard(self, "identity_version", self._version)),
            Route("/identity", guard(self, "identity_version", self._versions)),
            Route("/identity/", guard(self, "identity_version", self._versions)),
        ]

    def refuse(self, error: ApiError) -> Response:
        title = _TITLES.get(error.status, "Error")
        content = {"error": {"code": error.status, "message": error.message, "title": title}}
        headers = {"Vary": "X-Auth-Token", "x-openstack-request-id": request_id()}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Keystone uri="/identity/v3"'
        if error.retry_after is not None:
            headers["Retry-After"] = error.retry_after
        return json_response(content, error.status, headers)

    def server_name(self, server_id: str) -> str | None:  # noqa: ARG002 (knows of no servers)
        return None

    # -- tokens

    def _authenticate(self, call: Call) -> Response:
        try:
            auth = msgspec.json.decode(call.body, type=AuthRequest).auth
        except msgspec.DecodeError as error:
            raise BadRequestError(f"Expecting to find a valid auth request: {error}") from None
        identity = auth.identity
        expires = self._time.now() + self._dials.now.token_seconds
        project_id = _project_of(auth.scope)
        match identity.methods:
            case ["password"] if identity.password is not None:
                name = identity.password.user.known()
                if name is None:
                    raise UnauthorizedError
                token = self._issue("password", project_id, expires, name)
            case ["application_credential"] if identity.application_credential is not None:
                self._check(identity.application_credential)
                if auth.scope is not None:
                    raise UnauthorizedError("Application credentials cannot request a scope.")
                token = self._issue("application_credential", credentials.PROJECT_ID, expires)
            case ["token"] if identity.token is not None:
                token = self._rescope(self._tokens.check(identity.token.id), project_id)
            case methods:
                raise UnauthorizedError(f"Unsupported authentication methods: {', '.join(methods)}")
        return self._token_response(call.request, token, 201)

    def _check(self, given: ApplicationCredential) -> None:
        if given.id not in {None, credentials.APPLICATION_CREDENTIAL_ID}:
            raise NotFoundError(f"Could not find Application Credential: {given.id}.")
        if not given.is_known():
            raise UnauthorizedError

    def _issue(
        self,
        method: str,
        project_id: str | None,
        expires: float,
        name: str = credentials.USERNAME,
    ) -> Token:
        user_id = credentials.USERS[name]
        return self._tokens.issue((method,), user_id, name, project_id, expires)

    def _rescope(self, token: Token, project_id: str | None) -> Token:
        if token.federated and project_id not in {None, credentials.PROJECT_ID}:
            raise UnauthorizedError
        methods = tuple(dict.fromkeys((*token.methods, "token")))
        # A rescoped token expires together with the token that it came from.
        return self._tokens.issue(
            methods,
            token.user_id,
            token.user_name,
            project_id,
            token.expires,
            federated=token.federated,
        )

    def _federate(self, call: Call) -> Response:
        given = call.request.path_params
        if given["provider"] != credentials.IDENTITY_PROVIDER:
            raise NotFoundError(f"Could not find Identity Provider: {given['provider']}.")
        if given["protocol"] != credentials.FEDERATION_PROTOCOL:
            raise UnauthorizedError("Attempted to authenticate with an unsupported method.")
        scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
        access = self._grants.access(value.strip()) if scheme.lower() == "bearer" else None
        # The mapping accepts users with the entitlement, under either of its names.
        if access is None or not entitlement_claims(access.scope):
            raise UnauthorizedError
        subject = access.family.subject
        token = self._tokens.issue(
            ("openid",),
            uuid.uuid5(uuid.NAMESPACE_URL, subject).hex,
            subject,
            None,
            self._time.now() + self._dials.now.token_seconds,
            federated=True,
        )
        return self._token_response(call.request, token, 201)

    def _validate(self, call: Call) -> Response:
        self._tokens.check(call.request.headers.get("x-auth-token"))
        subject = call.request.headers.get("x-subject-token")
        return self._token_response(call.request, self._subject(subject), 200)

    def _revoke(self, call: Call) -> Response:
        self._tokens.check(call.request.headers.get("x-auth-token"))
        token = self._subject(call.request.headers.get("x-subject-token"))
        self._tokens.revoke(token.id)
        return Response(status_code=204)

    def _subject(self, token_id: str | None) -> Token:
        try:
            return self._tokens.check(token_id)
        except UnauthorizedError:
            raise NotFoundError("Could not find token.") from None

    def _token_response(self, request: Request, token: Token, status: int) -> Response:
        content: dict[str, object] = {
            "methods": token.methods,
            "user": _user(token),
            "audit_ids": [token.id[-22:]],
            "issued_at": iso_micros(token.issued),
            "expires_at": iso_micros(token.expires),
        }
        if token.project_id is not None:
            content["project"] = {
                "id": token.project_id,
                "name": credentials.PROJECTS[token.project_id],
                "domain": {"id": credentials.DOMAIN_ID, "name": credentials.DOMAIN_NAME},
            }
            content["is_domain"] = False
            content["roles"] = [_READER if token.user_name == credentials.READER else _MEMBER]
            if "nocatalog" not in request.query_params:
                content["catalog"] = catalog(base_url(request))
        headers = {"X-Subject-Token": token.id, "Vary": "X-Auth-Token"}
        headers["x-openstack-request-id"] = request_id()
        return json_response({"token": content}, status, headers)

    # -- projects and versions

    def _projects(self, call: Call) -> Response:
        token = self._tokens.check(call.request.headers.get("x-auth-token"))
        shown = [credentials.PROJECT_ID] if token.federated else list(credentials.PROJECTS)
        projects = [
            {
                "id": project_id,
                "name": credentials.PROJECTS[project_id],
                "domain_id": credentials.DOMAIN_ID,
                "enabled": True,
                "is_domain": False,
            }
            for project_id in shown
        ]
        links = {"next": None, "previous": None, "self": str(call.request.url)}
        return json_response({"projects": projects, "links": links}, 200)

    def _version(self, call: Call) -> Response:
        return json_response({"version": version_document(call.request)}, 200)

    def _versions(self, call: Call) -> Response:
        return json_response({"versions": {"values": [version_document(call.request)]}}, 300)


def _token_kind(_request: Request, body: bytes) -> str:
    try:
        methods = msgspec.json.decode(body, type=AuthRequest).auth.identity.methods
    except msgspec.DecodeError:
        return "token_password"
    return _KIND_BY_METHOD.get(methods[0] if methods else "", "token_password")


def _project_of(scope: Scope | None) -> str | None:
    """Return the id of the project in ``scope``; ``None`` for an unscoped token."""
    if scope is None or scope.project is None:
        return None
    if scope.project.id in credentials.PROJECTS:
        return scope.project.id
    for project_id, name in credentials.PROJECTS.items():
        if scope.project.name == name and scope.project.id is None:
            return project_id
    raise UnauthorizedError


def _user(token: Token) -> dict[str, object]:
    user: dict[str, object] = {
        "id": token.user_id,
        "name": token.user_name,
        "domain": {"id": credentials.DOMAIN_ID, "name": credentials.DOMAIN_NAME},
    }
    if token.federated:
        user["OS-FEDERATION"] = {
            "identity_provider": {"id": credentials.IDENTITY_PROVIDER},
            "protocol": {"id": credentials.FEDERATION_PROTOCOL},
            "groups": [],
        }
    else:
        user["password_expires_at"] = None
    return user
