"""Keystone's API v3, as far as it takes to log in.

Shapes: https://docs.openstack.org/api-ref/identity/v3/ and its federation part. Keystone answers
401 both for a wrong secret and for a project that the user has no role in.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests

from workers.config.groups import CloudSettings
from workers.tokens.errors import SourceError, away
from workers.tokens.scoped import ScopedToken, scoped_token
from workers.tokens.transport import Http, object_of

# Keystone answers 404 to an application credential that it does not know, or no longer.
_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
}


class Keystone:
    """One cloud's Keystone."""

    def __init__(self, cloud: CloudSettings, http: Http) -> None:
        self._url = cloud.auth_url.rstrip("/")
        self._http = http
        self._scope = _scope(cloud)

    def login(self, identity: Mapping[str, Any], remedy: str) -> ScopedToken:
        """A token for `identity`, scoped to the cloud's project.

        Raises:
            SourceError: `unauthorized`, permanent, with `remedy`; or another.
        """
        auth: dict[str, Any] = {"identity": identity}
        # an application credential is bound to its project and may name no other scope
        if identity["methods"] != ["application_credential"]:
            auth["scope"] = self._scope
        return self._scoped(auth, permanent=True, remedy=remedy)

    def federated_login(self, identity_provider: str, protocol: str, bearer: str) -> ScopedToken:
        """A token for an OpenID Connect access token, scoped to the cloud's project.

        A refusal is not permanent: Keystone cannot tell a bad token from a login provider that
        it cannot reach to ask about it, and a missing role is mended at the site.

        Raises:
            SourceError: `unauthorized`, or another.
        """
        url = (
            f"{self._url}/OS-FEDERATION/identity_providers/{quote(identity_provider, safe='')}"
            f"/protocols/{quote(protocol, safe='')}/auth"
        )
        answer = self._http.post(url, authorization=f"Bearer {bearer}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise SourceError(
                "misconfigured",
                "Keystone knows no such identity provider or protocol",
                remedy="check identity_provider and protocol of this cloud's source",
            )
        unscoped = _token_id(
            answer,
            "Keystone refuses the access token",
            permanent=False,
            remedy="check that the identity's entitlements are mapped at this site",
        )
        identity = {"methods": ["token"], "token": {"id": unscoped}}
        return self._scoped(
            {"identity": identity, "scope": self._scope},
            permanent=False,
            remedy="ask the site for a role in this cloud's project, and check project_id",
        )

    def _scoped(self, auth: Mapping[str, Any], *, permanent: bool, remedy: str) -> ScopedToken:
        answer = self._http.post(f"{self._url}/auth/tokens", json={"auth": auth})
        refusal = "Keystone refuses the login"
        token_id = _token_id(answer, refusal, permanent=permanent, remedy=remedy)
        return scoped_token(token_id, object_of(answer))


def _token_id(answer: requests.Response, refusal: str, *, permanent: bool, remedy: str) -> str:
    status = answer.status_code
    if status in _REFUSALS:
        raise SourceError(
            "unauthorized", f"{refusal} ({status})", permanent=permanent, remedy=remedy
        )
    if not answer.ok:
        raise away(f"Keystone answers {status}")
    token_id = answer.headers.get("X-Subject-Token")
    if token_id is None:
        raise away("Keystone's answer holds no X-Subject-Token")
    return token_id


def _scope(cloud: CloudSettings) -> dict[str, Any]:
    if cloud.project_id is not None:
        return {"project": {"id": cloud.project_id}}
    return {"project": {"name": cloud.project_name, "domain": {"name": cloud.project_domain}}}
