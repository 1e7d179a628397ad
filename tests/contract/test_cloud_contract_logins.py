"""Tests of the behaviour of Keystone and login provider on which the token service relies."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.contract.clouds import login, nova_for
from tests.testbed.openstack.api import (
    Json,
    Keystone,
    Service,
    Token,
    by_application_credential,
    by_password,
    by_token,
    in_project,
)
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    import requests

    from tests.contract.clouds import Cloud

SCOPE = "openid email profile voperson_id entitlements eduperson_entitlement offline_access"
NARROW_SCOPE = (
    f"openid voperson_id entitlements:{credentials.ENTITLEMENT}"
    f" eduperson_entitlement:{credentials.ENTITLEMENT}"
)
UNKNOWN = "0123456789abcdef0123456789abcdef"


def redeem(cloud: Cloud, http: requests.Session, **form: str) -> requests.Response:
    """Request tokens from the login provider; as the public client unless `form` overrides it."""
    usual = {"grant_type": "refresh_token", "client_id": credentials.PUBLIC_CLIENT}
    return http.post(cloud.token_endpoint, data=usual | form, timeout=30)


def access_token(cloud: Cloud, http: requests.Session, scope: str = SCOPE) -> str:
    answer = redeem(cloud, http, refresh_token=cloud.mint_refresh_token(), scope=scope)
    return str(answer.json()["access_token"])


def federated(cloud: Cloud, keystone: Keystone, http: requests.Session) -> Token:
    return Token.of(keystone.federate(access_token(cloud, http)))


def assert_unauthorized(answer: requests.Response) -> None:
    """Keystone gives the reason only in its own log."""
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["title"]) == (401, "Unauthorized")
    assert isinstance(error["message"], str)


# -- Keystone


def test_password_gives_a_scoped_token_with_a_catalog(cloud: Cloud) -> None:
    token = login(cloud)
    assert token.body["methods"] == ["password"]
    assert token.body["project"]["id"] == cloud.project_id
    assert token.body["project"]["domain"] == {"id": "default", "name": "Default"}
    assert [role["name"] for role in token.body["roles"]].count("member") == 1
    compute = next(entry for entry in token.body["catalog"] if entry["type"] == "compute")
    public = next(entry for entry in compute["endpoints"] if entry["interface"] == "public")
    assert (public["region"], public["region_id"]) == (credentials.REGION, credentials.REGION)


def test_a_user_who_is_only_a_reader_lists_servers_and_may_start_or_create_none(
    cloud: Cloud,
) -> None:
    """The doctor finds such a login by the names of its token's roles: no call that lists does."""
    (server_id,) = cloud.add_servers(["node1"], "SHUTOFF").values()
    token = login(cloud, name=credentials.READER)
    assert [role["name"] for role in token.body["roles"]] == ["reader"]
    with Service(token.endpoints["compute"], token.id) as nova:
        assert nova.call("GET", "/servers/detail").status_code == 200
        assert nova.call("GET", "/limits").status_code == 200
        for path, body in (
            (f"/servers/{server_id}/action", {"os-start": None}),
            ("/servers", {"server": {"name": "x", "imageRef": cloud.image_id, "flavorRef": "1"}}),
        ):
            assert nova.call("POST", path, body).status_code == 403
        assert nova.call("DELETE", f"/servers/{server_id}").status_code == 403


@pytest.mark.parametrize("field", ["issued_at", "expires_at"])
def test_times_of_a_token_are_utc_with_microseconds(cloud: Cloud, field: str) -> None:
    assert datetime.strptime(login(cloud).body[field], "%Y-%m-%dT%H:%M:%S.%f%z")


def test_token_lives_an_hour(cloud: Cloud) -> None:
    body = login(cloud).body
    issued, expires = (datetime.fromisoformat(body[key]) for key in ("issued_at", "expires_at"))
    assert (expires - issued).total_seconds() == pytest.approx(3600, abs=2)


@pytest.mark.parametrize(
    ("username", "password", "project"),
    [
        (credentials.USERNAME, "wrong", credentials.PROJECT_NAME),
        ("nobody", credentials.PASSWORD, credentials.PROJECT_NAME),
        (credentials.USERNAME, credentials.PASSWORD, "no-such-project"),
    ],
)
def test_wrong_login_is_unauthorized(
    keystone: Keystone, username: str, password: str, project: str
) -> None:
    assert_unauthorized(keystone.login(by_password(username, password), in_project(project)))


def test_malformed_login_is_a_bad_request(cloud: Cloud, http: requests.Session) -> None:
    answer = http.post(f"{cloud.auth_url}/auth/tokens", json={"auth": {}}, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["title"] == "Bad Request"


def test_application_credential_has_its_own_scope(cloud: Cloud, keystone: Keystone) -> None:
    secret = credentials.APPLICATION_CREDENTIAL_SECRET
    identity = by_application_credential(cloud.application_credential_id, secret)
    token = Token.of(keystone.login(identity))
    assert token.body["methods"] == ["application_credential"]
    assert token.body["project"]["id"] == cloud.project_id
    assert "compute" in token.endpoints


def test_application_credential_with_a_scope_is_unauthorized(
    cloud: Cloud, keystone: Keystone
) -> None:
    secret = credentials.APPLICATION_CREDENTIAL_SECRET
    identity = by_application_credential(cloud.application_credential_id, secret)
    answer = keystone.login(identity, in_project(credentials.PROJECT_NAME))
    assert answer.status_code == 401


def test_wrong_application_credential_secret_is_unauthorized(
    cloud: Cloud, keystone: Keystone
) -> None:
    identity = by_application_credential(cloud.application_credential_id, "wrong")
    assert_unauthorized(keystone.login(identity))


def test_unknown_application_credential_is_not_found(keystone: Keystone) -> None:
    """The same holds for a deleted one: the response is 404, not 401."""
    answer = keystone.login(by_application_credential(UNKNOWN, "any"))
    assert answer.status_code == 404
    message = answer.json()["error"]["message"]
    assert message == f"Could not find Application Credential: {UNKNOWN}."


def test_token_is_valid_until_it_is_revoked(cloud: Cloud, http: requests.Session) -> None:
    token = login(cloud)
    url = f"{cloud.auth_url}/auth/tokens"
    headers = {"X-Auth-Token": login(cloud).id, "X-Subject-Token": token.id}
    assert http.get(url, headers=headers, timeout=30).status_code == 200
    assert http.delete(url, headers=headers, timeout=30).status_code == 204
    assert http.get(url, headers=headers, timeout=30).status_code == 404


def test_expired_token_is_unauthorized_at_nova(cloud: Cloud) -> None:
    cloud.set_token_seconds(3)
    with nova_for(cloud) as nova:
        assert nova.call("GET", "/servers/detail").status_code == 200
        until(lambda: nova.call("GET", "/servers/detail").status_code == 401, 20, "the expiry")


def test_revoked_tokens_are_unauthorized_at_nova_and_new_ones_are_valid(cloud: Cloud) -> None:
    with nova_for(cloud) as nova:
        assert nova.call("GET", "/servers/detail").status_code == 200
        cloud.revoke_tokens()
        assert nova.call("GET", "/servers/detail").status_code == 401
    with nova_for(cloud) as nova:
        assert nova.call("GET", "/servers/detail").status_code == 200


# -- federation


def test_access_token_gives_an_unscoped_token(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    token = federated(cloud, keystone, http)
    assert token.endpoints == {}
    assert "project" not in token.body
    about = token.body["user"]["OS-FEDERATION"]
    assert about["identity_provider"] == {"id": credentials.IDENTITY_PROVIDER}
    assert about["protocol"] == {"id": credentials.FEDERATION_PROTOCOL}


def test_access_token_with_one_entitlement_is_enough(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    token = access_token(cloud, http, NARROW_SCOPE)
    assert keystone.federate(token).status_code == 201


def test_access_token_without_the_entitlement_is_unauthorized(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    assert keystone.federate(access_token(cloud, http, "openid email")).status_code == 401


def test_wrong_access_token_is_unauthorized(keystone: Keystone) -> None:
    assert keystone.federate("made-up").status_code == 401


def test_access_token_of_a_revoked_login_is_unauthorized(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    token = access_token(cloud, http)
    cloud.revoke_grants()
    assert keystone.federate(token).status_code == 401


@pytest.mark.parametrize(
    ("provider", "protocol", "status"), [("other.eu", "openid", 404), ("egi.eu", "saml2", 401)]
)
def test_unknown_provider_is_not_found_and_unknown_protocol_unauthorized(
    cloud: Cloud, http: requests.Session, provider: str, protocol: str, status: int
) -> None:
    path = f"OS-FEDERATION/identity_providers/{provider}/protocols/{protocol}/auth"
    headers = {"Authorization": f"Bearer {access_token(cloud, http)}"}
    answer = http.post(f"{cloud.auth_url}/{path}", headers=headers, timeout=30)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


def test_unscoped_token_lists_its_projects(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    with Service(cloud.auth_url, federated(cloud, keystone, http).id) as identity:
        (project,) = identity.ask("GET", "/auth/projects")["projects"]
    assert (project["id"], project["name"]) == (cloud.project_id, credentials.PROJECT_NAME)
    assert project["domain_id"] == "default"


@pytest.mark.parametrize("by", ["id", "name"])
def test_scoping_does_not_extend_the_life_of_a_token(
    cloud: Cloud, keystone: Keystone, http: requests.Session, by: str
) -> None:
    unscoped = federated(cloud, keystone, http)
    by_id: Json = {"project": {"id": cloud.project_id}}
    scope = by_id if by == "id" else in_project(credentials.PROJECT_NAME)
    scoped = Token.of(keystone.login(by_token(unscoped.id), scope))
    assert scoped.body["expires_at"] == unscoped.body["expires_at"]
    assert set(scoped.body["methods"]) == {"openid", "token"}
    with Service(scoped.endpoints["compute"], scoped.id) as nova:
        assert nova.ask("GET", "/servers/detail") == {"servers": []}


def test_scope_without_a_role_is_unauthorized(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    unscoped = federated(cloud, keystone, http)
    other = in_project(credentials.OTHER_PROJECT_NAME)
    assert_unauthorized(keystone.login(by_token(unscoped.id), other))


def test_unknown_token_gets_no_scope(keystone: Keystone) -> None:
    scope = in_project(credentials.PROJECT_NAME)
    assert keystone.login(by_token("made-up"), scope).status_code in {401, 404}


# -- the login provider


def test_refresh_gives_both_tokens_and_their_lifetimes(
    cloud: Cloud, http: requests.Session
) -> None:
    first = cloud.mint_refresh_token()
    answer = redeem(cloud, http, refresh_token=first, scope=SCOPE)
    assert answer.status_code == 200
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3600
    assert body["refresh_expires_in"] == pytest.approx(400 * 86400, abs=60)
    assert isinstance(body["access_token"], str)
    assert body["refresh_token"] != first


def test_refresh_token_used_twice_ends_its_family(cloud: Cloud, http: requests.Session) -> None:
    first = cloud.mint_refresh_token()
    second = redeem(cloud, http, refresh_token=first).json()["refresh_token"]
    for token in (first, second):
        answer = redeem(cloud, http, refresh_token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_refresh_token_belongs_to_its_client(cloud: Cloud, http: requests.Session) -> None:
    answer = http.post(
        cloud.token_endpoint,
        auth=(credentials.CONFIDENTIAL_CLIENT, credentials.CONFIDENTIAL_CLIENT_SECRET),
        data={"grant_type": "refresh_token", "refresh_token": cloud.mint_refresh_token()},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"refresh_token": "made-up"}, 400, "invalid_grant"),
        ({}, 400, "invalid_request"),
        ({"grant_type": "made-up"}, 400, "unsupported_grant_type"),
        ({"client_id": "made-up", "refresh_token": "any"}, 401, "invalid_client"),
    ],
)
def test_provider_refuses_with_oauth_error_codes(
    cloud: Cloud, http: requests.Session, form: dict[str, str], status: int, error: str
) -> None:
    answer = redeem(cloud, http, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize("word", ["made-up", "entitlements:urn:made:up"])
def test_scope_beyond_the_login_is_refused(cloud: Cloud, http: requests.Session, word: str) -> None:
    token = cloud.mint_refresh_token()
    answer = redeem(cloud, http, refresh_token=token, scope=f"openid {word}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert redeem(cloud, http, refresh_token=token).status_code == 200, "it is still valid"


def test_service_account_reaches_the_project_without_a_refresh_token(
    cloud: Cloud, keystone: Keystone, http: requests.Session
) -> None:
    answer = http.post(
        cloud.token_endpoint,
        auth=(credentials.CONFIDENTIAL_CLIENT, credentials.CONFIDENTIAL_CLIENT_SECRET),
        data={"grant_type": "client_credentials", "scope": NARROW_SCOPE},
        timeout=30,
    )
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert keystone.federate(answer.json()["access_token"]).status_code == 201


def test_wrong_secret_of_a_service_account_is_an_invalid_client(
    cloud: Cloud, http: requests.Session
) -> None:
    answer = http.post(
        cloud.token_endpoint,
        auth=(credentials.CONFIDENTIAL_CLIENT, "wrong"),
        data={"grant_type": "client_credentials"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
