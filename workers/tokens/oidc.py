"""Requests tokens from an OpenID Connect provider (RFC 6749), without a browser."""

import base64
import binascii
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

import requests

from schemas.fields import shown
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.tokens.errors import SourceError, away
from workers.tokens.transport import Http, object_of

_CODE = re.compile(r"[a-z_]{1,60}")
# Of the codes in RFC 6749, 4.1.2.1, only these pass by themselves.
_TRANSIENT = {"temporarily_unavailable", "server_error"}


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token for Keystone; `expires_in` is in seconds, 0 if the provider gives none."""

    token: str = field(repr=False)
    expires_in: float


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The tokens that a refresh token was exchanged for; `access` is for Keystone.

    `refresh_token` is the next one, or the same if the provider does not rotate; it expires in that
    many seconds, None if its lifetime is unlimited or unknown.
    """

    access: AccessToken
    refresh_token: str = field(repr=False)
    refresh_expires_in: float | None


def redeem(http: Http, source: RefreshTokenSource, refresh_token: str, place: str) -> Redeemed:
    """Exchange the newest refresh token as a public client, which has no client secret.

    A new one belongs in `place`, for the remedy.

    Raises:
        SourceError: `invalid_grant` and similar codes (permanent), or another.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    form |= {"client_id": source.client_id, "scope": source.full_scope}
    response = http.post(source.token_endpoint, form=form)
    if not response.ok:
        remedy = f"log in at the provider again and replace the refresh token in {place}"
        remedies = {"invalid_grant": f"{remedy}; it is tried at once"}
        raise refusal(response, source.client_id, refresh_token, remedies)
    return parse_tokens({"refresh_token": refresh_token, **object_of(response)})


def parse_tokens(body: Mapping[str, Any]) -> Redeemed:
    """The access token and the refresh token in a response.

    Raises:
        SourceError: one of them is missing.
    """
    refresh_token = body.get("refresh_token")
    if not isinstance(refresh_token, str):
        raise away("the login provider's response has no tokens")
    # a field of Keycloak; 0 for an offline token without an end
    expires_in = positive(body.get("refresh_expires_in")) or _life_left(refresh_token)
    return Redeemed(_access(body), refresh_token, expires_in)


def service_login(
    http: Http, source: ClientCredentialsSource, client_secret: str, place: str
) -> AccessToken:
    """Log in as the client itself.

    Raises:
        SourceError: `invalid_client` and similar codes (permanent), or another.
    """
    # RFC 6749, 2.3.1: both parts are encoded before they are joined
    pair = f"{quote_plus(source.client_id)}:{quote_plus(client_secret)}"
    response = http.post(
        source.token_endpoint,
        form={"grant_type": "client_credentials", "scope": source.full_scope},
        authorization=f"Basic {base64.b64encode(pair.encode()).decode()}",
    )
    if not response.ok:
        remedy = f"replace the secret of client {shown(source.client_id)} in {place}"
        raise refusal(response, source.client_id, client_secret, {"invalid_client": remedy})
    return _access(object_of(response))


def _access(body: Mapping[str, Any]) -> AccessToken:
    token = body.get("access_token")
    if not isinstance(token, str):
        raise away("the login provider's response has no tokens")
    return AccessToken(token, positive(body.get("expires_in")) or 0.0)


def refusal(
    response: requests.Response, client_id: str, sent: str, remedies: Mapping[str, str]
) -> SourceError:
    """The error that a response other than 2xx means.

    The message does not repeat the secret that was `sent` ("" for none). `remedies`, by OAuth 2.0
    error code, replace the general one.
    """
    body = object_of(response)
    code = body.get("error")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return away(f"the login provider responds with {response.status_code}")
    description = body.get("error_description")
    words = f"the login provider responds with {response.status_code} {code}"
    if isinstance(description, str) and not (sent and sent in description):
        words = f"{words}: {shown(description)}"
    if code in _TRANSIENT or response.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return away(words)
    remedy = f"check client_id ({shown(client_id)}), scope and entitlements of this cloud's source"
    return SourceError(code, words, permanent=True, remedy=remedies.get(code, remedy))


def _life_left(token: str) -> float | None:
    """Seconds until the end of a token, if it is a JWT (RFC 7519) with an end."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(f"{payload}==="))
    except (IndexError, ValueError, binascii.Error):
        return None
    end = positive(claims.get("exp")) if isinstance(claims, dict) else None
    return None if end is None else max(1.0, end - time.time())


def positive(value: object) -> float | None:
    """The value if it is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value > 0 and math.isfinite(value) else None
