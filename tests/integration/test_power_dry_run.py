"""A dry run: everything happens but the calls to the cloud, and the events say what they would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.commands import Kind
from schemas.events import Transition
from tests.testbed.messages import command
from tests.testbed.simcloud.kinds import WORKS
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testbed.powerbench import PowerBench
    from tests.testbed.simcloud.handle import SimCloud

pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
TEMPLATE = '[groups.main.server]\nimage = "nothing"\nflavor = "m1.tiny"\n'


def test_a_dry_run_makes_no_call_and_says_which_it_would_make(
    open_power_bench: Callable[..., PowerBench], power_cloud: SimCloud
) -> None:
    """Also of operators' requests, and where the node is as wanted already; nothing is counted."""
    power_cloud.remove_servers("main9")
    power_cloud.change_servers("main2", status="ACTIVE")
    power_cloud.reset_counts()
    bench = open_power_bench(group=f"dry_run = true\n{TEMPLATE}")
    asked = {
        "os-start": command("main1"),
        "os-stop": command("main2", kind=Kind.SUSPEND),
        "create": command("main9", kind=Kind.DEPLOY),
        "createImage": command("main5", kind=Kind.BAKE),
        "": command("main4", kind=Kind.SUSPEND),
    }
    bench.ask(*asked.values())
    for action, one in asked.items():
        assert bench.ending(one).transition is Transition.COMPLETED
        events = bench.events(one)
        assert {told.dry_run for told in events} == {True}
        assert [(a.action, a.result) for a in events[-1].actions] == (
            [(action, "dry_run")] if action else []
        )
        assert events[-1].image_id is None
    until(lambda: "DRY RUN of main" in bench.engine.state, 5, "the worker to say so")
    assert not WORKS & power_cloud.counts().keys()
    assert "metadata" not in power_cloud.counts()


def test_status_shows_a_dry_run_of_the_whole_installation(
    open_power_bench: Callable[..., PowerBench],
) -> None:
    bench = open_power_bench()
    config = bench.site.config
    assert "DRY RUN" not in bench.site.lamplighter("status").out
    config.write_text("dry_run = true\n" + config.read_text())
    result = bench.site.lamplighter("status")
    assert result.out.startswith("DRY RUN of all groups: no calls to clouds"), result
    assert bench.site.lamplighter("status", "--json").lines[0]["dry_run"] == ["all groups"]
