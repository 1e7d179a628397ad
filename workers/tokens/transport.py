"""Sends HTTP requests to login providers and Keystone: bounded, verified, without leaking what was sent."""

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from producers.reasons import causes, connection_reason
from workers.process.retry_after import requested_wait
from workers.tokens.errors import SourceError, away

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
# Proxies say within a few words that their port expects TLS.
_SHOWN = 2000
# The maximum of one call: both timeouts start again for a second address of the host.
CALL_TIMEOUT = 2 * (CONNECT_TIMEOUT + READ_TIMEOUT)


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

    It trusts `ca_file`, or if that is None the authorities of the system.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._verify: bool | str = True if ca_file is None else str(ca_file)

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

    def _send(
        self, method: str, url: str, authorization: str | None = None, **body: object
    ) -> requests.Response:
        host = urlsplit(url).netloc
        try:
            response = requests.request(
                method,
                url,
                **body,  # type: ignore[arg-type]
                auth=_Authorization(authorization),
                headers={"Accept": "application/json"},
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                verify=self._verify,
                # a redirect would send the credential to another host
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            raise _no_response(url, host, error) from None
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


def _no_response(url: str, host: str, error: Exception) -> SourceError:
    """The error of a request without a response; what an operator must correct has a remedy."""
    field = "this cloud's auth_url or token_endpoint"
    reason = connection_reason(error, url, field, "ca_file of this cloud")
    if reason is None:
        return away(f"{host} does not respond ({type(error).__name__})")
    problem, _, remedy = reason.partition(": ")
    if not any(isinstance(one, ssl.SSLError) for one in causes(error)):
        return away(f"{host} does not respond ({type(error).__name__}): {reason}")
    untrusted = any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error))
    kind = "untrusted_certificate" if untrusted else "misconfigured"
    return SourceError(kind, f"{host}: {problem}", remedy=remedy)


def object_of(response: requests.Response) -> dict[str, Any]:
    """The JSON object in a response.

    Raises:
        SourceError: the response is not a JSON object.
    """
    try:
        body = response.json()
    except requests.exceptions.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise away(f"{urlsplit(response.url).netloc} responds without a JSON object")
    return body
