"""Logs a person in by device code (RFC 8628): they approve in a browser on any machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from workers.config.logins import RefreshTokenSource
from workers.tokens.discovery import endpoint_of
from workers.tokens.errors import SourceError
from workers.tokens.oidc import Redeemed, TokenAnswer, positive, redeemed, refusal
from workers.tokens.transport import FormToken, Http, answer_in

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
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


_Line = Annotated[str, msgspec.Meta(pattern=r"\A[\x20-\x7e]{1,2000}\Z")]


class _DeviceAnswer(msgspec.Struct):
    """The response to a request for a code (RFC 8628, 3.2)."""

    device_code: FormToken
    user_code: _Line
    verification_uri: _Line
    verification_uri_complete: _Line | None = None
    expires_in: Any = None
    interval: Any = None


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
    """The endpoint for device codes of the provider with this token endpoint; None if it has none.

    Raises:
        SourceError: as endpoint_of.
    """
    return endpoint_of(http, token_endpoint, "device_authorization_endpoint")


def request_device_code(http: Http, source: RefreshTokenSource, endpoint: str) -> DeviceCode:
    """Start a login whose refresh token outlasts the person's session.

    Raises:
        SourceError: the provider refuses, or does not respond.
    """
    scope = source.full_scope
    if "offline_access" not in scope.split():
        scope = f"{scope} offline_access"
    response = http.post(endpoint, form={"client_id": source.client_id, "scope": scope})
    if refused := refusal(response, source.client_id, http.secrets, _REMEDIES):
        raise refused
    answer = answer_in(response, _DeviceAnswer)
    return DeviceCode(
        answer.device_code,
        answer.user_code,
        answer.verification_uri,
        answer.verification_uri_complete,
        positive(answer.expires_in) or 0.0,
        min(positive(answer.interval) or _INTERVAL, _LONGEST_INTERVAL),
    )


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
    http.secrets.add(code.code)
    interval, deadline = code.interval, clock() + code.expires_in
    while (left := deadline - clock()) > 0:
        sleep(min(interval, left))
        if interval >= left:
            break
        try:
            response = http.post(source.token_endpoint, form=form)
        except SourceError as error:
            if error.error != "provider_away":
                raise
            interval = max(interval, error.retry_after, min(interval * 2, _LONGEST_INTERVAL))
            continue
        refused = refusal(response, source.client_id, http.secrets, _REMEDIES)
        if refused is None:
            answer = answer_in(response, TokenAnswer)
            if answer.refresh_token is not None:
                return redeemed(answer, answer.refresh_token)
            raise SourceError(
                "no_refresh_token",
                "the login provider gives no refresh token, although offline_access was requested",
                permanent=True,
                remedy="ask the provider to allow offline_access to this client, or set another client_id",
            )
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
