"""Requests tokens from an OpenID Connect provider (RFC 6749), without a browser."""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

import msgspec
import requests

from schemas.fields import shown
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.process.foreign import UnreadableError, read_json
from workers.process.recent_secrets import RecentSecrets
from workers.tokens.errors import SourceError, away
from workers.tokens.transport import FormToken, Http, Token, answer_in

# More is not shown, and long texts are searched with less care.
_DESCRIPTION = 2000
_CODE = re.compile(r"[a-z_]{1,60}")
# A life beyond a century means nothing to us, and breaks sums of nanoseconds in 64 bits.
_LONGEST_LIFE = 100 * 365 * 86_400.0
# Of the codes in RFC 6749, 4.1.2.1, only these pass by themselves.
_TRANSIENT = {"temporarily_unavailable", "server_error"}
# Of an answer that no token endpoint gives: a page, or the answer of another one.
_IF_IT_STAYS = "if this goes on, check token_endpoint of this cloud's source"


class TokenAnswer(msgspec.Struct):
    """A provider's response with tokens (RFC 6749, 5.1); lives are in seconds.

    `access_token` is read last: with an odd one, the next refresh token is not lost.
    """

    access_token: Any = None
    refresh_token: FormToken | None = None
    expires_in: Any = None
    refresh_expires_in: Any = None


class _Refusal(msgspec.Struct):
    """A provider's response without tokens (RFC 6749, 5.2); the last three are those of a success."""

    error: Any = None
    error_description: Any = None
    access_token: Any = None
    refresh_token: Any = None
    device_code: Any = None


class _Claims(msgspec.Struct):
    exp: Any = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token for Keystone; `expires_in` is in seconds, 0 if the provider gives none."""

    token: str = field(repr=False)
    expires_in: float


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The tokens of an answer.

    `refresh_token` is the next one, or the same if the provider does not rotate; it expires in that
    many seconds, None if its lifetime is unlimited or unknown.
    """

    _answer: TokenAnswer = field(repr=False)
    refresh_token: str = field(repr=False)
    refresh_expires_in: float | None

    @property
    def access(self) -> AccessToken:
        """For Keystone; a SourceError if none can be used."""
        return _access(self._answer)


def redeem(http: Http, source: RefreshTokenSource, refresh_token: str, place: str) -> Redeemed:
    """Exchange the newest refresh token as a public client, which has no client secret.

    A new one belongs in `place`, for the remedy.

    Raises:
        SourceError: `invalid_grant` and similar codes (permanent), or another.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    form |= {"client_id": source.client_id, "scope": source.full_scope}
    http.secrets.add(refresh_token)
    response = http.post(source.token_endpoint, form=form)
    remedy = f"log in at the provider again and replace the refresh token in {place}"
    remedies = {"invalid_grant": f"{remedy}; it is tried at once"}
    if refused := refusal(response, source.client_id, http.secrets, remedies):
        raise refused
    answer = _tokens_in(http, response)
    if answer.refresh_token is None:
        _access(answer)  # otherwise nothing is new
    return redeemed(answer, answer.refresh_token or refresh_token)


def redeemed(answer: TokenAnswer, refresh_token: str) -> Redeemed:
    """The tokens in a response; `refresh_token` is the one to use next."""
    # a field of Keycloak; 0 for an offline token without an end
    expires_in = positive(answer.refresh_expires_in) or _life_left(refresh_token)
    return Redeemed(answer, refresh_token, expires_in)


def service_login(
    http: Http, source: ClientCredentialsSource, client_secret: str, place: str
) -> AccessToken:
    """Log in as the client itself.

    Raises:
        SourceError: `invalid_client` and similar codes (permanent), or another.
    """
    # RFC 6749, 2.3.1: both parts are encoded before they are joined
    pair = f"{quote_plus(source.client_id)}:{quote_plus(client_secret)}"
    http.secrets.add(client_secret)
    response = http.post(
        source.token_endpoint,
        form={"grant_type": "client_credentials", "scope": source.full_scope},
        authorization=f"Basic {base64.b64encode(pair.encode()).decode()}",
    )
    remedy = f"replace the secret of client {shown(source.client_id)} in {place}"
    remedies = {"invalid_client": remedy}
    if refused := refusal(response, source.client_id, http.secrets, remedies):
        raise refused
    return _access(_tokens_in(http, response))


def revoke(http: Http, source: RefreshTokenSource, endpoint: str, refresh_token: str) -> None:
    """End a login (RFC 7009): its refresh tokens and, at most providers, its access tokens.

    Raises:
        SourceError: the provider did not confirm.
    """
    form = {"token": refresh_token, "token_type_hint": "refresh_token"}
    http.secrets.add(refresh_token)
    response = http.post(endpoint, form=form | {"client_id": source.client_id})
    if refused := refusal(response, source.client_id, http.secrets, {}):
        raise refused


def _tokens_in(http: Http, response: requests.Response) -> TokenAnswer:
    try:
        answer = answer_in(response, TokenAnswer)
    except SourceError as error:
        raise away(f"{error.message}; {_IF_IT_STAYS}") from None
    access = answer.access_token
    http.secrets.add(access if isinstance(access, str) else None, answer.refresh_token)
    return answer


def _access(answer: TokenAnswer) -> AccessToken:
    try:
        token = msgspec.convert(answer.access_token, Token)
    except msgspec.ValidationError:
        words = "the login provider's answer has no usable access_token"
        raise away(f"{words}; {_IF_IT_STAYS}") from None
    return AccessToken(token, positive(answer.expires_in) or 0.0)


def refusal(
    response: requests.Response, client_id: str, secrets: RecentSecrets, remedies: Mapping[str, str]
) -> SourceError | None:
    """The error of a response that gives nothing, but an error, as some do with status 200; else None.

    The message does not repeat any piece of the `secrets`. `remedies`, by OAuth 2.0 error code,
    replace the general one.
    """
    words = f"the login provider responds with {response.status_code}"
    try:
        body = answer_in(response, _Refusal)
    except SourceError:
        body = _Refusal()
    given = body.access_token, body.refresh_token, body.device_code
    if response.ok and (body.error is None or given != (None, None, None)):
        return None
    code, description = body.error, body.error_description
    if not isinstance(code, str) or not _CODE.fullmatch(code) or not secrets.safe(code):
        return away(f"{words}, without an error of OAuth; {_IF_IT_STAYS}")
    words = f"{words} {code}"
    if isinstance(description, str) and (safe := secrets.safe(description[:_DESCRIPTION])):
        words = f"{words}: {shown(safe)}"
    if code in _TRANSIENT or response.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return away(words)
    remedy = f"check client_id ({shown(client_id)}), scope and entitlements of this cloud's source"
    return SourceError(code, words, permanent=True, remedy=remedies.get(code, remedy))


def _life_left(token: str) -> float | None:
    """Seconds until the end of a token, if it is a JWT (RFC 7519) with an end."""
    try:
        payload = token.split(".")[1]
        claims = read_json(base64.urlsafe_b64decode(f"{payload}==="), _Claims)
    except (IndexError, ValueError, UnreadableError):
        return None
    # seconds since the epoch; a float holds this one, and its date is far away
    end = min(claims.exp, 2**53) if positive(claims.exp) else None
    return None if end is None else min(max(1.0, end - time.time()), _LONGEST_LIFE)


def positive(value: object) -> float | None:
    """The value if it is a number above 0; at most a century in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, _LONGEST_LIFE))
