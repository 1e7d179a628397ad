"""Logs in at Keystone (API v3).

Shapes: https://docs.openstack.org/api-ref/identity/v3/ and its federation part. Keystone responds
with 401 both to a wrong secret and to a project in which the user has no role.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from producers.addresses import is_loopback
from schemas.fields import shown
from workers.config.groups import CloudSettings
from workers.process.redirects import host_of
from workers.tokens.errors import SourceError, away
from workers.tokens.scoped import KeystoneAnswer, ScopedToken, scoped_token
from workers.tokens.transport import Http, Token, answer_in

# 404 is the response to an unknown or deleted application credential.
_REFUSALS = {400, 401, 403, 404}
_ENDED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}


class _Version(msgspec.Struct):
    id: str


class _Versions(msgspec.Struct):
    version: _Version


class Keystone:
    """The Keystone of one cloud."""

    def __init__(self, cloud: CloudSettings, http: Http) -> None:
        self._url = cloud.auth_url.rstrip("/")
        self._http = http
        self._insecure = cloud.insecure
        project: dict[str, Any] = {"id": cloud.project_id}
        if cloud.project_id is None:
            project = {"name": cloud.project_name, "domain": {"name": cloud.project_domain}}
        self._scope = {"project": project}

    def login(self, identity: Mapping[str, Any], remedy: str) -> ScopedToken:
        """Get a token for `identity`, scoped to the cloud's project.

        Raises:
            SourceError: `unauthorized` (permanent, with `remedy`), or another.
        """
        auth: dict[str, Any] = {"identity": identity}
        # an application credential has its own scope; Keystone refuses any other
        if identity["methods"] != ["application_credential"]:
            auth["scope"] = self._scope
        return self._scoped(auth, permanent=True, remedy=remedy)

    def federated_login(self, identity_provider: str, protocol: str, bearer: str) -> ScopedToken:
        """Get a token for an OpenID Connect access token, scoped to the cloud's project.

        A refusal is not permanent: Keystone gives the same response if it cannot reach the login
        provider to check the token, and a missing role can be added at the site.

        Raises:
            SourceError: `unauthorized`, or another.
        """
        url = (
            f"{self._url}/OS-FEDERATION/identity_providers/{quote(identity_provider, safe='')}"
            f"/protocols/{quote(protocol, safe='')}/auth"
        )
        response = self._http.post(url, authorization=f"Bearer {bearer}")
        if response.status_code == HTTPStatus.NOT_FOUND:
            self._require_keystone()
            raise SourceError(
                "misconfigured",
                "Keystone does not know this identity provider or protocol",
                remedy="check identity_provider and protocol of this cloud's source",
            )
        unscoped = self._token_id(
            response,
            "Keystone refuses the access token",
            permanent=False,
            remedy="check that this site maps the entitlements of the identity",
        )
        identity = {"methods": ["token"], "token": {"id": unscoped}}
        remedy = "ask the site for a role in this project, and check project_id"
        auth = {"identity": identity, "scope": self._scope}
        return self._scoped(auth, permanent=False, remedy=remedy)

    def revoke(self, token: str) -> None:
        """End a token. Keystone confirms with 204; 404 and 401 say that it has ended already.

        https://docs.openstack.org/api-ref/identity/v3/#revoke-token

        Raises:
            SourceError: Keystone did not confirm.
        """
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        response = self._http.delete(f"{self._url}/auth/tokens", headers)
        if not response.ok and response.status_code not in _ENDED:
            raise away(f"Keystone responds with {response.status_code}")

    def _scoped(self, auth: Mapping[str, Any], *, permanent: bool, remedy: str) -> ScopedToken:
        response = self._http.post(f"{self._url}/auth/tokens", json={"auth": auth})
        refusal = "Keystone refuses the login"
        token_id = self._token_id(response, refusal, permanent=permanent, remedy=remedy)
        answer = answer_in(response, KeystoneAnswer)
        if not self._insecure:
            self._drop_plaintext(answer)
        return scoped_token(token_id, answer)

    def _drop_plaintext(self, answer: KeystoneAnswer) -> None:
        """Remove the endpoints that would get the token unencrypted.

        Raises:
            SourceError: none is left of the service that powers servers.
        """
        for service in answer.token.catalog:
            plain = [one for one in service.endpoints if _plaintext(one.url)]
            service.endpoints = [one for one in service.endpoints if one not in plain]
            if plain and service.type == "compute" and not service.endpoints:
                raise SourceError(
                    "misconfigured",
                    f"the catalog's compute endpoint is not https: {shown(self._http.secrets.safe(host_of(plain[0].url)))}",
                    remedy="ask the site for an https endpoint, or write insecure = true for this cloud",
                )

    def _token_id(
        self, response: requests.Response, refusal: str, *, permanent: bool, remedy: str
    ) -> str:
        status = response.status_code
        if "X-Subject-Token" not in response.headers and status not in {400, 401, 403}:
            self._require_keystone()
        if status in _REFUSALS:
            message = f"{refusal} ({status})"
            raise SourceError("unauthorized", message, permanent=permanent, remedy=remedy)
        if not response.ok:
            raise away(f"Keystone responds with {status}")
        try:
            token = msgspec.convert(response.headers.get("X-Subject-Token"), Token)
        except msgspec.ValidationError:
            raise away("Keystone's response has no usable X-Subject-Token") from None
        self._http.secrets.add(token)
        return token

    def _require_keystone(self) -> None:
        """Check that auth_url is Keystone's: any web server responds with 404 to a login.

        https://docs.openstack.org/api-ref/identity/v3/#show-v3-api-details

        Raises:
            SourceError: `misconfigured`.
        """
        try:
            response = self._http.get(self._url)
        except SourceError:  # unknown: the refusal itself counts
            return
        try:
            version = answer_in(response, _Versions).version.id if response.ok else ""
        except SourceError:
            version = ""
        if not version.startswith("v3"):
            raise SourceError(
                "misconfigured",
                f"there is no Keystone at {self._url} ({response.status_code})",
                remedy="correct this cloud's auth_url: the site's identity endpoint, ending in /v3",
            )


def _plaintext(url: str) -> bool:
    scheme = url.partition(":")[0]
    return scheme.lower() != "https" and not is_loopback(host_of(url))
