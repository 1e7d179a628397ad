"""The real openstacksdk works with the simulation."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import openstack
import pytest
import requests
from keystoneauth1.loading import get_plugin_loader
from keystoneauth1.session import Session
from openstack import exceptions as sdk_errors

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.settings import ServerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.testbed.simcloud.handle import SimCloud

    Connect = Callable[..., Any]


# The SDK uses its own deprecated parts and warns about them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens SDK connections and closes them at the end."""
    with ExitStack() as opened:

        def connection(auth_type: str, auth: dict[str, str]) -> Any:  # noqa: ANN401 (the SDK's own)
            plugin: Any = get_plugin_loader(auth_type).load_from_options(**auth)
            http = opened.enter_context(requests.Session())
            session = Session(auth=plugin, session=http)
            # Created from a session, because the SDK's own configuration warns about values that it drops.
            made = openstack.connection.Connection(session=session, region_name=credentials.REGION)
            opened.callback(made.close)
            return made

        yield connection


def by_password(cloud: SimCloud) -> tuple[str, dict[str, str]]:
    return "password", {
        "auth_url": cloud.auth_url,
        "username": credentials.USERNAME,
        "password": credentials.PASSWORD,
        "project_name": credentials.PROJECT_NAME,
        "user_domain_name": credentials.DOMAIN_NAME,
        "project_domain_name": credentials.DOMAIN_NAME,
    }


def by_application_credential(cloud: SimCloud) -> tuple[str, dict[str, str]]:
    return "v3applicationcredential", {
        "auth_url": cloud.auth_url,
        "application_credential_id": credentials.APPLICATION_CREDENTIAL_ID,
        "application_credential_secret": credentials.APPLICATION_CREDENTIAL_SECRET,
    }


def by_access_token(cloud: SimCloud) -> tuple[str, dict[str, str]]:
    answer = requests.post(
        cloud.token_endpoint,
        data={
            "grant_type": "refresh_token",
            "client_id": credentials.PUBLIC_CLIENT,
            "refresh_token": cloud.mint_refresh_token(),
        },
        timeout=10,
    )
    return "v3oidcaccesstoken", {
        "auth_url": cloud.auth_url,
        "identity_provider": credentials.IDENTITY_PROVIDER,
        "protocol": credentials.FEDERATION_PROTOCOL,
        "access_token": answer.json()["access_token"],
        "project_id": credentials.PROJECT_ID,
    }


@pytest.mark.parametrize(
    ("login", "calls"),
    [
        (by_password, {"token_password": 1}),
        (by_application_credential, {"token_application_credential": 1}),
        (by_access_token, {"refresh": 1, "federation": 1, "rescope": 1}),
    ],
)
def test_every_type_of_login_can_list_the_servers(
    cloud: SimCloud,
    connect: Connect,
    login: Callable[[SimCloud], tuple[str, dict[str, str]]],
    calls: dict[str, int],
) -> None:
    cloud.add_servers(
        ["node1", ServerSpec(name="foreign", project_id=credentials.OTHER_PROJECT_ID)]
    )
    connection = connect(*login(cloud))
    assert [server.name for server in connection.compute.servers()] == ["node1"]
    counts = cloud.counts()
    assert {kind: counts.get(kind) for kind in calls} == calls


def test_a_wrong_password_is_unauthorized(cloud: SimCloud, connect: Connect) -> None:
    auth_type, auth = by_password(cloud)
    connection = connect(auth_type, auth | {"password": "wrong"})
    with pytest.raises(Exception, match="requires authentication"):
        connection.authorize()


def test_listings_are_paged_at_the_clouds_limit(cloud: SimCloud, connect: Connect) -> None:
    cloud.add_servers([f"node{number}" for number in range(25)])
    cloud.set(page_limit=10)
    compute = connect(*by_password(cloud)).compute
    for details in (True, False):
        cloud.reset_counts()
        names = {server.name for server in compute.servers(details=details)}
        assert names == {f"node{number}" for number in range(25)}
        counts = cloud.counts()
        assert counts["list_detail" if details else "list"] == 1
        assert counts["list_page"] == 2


def test_listings_filter_by_status_and_name(cloud: SimCloud, connect: Connect) -> None:
    cloud.add_servers(["up1", "up2"], status="ACTIVE")
    cloud.add_servers(["down1"])
    compute = connect(*by_password(cloud)).compute
    assert {s.name for s in compute.servers(details=False, status="ACTIVE")} == {"up1", "up2"}
    assert {s.name for s in compute.servers(name="1$")} == {"up1", "down1"}
    with pytest.raises(sdk_errors.BadRequestException, match="Invalid status value"):
        list(compute.servers(status="HAPPY"))


@pytest.mark.slow
def test_start_and_stop_show_their_states(cloud: SimCloud, connect: Connect) -> None:
    cloud.set(boot_seconds=1, stop_seconds=0.2)
    (info,) = cloud.add_servers(["node1"])
    compute = connect(*by_password(cloud)).compute
    compute.start_server(info.id)
    assert compute.get_server(info.id).task_state == "powering-on"
    cloud.await_status(["node1"], "ACTIVE")
    server = compute.get_server(info.id)
    assert (server.status, server.vm_state, server.power_state) == ("ACTIVE", "active", 1)
    assert server.addresses["private"][0]["addr"] == info.address
    compute.stop_server(info.id)
    cloud.await_status(["node1"], "SHUTOFF")
    assert cloud.call_counts().answers["start"] == {202: 1}


def test_conflicts_and_unknown_servers_have_novas_messages(
    cloud: SimCloud, connect: Connect
) -> None:
    (info,) = cloud.add_servers(["node1"], status="ACTIVE")
    compute = connect(*by_password(cloud)).compute
    with pytest.raises(sdk_errors.ConflictException, match="Cannot 'start' instance"):
        compute.start_server(info.id)
    with pytest.raises(sdk_errors.NotFoundException, match="has no mapping to a cell"):
        compute.stop_server("8a9f0f4e-0000-4000-8000-000000000000")


def test_a_locked_server_is_shown_as_locked_and_refuses_actions(
    cloud: SimCloud, connect: Connect
) -> None:
    (info,) = cloud.add_servers(["node1"])
    compute = connect(*by_password(cloud)).compute
    compute.lock_server(info.id)
    assert compute.get_server(info.id).is_locked
    with pytest.raises(sdk_errors.ConflictException, match="is locked"):
        compute.start_server(info.id)


def test_a_server_is_created_described_and_deleted(cloud: SimCloud, connect: Connect) -> None:
    cloud.set(boot_seconds=0.05)
    compute = connect(*by_password(cloud)).compute
    flavor = compute.find_flavor("m1.tiny")
    made = compute.create_server(
        name="new", flavor_id=flavor.id, image_id="some-image", networks="none", tags=["ours"]
    )
    cloud.await_status(["new"], "ACTIVE")
    compute.set_server_metadata(made.id, cluster="one")
    compute.add_tag_to_server(made, "more")
    server = compute.get_server(made.id)
    assert server.metadata == {"cluster": "one"}
    assert sorted(server.tags) == ["more", "ours"]
    compute.delete_server(made.id)
    with pytest.raises(sdk_errors.NotFoundException):
        compute.get_server(made.id)
    (entry,) = cloud.ledger()
    assert entry.intervals[0].off is not None


def test_a_flavor_that_fits_no_host_ends_in_error(cloud: SimCloud, connect: Connect) -> None:
    compute = connect(*by_password(cloud)).compute
    huge = compute.find_flavor("m1.huge")
    made = compute.create_server(name="huge", flavor_id=huge.id, image_id="i", networks="none")
    cloud.await_status(["huge"], "ERROR")
    fault = compute.get_server(made.id).fault
    assert fault["code"] == 500
    assert "No valid host was found" in fault["message"]


def test_the_quota_answers_403(cloud: SimCloud, connect: Connect) -> None:
    cloud.set(instance_quota=0)
    compute = connect(*by_password(cloud)).compute
    with pytest.raises(sdk_errors.ForbiddenException, match="Quota exceeded for instances"):
        compute.create_server(name="new", flavor_id="1", image_id="i", networks="none")


def test_an_old_microversion_sees_fewer_fields(cloud: SimCloud, connect: Connect) -> None:
    (info,) = cloud.add_servers(["node1"])
    session = connect(*by_password(cloud)).compute
    old = session.get(f"/servers/{info.id}", microversion="2.1").json()["server"]
    new = session.get(f"/servers/{info.id}", microversion="2.96").json()["server"]
    assert "locked" not in old
    assert set(old["flavor"]) == {"id", "links"}
    assert new["locked"] is False
    assert new["flavor"]["original_name"] == "m1.tiny"
    assert session.get("/servers", microversion="2.97").status_code == 406


def test_every_answer_has_a_request_id_and_the_clouds_time(
    cloud: SimCloud, connect: Connect
) -> None:
    cloud.set(clock_skew_seconds=-7200)
    answer = connect(*by_password(cloud)).compute.get("/servers")
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    behind = datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])
    assert 7190 < behind.total_seconds() < 7210
