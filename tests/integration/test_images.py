"""An image is made from a prepared node for its group: queue, worker, fencing and audit log."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.testbed.processes import Child, tail
from tests.testbed.simcloud.effects import FallsBack, Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.images import BASE_IMAGE_ID, BASE_IMAGE_NAME
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# by name: a baked image also replaces an image that was found by name
GROUP = f"""deploy_wait = 0.3
[groups.all.server]
image = "{BASE_IMAGE_NAME}"
flavor = "m1.tiny"
networks = ["none"]
"""
POWER = "poll_interval = 0.3\nattempts = 1\napi_timeout = 4\nlease = 20"
PLAN = SystemPlan(nodes=4, boot=0.3, group=GROUP, servers=(), power=POWER)
BAKE = ("image", "bake", "node1", "--name", "prepared", "--yes")


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    with WholeSystem(run_dir / "fleet", broker_url, PLAN) as running:
        yield running


def made(system: WholeSystem) -> list[Any]:
    """All images except the first one."""
    return [image for image in system.cloud.images() if image.id != BASE_IMAGE_ID]


def images_of_servers(system: WholeSystem) -> dict[str, str | None]:
    return {name: server.image_id for name, server in system.cloud.servers().items()}


def test_a_node_is_powered_off_and_baked_and_its_group_uses_the_image(
    system: WholeSystem,
) -> None:
    assert system.operator("nodes", "deploy", "node[1-2]").returncode == 0
    assert set(images_of_servers(system).values()) == {BASE_IMAGE_ID}
    assert system.operator("resume", "node1", "--reason", "prepare it").returncode == 0

    result = system.operator(*BAKE, "--reason", "all is installed")
    assert result.returncode == 0, result.stdout + result.stderr
    assert system.statuses()["node1"] == "SHUTOFF"
    [image] = made(system)
    assert (image.name, image.status) == ("prepared", "active")
    assert image.properties["lamplighter_node"] == "node1"
    [data] = [
        data
        for entry in system.records(transitions=("completed",))
        if (data := json.loads(entry.body)["data"])["kind"] == "bake"
    ]
    assert data["image_id"] == image.id
    assert [action["action"] for action in data["actions"]] == ["os-stop", "createImage"]

    assert system.operator("nodes", "deploy", "all").returncode == 0
    base = dict.fromkeys(("node1", "node2"), BASE_IMAGE_ID)
    assert images_of_servers(system) == {**base, **dict.fromkeys(("node3", "node4"), image.id)}
    for command in (("nodes", "list"), ("status",)):
        assert f"image prepared ({image.id}), baked from node1" in system.operator(*command).stdout

    unset = system.operator("image", "unset", "all", "--reason", "it lacks a driver")
    assert unset.returncode == 0, unset.stderr
    assert system.operator("image", "unset", "all", "--reason", "again").returncode == 1
    assert json.loads(system.operator("image", "list", "--json").stdout)["image_id"] is None
    until(
        lambda: any(b"it lacks a driver" in entry.body for entry in system.records()),
        20,
        "the event in the audit log",
    )
    assert system.operator("nodes", "retire", "node4", "--yes").returncode == 0
    assert system.operator("nodes", "deploy", "node4").returncode == 0
    assert images_of_servers(system)["node4"] == BASE_IMAGE_ID


def test_a_failed_image_fails_the_request_and_a_replay_makes_the_image(system: WholeSystem) -> None:
    assert system.operator("nodes", "deploy", "node1").returncode == 0
    system.cloud.inject(Fault(effect=FallsBack(), kind="create_image", times=1))
    result = system.operator(*BAKE)
    assert result.returncode == 1
    assert "1 failed, image_failed: node1" in result.stdout
    assert made(system) == []
    assert json.loads(system.operator("image", "list", "--json").stdout)["image_id"] is None
    assert system.operator("dead-letters", "replay", "--all", "--yes").returncode == 0
    until(lambda: system.outcomes()["completed"] == 2, 30, "the replay to end")
    [image] = made(system)
    assert json.loads(system.operator("image", "list", "--json").stdout)["image_id"] == image.id


def test_a_worker_killed_between_the_call_and_the_response_makes_one_image(
    system: WholeSystem,
) -> None:
    assert system.operator("nodes", "deploy", "node1").returncode == 0
    system.cloud.inject(Fault(effect=Hang(seconds=60, performed=True), kind="create_image"))
    log = system.folder / "bake.log"
    baking = Child(system.command(*BAKE), log=log, cwd=ROOT)
    try:
        until(partial(made, system), 20, "the start of the image")
        system.workers["power"].kill()
        system.cloud.clear_faults()
        system.worker("power")
        assert baking.wait(90) == 0, tail(log)
    finally:
        baking.stop()
    assert len(made(system)) == 1
    assert system.cloud.counts()["create_image"] == 1


def test_a_newer_request_of_slurm_supersedes_a_bake(system: WholeSystem) -> None:
    """The image may still be made, but the group does not use it."""
    assert system.operator("nodes", "deploy", "node1").returncode == 0
    system.cloud.set(image_seconds=3.0)
    log = system.folder / "bake.log"
    baking = Child(system.command(*BAKE), log=log, cwd=ROOT)
    try:
        until(partial(made, system), 20, "the start of the image")
        system.hook("resume", "node1")
        assert baking.wait(60) == 1, tail(log)
    finally:
        baking.stop()
    assert "1 superseded" in log.read_text()
    until(lambda: system.statuses()["node1"] == "ACTIVE", 30, "node1 to be powered on")
    assert json.loads(system.operator("image", "list", "--json").stdout)["image_id"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("bake", "node[1-2]", "--name", "x", "--yes"),
            "means 2 nodes; an image is made from one node",
        ),
        (("bake", "all", "--name", "x", "--yes"), "means 4 nodes"),
        (("bake", "node1", "--name", "a\x1b[2Jb", "--yes"), "is not a valid image name"),
        (("bake", "node1", "--name", "", "--yes"), "is not a valid image name"),
        (("bake", "node1", "--name", "x" * 256, "--yes"), "is not a valid image name"),
        (("bake", "bare1", "--name", "x", "--yes"), "[groups.bare.server] is missing"),
        (("bake", "node1", "--name", "x"), "repeat the command with --yes"),
    ],
)
def test_invalid_input_is_refused_and_no_request_is_sent(
    run_dir: Path, broker_url: str, arguments: tuple[str, ...], text: str
) -> None:
    plan = SystemPlan(nodes=4, group=GROUP, more='[groups.bare]\nnodes = "bare1"\ncloud = "main"\n')
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=()) as system:
        result = system.operator("image", *arguments)
        assert result.returncode in {1, 2}
        assert text in " ".join(result.stderr.split())
        assert "\x1b" not in result.stderr
        assert not list((system.folder / "spool").iterdir())
