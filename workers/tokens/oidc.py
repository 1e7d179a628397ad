"""An OpenID Connect provider's token endpoint (RFC 6749), for the two ways that need no browser."""

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

from schemas.names import shown
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.tokens.errors import SourceError, away
from workers.tokens.transport import Http, object_of

_CODE = re.compile(r"[a-z_]{1,60}")
# RFC 6749, 4.1.2.1 has these two; of its codes they alone pass by themselves.
_PASSING = {"temporarily_unavailable", "server_error"}


@dataclass(frozen=True, slots=True)
class Access:
    """An access token for Keystone; `expires_in` is 0 where the provider does not say (seconds)."""

    token: str = field(repr=False)
    expires_in: float


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a refresh token was exchanged for.

    Attributes:
        access: for Keystone.
        refresh_token: the next refresh token; where the provider does not rotate, the same.
        refresh_expires_in: its lifetime in seconds, or None where unlimited or not said.
    """

    access: Access
    refresh_token: str = field(repr=False)
    refresh_expires_in: float | None


def redeem(http: Http, source: RefreshTokenSource, refresh_token: str, place: str) -> Redeemed:
    """Exchange a refresh token, as a public client: there is no client secret.

    Args:
        http: to send by.
        source: whom to ask, and for what.
        refresh_token: the newest.
        place: where a person puts a new one, for the remedy.

    Raises:
        SourceError: `invalid_grant` and the like, permanent; or another.
    """
    form = {
        "grant_type": "refresh_token",
        "client_id": source.client_id,
        "scope": source.full_scope,
        "refresh_token": refresh_token,
    }
    answer = http.post(source.token_endpoint, form=form)
    if not answer.ok:
        remedies = {
            "invalid_grant": "log in at the provider again and put the new refresh token"
            f" where it is read from, {place}; it is tried at once"
        }
        raise refusal(answer, source.client_id, refresh_token, remedies)
    return redeemed({"refresh_token": refresh_token, **object_of(answer)})


def redeemed(body: Mapping[str, Any]) -> Redeemed:
    """What an answer holds, refresh token included.

    Raises:
        SourceError: it lacks one of the two.
    """
    refresh_token = body.get("refresh_token")
    if not isinstance(refresh_token, str):
        raise away("the login provider's answer holds no tokens")
    return Redeemed(
        access=_access(body),
        refresh_token=refresh_token,
        # Keycloak's own field; 0 for an offline token without an end.
        refresh_expires_in=seconds(body.get("refresh_expires_in")) or _life_left(refresh_token),
    )


def service_login(
    http: Http, source: ClientCredentialsSource, client_secret: str, place: str
) -> Access:
    """Log in as the client itself.

    Raises:
        SourceError: `invalid_client` and the like, permanent; or another.
    """
    # RFC 6749, 2.3.1: encoded before they are joined
    pair = f"{quote_plus(source.client_id)}:{quote_plus(client_secret)}"
    answer = http.post(
        source.token_endpoint,
        form={"grant_type": "client_credentials", "scope": source.full_scope},
        authorization=f"Basic {base64.b64encode(pair.encode()).decode()}",
    )
    if not answer.ok:
        remedies = {
            "invalid_client": f"put the secret of client {shown(source.client_id)} where it is"
            f" read from, {place}"
        }
        raise refusal(answer, source.client_id, client_secret, remedies)
    return _access(object_of(answer))


def _access(body: Mapping[str, Any]) -> Access:
    token = body.get("access_token")
    if not isinstance(token, str):
        raise away("the login provider's answer holds no tokens")
    return Access(token, seconds(body.get("expires_in")) or 0.0)


def refusal(
    answer: requests.Response, client_id: str, sent: str, remedies: Mapping[str, str]
) -> SourceError:
    """What an answer that is not 2xx means.

    Args:
        answer: the provider's.
        client_id: ours.
        sent: the secret that was sent, which the provider's words must not repeat; "" for none.
        remedies: by OAuth 2.0 error code, in place of the general one.
    """
    body = object_of(answer)
    code = body.get("error")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return away(f"the login provider answers {answer.status_code}")
    description = body.get("error_description")
    words = f"the login provider answers {answer.status_code} {code}"
    if isinstance(description, str) and not (sent and sent in description):
        words = f"{words}: {shown(description)}"
    if code in _PASSING or answer.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return away(words)
    remedy = f"check client_id ({shown(client_id)}), scope and entitlements of this cloud's source"
    return SourceError(code, words, permanent=True, remedy=remedies.get(code, remedy))


def _life_left(token: str) -> float | None:
    """Seconds until the end of a token that is a JWT (RFC 7519) and says when that is."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(f"{payload}==="))
    except (IndexError, ValueError, binascii.Error):
        return None
    end = seconds(claims.get("exp")) if isinstance(claims, dict) else None
    return None if end is None else max(1.0, end - time.time())


def seconds(value: Any) -> float | None:  # noqa: ANN401 - whatever stood in the JSON
    """The value where it is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value > 0 and math.isfinite(value) else None
