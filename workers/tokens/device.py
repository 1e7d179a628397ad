"""Logging a person in by a device code (RFC 8628): they agree in a browser, on any machine."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from workers.config.logins import RefreshTokenSource
from workers.tokens.errors import SourceError, away
from workers.tokens.oidc import Redeemed, redeemed, refusal, seconds
from workers.tokens.transport import Http, object_of

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DISCOVERY = ".well-known/openid-configuration"
# RFC 8628, 3.2: where the provider says nothing; and 3.5: what `slow_down` adds.
_INTERVAL = 5.0
_SLOW_DOWN = 5.0
_LONGEST_INTERVAL = 60.0
_REMEDIES = {
    "access_denied": "log in again, and agree in the browser",
    "expired_token": "log in again, and agree before the code runs out",
    "unauthorized_client": "the provider lets this client use no device code; give it another"
    " refresh token with --paste",
}


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A login that waits for a person.

    Attributes:
        code: ours, to ask with.
        user_code: the person's, to type at `url`; `full_url` holds it already, where offered.
        expires_in: seconds.
        interval: seconds between two questions.
    """

    code: str = field(repr=False)
    user_code: str
    url: str
    full_url: str | None
    expires_in: float
    interval: float


def device_endpoint(http: Http, token_endpoint: str) -> str | None:
    """Where the provider gives device codes, by its discovery document; None where it does not.

    The issuer, beneath which the document is (OpenID Connect Discovery 1.0, 4), is not configured.
    At Keycloak and most others its address is where the token endpoint's begins, so we look along
    that path for a document that names this very endpoint.

    Raises:
        SourceError: the provider does not answer.
    """
    for url in _discovery_urls(token_endpoint):
        document = _document(http, url)
        if document.get("token_endpoint") == token_endpoint:
            return _text(document.get("device_authorization_endpoint"))
    return None


def ask(http: Http, source: RefreshTokenSource, endpoint: str) -> DeviceCode:
    """Begin a login whose refresh token outlasts the person's session.

    Raises:
        SourceError: the provider refuses, or is away.
    """
    scope = source.full_scope
    if "offline_access" not in scope.split():
        scope = f"{scope} offline_access"
    answer = http.post(endpoint, form={"client_id": source.client_id, "scope": scope})
    if not answer.ok:
        raise refusal(answer, source.client_id, "", _REMEDIES)
    body = object_of(answer)
    keys = ("device_code", "user_code", "verification_uri", "verification_uri_complete")
    code, user_code, url, full_url = (_text(body.get(key)) for key in keys)
    if code is None or user_code is None or url is None:
        raise away("the login provider's answer holds no device code")
    return DeviceCode(
        code=code,
        user_code=user_code,
        url=url,
        full_url=full_url,
        expires_in=seconds(body.get("expires_in")) or 0.0,
        interval=seconds(body.get("interval")) or _INTERVAL,
    )


def wait(
    http: Http,
    source: RefreshTokenSource,
    code: DeviceCode,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Redeemed:
    """Ask until the person has agreed, no more often than the provider allows.

    Raises:
        SourceError: `access_denied`, `expired_token`, or another.
    """
    form = {"grant_type": _GRANT, "client_id": source.client_id, "device_code": code.code}
    interval, deadline = code.interval, clock() + code.expires_in
    while clock() < deadline:
        sleep(interval)
        try:
            answer = http.post(source.token_endpoint, form=form)
        except SourceError as error:
            if error.error != "provider_away":
                raise
            interval = max(interval, error.retry_after, min(interval * 2, _LONGEST_INTERVAL))
            continue
        if answer.ok:
            return _tokens(object_of(answer))
        refused = refusal(answer, source.client_id, code.code, _REMEDIES)
        if refused.error == "slow_down":
            interval += _SLOW_DOWN
        elif refused.error not in {"authorization_pending", "provider_away"}:
            raise refused
    raise SourceError(
        "expired_token",
        "nobody agreed before the code ran out",
        permanent=True,
        remedy=_REMEDIES["expired_token"],
    )


def _tokens(body: Mapping[str, Any]) -> Redeemed:
    if "refresh_token" not in body:
        raise SourceError(
            "no_refresh_token",
            "the login provider gives no refresh token, though offline_access was asked for",
            permanent=True,
            remedy="ask the provider to allow it to this client, or set another client_id",
        )
    return redeemed(body)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _document(http: Http, url: str) -> Mapping[str, Any]:
    """The object there; none where another application has a page or a redirect there."""
    try:
        answer = http.get(url)
    except SourceError as error:
        if error.error != "misconfigured":
            raise
        return {}
    try:
        return object_of(answer)
    except SourceError:
        return {}


def _discovery_urls(token_endpoint: str) -> Iterator[str]:
    """From the token endpoint's own folder up to the root."""
    parts = urlsplit(token_endpoint)
    folders = parts.path.strip("/").split("/")[:-1]
    for count in range(len(folders), -1, -1):
        path = "/".join(["", *folders[:count], _DISCOVERY])
        yield urlunsplit((parts.scheme, parts.netloc, path, "", ""))
