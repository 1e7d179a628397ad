"""The real cloud of the test bed: its properties beyond the contract of both clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.testbed.openstack.api import (
    Json,
    Keystone,
    Service,
    Token,
    by_password,
    by_token,
    in_project,
    session,
)
from tests.testbed.openstack.configuration import OTHER_ENTITLEMENT
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.settings import HookSpec
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

pytestmark = pytest.mark.openstack
NARROW_SCOPE = f"openid email voperson_id eduperson_entitlement:{credentials.ENTITLEMENT}"


@pytest.fixture
def cloud(openstack: RealOpenStack) -> Iterator[RealOpenStack]:
    """The cloud; servers and orders are removed afterwards."""
    yield openstack
    openstack.set_driver()
    openstack.set_hook(None)
    openstack.delete_servers()


@pytest.fixture
def nova(cloud: RealOpenStack) -> Iterator[Service]:
    with Keystone(cloud.auth_url) as keystone:
        user = by_password(credentials.USERNAME, credentials.PASSWORD)
        token = Token.of(keystone.login(user, in_project(credentials.PROJECT_NAME)))
    headers = {"OpenStack-API-Version": "compute 2.90"}
    with Service(token.endpoints["compute"], token.id, headers) as service:
        yield service


@pytest.fixture
def keystone(openstack: RealOpenStack) -> Iterator[Keystone]:
    with Keystone(openstack.auth_url) as service:
        yield service


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with session() as service:
        yield service


def refresh(cloud: RealOpenStack, token: str, scope: str = "") -> requests.Response:
    form = {"grant_type": "refresh_token", "client_id": credentials.PUBLIC_CLIENT}
    form |= {"refresh_token": token} | ({"scope": scope} if scope else {})
    with session() as http:
        return http.post(cloud.token_endpoint, data=form, timeout=30)


def access_token(cloud: RealOpenStack, scope: str = NARROW_SCOPE) -> str:
    answer = refresh(cloud, cloud.mint_refresh_token(), scope)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def create(cloud: RealOpenStack, nova: Service, name: str, flavor: str = "1") -> requests.Response:
    about = {"name": name, "flavorRef": flavor, "imageRef": cloud.image_id, "networks": "none"}
    return nova.call("POST", "/servers", {"server": about})


def act(nova: Service, server_id: str, action: Json) -> int:
    status: int = nova.call("POST", f"/servers/{server_id}/action", action).status_code
    return status


# -- logins


def test_a_refresh_token_leads_to_a_server_list(
    openstack: RealOpenStack, keystone: Keystone
) -> None:
    """The whole federated login, with a token narrowed to one entitlement."""
    unscoped = Token.of(keystone.federate(access_token(openstack)))
    with Service(openstack.auth_url, unscoped.id) as identity:
        projects = identity.ask("GET", "/auth/projects")["projects"]
    assert [project["id"] for project in projects] == [openstack.project_id]
    scope = {"project": {"id": openstack.project_id}}
    scoped = Token.of(keystone.login(by_token(unscoped.id), scope))
    with Service(scoped.endpoints["compute"], scoped.id) as nova:
        assert nova.ask("GET", "/servers") == {"servers": []}


@pytest.mark.parametrize("claim", ["entitlements", "eduperson_entitlement"])
def test_either_claim_gives_access_to_the_project(
    openstack: RealOpenStack, keystone: Keystone, claim: str
) -> None:
    assert keystone.federate(access_token(openstack, f"openid {claim}")).status_code == 201


def test_both_claims_together_give_access_to_the_project(
    openstack: RealOpenStack, keystone: Keystone
) -> None:
    scope = "openid entitlements eduperson_entitlement"
    assert keystone.federate(access_token(openstack, scope)).status_code == 201


def test_a_wrong_entitlement_gives_no_access(openstack: RealOpenStack, keystone: Keystone) -> None:
    token = access_token(openstack, f"openid entitlements:{OTHER_ENTITLEMENT}")
    assert keystone.federate(token).status_code == 401


def test_claims_sent_by_the_client_are_ignored(
    openstack: RealOpenStack, http: requests.Session
) -> None:
    path = "OS-FEDERATION/identity_providers/egi.eu/protocols/openid/auth"
    claims = {
        "OIDC-iss": openstack.issuer,
        "OIDC-sub": "somebody",
        "OIDC-eduperson_entitlement": credentials.ENTITLEMENT,
    }
    answer = http.get(f"{openstack.auth_url}/{path}", headers=claims, timeout=30)
    assert answer.status_code == 401


def test_without_rotation_a_refresh_token_stays_valid(openstack: RealOpenStack) -> None:
    openstack.set_login(rotate_refresh_tokens=False)
    try:
        token = openstack.mint_refresh_token()
        assert refresh(openstack, token).json()["refresh_token"] == token
        assert refresh(openstack, token).status_code == 200
    finally:
        openstack.set_login(rotate_refresh_tokens=True)


def test_a_device_code_gives_tokens_after_the_user_approves(
    openstack: RealOpenStack, http: requests.Session
) -> None:
    asked = {"client_id": credentials.PUBLIC_CLIENT, "scope": "openid offline_access entitlements"}
    code = http.post(openstack.device_endpoint, data=asked, timeout=30).json()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": credentials.PUBLIC_CLIENT,
        "device_code": code["device_code"],
    }
    early = http.post(openstack.token_endpoint, data=form, timeout=30)
    assert (early.status_code, early.json()["error"]) == (400, "authorization_pending")
    assert openstack.approve_device(code["user_code"])
    granted = http.post(openstack.token_endpoint, data=form, timeout=30).json()
    assert refresh(openstack, granted["refresh_token"]).status_code == 200


def test_revoked_tokens_are_refused_and_new_ones_are_valid(
    openstack: RealOpenStack, keystone: Keystone
) -> None:
    unscoped = Token.of(keystone.federate(access_token(openstack)))
    scope = {"project": {"id": openstack.project_id}}
    scoped = Token.of(keystone.login(by_token(unscoped.id), scope))
    openstack.revoke_tokens()
    with Service(scoped.endpoints["compute"], scoped.id) as nova:
        assert nova.call("GET", "/servers").status_code == 401
    unscoped = Token.of(keystone.federate(access_token(openstack)))
    scoped = Token.of(keystone.login(by_token(unscoped.id), scope))
    with Service(scoped.endpoints["compute"], scoped.id) as nova:
        assert nova.call("GET", "/servers").status_code == 200


# -- servers


def test_a_server_passes_through_all_states(cloud: RealOpenStack, nova: Service) -> None:
    """Create, stop, start, shelve, unshelve, delete; each conflict in between is a 409."""
    made = create(cloud, nova, "node1")
    assert made.status_code == 202
    server = made.json()["server"]["id"]
    cloud.await_status(["node1"], "ACTIVE")
    assert act(nova, server, {"os-start": None}) == 409
    for action, status in (
        ("os-stop", "SHUTOFF"),
        ("os-start", "ACTIVE"),
        ("shelve", "SHELVED_OFFLOADED"),
    ):
        assert act(nova, server, {action: None}) == 202
        cloud.await_status(["node1"], status)
    assert act(nova, server, {"os-start": None}) == 409
    assert act(nova, server, {"os-stop": None}) == 409
    assert act(nova, server, {"unshelve": None}) == 202
    cloud.await_status(["node1"], "ACTIVE")
    assert nova.call("DELETE", f"/servers/{server}").status_code == 204
    until(lambda: nova.call("GET", f"/servers/{server}").status_code == 404, 30, "the deletion")


def test_guests_survive_a_restart_of_the_compute_service(
    cloud: RealOpenStack, nova: Service
) -> None:
    server = cloud.add_servers(["lasting"], status="ACTIVE")[0]
    cloud.restart_compute()
    assert act(nova, server.id, {"os-stop": None}) == 202
    cloud.await_status(["lasting"], "SHUTOFF")


def test_the_hook_runs_for_each_change_of_power_in_order(
    cloud: RealOpenStack, nova: Service, run_dir: Path
) -> None:
    log = run_dir / "hook.log"
    server = cloud.add_servers(["hooked"])[0]
    cloud.set_hook(
        HookSpec(
            arguments=["/bin/sh", "-c", 'echo "$1 $2 $GREETING"', "sh", "{name}", "{event}"],
            log_file=str(log),
            environment={"GREETING": "hello"},
        )
    )
    assert act(nova, server.id, {"os-start": None}) == 202
    cloud.await_status(["hooked"], "ACTIVE")
    assert nova.call("DELETE", f"/servers/{server.id}").status_code == 204
    expected = "hooked power_on hello\nhooked power_off hello\n"
    until(lambda: log.exists() and log.read_text() == expected, 30, "both commands")


# -- the test bed itself


def test_calls_are_counted_by_kind_without_the_test_beds_own(cloud: RealOpenStack) -> None:
    cloud.add_servers(["one", "two"])
    user = by_password(credentials.USERNAME, credentials.PASSWORD)
    with Keystone(cloud.auth_url) as keystone:
        token = Token.of(keystone.login(user, in_project(credentials.PROJECT_NAME)))
    compute = token.endpoints["compute"]
    cloud.reset_counts()
    with Service(compute, token.id, {"User-Agent": "somebody"}) as nova:
        first = nova.ask("GET", "/servers/detail?limit=1")
        nova.ask("GET", first["servers_links"][0]["href"])
        server = first["servers"][0]["id"]
        nova.call("POST", f"/servers/{server}/action", {"os-start": None})
        nova.call("GET", f"/servers/{server}")
        nova.call("DELETE", f"/servers/{server}")
    expected = {"list_detail": 1, "list_page": 1, "action": 1, "get": 1, "delete": 1}
    # nova-api logs a call after it has answered
    until(lambda: cloud.counts() == expected, 10, f"the counts {expected}")


def test_two_clouds_run_side_by_side_and_leave_nothing_behind(
    cloud: RealOpenStack, run_dir: Path
) -> None:
    cloud.add_servers(["first"])
    folder = run_dir / "os"
    with RealOpenStack(folder) as second:
        assert second.servers() == {}
        assert second.project_id == cloud.project_id, "both come from the same seed"
        second.add_servers(["second"], status="ACTIVE")
        assert set(cloud.servers()) == {"first"}
        assert processes_of(folder)
    assert not processes_of(folder)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that mention a folder."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "environ"])
        if str(folder) in f"{process.info['cmdline']} {process.info['environ']}"
    ]
