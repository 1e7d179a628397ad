"""What is sent to Nova, as data."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.clouds import actions
from workers.clouds.errors import BadTemplateError, Then, classify
from workers.clouds.nova_requests import Call, NovaRequest, Parts, act, create, fill, filled_in
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
    made = create(NEW, "vespa", template, parts, b"#cloud-config\nhostname: $node\n")
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
    filled = fill(b"$node ${cluster} $group $$HOME \xc3\xa9", NEW, "vespa")
    assert filled == b"node1 vespa compute $HOME \xc3\xa9"


@pytest.mark.parametrize(
    ("user_data", "problem"),
    [
        (b"$HOME", "only $node, $cluster and $group are filled in"),
        (b"5 $ more", "write $$ for a dollar"),
        ("# caf\xe9\nhostname: $node".encode("latin-1"), "save it as UTF-8"),
        ("hostname: ${group}\xff".encode("latin-1"), "save it as UTF-8"),
    ],
)
def test_user_data_that_cannot_be_filled_in_is_the_template_s_fault(
    user_data: bytes, problem: str
) -> None:
    with pytest.raises(BadTemplateError) as caught:
        fill(user_data, NEW, "vespa")
    assert problem in str(caught.value)
    assert str(caught.value).startswith("groups.compute.server.user_data_file: ")
    assert classify(caught.value).then is Then.REJECT


@pytest.mark.parametrize(
    "user_data",
    [
        gzip.compress(b"#cloud-config\nhostname: $node\n", mtime=0),
        bytes(range(256)),
        "caf\xe9".encode("latin-1"),
        b"\xff\xfe#\x00c\x00",
    ],
)
def test_user_data_that_is_not_text_is_sent_unfilled(user_data: bytes) -> None:
    template = ServerTemplate(image="i", flavor="f", user_data_file=Path("x"))
    made = create(NEW, "vespa", template, PARTS, user_data)
    assert made.json is not None
    assert base64.b64decode(made.json["server"]["user_data"]) == user_data


@given(st.binary(max_size=200))
def test_any_user_data_is_sent_or_is_named_as_a_fault(user_data: bytes) -> None:
    try:
        filled = fill(user_data, NEW, "vespa")
    except BadTemplateError as error:
        assert "user_data_file" in str(error)  # noqa: PT017 - one of two ends
    else:
        assert b"$" in user_data or filled == user_data


def test_user_data_that_is_too_long_for_nova_is_the_templates_fault() -> None:
    assert len(filled_in(b"#" * 49_149, NEW, "vespa")) <= 65_535
    with pytest.raises(BadTemplateError, match="longer than 49149 bytes") as caught:
        filled_in(b"#" * 49_150, NEW, "vespa")
    assert classify(caught.value).then is Then.REJECT
