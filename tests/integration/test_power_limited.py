"""P8: a cloud that limits its clients is called as fast as it likes, and no faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hundred_nodes_come_up_on_five_requests_a_second(run_dir: Path, broker_url: str) -> None:
    """No dead letter, no attempt burned, at most one call in ten refused."""
    plan = SystemPlan(nodes=100, boot=2.0, latency=0.05, power="poll_interval = 1.0")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.cloud.set(rate_limit_per_second=5, rate_limit_burst=5)
        system.request("resume")
        system.settle(120)
        answers = system.cloud.call_counts().answers
        system.cloud.set(rate_limit_per_second=None)
        system.check()
        assert system.outcomes() == {"completed": 100}
        assert not system.records(transitions=("retried",))
        refused = sum(kind.get(429, 0) for kind in answers.values())
        assert refused <= 0.1 * sum(sum(kind.values()) for kind in answers.values())


def test_a_group_without_quota_is_not_hammered_and_says_so_at_once(
    run_dir: Path, broker_url: str
) -> None:
    """Of 30 nodes one is tried or a few; the others fail at once, naming the group's rest."""
    group = (
        'strategy = "delete"\n[groups.all.server]\nimage = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"\n'
        'flavor = "m1.tiny"\nnetworks = ["none"]'
    )
    plan = SystemPlan(nodes=30, group=group)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.cloud.remove_servers()
        system.cloud.set(instance_quota=0)
        system.request("resume")
        system.settle(30)
        assert system.outcomes() == {"failed": 30}
        assert system.cloud.counts()["create"] <= 16
        bodies = [e.body for e in system.records(transitions=("failed",))]
        assert sum(b"group all rests for" in body for body in bodies) >= 14
        assert system.cloud.servers() == {}
