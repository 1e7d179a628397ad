"""Whole workers on a real broker: each strategy lights its nodes and puts them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
user_data_file = "user-data"
"""
GROUPS = "".join(
    f"""
[groups.{name}]
nodes = "{name}[1-2]"
cloud = "main"
strategy = "{name}"
boot_timeout = 20
"""
    for name in ("stop", "shelve", "delete")
)
PLAN = SystemPlan(
    nodes=1,
    more=f"{GROUPS}[groups.delete.server]{TEMPLATE}",
    servers=("stop1", "stop2", "shelve1", "shelve2"),
    files={"user-data": "#cloud-config\nhostname: $node\n"},
)
EVERYTHING = "stop[1-2],shelve[1-2],delete[1-2]"


def test_each_strategy_lights_and_puts_out_with_one_call_a_node(
    run_dir: Path, broker_url: str
) -> None:
    with WholeSystem(run_dir / "fleet", broker_url, PLAN) as system:
        system.cloud.set(shelve_seconds=0.3)
        system.request("resume", EVERYTHING)
        system.settle()
        assert system.outcomes() == {"completed": 6}
        assert set(system.statuses().values()) == {"ACTIVE"}
        assert set(system.statuses()) == {
            f"{s}{n}" for s in ("stop", "shelve", "delete") for n in "12"
        }

        system.request("suspend", EVERYTHING)
        system.settle()
        assert system.outcomes() == {"completed": 12}
        assert system.statuses() == {
            "stop1": "SHUTOFF",
            "stop2": "SHUTOFF",
            "shelve1": "SHELVED_OFFLOADED",
            "shelve2": "SHELVED_OFFLOADED",
        }
        system.request("resume", "shelve[1-2],delete[1-2]")
        system.settle()
        assert system.outcomes() == {"completed": 16}
        counts = system.cloud.counts()
        wanted = {"start": 4, "stop": 2, "shelve": 2, "unshelve": 2, "create": 4, "delete": 2}
        assert {kind: counts[kind] for kind in wanted} == wanted
        tags = system.cloud.servers()["delete1"].metadata
        assert (tags["lamplighter_cluster"], tags["lamplighter_node"]) == ("test", "delete1")
