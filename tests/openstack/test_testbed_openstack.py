"""The real cloud of the test bed does what its users rely on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.testbed.openstack.api import (
    Json,
    Keystone,
    Service,
    Token,
    by_application_credential,
    by_password,
    by_token,
    in_project,
    session,
)
from tests.testbed.openstack.configuration import OTHER_ENTITLEMENT
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.openstack.servers import DriverFailure
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.flavors import HUGE
from tests.testbed.simcloud.settings import HookSpec
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

pytestmark = pytest.mark.timeout(600)
NARROW_SCOPE = f"openid email voperson_id eduperson_entitlement:{credentials.ENTITLEMENT}"


@pytest.fixture
def cloud(openstack: RealOpenStack) -> Iterator[RealOpenStack]:
    """The cloud, emptied of servers and orders afterwards."""
    yield openstack
    openstack.set_driver()
    openstack.set_hook(None)
    openstack.delete_servers()


@contextmanager
def nova_of(cloud: RealOpenStack, project: str) -> Iterator[Service]:
    with Keystone(cloud.auth_url) as keystone:
        user = by_password(credentials.USERNAME, credentials.PASSWORD)
        token = Token.of(keystone.login(user, in_project(project)))
    headers = {"OpenStack-API-Version": "compute 2.90"}
    with Service(token.endpoints["compute"], token.id, headers) as nova:
        yield nova


@pytest.fixture
def nova(cloud: RealOpenStack) -> Iterator[Service]:
    with nova_of(cloud, credentials.PROJECT_NAME) as service:
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
    """The whole way of the federation, with a token narrowed to the one entitlement."""
    unscoped = Token.of(keystone.federate(access_token(openstack)))
    with Service(openstack.auth_url, unscoped.id) as identity:
        projects = identity.ask("GET", "/auth/projects")["projects"]
    assert [project["id"] for project in projects] == [openstack.project_id]
    scope = {"project": {"id": openstack.project_id}}
    scoped = Token.of(keystone.login(by_token(unscoped.id), scope))
    with Service(scoped.endpoints["compute"], scoped.id) as nova:
        assert nova.ask("GET", "/servers") == {"servers": []}


@pytest.mark.parametrize("claim", ["entitlements", "eduperson_entitlement"])
def test_either_claim_opens_the_project(
    openstack: RealOpenStack, keystone: Keystone, claim: str
) -> None:
    assert keystone.federate(access_token(openstack, f"openid {claim}")).status_code == 201


def test_both_claims_together_open_the_project(
    openstack: RealOpenStack, keystone: Keystone
) -> None:
    scope = "openid entitlements eduperson_entitlement"
    assert keystone.federate(access_token(openstack, scope)).status_code == 201


def test_the_wrong_entitlement_opens_nothing(openstack: RealOpenStack, keystone: Keystone) -> None:
    token = access_token(openstack, f"openid entitlements:{OTHER_ENTITLEMENT}")
    assert keystone.federate(token).status_code == 401


def test_a_made_up_access_token_is_refused(keystone: Keystone) -> None:
    assert keystone.federate("made-up").status_code == 401


def test_claims_sent_by_the_client_count_for_nothing(
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


def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_family(
    openstack: RealOpenStack,
) -> None:
    first = openstack.mint_refresh_token()
    second = refresh(openstack, first).json()["refresh_token"]
    reused = refresh(openstack, first)
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert refresh(openstack, second).json()["error"] == "invalid_grant"


def test_without_rotation_a_refresh_token_stays(openstack: RealOpenStack) -> None:
    openstack.set_login(rotate_refresh_tokens=False)
    try:
        token = openstack.mint_refresh_token()
        assert refresh(openstack, token).json()["refresh_token"] == token
        assert refresh(openstack, token).status_code == 200
    finally:
        openstack.set_login(rotate_refresh_tokens=True)


def test_a_refresh_says_how_long_both_tokens_live(openstack: RealOpenStack) -> None:
    answer = refresh(openstack, openstack.mint_refresh_token()).json()
    assert answer["expires_in"] == 3600
    assert answer["refresh_expires_in"] == pytest.approx(400 * 86400, abs=60)


def test_a_revoked_login_is_over_at_provider_and_keystone(
    openstack: RealOpenStack, keystone: Keystone
) -> None:
    token = openstack.mint_refresh_token()
    access = access_token(openstack)
    openstack.revoke_grants()
    assert refresh(openstack, token).json()["error"] == "invalid_grant"
    assert keystone.federate(access).status_code == 401


def test_a_service_account_reaches_the_project(
    openstack: RealOpenStack, keystone: Keystone, http: requests.Session
) -> None:
    answer = http.post(
        openstack.token_endpoint,
        auth=(credentials.CONFIDENTIAL_CLIENT, credentials.CONFIDENTIAL_CLIENT_SECRET),
        data={"grant_type": "client_credentials", "scope": NARROW_SCOPE},
        timeout=30,
    )
    assert keystone.federate(answer.json()["access_token"]).status_code == 201


def test_a_device_code_becomes_tokens_once_the_person_agrees(
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


def test_an_application_credential_logs_in(openstack: RealOpenStack, keystone: Keystone) -> None:
    identity = by_application_credential(
        openstack.application_credential_id, credentials.APPLICATION_CREDENTIAL_SECRET
    )
    token = Token.of(keystone.login(identity))
    assert token.body["project"]["id"] == openstack.project_id


def test_revoked_tokens_are_refused_and_new_ones_are_good(
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


def test_a_server_goes_through_all_its_states(cloud: RealOpenStack, nova: Service) -> None:
    """Create, stop, start, shelve, unshelve, delete; and each conflict on the way is a 409."""
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


def test_a_server_that_fits_nowhere_goes_to_error(cloud: RealOpenStack, nova: Service) -> None:
    made = create(cloud, nova, "giant", HUGE.id)
    assert made.status_code == 202
    cloud.await_status(["giant"], "ERROR")
    shown = nova.ask("GET", f"/servers/{made.json()['server']['id']}")["server"]
    assert shown["fault"]["code"] == 500
    assert "No valid host was found" in shown["fault"]["message"]


def test_the_other_project_has_a_quota(cloud: RealOpenStack) -> None:
    with nova_of(cloud, credentials.OTHER_PROJECT_NAME) as nova:
        limits = nova.ask("GET", "/limits")["limits"]["absolute"]
        assert limits["maxTotalInstances"] == 10
        try:
            # Nova's quota lets a few too many through when they come fast.
            answers = (create(cloud, nova, f"one{number}") for number in range(30))
            refused = next(answer for answer in answers if answer.status_code != 202)
        finally:
            for server in nova.ask("GET", "/servers")["servers"]:
                nova.ask("DELETE", f"/servers/{server['id']}")
            until(lambda: not nova.ask("GET", "/servers")["servers"], 60, "the end of the servers")
    assert refused.status_code == 403
    assert "Quota exceeded for instances" in refused.json()["forbidden"]["message"]


def test_a_failed_power_on_falls_back_to_shutoff(cloud: RealOpenStack, nova: Service) -> None:
    good, bad = sorted(cloud.add_servers(["good", "bad1"]), key=lambda s: s.name, reverse=True)
    cloud.set_driver(failures=[DriverFailure("bad*")])
    for server in (good, bad):
        assert act(nova, server.id, {"os-start": None}) == 202
    cloud.await_status(["good"], "ACTIVE")
    cloud.await_status(["bad1"], "SHUTOFF")
    assert "fault" not in nova.ask("GET", f"/servers/{bad.id}")["server"]


def test_a_slow_boot_shows_its_task_state(cloud: RealOpenStack, nova: Service) -> None:
    server = cloud.add_servers(["slow"])[0]
    cloud.set_driver(boot_seconds=2.0)
    assert act(nova, server.id, {"os-start": None}) == 202
    shown = cloud.servers()["slow"]
    assert (shown.status, shown.task_state) == ("SHUTOFF", "powering-on")
    cloud.await_status(["slow"], "ACTIVE")


def test_guests_outlast_the_compute_service(cloud: RealOpenStack, nova: Service) -> None:
    server = cloud.add_servers(["lasting"], status="ACTIVE")[0]
    cloud.restart_compute()
    assert act(nova, server.id, {"os-stop": None}) == 202
    cloud.await_status(["lasting"], "SHUTOFF")


@pytest.mark.parametrize("status", ["ACTIVE", "PAUSED", "SUSPENDED", "ERROR", "SHELVED_OFFLOADED"])
def test_servers_can_be_had_in_any_status(cloud: RealOpenStack, status: str) -> None:
    assert [server.status for server in cloud.add_servers(["any"], status)] == [status]


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
    """Return the command lines of all processes that were told of a folder."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "environ"])
        if str(folder) in f"{process.info['cmdline']} {process.info['environ']}"
    ]
