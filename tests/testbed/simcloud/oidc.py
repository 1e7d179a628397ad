"""The login provider: an OpenID Connect provider with the paths and answers of EGI Check-in.

Check-in is a Keycloak, so error messages and ``refresh_expires_in`` are Keycloak's.
"""

import base64
import binascii
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.devices import DeviceCodeError, DeviceCodes
from tests.testbed.simcloud.errors import ApiError
from tests.testbed.simcloud.gate import Call, Gate, ServiceName
from tests.testbed.simcloud.grants import (
    AccessToken,
    GrantStore,
    InvalidGrantError,
    InvalidScopeError,
    RefreshToken,
)
from tests.testbed.simcloud.scopes import beyond, entitlement_claims
from tests.testbed.simcloud.settings import CurrentSettings
from tests.testbed.simcloud.web import base_url, json_response

REALM = "/oidc/auth/realms/egi"
_PROTOCOL = f"{REALM}/protocol/openid-connect"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_KINDS = {"client_credentials": "client_credentials", _DEVICE_GRANT: "device_token"}
_ERROR_CODES = {
    401: "invalid_client",
    403: "access_denied",
    429: "temporarily_unavailable",
    503: "temporarily_unavailable",
}


class OidcError(ApiError):
    """An error with an OAuth error code."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(status, description)
        self.code = code


class OidcApi:
    """The provider at ``/oidc``."""

    name: ServiceName = "oidc"

    def __init__(
        self, gate: Gate, dials: CurrentSettings, grants: GrantStore, devices: DeviceCodes
    ) -> None:
        self._gate = gate
        self._dials = dials
        self._grants = grants
        self._devices = devices

    def routes(self) -> list[Route]:
        guard = self._gate.guard
        return [
            Route(f"{_PROTOCOL}/token", guard(self, _token_kind, self._token), methods=["POST"]),
            Route(
                f"{_PROTOCOL}/auth/device",
                guard(self, "device_authorization", self._begin_device),
                methods=["POST"],
            ),
            Route(
                f"{_PROTOCOL}/revoke",
                guard(self, "revocation", self._revoke),
                methods=["POST"],
            ),
            Route(
                f"{_PROTOCOL}/userinfo",
                guard(self, "userinfo", self._userinfo),
                methods=["GET", "POST"],
            ),
            Route(
                f"{_PROTOCOL}/token/introspect",
                guard(self, "introspect", self._introspect),
                methods=["POST"],
            ),
            Route(
                f"{REALM}/.well-known/openid-configuration",
                guard(self, "oidc_discovery", self._discovery),
            ),
        ]

    def refuse(self, error: ApiError) -> Response:
        code = error.code if isinstance(error, OidcError) else _ERROR_CODES.get(error.status)
        if code is None:
            code = "server_error" if error.status >= 500 else "invalid_request"
        response = json_response({"error": code, "error_description": error.message}, error.status)
        if error.retry_after is not None:
            response.headers["Retry-After"] = error.retry_after
        if error.status == 401:
            response.headers["WWW-Authenticate"] = f'Bearer realm="egi", error="{code}"'
        return response

    def server_name(self, server_id: str) -> str | None:  # noqa: ARG002 (knows of no servers)
        return None

    def _token(self, call: Call) -> Response:
        form = _form(call.body)
        client_id = _authenticate_client(call.request, form)
        scope = form.get("scope", "")
        match form.get("grant_type"):
            case "refresh_token":
                return self._refresh(form.get("refresh_token", ""), client_id, scope)
            case "client_credentials":
                if client_id != credentials.CONFIDENTIAL_CLIENT:
                    raise OidcError(
                        401, "unauthorized_client", "Public client not allowed to use this grant"
                    )
                access = self._grants.service_login(client_id, scope or "openid profile email")
                return json_response(self._granted(access) | {"refresh_expires_in": 0}, 200)
            case grant if grant == _DEVICE_GRANT:
                return self._redeem_device(form.get("device_code", ""), client_id)
            case None:
                raise OidcError(400, "invalid_request", "Missing form parameter: grant_type")
            case _:
                raise OidcError(400, "unsupported_grant_type", "Unsupported grant_type")

    def _refresh(self, value: str, client_id: str, scope: str) -> Response:
        if not value:
            raise OidcError(400, "invalid_request", "No refresh token")
        try:
            access, refresh = self._grants.refresh(value, client_id, scope)
        except InvalidGrantError as error:
            raise OidcError(400, "invalid_grant", str(error)) from None
        except InvalidScopeError as error:
            raise OidcError(400, "invalid_scope", str(error)) from None
        return self._granted_for_long(access, refresh)

    def _revoke(self, call: Call) -> Response:
        """RFC 7009: an unknown token is no error."""
        form = _form(call.body)
        self._grants.revoke(form.get("token", ""), _authenticate_client(call.request, form))
        return Response(status_code=200)

    def _begin_device(self, call: Call) -> Response:
        form = _form(call.body)
        client_id = _authenticate_client(call.request, form)
        if client_id != credentials.PUBLIC_CLIENT or not self._dials.now.device_flow:
            raise OidcError(
                400, "unauthorized_client", "Client is not allowed to initiate this grant"
            )
        scope = form.get("scope", "openid")
        if excess := beyond(scope, credentials.SCOPE):
            raise OidcError(400, "invalid_scope", f"Invalid scopes: {' '.join(sorted(excess))}")
        code = self._devices.begin(client_id, scope)
        page = f"{base_url(call.request)}{REALM}/device"
        return json_response(
            {
                "device_code": code.value,
                "user_code": code.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={code.user_code}",
                "expires_in": int(self._dials.now.device_code_seconds),
                "interval": code.interval,
            },
            200,
        )

    def _redeem_device(self, value: str, client_id: str) -> Response:
        try:
            scope = self._devices.redeem(value, client_id)
        except DeviceCodeError as error:
            raise OidcError(400, error.code, str(error)) from None
        refresh = self._grants.login(credentials.SUBJECT, client_id, scope)
        return self._granted_for_long(self._grants.grant(refresh.family, scope), refresh)

    def _granted_for_long(self, access: AccessToken, refresh: RefreshToken) -> Response:
        granted = self._granted(access)
        granted["refresh_token"] = refresh.value
        granted["refresh_expires_in"] = self._grants.remaining_seconds(refresh)
        return json_response(granted, 200)

    def _granted(self, access: AccessToken) -> dict[str, object]:
        return {
            "access_token": access.value,
            "token_type": "Bearer",
            "expires_in": int(access.expires - access.issued),
            "not-before-policy": 0,
            "scope": access.scope,
        }

    def _userinfo(self, call: Call) -> Response:
        scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
        access = self._grants.access(value.strip()) if scheme.lower() == "bearer" else None
        if access is None:
            raise OidcError(401, "invalid_token", "Token verification failed")
        return json_response(_claims(access), 200)

    def _introspect(self, call: Call) -> Response:
        form = _form(call.body)
        _authenticate_client(call.request, form)
        access = self._grants.access(form.get("token", ""))
        if access is None:
            return json_response({"active": False}, 200)
        claims = _claims(access) | {
            "active": True,
            "iss": f"{base_url(call.request)}{REALM}",
            "client_id": access.family.client_id,
            "scope": access.scope,
            "iat": int(access.issued),
            "exp": int(access.expires),
            "token_type": "Bearer",
        }
        return json_response(claims, 200)

    def _discovery(self, call: Call) -> Response:
        base = base_url(call.request)
        device: dict[str, object] = {}
        grant_types = ["refresh_token", "client_credentials"]
        if self._dials.now.device_flow:
            device["device_authorization_endpoint"] = f"{base}{_PROTOCOL}/auth/device"
            grant_types.append(_DEVICE_GRANT)
        return json_response(
            {
                **device,
                "issuer": f"{base}{REALM}",
                "token_endpoint": f"{base}{_PROTOCOL}/token",
                "userinfo_endpoint": f"{base}{_PROTOCOL}/userinfo",
                "revocation_endpoint": f"{base}{_PROTOCOL}/revoke",
                "introspection_endpoint": f"{base}{_PROTOCOL}/token/introspect",
                "grant_types_supported": grant_types,
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_basic",
                    "client_secret_post",
                ],
            },
            200,
        )


def _form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def _token_kind(_request: Request, body: bytes) -> str:
    return _KINDS.get(_form(body).get("grant_type", ""), "refresh")


def _authenticate_client(request: Request, form: dict[str, str]) -> str:
    """Return the id of the calling client.

    Raises:
        OidcError: 401, the client is unknown or its secret is wrong.
    """
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise OidcError(401, "invalid_client", "Malformed Basic credentials") from None
        client_id, _, secret = (unquote(part) for part in pair.partition(":"))
    if client_id == credentials.PUBLIC_CLIENT:
        return client_id
    expected = (credentials.CONFIDENTIAL_CLIENT, credentials.CONFIDENTIAL_CLIENT_SECRET)
    if (client_id, secret) != expected:
        raise OidcError(401, "invalid_client", "Invalid client or Invalid client credentials")
    return client_id


def _claims(access: AccessToken) -> dict[str, object]:
    subject = access.family.subject
    return {
        "sub": subject,
        "voperson_id": subject,
        "email": "keeper@example.org",
        "email_verified": True,
        "preferred_username": "keeper",
        **entitlement_claims(access.scope),
    }
