"""The power worker's own client, on both clouds: every request that it makes is understood."""

from __future__ import annotations

import gzip
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.identity.v3 import Password
from msgspec.structs import replace

from tests.contract.clouds import login
from tests.testbed.openstack.api import Service
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until
from workers.clouds import actions
from workers.clouds.client import Cloud as Client
from workers.clouds.errors import (
    BadTemplateError,
    CloudError,
    ImageLostError,
    ImageNotReadyError,
    Then,
    classify,
)
from workers.clouds.nova_requests import Call
from workers.config.groups import CloudSettings, GroupSettings, ServerTemplate
from workers.config.logins import PasswordSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.clouds import Cloud

pytestmark = [
    # Of the SDK's own making, in its own calls.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
GROUP = "group"


@pytest.fixture
def client(cloud: Cloud, tmp_path: Path) -> Iterator[Client]:
    """Our client, logged in by keystoneauth's own plugin."""
    user_data = tmp_path / "user-data"
    user_data.write_text("#cloud-config\nhostname: $node\n")
    template = ServerTemplate(
        image=cloud.image_id,
        flavor="m1.tiny",
        user_data_file=user_data,
        metadata={"eu.egi.cloud.orchestrator": "lamplighter"},
    )
    with opened(cloud, tmp_path, template) as made:
        yield made


@contextmanager
def opened(cloud: Cloud, tmp_path: Path, template: ServerTemplate) -> Iterator[Client]:
    """A client whose one group has this template."""
    source = PasswordSource(username=credentials.USERNAME, password_file=tmp_path / "unused")
    settings = CloudSettings(
        auth_url=cloud.auth_url,
        source=source,
        project_name=credentials.PROJECT_NAME,
        region=credentials.REGION,
    )
    auth = Password(
        auth_url=cloud.auth_url,
        username=credentials.USERNAME,
        password=credentials.PASSWORD,
        project_name=credentials.PROJECT_NAME,
        user_domain_id=credentials.DOMAIN_ID,
        project_domain_id=credentials.DOMAIN_ID,
    )
    group = GroupSettings(nodes="node1", cloud="here", server=template)
    made = Client(settings, auth, 60.0, cluster="alpha", groups={GROUP: group})
    yield made
    made.close()


def act(client: Client, action: str, server_id: str = "") -> str:
    return client.act(Call(action, server_id, "node1", GROUP), lambda: None)


def test_our_client_takes_a_server_through_its_life(cloud: Cloud, client: Client) -> None:
    server_id = act(client, actions.CREATE)
    cloud.await_status(["node1"], "ACTIVE")
    listing = client.list_servers(None)
    (server,) = listing.servers
    assert (server.id, server.name, server.status) == (server_id, "node1", "ACTIVE")
    assert (server.cluster, server.node) == ("alpha", "node1"), "tagged from its first moment"
    assert server.addresses
    for action, status in (
        (actions.STOP, "SHUTOFF"),
        (actions.START, "ACTIVE"),
        (actions.SHELVE, "SHELVED_OFFLOADED"),
        (actions.UNSHELVE, "ACTIVE"),
        (actions.REBOOT, "ACTIVE"),
    ):
        act(client, action, server_id)
        cloud.await_status(["node1"], status)
    shown = client.show_server(server_id)
    assert shown is not None
    assert (shown.name, shown.status, shown.node) == ("node1", "ACTIVE", "node1")
    assert client.show_server(str(uuid.uuid4())) is None
    act(client, actions.DELETE, server_id)
    until(lambda: not client.list_servers(None).servers, 30.0, "its end")
    seen = {s.id: s.status for s in client.list_servers(listing.since).servers}
    assert seen[server_id] == "DELETED"


def test_our_client_adopts_a_server_that_others_made(cloud: Cloud, client: Client) -> None:
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    assert client.list_servers(None).servers[0].node is None
    act(client, actions.TAG, server_id)
    (server,) = client.list_servers(None).servers
    assert (server.cluster, server.node) == ("alpha", "node1")


def test_our_client_says_what_nova_says(cloud: Cloud, client: Client) -> None:
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    with pytest.raises(CloudError) as refused:
        act(client, actions.STOP, server_id)
    assert (refused.value.status, refused.value.retry_after) == (409, None)
    words = f"Cannot 'stop' instance {server_id} while it is in vm_state stopped"
    assert refused.value.message == words


def test_our_client_makes_one_image_of_a_server_at_rest_and_finds_it(
    cloud: Cloud, client: Client
) -> None:
    """However often it is asked: what a killed worker has begun is found, and not made again."""
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    request_id = str(uuid.uuid4())

    def image(action: str, asked: str = request_id) -> str:
        call = Call(action, server_id, "node1", GROUP, image="prepared", request_id=asked)
        return client.act(call, lambda: None)

    def found() -> str | None:
        try:
            return image(actions.FIND_IMAGE)
        except ImageNotReadyError:
            return None

    with pytest.raises(ImageLostError):
        image(actions.FIND_IMAGE)
    assert image(actions.BAKE) == server_id
    assert image(actions.BAKE) == server_id, (
        "the first one is found: a second would be refused, 409"
    )
    image_id = until(found, 60.0, "the image")
    cloud.await_status(["node1"], "SHUTOFF")
    assert image(actions.BAKE) == server_id
    assert image(actions.FIND_IMAGE) == image_id
    # a server is made from it in place of the template's image
    call = Call(actions.CREATE, "", "node2", GROUP, image=image_id)
    client.act(call, lambda: None)
    cloud.await_status(["node2"], "ACTIVE")


def test_no_image_is_made_of_a_server_that_is_on_no_host(cloud: Cloud, client: Client) -> None:
    server_id = cloud.add_servers(["node1"], "SHELVED_OFFLOADED")["node1"]
    call = Call(actions.BAKE, server_id, "node1", GROUP, image="x", request_id=str(uuid.uuid4()))
    with pytest.raises(CloudError) as refused:
        client.act(call, lambda: None)
    assert refused.value.status == 409
    assert "createImage" in refused.value.message


def image_from(cloud: Cloud, client: Client, server_id: str, name: str) -> str:
    """The id of a new image of node1, once it is ready and the server at rest."""
    request_id = str(uuid.uuid4())

    def call(action: str) -> str:
        made = Call(action, server_id, "node1", GROUP, image=name, request_id=request_id)
        return client.act(made, lambda: None)

    def found() -> str | None:
        try:
            return call(actions.FIND_IMAGE)
        except ImageNotReadyError:
            return None

    call(actions.BAKE)
    image_id = until(found, 60.0, "the image")
    cloud.await_status(["node1"], "SHUTOFF")
    return image_id


def images_of(cloud: Cloud) -> Service:
    """Glance's API."""
    token = login(cloud)
    return Service(token.endpoints["image"], token.id)


def test_names_of_image_and_flavor_are_resolved(cloud: Cloud, tmp_path: Path) -> None:
    with opened(cloud, tmp_path, ServerTemplate(image="node-image", flavor="m1.tiny")) as client:
        act(client, actions.CREATE)
    cloud.await_status(["node1"], "ACTIVE")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (ServerTemplate(image="no-image", flavor="m1.tiny"), "the cloud has no image no-image"),
        (ServerTemplate(image="node-image", flavor="no-flavor"), "no flavor no-flavor"),
        (
            ServerTemplate(image="node-image", flavor="1", networks=("no-network",)),
            "no network no-network",
        ),
    ],
)
def test_a_name_that_the_cloud_does_not_know_is_the_templates_fault(
    cloud: Cloud, tmp_path: Path, template: ServerTemplate, problem: str
) -> None:
    with (
        opened(cloud, tmp_path, template) as client,
        pytest.raises(BadTemplateError, match=problem) as caught,
    ):
        act(client, actions.CREATE)
    assert classify(caught.value).then is Then.REJECT


def test_a_creations_other_parts_are_looked_up(cloud: Cloud, nova: Service, tmp_path: Path) -> None:
    """Nova finds key, security groups, zone and server group by itself: a wrong one fails each boot."""
    name = f"here-{uuid.uuid4()}"
    nova.ask("POST", "/os-keypairs", {"keypair": {"name": name}})
    wanted = {"server_group": {"name": name, "policies": ["affinity"]}}
    group = nova.ask("POST", "/os-server-groups", wanted)["server_group"]["id"]
    right = ServerTemplate(
        image="node-image",
        flavor="m1.tiny",
        key_name=name,
        security_groups=("default", "cluster"),
        availability_zone="nova",
        server_group=group,
    )
    wrong = replace(
        right,
        key_name="no-key",
        security_groups=("no-group", "default"),
        availability_zone="no-zone",
        server_group=str(uuid.uuid4()),
    )
    with opened(cloud, tmp_path, right) as client:
        assert client.part_problems(right) == []
        found = {one.field: one.words for one in client.part_problems(wrong) if one.is_known}
        act(client, actions.CREATE)
    cloud.await_status(["node1"], "ACTIVE")
    assert list(found) == ["key_name", "security_groups", "availability_zone", "server_group"]
    assert "no key pair no-key; it has " in found["key_name"]
    assert name in found["key_name"]
    assert found["security_groups"] == "the project has no security group no-group"
    assert "no availability zone no-zone in service; it has " in found["availability_zone"]
    assert f"{group} ({name})" in found["server_group"]


def test_two_images_of_one_name_are_the_templates_fault(cloud: Cloud, tmp_path: Path) -> None:
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    name = f"twice-{uuid.uuid4()}"
    template = ServerTemplate(image=name, flavor="m1.tiny")
    with opened(cloud, tmp_path, template) as client:
        ids = {image_from(cloud, client, server_id, name) for _ in range(2)}
        with pytest.raises(BadTemplateError, match="has 2 of the image") as caught:
            act(client, actions.CREATE)
    assert all(one in str(caught.value) for one in ids), "the remedy is one of the ids"
    assert classify(caught.value).then is Then.REJECT


def test_an_image_that_was_replaced_under_its_name_is_found_anew(
    cloud: Cloud, tmp_path: Path
) -> None:
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    name = f"replaced-{uuid.uuid4()}"
    template = ServerTemplate(image=name, flavor="m1.tiny")
    asked: list[int] = []
    with opened(cloud, tmp_path, template) as client, images_of(cloud) as glance:

        def create(node: str) -> str:
            call = Call(actions.CREATE, "", node, GROUP)
            return client.act(call, lambda: asked.append(1))

        before = image_from(cloud, client, server_id, name)
        create("node2")
        cloud.await_status(["node2"], "ACTIVE")
        image_from(cloud, client, server_id, name)
        glance.call("DELETE", f"/v2/images/{before}")
        assert before not in {one["id"] for one in glance.ask("GET", "/v2/images")["images"]}
        asked.clear()
        create("node3")
        cloud.await_status(["node3"], "ACTIVE")
    assert len(asked) == 2, "the guard is asked before the second creation, too"


def test_an_image_that_is_gone_ends_the_request(cloud: Cloud, tmp_path: Path) -> None:
    server_id = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    name = f"gone-{uuid.uuid4()}"
    template = ServerTemplate(image=name, flavor="m1.tiny")
    with opened(cloud, tmp_path, template) as client, images_of(cloud) as glance:
        image_id = image_from(cloud, client, server_id, name)
        act(client, actions.CREATE)
        glance.call("DELETE", f"/v2/images/{image_id}")
        with pytest.raises(BadTemplateError, match="the cloud has no image"):
            act(client, actions.CREATE)


def test_user_data_that_is_not_text_is_taken(cloud: Cloud, tmp_path: Path) -> None:
    packed = tmp_path / "user-data.gz"
    packed.write_bytes(gzip.compress(b"#cloud-config\n"))
    template = ServerTemplate(image="node-image", flavor="m1.tiny", user_data_file=packed)
    with opened(cloud, tmp_path, template) as client:
        act(client, actions.CREATE)
    cloud.await_status(["node1"], "ACTIVE")
