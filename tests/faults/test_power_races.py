"""Duplicates, stale messages and changed minds: what counts is the highest generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producers import clock, hook
from producers.call import HookCall
from producers.message import Batch
from producers.outbox import messages
from schemas import ids
from schemas.commands import Kind
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(nodes=4)) as running:
        yield running


def call(system: WholeSystem, kind: Kind) -> HookCall:
    """A hook's call, stamped now, not yet sent."""
    return HookCall(
        kind=kind,
        cluster=system.settings.cluster,
        nodes=system.everything,
        generation=clock.stamp(system.settings.hook.state),
        correlation_id=ids.correlation_id(),
        expiry=None,
        resume_file=None,
        origin="test",
    )


def send(system: WholeSystem, made: HookCall) -> None:
    """Send a call as a hook or the relay would."""
    batch = Batch(messages(made), lambda: None)
    assert hook.send(system.settings.hook, iter([batch]), 10.0) is None


def test_a_call_sent_twice_is_one_request(system: WholeSystem) -> None:
    """P3: a hook killed after its confirms leaves a spool file; the relay sends it again."""
    resume = call(system, Kind.RESUME)
    send(system, resume)
    send(system, resume)
    system.note("resume", system.everything)
    system.settle()
    send(system, resume)
    system.check()
    assert system.outcomes() == {"completed": 4}
    assert system.cloud.counts()["start"] == 4


def test_a_hook_called_twice_is_two_requests_and_one_start(system: WholeSystem) -> None:
    """Slurmctld calls again after it was killed -9 (it saves its state late)."""
    system.request("resume")
    system.request("resume")
    system.settle()
    system.check()
    assert system.outcomes() == {"completed": 8}
    assert system.cloud.counts()["start"] == 4


def test_a_suspend_that_comes_after_its_resume_puts_nothing_out(system: WholeSystem) -> None:
    """P2: stamped before the resume, delivered after the resume has completed."""
    late = call(system, Kind.SUSPEND)
    system.request("resume")
    system.settle()
    send(system, late)
    system.requests += 4
    system.settle()
    system.check()
    assert system.outcomes() == {"completed": 4, "superseded": 4}
    assert system.cloud.counts().get("stop", 0) == 0


def test_a_resume_that_overtakes_a_slow_stop_ends_lit(system: WholeSystem) -> None:
    """Slurm does not wait for SuspendProgram: it may resume a node that is still powering off."""
    system.request("resume")
    system.settle()
    system.cloud.set(stop_seconds=3.0)
    system.request("suspend")
    until(lambda: system.cloud.counts().get("stop", 0) == 4, 20, "four stop calls")
    system.request("resume")
    system.settle()
    system.check()
    assert system.outcomes() == {"completed": 8, "superseded": 4}


def test_a_suspend_that_overtakes_a_slow_boot_ends_out(system: WholeSystem) -> None:
    """POWER_DOWN_FORCE during a boot: the suspend call comes seconds after the resume call."""
    system.cloud.set(boot_seconds=3.0)
    system.request("resume")
    until(lambda: system.cloud.counts().get("start", 0) == 4, 20, "four start calls")
    system.request("suspend")
    system.settle()
    system.check()
    assert system.outcomes() == {"completed": 4, "superseded": 4}


def test_a_failed_resume_wants_its_node_out(system: WholeSystem) -> None:
    system.request("resume")
    system.settle()
    system.request("resume-fail", "node1")
    system.settle()
    system.check()
    assert system.cloud.servers()["node1"].status == "SHUTOFF"
