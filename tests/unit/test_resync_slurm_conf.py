"""Times that differ between slurm.conf and lamplighter.toml, and partitions that set their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.snapshot import PartitionTimes, PowerSaving, SlurmNode, Snapshot
from workers.config.settings import Settings, load
from workers.resync.slurm_conf import conf_differences

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
cluster = "c"
[broker]
url = "amqp://me@localhost/c"
[slurm]
resume_timeout = 600
suspend_timeout = 60
[clouds.c]
auth_url = "https://k/v3"
project_id = "p"
source = { type = "password", username = "u", password_file = "f" }
[groups.g]
nodes = "n[1-3]"
cloud = "c"
boot_timeout = 500
"""
ALL = ("n1", "n2", "n3")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "lamplighter.toml"
    file.write_text(FILE)
    return load(file, {})


def words(settings: Settings, power: PowerSaving, *nodes: str) -> list[str]:
    seen = tuple(SlurmNode(node, "IDLE", "") for node in (*ALL, *nodes))
    taken = Snapshot("c", 1, "0" * 32, "test", seen, power_saving=power)
    return [one.words for one in conf_differences(settings, taken)]


def test_equal_times_are_no_difference(settings: Settings) -> None:
    assert words(settings, PowerSaving(600, 60, 300)) == []
    own = PartitionTimes("p", ALL, 600, 60, 30)
    assert words(settings, PowerSaving(600, 60, 300, partitions=(own,))) == []


def test_a_node_that_slurm_does_not_show_may_be_hidden(settings: Settings) -> None:
    """Slurm 22.05 without PrivateData=cloud hides nodes that are powered down: to remove them would be wrong."""
    seen = tuple(SlurmNode(node, "IDLE", "") for node in ALL[:2])
    (found,) = conf_differences(settings, Snapshot("c", 1, "0" * 32, "test", seen))
    assert "has 1 node (n3) that Slurm does not show" in found.words
    assert "PrivateData=cloud before Slurm 23.02" in found.remedy


def test_a_partition_that_waits_longer_counts_if_it_has_our_nodes(settings: Settings) -> None:
    """A request that expires while Slurm still waits would be given up too early."""
    longer = PartitionTimes("gpu", ("n1",), resume_timeout=1200, suspend_timeout=90)
    found = words(settings, PowerSaving(600, 60, 300, partitions=(longer,)))
    assert [one.replace("slurm.conf for partition gpu", "it") for one in found] == [
        "ResumeTimeout is 1200 s in it, slurm.resume_timeout is 600 s in lamplighter.toml",
        "SuspendTimeout is 90 s in it, slurm.suspend_timeout is 60 s in lamplighter.toml",
    ]
    others = PartitionTimes("gpu", ("login1",), resume_timeout=1200, suspend_timeout=90)
    assert words(settings, PowerSaving(600, 60, 300, partitions=(others,))) == []


def test_the_shortest_wait_for_a_node_of_a_group_limits_its_boots(settings: Settings) -> None:
    short = PartitionTimes("short", ("n1", "n2"), resume_timeout=400)
    abandons = (
        "Slurm abandons a boot after 400 s (ResumeTimeout), [groups.g] allows 500 s (boot_timeout)"
    )
    assert words(settings, PowerSaving(600, 60, 300, partitions=(short,))) == [abandons]
    # of several partitions, Slurm takes the longest time
    long = PartitionTimes("long", ("n1", "n2"), resume_timeout=600)
    assert words(settings, PowerSaving(600, 60, 300, partitions=(short, long))) == []


def test_suspend_time_of_a_partition_lets_slurm_power_nodes_down(settings: Settings) -> None:
    own = PartitionTimes("p", ("n1",), suspend_time=30)
    assert words(settings, PowerSaving(600, 60, None, partitions=(own,))) == []
    assert words(settings, PowerSaving(600, 60, None)) == [
        "SuspendTime is not set in slurm.conf: Slurm powers no idle node down"
    ]
    assert (
        "has 1 node (n9) in no group"
        in words(settings, PowerSaving(600, 60, None, partitions=(own,)), "n9")[0]
    )
