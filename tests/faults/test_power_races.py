"""Duplicates, stale messages and changed minds: what counts is the highest generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producers import clock, hook
from producers.call import HookCall
from producers.message import Batch
from schemas import ids
from schemas.commands import Kind
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fleet(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(nodes=4)) as running:
        yield running


def call(fleet: WholeSystem, kind: Kind) -> HookCall:
    """A hook's call, stamped now, not yet sent."""
    return HookCall(
        kind=kind,
        cluster=fleet.settings.cluster,
        nodes=fleet.everything,
        generation=clock.stamp(fleet.settings.hook.state),
        correlation_id=ids.correlation_id(),
        expiry=None,
        resume_file=None,
        origin="test",
    )


def send(fleet: WholeSystem, made: HookCall) -> None:
    """Send a call as a hook or the relay would."""
    batch = Batch(hook.messages(made), lambda: None)
    assert hook.send(fleet.settings.hook, iter([batch]), 10.0) is None


def test_a_call_sent_twice_is_one_request(fleet: WholeSystem) -> None:
    """P3: a hook killed after its confirms leaves a spool file; the relay sends it again."""
    resume = call(fleet, Kind.RESUME)
    send(fleet, resume)
    send(fleet, resume)
    fleet.note("resume", fleet.everything)
    fleet.settle()
    send(fleet, resume)
    fleet.check()
    assert fleet.outcomes() == {"completed": 4}
    assert fleet.cloud.counts()["start"] == 4


def test_a_hook_called_twice_is_two_requests_and_one_start(fleet: WholeSystem) -> None:
    """Slurmctld calls again after it was killed -9 (it saves its state late)."""
    fleet.ask("resume")
    fleet.ask("resume")
    fleet.settle()
    fleet.check()
    assert fleet.outcomes() == {"completed": 8}
    assert fleet.cloud.counts()["start"] == 4


def test_a_suspend_that_comes_after_its_resume_puts_nothing_out(fleet: WholeSystem) -> None:
    """P2: stamped before the resume, delivered after the resume has completed."""
    late = call(fleet, Kind.SUSPEND)
    fleet.ask("resume")
    fleet.settle()
    send(fleet, late)
    fleet.requests += 4
    fleet.settle()
    fleet.check()
    assert fleet.outcomes() == {"completed": 4, "superseded": 4}
    assert fleet.cloud.counts().get("stop", 0) == 0


def test_a_resume_that_overtakes_a_slow_stop_ends_lit(fleet: WholeSystem) -> None:
    """Slurm does not wait for SuspendProgram: it may resume a node that is still powering off."""
    fleet.ask("resume")
    fleet.settle()
    fleet.cloud.set(stop_seconds=3.0)
    fleet.ask("suspend")
    until(lambda: fleet.cloud.counts().get("stop", 0) == 4, 20, "four stop calls")
    fleet.ask("resume")
    fleet.settle()
    fleet.check()
    assert fleet.outcomes() == {"completed": 8, "superseded": 4}


def test_a_suspend_that_overtakes_a_slow_boot_ends_out(fleet: WholeSystem) -> None:
    """POWER_DOWN_FORCE during a boot: the suspend call comes seconds after the resume call."""
    fleet.cloud.set(boot_seconds=3.0)
    fleet.ask("resume")
    until(lambda: fleet.cloud.counts().get("start", 0) == 4, 20, "four start calls")
    fleet.ask("suspend")
    fleet.settle()
    fleet.check()
    assert fleet.outcomes() == {"completed": 4, "superseded": 4}


def test_a_failed_resume_wants_its_node_out(fleet: WholeSystem) -> None:
    fleet.ask("resume")
    fleet.settle()
    fleet.ask("resume-fail", "node1")
    fleet.settle()
    fleet.check()
    assert fleet.cloud.servers()["node1"].status == "SHUTOFF"
