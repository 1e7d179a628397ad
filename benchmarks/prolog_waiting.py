"""Five hundred jobs that wait in lamplighter-prolog: what they cost, and what failures do to them."""

from __future__ import annotations

import argparse
import signal
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import psutil

from benchmarks.prolog import open_bench
from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from tests.testbed.broker_choice import choose
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.testbed.broker import Broker
    from tests.testbed.slurm import PrivateSlurm

JOBS = 500
# The default of 22.05, that of 23.11, and that of a slurmctld with GLIBC_TUNABLES.
SLOTS = [10, 40, JOBS]
SECONDS = 30.0  # of each measurement of CPU
# What lets jobs leave their nodes.
LEAVE = {
    "drain": "scontrol update State=DRAIN Reason=broken NodeName={nodes}",
    "down": "scontrol update State=DOWN Reason=broken NodeName={nodes}",
    "power_down_force": "scontrol update State=POWER_DOWN_FORCE NodeName={nodes}",
    "requeue": "scontrol requeue {jobs}",
    "scancel": "scancel --nodelist={nodes}",
}
# Percent of one core; MB for each script; seconds until no script is left: as long as a script waits for a line, and 2 s more;
# seconds until those of jobs are gone that have left their nodes.
CPU, EACH, GONE, HELD = 1.0, 1.0, 4.0, 2.0
# Seconds to look at slurmctld; below this share of a core, its jobs have started.
_LOOK, _REST = 2.0, 0.02
# What the slurm worker writes a second into all scripts; each gets three lines within its limit.
LINES = 60


class Waiting:
    """So many jobs with nodes that never boot, of which `slots` wait in the prolog; None: there is no prolog."""

    def __init__(  # noqa: PLR0913 - what varies
        self,
        stack: ExitStack,
        folder: Path,
        broker: Broker,
        jobs: int,
        slots: int | None,
        *,
        seconds: float,
    ) -> None:
        self.bench = open_bench(stack, folder, broker, jobs, slots=slots, worker=True)
        self.slurm: PrivateSlurm = self.bench.slurm
        assert self.bench.worker is not None
        self.worker = self.bench.worker
        self._folder = folder / "waiting"
        self._jobs, self._slots, self._seconds = jobs, slots, seconds
        self.submit()

    def submit(self) -> None:
        """Submit the jobs instead of those that are there; wait until they have nodes, and scripts wait."""
        if self.all_jobs():
            self.slurm.run("scancel", "--partition=cloud")
            until(lambda: not self.all_jobs(), 60, "all jobs to end", interval=1)
            # a node that no job waits for any more gets none before it is powered down
            nodes = f"NodeName=node[1-{self._jobs}]"
            self.slurm.scontrol("update", nodes, "State=POWER_DOWN_FORCE")
            until(self._powered_down, 180, "all nodes to be powered down", interval=1)
        array = f"--array=1-{self._jobs}"
        self.slurm.run("sbatch", array, "--exclusive", "-N1", text="#!/bin/sh\ntrue\n")
        until(lambda: self.configuring() == self._jobs, 180, "all jobs to have nodes", interval=1)
        self.settle()

    def _powered_down(self) -> bool:
        return all("POWERED_DOWN" in state for state in self.slurm.node_states().values())

    def cpu(self) -> dict[str, float]:
        """Percent of one core of the worker with its scontrol, and of slurmctld, for some seconds."""
        of = {"worker and scontrol": self.worker.pid, "slurmctld": self.slurm.pid}
        before = {name: _cpu(pid) for name, pid in of.items()}
        time.sleep(self._seconds)  # what is measured is the time itself
        return {name: (_cpu(of[name]) - was) / self._seconds * 100 for name, was in before.items()}

    def sessions(self) -> list[psutil.Process]:
        """The worker's scontrol that keeps running."""
        children = psutil.Process(self.worker.pid).children()
        return [one for one in children if one.name() == "scontrol"]

    def configuring(self) -> int:
        """How many jobs wait for their nodes."""
        return self.slurm.run("squeue", "--noheader", "--array").count(" CF ")

    def all_jobs(self) -> set[str]:
        """The IDs of all jobs."""
        return set(self.slurm.run("squeue", "--noheader", "--array", "--format=%A").split())

    def has_jobs(self, ids: set[str]) -> bool:
        """Whether these are all jobs."""
        return self.all_jobs() == ids

    def nodes_of_jobs(self) -> dict[str, str]:
        """The node of each job that waits for one, by the job's ID."""
        shown = self.slurm.run("squeue", "--noheader", "--array", "--states=CF", "--format=%A %N")
        return dict(line.split() for line in shown.splitlines())

    def scripts(self) -> list[psutil.Process]:
        """The scripts that wait."""
        found = psutil.process_iter(["cmdline"])
        return [one for one in found if str(self._folder) in (one.info["cmdline"] or ())]

    def settle(self) -> None:
        """Wait until as many scripts wait as may, and those of all other jobs have come and gone."""
        wanted = min(self._slots or 0, self._jobs)
        until(lambda: len(self.scripts()) == wanted, 120, f"{wanted} scripts", interval=0.5)
        until(self._is_at_rest, 60, "slurmctld to rest", interval=0)

    def _is_at_rest(self) -> bool:
        used = _cpu(self.slurm.pid)
        time.sleep(_LOOK)
        return _cpu(self.slurm.pid) - used < _LOOK * _REST

    def seconds_until_gone(self, act: Callable[[], object], jobs: Collection[str] = ()) -> float:
        """Seconds after `act` until no script of before is left; only of these jobs, if there are any."""
        before = {script.pid for script in self.scripts() if not jobs or _job_of(script) in jobs}
        began = time.monotonic()
        act()
        until(lambda: not before & {one.pid for one in self.scripts()}, 120, "no script to be left")
        return time.monotonic() - began

    def memory(self, others: list[psutil.Process]) -> float:
        """MB of memory of their own that scripts and these other processes have."""
        return sum(one.memory_full_info().uss for one in [*self.scripts(), *others]) / 1e6


def _job_of(script: psutil.Process) -> str:
    """The ID of the job for which a script waits; empty if it has ended."""
    with suppress(psutil.Error):
        return str(script.environ()["SLURM_JOB_ID"])
    return ""


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process and its children have used, also those that have ended."""
    process = psutil.Process(pid)
    times = [process.cpu_times()]
    for child in process.children():
        with suppress(psutil.NoSuchProcess):  # then its time is among the process's own
            times.append(child.cpu_times())
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _measure(waiting: Waiting, jobs: int, slots: int, without: dict[str, float]) -> list[Figure]:
    name = f"{jobs} jobs, {slots} slots: "
    figures = [
        Figure(f"{name}CPU of {which}", used, CPU, "%", without[which], difference=True)
        for which, used in waiting.cpu().items()
    ]
    memory = waiting.memory(waiting.sessions())
    return [*figures, Figure(f"{name}memory of scripts and scontrol", memory, slots * EACH, "MB")]


def _failures(waiting: Waiting, jobs: int, slots: int) -> list[Figure]:
    slurm, worker = waiting.slurm, waiting.worker
    name = f"{jobs} jobs, {slots} slots: until no script is left, "

    def reconfigure() -> None:
        slurm.scontrol("reconfigure")
        until(lambda: " UP" in slurm.scontrol("ping"), 60, "slurmctld")

    figures = []
    for how, act in (("slurmctld TERM", slurm.stop_ctld), ("slurmctld kill -9", slurm.kill9_ctld)):
        figures.append(Figure(name + how, waiting.seconds_until_gone(act), 30.0, "s"))
        slurm.start_ctld()
        waiting.settle()
        until(lambda: waiting.configuring() == jobs, 60, "all jobs to wait again", interval=1)
    reconfigure()
    waiting.settle()
    until(lambda: waiting.configuring() == jobs, 60, "all jobs to wait on", interval=1)
    if slots >= jobs:
        hung = waiting.seconds_until_gone(lambda: worker.send(signal.SIGSTOP))
        figures.append(Figure(f"{name}worker hung", hung, max(GONE, 3 * jobs / LINES + 2), "s"))
        worker.send(signal.SIGCONT)
        waiting.submit()  # no script runs a second time
        figures += _leave(waiting, name)
    rest = waiting.nodes_of_jobs().items()
    figures.append(
        Figure(f"{name}worker killed", waiting.seconds_until_gone(worker.kill), GONE, "s")
    )
    until(lambda: rest <= waiting.nodes_of_jobs().items(), 60, "the others to wait on", interval=1)
    return figures


def _leave(waiting: Waiting, name: str) -> list[Figure]:
    """Parts of the waiting jobs leave their nodes: the others wait on, and no job is lost."""
    nodes, figures = waiting.nodes_of_jobs(), []
    names, kept = list(nodes), set(nodes)
    part = len(names) // (len(LEAVE) + 1)
    for how, command in LEAVE.items():
        some, names = names[:part], names[part:]
        others = {one.pid for one in waiting.scripts() if _job_of(one) in names}
        where, which = ",".join(nodes[one] for one in some), ",".join(some)
        words = command.format(nodes=where, jobs=which)
        seconds = waiting.seconds_until_gone(partial(waiting.slurm.run, *words.split()), some)
        figures.append(Figure(f"{name}{how} of {part} of them", seconds, HELD, "s"))
        kept -= set(some) if how == "scancel" else set()
        until(partial(waiting.has_jobs, kept), 60, f"{len(kept)} jobs to be kept", interval=1)
        assert others <= {one.pid for one in waiting.scripts()}, "the others wait on"
    return figures


def main() -> None:
    """`python -m benchmarks.prolog_waiting [--jobs N] [--seconds N] [--slots N ...]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--slots", type=int, nargs="+", default=SLOTS)
    options = parser.parse_args()
    jobs: int = options.jobs
    seconds: float = options.seconds
    figures: list[Figure] = []
    with temporary_folder() as folder, choose().open(folder) as broker:
        with ExitStack() as stack:
            waiting = Waiting(stack, folder / "without", broker, jobs, None, seconds=seconds)
            without = waiting.cpu()
        for slots in sorted({min(slots, jobs) for slots in options.slots}):
            with ExitStack() as stack:
                waiting = Waiting(
                    stack, folder / f"slots{slots}", broker, jobs, slots, seconds=seconds
                )
                figures += _measure(waiting, jobs, slots, without)
                figures += _failures(waiting, jobs, slots)
    publish(
        f"{jobs} jobs that wait in lamplighter-prolog",
        f"Jobs whose nodes never boot, with slots for some of them and for all; CPU is measured over {seconds:g} s. "
        "The baseline of CPU is the same slurmctld, worker and jobs without lamplighter-prolog.",
        figures,
    )


if __name__ == "__main__":
    main()
