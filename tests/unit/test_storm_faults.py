"""Each fault of a storm is undone, also one that fails half-way or in whose midst the storm fails."""

from __future__ import annotations

import random
import re
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from storm.evidence import Evidence, HookCall
from storm.faults import cloud, host, network
from storm.faults.carrier import FAULTS, Faults, carry_out, part_of
from storm.faults.hit import Fault, Hit, NothingHitError
from storm.layout import hook_caller
from storm.plan import PlannedFault
from storm.report import faults_of

if TYPE_CHECKING:
    from pathlib import Path

    from storm.site import Site


class Recorder:
    """Stands for a site and all its parts: notes each call; one of them fails."""

    def __init__(self, calls: list[str], name: str, fails: str) -> None:
        self.calls, self.name, self.fails = calls, name, fails

    def __getattr__(self, name: str) -> Recorder:
        return Recorder(self.calls, f"{self.name}.{name}".lstrip("."), self.fails)

    def __getitem__(self, key: str) -> Recorder:
        return self

    def __len__(self) -> int:
        return 1

    def __call__(self, *words: object, **named: object) -> int:
        said = ", ".join([*map(str, words), *(f"{k}={v}" for k, v in named.items())])
        self.calls.append(f"{self.name}({said})")
        if self.name == self.fails:
            raise OSError(self.name)
        return 7


# The fault and its target; the call that makes it, and the call that undoes it.
UNDONE: dict[str, tuple[Fault, str, str, str]] = {
    "full disk": (host.disk, "spool", "disks.fill", "disks.free()"),
    "clock": (host.clock, "hooks +45", "clocks.step", "clocks.step(0.0)"),
    "database": (host.database, "kill", "postgresql.kill", "mend_database()"),
    "broker": (network.broker, "kill", "brokers.kill", "mend_brokers()"),
    "partition": (network.partition, "first", "cluster.cut_off", "mend_brokers()"),
    "cut": (network.cut_cloud, "silence", "cloud_cut.silence", "cloud_cut.mend()"),
    "outage": (cloud.outage, "all", "simulated.outage", "simulated.outage(on=False)"),
    "blind": (cloud.blind, "changes", "simulated.set", "simulated.set(hide_changes=False)"),
    "login": (cloud.tokens, "logout", "simulated.revoke_tokens", "log_in()"),
}


def hit(fails: str, target: str) -> tuple[Hit, list[str]]:
    calls: list[str] = []
    site: Any = Recorder(calls, "", fails)
    stands_for: Site = site
    return Hit(stands_for, target, random.Random(1), []), calls  # noqa: S311 - no secret


@pytest.mark.parametrize("name", UNDONE)
def test_a_fault_is_undone_when_it_fails_half_way(name: str) -> None:
    fault, target, does, undoes = UNDONE[name]
    given, calls = hit(does, target)
    with pytest.raises(OSError, match=does), fault(given):
        raise AssertionError("it has failed before")
    assert undoes in calls


@pytest.mark.parametrize("name", [*UNDONE, "answers"])
def test_a_fault_is_undone_when_the_storm_fails_in_its_midst(name: str) -> None:
    more = (cloud.answers, "500", "", "simulated.remove_fault(7)")
    fault, target, _, undoes = UNDONE.get(name, more)
    given, calls = hit("", target)
    with pytest.raises(KeyboardInterrupt), fault(given):
        raise KeyboardInterrupt
    assert undoes in calls


def test_faults_of_one_part_do_not_overlap() -> None:
    def part(kind: str, target: str) -> str:
        return part_of(PlannedFault(0, kind, target))

    assert part("kill", "power") == part("freeze", "power") != part("kill", "slurm")
    assert part("broker", "kill") == part("partition", "leader")
    assert part("clock", "hooks +45") == part("clock", "hooks -20") != part("clock", "workers +45")


def nothing(*_: object) -> None:
    """Do nothing, and find nothing."""


# A site on which nothing runs.
NOWHERE: Any = SimpleNamespace(
    workers=None,
    **dict.fromkeys(("process", "start_up", "mend"), nothing),
    slurm=SimpleNamespace(ctld_runs=False, start_ctld=nothing),
    simulated=SimpleNamespace(servers=dict),
)
NOTHING = (
    *(("kill", "power"), ("kill", "up"), ("terminate", "power"), ("freeze", "power2")),
    *(("server", "dies"), ("server", "runs"), ("slurmctld", "kill"), ("slurmctld", "restart")),
)


@pytest.mark.parametrize(("kind", "target"), NOTHING)
def test_a_fault_that_hits_nothing_does_not_count_and_is_shown(
    kind: str, target: str, tmp_path: Path
) -> None:
    with pytest.raises(NothingHitError), FAULTS[kind](Hit(NOWHERE, target, random.Random(1), [])):  # noqa: S311 - no secret
        raise AssertionError("there is nothing to hit")
    faults = Faults(NOWHERE, tmp_path / "faults.log", random.Random(1))  # noqa: S311 - no secret
    faults.begin(PlannedFault(0, kind, target))
    faults.end(10.0)
    assert [fault.made for fault in faults.injected] == [False]
    assert faults.failed
    assert not faults_of(Evidence(injected=tuple(faults.injected)))


def test_a_fault_that_fails_does_not_count_and_is_shown(tmp_path: Path) -> None:
    site: Any = Recorder([], "", "simulated.set")
    faults = Faults(site, tmp_path / "faults.log", random.Random(1))  # noqa: S311 - no secret
    faults._carry_out(PlannedFault(0, "blind", "changes"), hit("simulated.set", "changes")[0], "x")
    assert [fault.made for fault in faults.injected] == [False]
    assert faults.failed == ["blind changes: OSError: simulated.set"]
    assert not faults_of(Evidence(injected=tuple(faults.injected)))


def test_jobs_come_between_faults_also_on_a_machine_that_is_late_with_all() -> None:
    """Neither holds up the other: jobs that came faster than they could be submitted left few faults of a storm."""
    done: list[str] = []
    begins: Any = SimpleNamespace(begin=lambda fault: done.append(fault.kind))
    plan = tuple(PlannedFault(at, "kill", "audit") for at in (0, 1, 2))
    carry_out(begins, plan, -1e9, lambda: done.append("job"))
    assert done == ["job", "kill"] * 3


def test_hooks_count_as_killed_when_they_were() -> None:
    """Whatever was planned: a hook can have ended before."""
    calls = tuple(HookCall("resume", ("node1",), 1.0, status) for status in (0, 137, 1, None, 137))
    assert faults_of(Evidence(calls=calls)) == {"kill_hook": {"next": 2}}


def test_a_hook_is_killed_at_any_time_of_its_work(tmp_path: Path) -> None:
    given, calls = hit("", "next")
    for _ in range(50):
        with FAULTS["kill_hook"](given):
            pass
    lives = sorted(float(call.partition("(")[2].rstrip(")")) for call in calls)
    assert 0.02 <= lives[0] < 0.1
    assert 0.3 < lives[-1] <= 0.4
    caller = tmp_path / "call-resume"
    text = hook_caller(tmp_path, "resume", {})
    caller.write_text(re.sub(r"\S+/lamplighter-resume", "/usr/bin/sleep", text))
    (tmp_path / "kill-hook").write_text("0.05")
    ends = [subprocess.run(["/bin/sh", caller, "0.2"], check=False).returncode for _ in range(2)]
    assert ends == [137, 0]
