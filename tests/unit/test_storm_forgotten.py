"""A job ended by a call that slurmctld forgot, when it was killed, is Slurm's own; nothing else passes as that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from storm.checker import check
from storm.evidence import (
    Beats,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
)
from storm.rules import jobs, violation
from tests.unit.storm_history import AGAIN, GOOD, step

if TYPE_CHECKING:
    from collections.abc import Callable


# slurmctld calls SuspendProgram at 125, is killed with -9 before it has saved that, starts again at 126,
# and gives node1 to job 7 at 128; the server is powered off for the call that slurmctld forgot.
FORGOT = replace(
    GOOD,
    calls=(GOOD.calls[0], HookCall("suspend", ("node1",), 125.0, 0, 125.2)),
    steps=(
        *GOOD.steps[:2],
        replace(GOOD.steps[2], asked=125.1, time=126.5),
        replace(GOOD.steps[3], time=129.9),
    ),
    suspending=(("node1", 124.9),),
    injected=(*GOOD.injected, Injected("slurmctld", "kill", 125.1, 126.5)),
    ctld_starts=(1.0, 126.0),
    beats=(Beats("7", "node1", 128.0, 130.0, None), AGAIN),
    ledger=(PoweredOn("node1", "s1", 104.0, 129.8),),
)
NO_KILL: dict[str, Callable[[Evidence], Evidence]] = {
    "slurmctld was not killed": lambda e: replace(e, injected=GOOD.injected),
    "the kill failed": lambda e: replace(
        e, injected=(*GOOD.injected, replace(e.injected[-1], made=False))
    ),
}
OURS: dict[str, Callable[[Evidence], Evidence]] = {
    **NO_KILL,
    "it was only restarted": lambda e: replace(
        e, injected=(*GOOD.injected, Injected("slurmctld", "restart", 125.1, 126.5))
    ),
    "it had saved its state": lambda e: replace(
        e, injected=(*GOOD.injected, Injected("slurmctld", "kill", 129.95, 129.96))
    ),
    "it was killed before the call": lambda e: replace(
        e, injected=(*GOOD.injected, Injected("slurmctld", "kill", 124.0, 126.5))
    ),
    "its log shows no start": lambda e: replace(e, ctld_starts=(1.0,)),
    "its log does not name the call": lambda e: replace(e, suspending=(("node2", 124.9),)),
    "its log names a call of another time": lambda e: replace(e, suspending=(("node1", 121.0),)),
    "the task had begun before": lambda e: replace(
        e, beats=(replace(e.beats[0], began=125.9), AGAIN)
    ),
    "Slurm has resumed the node since": lambda e: replace(
        e, calls=(*e.calls, HookCall("resume", ("node1",), 127.0, 0, 127.2))
    ),
    "the call was for another node": lambda e: replace(
        e, calls=(e.calls[0], replace(e.calls[1], nodes=("node2",)))
    ),
    "resync asked for it, too": lambda e: replace(
        e,
        steps=(
            *e.steps,
            step("r3", "accepted", 128.5, origin="resync", kind="suspend", asked=128.4),
        ),
    ),
    "the hook's request is another's": lambda e: replace(
        e, steps=(*e.steps[:2], replace(e.steps[2], origin="resync"), e.steps[3])
    ),
    "Slurm's new snapshot had come": lambda e: replace(
        e,
        beats=(replace(e.beats[0], last=137.0), AGAIN),
        ledger=(PoweredOn("node1", "s1", 104.0, 136.0),),
    ),
    "Slurm was told, too": lambda e: replace(e, set_down=(("node1", 129.7),)),
    "it was Slurm that we told": lambda e: replace(
        e, ledger=(PoweredOn("node1", "s1", 104.0, 145.0),), set_down=(("node1", 129.8),)
    ),
}
# Job 7 begins at 121, slurmctld is killed with -9 at 122 before it has saved that, and asks for a boot of
# node1 at 125; for that the server is rebooted.
FORGOT_JOB = replace(
    GOOD,
    calls=(GOOD.calls[0], HookCall("resume", ("node1",), 125.0, 0, 125.2)),
    steps=(
        *GOOD.steps[:2],
        step("r2", "accepted", 125.3, kind="resume", asked=125.1),
        step("r2", "completed", 131.0, kind="resume"),
    ),
    injected=(*GOOD.injected, Injected("slurmctld", "kill", 122.0, 123.5)),
    beats=(Beats("7", "node1", 121.0, 130.0, None), AGAIN),
    ledger=(PoweredOn("node1", "s1", 104.0, None),),
    reboots=(("node1", 129.8),),
)
OURS_TOO: dict[str, Callable[[Evidence], Evidence]] = {
    **NO_KILL,
    "it had saved the job": lambda e: replace(
        e, injected=(*GOOD.injected, Injected("slurmctld", "kill", 126.5, 127.0))
    ),
    "it was killed before the task began": lambda e: replace(
        e, injected=(*GOOD.injected, Injected("slurmctld", "kill", 120.0, 121.5))
    ),
    "it asked before it was killed": lambda e: replace(
        e, calls=(e.calls[0], replace(e.calls[1], began=121.5))
    ),
    "it asked for the boot of another node": lambda e: replace(
        e, calls=(e.calls[0], replace(e.calls[1], nodes=("node2",)))
    ),
    "it asked for no boot": lambda e: replace(e, calls=e.calls[:1]),
    "the server was powered off": lambda e: replace(
        e, reboots=(), ledger=(PoweredOn("node1", "s1", 104.0, 129.8),)
    ),
}


@pytest.mark.parametrize("name", OURS_TOO)
def test_only_a_boot_asked_for_since_passes_for_a_forgotten_job(name: str) -> None:
    own = jobs.ended_by_us(FORGOT_JOB)
    assert [one.promise for one in own] == [violation.FORGOTTEN]
    ours = jobs.ended_by_us(OURS_TOO[name](FORGOT_JOB))
    assert [one.promise for one in ours] == [violation.ENDED_JOB]


def test_a_job_ended_by_a_call_that_slurmctld_forgot_is_slurms_own() -> None:
    verdict = check(FORGOT)
    assert not verdict.violations
    assert [one.promise for one in verdict.slurms_own] == [violation.FORGOTTEN]


@pytest.mark.parametrize("name", OURS)
def test_nothing_else_passes_as_a_forgotten_call(name: str) -> None:
    verdict = check(OURS[name](FORGOT))
    assert violation.ENDED_JOB in {one.promise for one in verdict.violations}
    assert violation.FORGOTTEN not in {one.promise for one in verdict.slurms_own}


def test_a_slurmctld_that_crashed_has_forgotten_the_same_as_one_that_was_killed() -> None:
    crashed = replace(
        FORGOT, injected=(*GOOD.injected, Injected("slurmctld", "crash", 125.1, 125.1))
    )
    verdict = check(crashed)
    assert not verdict.violations
    assert [one.promise for one in verdict.slurms_own] == [violation.FORGOTTEN]
