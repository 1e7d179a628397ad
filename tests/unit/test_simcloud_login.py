"""The simulated login provider and Keystone issue, refuse, rotate, expire and revoke tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.testbed.simcloud.handle import SimCloud

FEDERATION = "/OS-FEDERATION/identity_providers/egi.eu/protocols/openid/auth"


def redeem(cloud: SimCloud, token: str, **form: str) -> requests.Response:
    """Request an access token as the public client; ``form`` replaces fields."""
    return requests.post(
        cloud.token_endpoint,
        data={
            "grant_type": "refresh_token",
            "client_id": credentials.PUBLIC_CLIENT,
            "refresh_token": token,
            **form,
        },
        timeout=10,
    )


def federate(cloud: SimCloud, access_token: str) -> requests.Response:
    """Exchange an access token at Keystone."""
    return requests.post(
        cloud.auth_url + FEDERATION,
        headers={"Authorization": f"Bearer {access_token}"},
        timeout=10,
    )


def keystone(cloud: SimCloud, identity: Mapping[str, object], **scope: object) -> requests.Response:
    body = {"auth": {"identity": identity, **scope}}
    return requests.post(f"{cloud.auth_url}/auth/tokens", json=body, timeout=10)


def application_login(cloud: SimCloud) -> str:
    """Return a scoped token."""
    answer = keystone(
        cloud,
        {
            "methods": ["application_credential"],
            "application_credential": {
                "id": credentials.APPLICATION_CREDENTIAL_ID,
                "secret": credentials.APPLICATION_CREDENTIAL_SECRET,
            },
        },
    )
    assert answer.status_code == 201
    return answer.headers["X-Subject-Token"]


def servers(cloud: SimCloud, token: str) -> requests.Response:
    return requests.get(
        f"{cloud.url}/compute/v2.1/servers", headers={"X-Auth-Token": token}, timeout=10
    )


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


# -- refresh tokens


def test_a_refresh_token_gives_an_access_token_and_both_lifetimes(cloud: SimCloud) -> None:
    cloud.set(access_token_seconds=600, refresh_token_seconds=86400)
    granted = redeem(cloud, cloud.mint_refresh_token(), scope="openid email").json()
    assert granted["token_type"] == "Bearer"
    assert granted["scope"] == "openid email"
    assert granted["expires_in"] == 600
    assert 86390 < granted["refresh_expires_in"] <= 86400


def test_rotation_gives_a_new_refresh_token_each_time(cloud: SimCloud) -> None:
    first = cloud.mint_refresh_token()
    second = redeem(cloud, first).json()["refresh_token"]
    third = redeem(cloud, second).json()["refresh_token"]
    assert len({first, second, third}) == 3


def test_a_second_use_of_a_rotated_token_revokes_the_whole_family(cloud: SimCloud) -> None:
    first = cloud.mint_refresh_token()
    granted = redeem(cloud, first).json()
    assert error(redeem(cloud, first)) == (400, "invalid_grant")
    assert error(redeem(cloud, granted["refresh_token"])) == (400, "invalid_grant")
    assert federate(cloud, granted["access_token"]).status_code == 401


def test_without_rotation_a_refresh_token_can_be_used_many_times(cloud: SimCloud) -> None:
    cloud.set(rotate_refresh_tokens=False)
    token = cloud.mint_refresh_token()
    assert [redeem(cloud, token).json()["refresh_token"] for _ in range(3)] == [token] * 3


def test_an_expired_refresh_token_is_an_invalid_grant(cloud: SimCloud) -> None:
    cloud.set(refresh_token_seconds=0)
    assert error(redeem(cloud, cloud.mint_refresh_token())) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"refresh_token": "never-granted"}, (400, "invalid_grant")),
        ({"refresh_token": ""}, (400, "invalid_request")),
        ({"client_id": "somebody"}, (401, "invalid_client")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "client_credentials"}, (401, "unauthorized_client")),
    ],
)
def test_the_provider_answers_with_oauth_error_codes(
    cloud: SimCloud, form: dict[str, str], expected: tuple[int, str]
) -> None:
    assert error(redeem(cloud, cloud.mint_refresh_token(), **form)) == expected


def test_another_clients_refresh_token_is_an_invalid_grant(cloud: SimCloud) -> None:
    answer = redeem(
        cloud,
        cloud.mint_refresh_token(),
        client_id=credentials.CONFIDENTIAL_CLIENT,
        client_secret=credentials.CONFIDENTIAL_CLIENT_SECRET,
    )
    assert error(answer) == (400, "invalid_grant")


# -- access tokens


@pytest.mark.parametrize("basic", [True, False])
def test_a_service_account_logs_in_with_its_secret(cloud: SimCloud, *, basic: bool) -> None:
    pair = (credentials.CONFIDENTIAL_CLIENT, credentials.CONFIDENTIAL_CLIENT_SECRET)
    form = {"grant_type": "client_credentials", "scope": "openid entitlements"}
    if not basic:
        form |= {"client_id": pair[0], "client_secret": pair[1]}
    answer = requests.post(
        cloud.token_endpoint, data=form, auth=pair if basic else None, timeout=10
    )
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert federate(cloud, answer.json()["access_token"]).status_code == 201
    assert cloud.counts()["client_credentials"] == 1


def test_userinfo_and_introspection_distinguish_valid_from_invalid_tokens(cloud: SimCloud) -> None:
    discovered = requests.get(f"{cloud.issuer}/.well-known/openid-configuration", timeout=10).json()
    access = redeem(cloud, cloud.mint_refresh_token()).json()["access_token"]

    def introspect() -> dict[str, object]:
        form = {"token": access, "client_id": credentials.PUBLIC_CLIENT}
        answer = requests.post(discovered["introspection_endpoint"], data=form, timeout=10)
        found: dict[str, object] = answer.json()
        return found

    def userinfo() -> requests.Response:
        headers = {"Authorization": f"Bearer {access}"}
        return requests.get(discovered["userinfo_endpoint"], headers=headers, timeout=10)

    assert introspect()["active"] is True
    assert userinfo().json()["entitlements"] == [credentials.ENTITLEMENT]
    assert cloud.expire_access_tokens() >= 1
    assert introspect() == {"active": False}
    assert userinfo().status_code == 401


# -- federation


def test_a_federated_login_gives_an_unscoped_token_then_projects_then_a_scoped_token(
    cloud: SimCloud,
) -> None:
    access = redeem(cloud, cloud.mint_refresh_token()).json()["access_token"]
    federated = federate(cloud, access)
    assert federated.status_code == 201
    assert "project" not in federated.json()["token"]
    unscoped = federated.headers["X-Subject-Token"]
    assert servers(cloud, unscoped).status_code == 403
    found = requests.get(
        f"{cloud.auth_url}/auth/projects", headers={"X-Auth-Token": unscoped}, timeout=10
    ).json()["projects"]
    assert [project["name"] for project in found] == [credentials.PROJECT_NAME]
    identity = {"methods": ["token"], "token": {"id": unscoped}}
    scoped = keystone(cloud, identity, scope={"project": {"id": found[0]["id"]}})
    assert scoped.json()["token"]["methods"] == ["openid", "token"]
    assert scoped.json()["token"]["expires_at"] == federated.json()["token"]["expires_at"]
    assert servers(cloud, scoped.headers["X-Subject-Token"]).status_code == 200


def test_a_wrong_bearer_token_is_unauthorized_and_an_unknown_provider_is_not_found(
    cloud: SimCloud,
) -> None:
    assert federate(cloud, "nonsense").status_code == 401
    elsewhere = cloud.auth_url + FEDERATION.replace("egi.eu", "elsewhere")
    assert requests.post(elsewhere, timeout=10).status_code == 404


def test_revoked_grants_stop_refresh_and_federation_but_not_a_keystone_token(
    cloud: SimCloud,
) -> None:
    granted = redeem(cloud, cloud.mint_refresh_token()).json()
    token = application_login(cloud)
    assert cloud.revoke_grants() >= 1
    assert error(redeem(cloud, granted["refresh_token"])) == (400, "invalid_grant")
    assert federate(cloud, granted["access_token"]).status_code == 401
    assert servers(cloud, token).status_code == 200


# -- Keystone's tokens


def test_a_revoked_token_is_unauthorized_at_nova(cloud: SimCloud) -> None:
    token = application_login(cloud)
    assert servers(cloud, token).status_code == 200
    assert cloud.revoke_tokens() >= 1
    answer = servers(cloud, token)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Keystone")


@pytest.mark.slow
def test_a_token_expires_after_its_lifetime(cloud: SimCloud) -> None:
    cloud.set(token_seconds=1)
    token = application_login(cloud)
    assert servers(cloud, token).status_code == 200
    until(lambda: servers(cloud, token).status_code == 401, 5, "the token to expire")


def test_a_caller_can_check_and_revoke_a_token(cloud: SimCloud) -> None:
    mine, other = application_login(cloud), application_login(cloud)
    url = f"{cloud.auth_url}/auth/tokens"
    headers = {"X-Auth-Token": mine, "X-Subject-Token": other}
    assert requests.get(url, headers=headers, timeout=10).status_code == 200
    assert requests.delete(url, headers=headers, timeout=10).status_code == 204
    assert requests.get(url, headers=headers, timeout=10).status_code == 404


@pytest.mark.parametrize("secret", ["", "wrong", credentials.APPLICATION_CREDENTIAL_SECRET.upper()])
def test_a_wrong_secret_is_unauthorized(cloud: SimCloud, secret: str) -> None:
    answer = keystone(
        cloud,
        {
            "methods": ["application_credential"],
            "application_credential": {
                "id": credentials.APPLICATION_CREDENTIAL_ID,
                "secret": secret,
            },
        },
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["title"] == "Unauthorized"
