"""An OpenID Connect provider's token endpoint, as far as a refresh token needs it (RFC 6749, 6)."""

import math
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import requests

from schemas.names import shown
from workers.settings import RefreshTokenSource
from workers.tokens.errors import SourceError, away
from workers.tokens.transport import Http, object_of

_CODE = re.compile(r"[a-z_]{1,60}")
# RFC 6749, 4.1.2.1 has these two; of its codes they alone pass by themselves.
_PASSING = {"temporarily_unavailable", "server_error"}


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a refresh token was exchanged for.

    Attributes:
        access_token: for Keystone.
        expires_in: its lifetime in seconds; 0 where the provider does not say.
        refresh_token: the next refresh token; where the provider does not rotate, the same.
        refresh_expires_in: its lifetime in seconds, or None where unlimited or not said.
    """

    access_token: str = field(repr=False)
    expires_in: float
    refresh_token: str = field(repr=False)
    refresh_expires_in: float | None


def redeem(http: Http, source: RefreshTokenSource, refresh_token: str) -> Redeemed:
    """Exchange a refresh token, as a public client: there is no client secret.

    Raises:
        SourceError: `invalid_grant` and the like, permanent; or another.
    """
    form = {
        "grant_type": "refresh_token",
        "client_id": source.client_id,
        "scope": source.scope,
        "refresh_token": refresh_token,
    }
    answer = http.post(source.token_endpoint, form=form)
    if not answer.ok:
        raise _refusal(answer, source, refresh_token)
    body = object_of(answer)
    access_token, rotated = body.get("access_token"), body.get("refresh_token", refresh_token)
    if not isinstance(access_token, str) or not isinstance(rotated, str):
        raise away("the login provider's answer holds no tokens")
    return Redeemed(
        access_token=access_token,
        expires_in=_seconds(body.get("expires_in")) or 0.0,
        refresh_token=rotated,
        # Keycloak's own field; 0 for an offline token without an end.
        refresh_expires_in=_seconds(body.get("refresh_expires_in")),
    )


def _refusal(answer: requests.Response, source: RefreshTokenSource, sent: str) -> SourceError:
    body = object_of(answer)
    code = body.get("error")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return away(f"the login provider answers {answer.status_code}")
    description = body.get("error_description")
    words = f"the login provider answers {answer.status_code} {code}"
    if isinstance(description, str) and sent not in description:
        words = f"{words}: {shown(description)}"
    remedy = f"check client_id and scope of this cloud's source, {shown(source.client_id)}"
    if code == "invalid_grant":
        remedy = (
            "log in at the provider again and put the new refresh token into"
            f" {source.refresh_token_file}; it is read at once"
        )
    if code in _PASSING or answer.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return away(words)
    return SourceError(code, words, permanent=True, remedy=remedy)


def _seconds(value: Any) -> float | None:  # noqa: ANN401 - whatever stood in the JSON
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value > 0 and math.isfinite(value) else None
