"""Plain calls of OpenStack APIs: answers are returned as they are, and nothing is retried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import requests

Json: TypeAlias = dict[str, Any]

TIMEOUT_SECONDS = 120.0
USER_AGENT = "lamplighter-testbed"
"""Distinguishes the test bed's own calls from those of its users."""


@dataclass(frozen=True)
class Token:
    """A Keystone token, and the public endpoint of each type of service."""

    id: str = field(repr=False)
    body: Json = field(repr=False)
    endpoints: dict[str, str]

    @classmethod
    def of(cls, response: requests.Response) -> Token:
        """Read Keystone's answer to a login.

        Raises:
            RuntimeError: Keystone refused.
        """
        checked(response)
        body: Json = response.json()["token"]
        endpoints = {
            service["type"]: endpoint["url"]
            for service in body.get("catalog", [])
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }
        return cls(response.headers["X-Subject-Token"], body, endpoints)


class Keystone:
    """Logins at one Keystone."""

    def __init__(self, auth_url: str) -> None:
        self.auth_url = auth_url
        self.http = session()

    def login(self, identity: Json, scope: Json | None = None) -> requests.Response:
        """Request a token; `identity` and `scope` are those of Keystone's API."""
        auth = {"identity": identity} if scope is None else {"identity": identity, "scope": scope}
        return self.http.post(
            f"{self.auth_url}/auth/tokens", json={"auth": auth}, timeout=TIMEOUT_SECONDS
        )

    def federate(self, access_token: str) -> requests.Response:
        """Exchange an access token of the OpenID provider for an unscoped token."""
        path = "OS-FEDERATION/identity_providers/egi.eu/protocols/openid/auth"
        return self.http.post(
            f"{self.auth_url}/{path}",
            headers={"Authorization": f"Bearer {access_token}"},
            timeout=TIMEOUT_SECONDS,
        )

    def close(self) -> None:
        """Release the connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def by_password(username: str, password: str) -> Json:
    """Return the identity of a user of the default domain."""
    user = {"name": username, "password": password, "domain": {"id": "default"}}
    return {"methods": ["password"], "password": {"user": user}}


def by_application_credential(credential_id: str, secret: str) -> Json:
    """Return the identity of an application credential."""
    given = {"id": credential_id, "secret": secret}
    return {"methods": ["application_credential"], "application_credential": given}


def by_token(token_id: str) -> Json:
    """Return the identity of the owner of a token."""
    return {"methods": ["token"], "token": {"id": token_id}}


def in_project(name: str) -> Json:
    """Return the scope of a project of the default domain."""
    return {"project": {"name": name, "domain": {"id": "default"}}}


class Service:
    """One service's API with one token."""

    def __init__(self, url: str, token_id: str, headers: dict[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = session()
        self._http.headers.update({"X-Auth-Token": token_id} | (headers or {}))

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        """Return the answer, also if it is an error. `path` may be a whole URL, such as a `next` link."""
        url = path if path.startswith("http") else f"{self.url}{path}"
        return self._http.request(method, url, json=body, timeout=TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return the content of the answer.

        Raises:
            RuntimeError: The answer is an error.
        """
        response = checked(self.call(method, path, body))
        return response.json() if response.content else None

    def upload(self, path: str, content: bytes) -> requests.Response:
        """Send raw bytes, as Glance expects the data of an image."""
        headers = {"Content-Type": "application/octet-stream"}
        url = f"{self.url}{path}"
        return self._http.put(url, data=content, headers=headers, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def session() -> requests.Session:
    """Return a session that ignores proxies and .netrc."""
    http = requests.Session()
    http.trust_env = False
    http.headers["User-Agent"] = USER_AGENT
    http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
    return http


def checked(response: requests.Response) -> requests.Response:
    """Return the answer unless it is an error.

    Raises:
        RuntimeError: It is an error; the message has its status and text.
    """
    if not response.ok:
        request = response.request
        raise RuntimeError(
            f"{request.method} {request.url}: {response.status_code} {response.text}"
        )
    return response
