"""Logs a person in by device code (RFC 8628): they approve in a browser on any machine."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from workers.config.logins import RefreshTokenSource
from workers.tokens.errors import SourceError, away
from workers.tokens.oidc import Redeemed, parse_tokens, positive, refusal
from workers.tokens.transport import Http, object_of

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DISCOVERY = ".well-known/openid-configuration"
# RFC 8628: the default (3.2), and what `slow_down` adds (3.5).
_INTERVAL = 5.0
_SLOW_DOWN = 5.0
_LONGEST_INTERVAL = 60.0
_REMEDIES = {
    "access_denied": "log in again, and approve in the browser",
    "expired_token": "log in again, and approve before the code expires",
    "unauthorized_client": "the provider does not allow device codes to this client; get a refresh"
    " token in another way and enter it with --paste",
}


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A login that waits for a person's approval; times in seconds, `interval` between two requests.

    `code` is for our requests, `user_code` for the person to enter at `url`; `full_url`, if offered,
    includes it.
    """

    code: str = field(repr=False)
    user_code: str
    url: str
    full_url: str | None
    expires_in: float
    interval: float


def device_endpoint(http: Http, token_endpoint: str) -> str | None:
    """The endpoint for device codes in the provider's discovery document; None if it has none.

    The document is below the issuer's address (OpenID Connect Discovery 1.0, 4), which is not
    configured. At Keycloak and most others the token endpoint's address begins with it, so each
    folder of that path is tried for a document that names this token endpoint.

    Raises:
        SourceError: the provider does not respond.
    """
    parts = urlsplit(token_endpoint)
    folders = parts.path.strip("/").split("/")[:-1]
    for count in range(len(folders), -1, -1):
        path = "/".join(["", *folders[:count], _DISCOVERY])
        document = _document(http, urlunsplit((parts.scheme, parts.netloc, path, "", "")))
        if document.get("token_endpoint") == token_endpoint:
            return _text(document.get("device_authorization_endpoint"))
    return None


def request_device_code(http: Http, source: RefreshTokenSource, endpoint: str) -> DeviceCode:
    """Start a login whose refresh token outlasts the person's session.

    Raises:
        SourceError: the provider refuses, or does not respond.
    """
    scope = source.full_scope
    if "offline_access" not in scope.split():
        scope = f"{scope} offline_access"
    response = http.post(endpoint, form={"client_id": source.client_id, "scope": scope})
    if not response.ok:
        raise refusal(response, source.client_id, "", _REMEDIES)
    body = object_of(response)
    keys = ("device_code", "user_code", "verification_uri", "verification_uri_complete")
    code, user_code, url, full_url = (_text(body.get(key)) for key in keys)
    if code is None or user_code is None or url is None:
        raise away("the login provider's response has no device code")
    life, interval = positive(body.get("expires_in")), positive(body.get("interval"))
    return DeviceCode(code, user_code, url, full_url, life or 0.0, interval or _INTERVAL)


def poll_for_tokens(
    http: Http,
    source: RefreshTokenSource,
    code: DeviceCode,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Redeemed:
    """Poll until the person has approved, as often as the provider allows.

    Raises:
        SourceError: `access_denied`, `expired_token`, or another.
    """
    form = {"grant_type": _GRANT, "client_id": source.client_id, "device_code": code.code}
    interval, deadline = code.interval, clock() + code.expires_in
    while clock() < deadline:
        sleep(interval)
        try:
            response = http.post(source.token_endpoint, form=form)
        except SourceError as error:
            if error.error != "provider_away":
                raise
            interval = max(interval, error.retry_after, min(interval * 2, _LONGEST_INTERVAL))
            continue
        if response.ok:
            body = object_of(response)
            if "refresh_token" in body:
                return parse_tokens(body)
            raise SourceError(
                "no_refresh_token",
                "the login provider gives no refresh token, although offline_access was requested",
                permanent=True,
                remedy="ask the provider to allow offline_access to this client, or set another client_id",
            )
        refused = refusal(response, source.client_id, code.code, _REMEDIES)
        if refused.error == "slow_down":
            interval += _SLOW_DOWN
        elif refused.error not in {"authorization_pending", "provider_away"}:
            raise refused
    raise SourceError(
        "expired_token",
        "the login was not approved before the code expired",
        permanent=True,
        remedy=_REMEDIES["expired_token"],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _document(http: Http, url: str) -> Mapping[str, Any]:
    """The JSON object at `url`; empty if there is a page or a redirect."""
    try:
        response = http.get(url)
    except SourceError as error:
        if error.error != "misconfigured":
            raise
        return {}
    try:
        return object_of(response)
    except SourceError:
        return {}
