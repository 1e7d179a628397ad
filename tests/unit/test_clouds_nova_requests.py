"""What is sent to Nova, as data."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from workers.clouds import actions
from workers.clouds.nova_requests import Call, NovaRequest, Parts, act, create, fill
from workers.config.groups import ServerTemplate

PARTS = Parts("image-id", "flavor-id", ("auto",))
TAGS = {"lamplighter_cluster": "vespa", "lamplighter_node": "node1"}
NEW = Call(actions.CREATE, "", "node1", "compute")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (actions.START, NovaRequest("POST", "/servers/x/action", {"os-start": None})),
        (actions.STOP, NovaRequest("POST", "/servers/x/action", {"os-stop": None})),
        (actions.SHELVE, NovaRequest("POST", "/servers/x/action", {"shelve": None})),
        (actions.UNSHELVE, NovaRequest("POST", "/servers/x/action", {"unshelve": None})),
        (actions.REBOOT, NovaRequest("POST", "/servers/x/action", {"reboot": {"type": "HARD"}})),
        (actions.DELETE, NovaRequest("DELETE", "/servers/x")),
        (actions.TAG, NovaRequest("POST", "/servers/x/metadata", {"metadata": TAGS})),
    ],
)
def test_each_action_is_one_request(action: str, expected: NovaRequest) -> None:
    assert act(Call(action, "x", "node1", "compute"), "vespa") == expected


def test_an_image_carries_our_tags_and_the_request_so_that_it_is_found_again() -> None:
    call = Call(actions.BAKE, "x", "node1", "compute", image="prepared", request_id="r")
    about = {"name": "prepared", "metadata": {**TAGS, "lamplighter_request": "r"}}
    assert act(call, "vespa") == NovaRequest("POST", "/servers/x/action", {"createImage": about})


def test_a_server_is_ours_from_its_first_moment() -> None:
    template = ServerTemplate(image="i", flavor="f", metadata={"lamplighter_node": "x", "a": "b"})
    made = create(NEW, "vespa", template, PARTS, None)
    assert (made.method, made.path, made.microversion) == ("POST", "/servers", "2.37")
    assert made.json == {
        "server": {
            "name": "node1",
            "flavorRef": "flavor-id",
            "imageRef": "image-id",
            "networks": "auto",
            "metadata": {**TAGS, "a": "b"},
        }
    }


def test_everything_a_template_may_say_is_sent() -> None:
    template = ServerTemplate(
        image="i",
        flavor="f",
        key_name="key",
        security_groups=("default", "slurm"),
        availability_zone="nova",
        server_group="group-id",
        volume_size=20,
        user_data_file=Path("x"),
        config_drive=True,
    )
    parts = Parts("image-id", "flavor-id", ("net-1", "net-2"))
    made = create(NEW, "vespa", template, parts, "#cloud-config\nhostname: $node\n")
    assert made.json is not None
    server = made.json["server"]
    assert "imageRef" not in server
    [volume] = server["block_device_mapping_v2"]
    assert (volume["uuid"], volume["volume_size"]) == ("image-id", 20)
    assert volume["delete_on_termination"]
    assert server["networks"] == [{"uuid": "net-1"}, {"uuid": "net-2"}]
    assert server["security_groups"] == [{"name": "default"}, {"name": "slurm"}]
    assert (server["key_name"], server["availability_zone"]) == ("key", "nova")
    assert server["config_drive"] is True
    assert base64.b64decode(server["user_data"]) == b"#cloud-config\nhostname: node1\n"
    assert made.json["os:scheduler_hints"] == {"group": "group-id"}


def test_a_template_is_given_the_node_s_names_and_nothing_else() -> None:
    assert fill("$node ${cluster} $group $$HOME", NEW, "vespa") == "node1 vespa compute $HOME"
    with pytest.raises(KeyError):
        fill("$HOME", NEW, "vespa")
    with pytest.raises(ValueError, match="placeholder"):
        fill("5 $ more", NEW, "vespa")
