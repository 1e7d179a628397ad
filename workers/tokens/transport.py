"""Sends HTTP requests to login providers and Keystone: bounded, verified, without leaking what was sent."""

import math
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from pathlib import Path
from time import monotonic, time
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
from requests.auth import AuthBase

from producers.addresses import plaintext_problem
from producers.reasons import AuthoritiesError, causes, connection_reason
from schemas.fields import shown
from workers.process.foreign import UnreadableError, bounded_session, read_json
from workers.process.recent_secrets import RecentSecrets
from workers.process.redirects import as_sent
from workers.process.retry_after import requested_wait
from workers.tokens.errors import SourceError, away

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
# Proxies say within a few words that their port expects TLS.
_SHOWN = 2000
# The maximum of one login, all its calls together.
LOGIN_TIMEOUT = 45.0
_MOST_BYTES = 4 * 2**20
# The last two logins: secret, access and refresh tokens, unscoped and scoped tokens.
_SECRETS = 12

# A token that becomes a header (RFC 6750, 2.1), and one that is sent in a form.
Token = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,65536}\Z")]
FormToken = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,65536}\Z")]
_Shape = TypeVar("_Shape")


_UNTIL: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Give all calls of this thread in the block this many seconds together, or fewer if they are in another."""
    before = _UNTIL.set(min(_UNTIL.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _UNTIL.reset(before)


def time_left() -> float:
    """The seconds until the end of the time limit; infinite without one."""
    return _UNTIL.get() - monotonic()


class _Authorization(AuthBase):
    """Sets the Authorization header, if any.

    With an explicit `auth`, requests ignores ~/.netrc, whose entry would replace the header.
    """

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class Http:
    """Sends requests; errors name the host and the kind of failure, never what was sent.

    A call ends within the time limit of its block; after it, nothing is sent.

    Args:
        ca_file: the authorities to trust; None for the system's.
        setting: the setting that names it, for a remedy.
        insecure: whether the configuration allows addresses without encryption on other hosts.
        secrets: of this cloud, which no words of an answer may repeat.
    """

    def __init__(
        self,
        ca_file: Path | None,
        setting: str = "ca_file of this cloud",
        *,
        insecure: bool = False,
        secrets: RecentSecrets | None = None,
    ) -> None:
        self.secrets = RecentSecrets(_SECRETS) if secrets is None else secrets
        self._ca_file = ca_file
        self._setting = setting
        self._insecure = insecure

    def get(self, url: str) -> requests.Response:
        """GET a public document; the response has status 2xx or 4xx.

        Raises:
            SourceError: there is no such response.
        """
        return self._send("GET", url)

    def post(
        self,
        url: str,
        *,
        json: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        authorization: str | None = None,
    ) -> requests.Response:
        """POST; the response has status 2xx or 4xx.

        Raises:
            SourceError: there is no response, or its status is 429, 5xx or a redirect.
        """
        return self._send("POST", url, authorization, json=json, data=form)

    def delete(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """DELETE, with these headers; the response has status 2xx or 4xx.

        Raises:
            SourceError: as `post`.
        """
        return self._send("DELETE", url, headers=headers)

    def _send(
        self,
        method: str,
        url: str,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
        **body: object,
    ) -> requests.Response:
        url = self._address(url)
        host = urlsplit(url).netloc
        if (left := time_left()) <= 0:
            raise _late(host)
        try:
            with bounded_session(
                self._ca_file, READ_TIMEOUT, most=_MOST_BYTES, until=_UNTIL.get()
            ) as session:
                response = session.request(
                    method,
                    url,
                    **body,  # type: ignore[arg-type]
                    auth=_Authorization(authorization),
                    headers={"Accept": "application/json", **(headers or {})},
                    timeout=(min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)),
                    # a redirect would send the credential to another host
                    allow_redirects=False,
                )
        except (requests.RequestException, OSError) as error:
            raise self._no_response(url, host, error) from None
        status = response.status_code
        if status == HTTPStatus.BAD_REQUEST and b"HTTPS" in response.content[:_SHOWN]:
            raise SourceError(
                "misconfigured",
                f"{host} expects TLS",
                remedy="write https:// in this cloud's auth_url or token_endpoint",
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = requested_wait(response.headers, time()) or 0.0
            raise away(f"{host} responds with {status}", wait)
        if status >= HTTPStatus.MULTIPLE_CHOICES and status < HTTPStatus.BAD_REQUEST:
            raise SourceError(
                "misconfigured",
                f"{host} responds with {status}, a redirect",
                remedy="set this cloud's auth_url or token_endpoint to the final address",
            )
        return response

    def _address(self, url: str) -> str:
        """The address as it is sent; a provider's document may name any text.

        Raises:
            SourceError: it is not a URL, or would send secrets unencrypted.
        """
        try:
            url = as_sent(url)
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:  # its text would quote the address
            raise away("the login provider names an endpoint that is not a URL") from None
        if not self._insecure and plaintext_problem(parts.scheme, host):
            raise SourceError(
                "misconfigured",
                f"{parts.scheme}:// would send secrets unencrypted to {shown(self.secrets.safe(host or ''))}",
                remedy="name an https address, or write insecure = true for this cloud",
            )
        return url

    def _no_response(self, url: str, host: str, error: Exception) -> SourceError:
        """The error of a request without a response; what an operator must correct has a remedy."""
        if time_left() <= 0:
            return _late(host)
        field = "this cloud's auth_url or token_endpoint"
        reason = connection_reason(error, url, field, self._setting)
        if reason is None:
            return away(f"{host} does not respond ({type(error).__name__})")
        if any(isinstance(one, AuthoritiesError) for one in causes(error)):
            return SourceError("misconfigured", reason, remedy=f"correct {self._setting}")
        problem, _, remedy = reason.partition(": ")
        if not any(isinstance(one, ssl.SSLError) for one in causes(error)):
            return away(f"{host} does not respond ({type(error).__name__}): {reason}")
        untrusted = any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error))
        kind = "untrusted_certificate" if untrusted else "misconfigured"
        return SourceError(kind, f"{host}: {problem}", remedy=remedy)


def _late(host: str) -> SourceError:
    return away(f"{host} does not respond in time: the login takes too long in all")


def answer_in(response: requests.Response, shape: type[_Shape]) -> _Shape:
    """The JSON object in a response, in the shape of a msgspec.Struct; unknown fields are ignored.

    Raises:
        SourceError: the response is not such an object; the message quotes no value.
    """
    try:
        return read_json(response.content, shape)
    except UnreadableError as error:
        raise away(f"{urlsplit(response.url).netloc}: {error}") from None
