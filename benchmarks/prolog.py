"""The time from the last node's registration to the job's start, with lamplighter-prolog and without."""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.results import Table, publish
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from producers.hosts import expand
from tests.testbed.broker_choice import choose
from tests.testbed.cluster import site_prolog
from tests.testbed.installation import Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.testbed.broker import Broker
    from tests.testbed.processes import Child

RUNS = 5
# Runs of Slurm alone at most, and one array; they share one turn of its timer.
ALONE = 10
ARRAY = 20
OF_ARRAY = f"array of {ARRAY}"
# So many on one slurmctld: their jobs name the nodes that they exclude, and scontrol shows that.
ARRAYS = 6
# Each kind of job on new nodes: its number of nodes.
KINDS = {"sbatch -N1": 1, "sbatch -N3": 3, OF_ARRAY: ARRAY, "het job": 2}
KINDS |= {"srun": 1, "salloc": 1}
MEDIAN, MOST = 0.3, 1.0
# On nodes that are up: the kinds, and how many seconds more the median may take; None: no aim, as any
# PrologSlurmctld makes salloc of 22.05 3 s slower.
UP = {"sbatch": 0.15, "srun": 0.15, "salloc": None}
TUNABLES = "glibc.pthread.stack_cache_size=2147483648"
_RESPONDS = re.compile(r"^\[(\S+)\] Node (\S+) now responding", re.MULTILINE)
_SAY = "date +%s.%N; echo $SLURM_JOB_NODELIST"


@dataclass(frozen=True)
class Job:
    """A job under way: its nodes, and the files that its tasks write when they start."""

    kind: str
    nodes: Sequence[str]
    files: Sequence[Path]
    run: subprocess.Popen[bytes] | None = None


@dataclass(frozen=True)
class Bench:
    """A slurmctld whose nodes are powered down, and its slurm worker."""

    slurm: PrivateSlurm
    nodes: Iterator[str]
    worker: Child | None = None

    def measure(self, kinds: Sequence[str]) -> list[tuple[str, float]]:
        """For each start of a job, its kind and the seconds since its last node registered."""
        jobs = [
            self._submit(kind, [next(self.nodes) for _ in range(KINDS[kind])]) for kind in kinds
        ]
        names = [name for job in jobs for name in job.nodes]
        self.slurm.boot_resumed(*names)
        found = []
        for job in jobs:
            for file in job.files:
                until(partial(_said, file), 120, f"{job.kind} to start", interval=0.2)
        registered = {
            node: datetime.fromisoformat(at).timestamp()
            for at, node in _RESPONDS.findall(self.slurm.log.read_text(errors="replace"))
        }
        for job in jobs:
            if job.run is not None:
                job.run.wait(60)
            for file in job.files:
                started, nodes = _said(file)
                used = expand(nodes) if job.kind == OF_ARRAY else job.nodes
                found.append((job.kind, float(started) - max(registered[n] for n in used)))
        # a job that loses its node is requeued, and the next srun waits behind it for the scheduler
        until(lambda: not self.slurm.run("squeue", "--noheader").strip(), 120, "the jobs to end")
        for name in names:
            self.slurm.halt(name)
        return found

    def up(self, runs: int) -> dict[str, list[float]]:
        """Seconds to the start of jobs on a node that is up, by kind."""
        name = next(self.nodes)
        self._submit("srun", [name])
        self.slurm.boot_resumed(name)
        until(lambda: self.slurm.node_state(name) == {"IDLE", "CLOUD"}, 120, "an idle node")
        found: dict[str, list[float]] = {"sbatch": [], "srun": [], "salloc": []}
        for number in range(runs):
            for kind, times in found.items():
                began = time.time()
                job = self._submit(kind, [name], f"up{number}{kind}")
                until(partial(_said, job.files[0]), 60, f"{kind} to start", interval=0.05)
                times.append(float(_said(job.files[0])[0]) - began)
                until(
                    lambda: self.slurm.node_state(name) == {"IDLE", "CLOUD"}, 60, "the job to end"
                )
        self.slurm.halt(name)
        return found

    def _submit(self, kind: str, names: list[str], label: str = "") -> Job:
        folder, label = self.slurm.layout.output_dir, label or names[0]
        where, script = f"--nodelist={','.join(names)}", f"#!/bin/sh\n{_SAY}\n"
        if kind in {"srun", "salloc"}:
            out = folder / f"{label}.out"
            with out.open("w") as file:
                run = subprocess.Popen(
                    [kind, f"-N{len(names)}", where, "sh", "-c", _SAY],
                    env=self.slurm.environment(),
                    stdout=file,
                    stderr=subprocess.DEVNULL,
                )
            return Job(kind, names, [out], run)
        options = ["--parsable", f"--output={folder}/{label}%a.out"]
        files = [folder / f"{label}{4294967294}.out"]
        if kind == OF_ARRAY:
            others = ",".join(one for one in self.slurm.settings.node_names if one not in names)
            options += [f"--array=1-{len(names)}", "--exclusive", "-N1", f"--exclude={others}"]
            files = [folder / f"{label}{task}.out" for task in range(1, len(names) + 1)]
        elif kind == "het job":
            options += [f"-w{names[0]}", ":", f"-w{names[1]}"]
        else:
            options += [f"-N{len(names)}", where]
        self.slurm.run("sbatch", *options, text=script)
        return Job(kind, names, files)


def _said(file: Path) -> list[str]:
    """When a task started, and its nodes; empty before."""
    words = file.read_text().split() if file.exists() else []
    return words if len(words) > 1 else []


def main() -> None:
    """`python -m benchmarks.prolog [--runs N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    runs: int = parser.parse_args().runs
    alone_kinds = [one for one in KINDS for _ in range(1 if one == OF_ARRAY else min(runs, ALONE))]
    with temporary_folder() as folder, choose().open(folder) as broker:
        with ExitStack() as stack:
            bench = open_bench(stack, folder / "alone", broker, _nodes(runs), slots=None)
            alone = bench.measure(alone_kinds)
            up_alone = bench.up(runs)
        with ExitStack() as stack:
            bench = open_bench(stack, folder / "with", broker, _nodes(runs), slots=1000)
            others = [kind for kind in KINDS if kind != OF_ARRAY] * runs
            ours = [one for kind in others for one in bench.measure([kind])]
            up = bench.up(runs)
        for first in range(0, runs, ARRAYS):
            count = min(ARRAYS, runs - first)
            with ExitStack() as stack:
                where, nodes = folder / f"arrays{first}", count * ARRAY + 1
                bench = open_bench(stack, where, broker, nodes, slots=1000)
                ours += [one for _ in range(count) for one in bench.measure([OF_ARRAY])]
    figures: list[Figure] = []
    rows: list[list[str | float | None]] = []
    for kind in KINDS:
        times = [seconds for one, seconds in ours if one == kind]
        figures += [
            Figure(
                f"{kind}, median of {_counted(kind, len(times))}",
                statistics.median(times),
                MEDIAN,
                "s",
            ),
            Figure(f"{kind}, maximum", max(times), MOST, "s"),
        ]
        rows.append(_row(f"{kind}, Slurm alone", [s for one, s in alone if one == kind]))
    for kind, most in UP.items():
        more = statistics.median(up[kind]) - statistics.median(up_alone[kind])
        figures.append(Figure(f"{kind} on nodes that are up, more", more, most, "s"))
    for kind, times in up.items():
        rows.append(_row(f"{kind} on nodes that are up", times))
        rows.append(_row(f"{kind} on nodes that are up, Slurm alone", up_alone[kind]))
    columns = ["seconds to the start", "least", "median", "most"]
    publish(
        "From the last node's registration to the job's start",
        "Real slurmctld; with lamplighter-prolog one job at a time, and Slurm alone in the same run. Slurm's jobs "
        "alone get their nodes together: they start at the same turn of its timer, whenever their nodes registered.",
        figures,
        tables=[Table("For comparison, and the spread:", columns, rows)],
    )


def _counted(kind: str, starts: int) -> str:
    """How many jobs started; each task of an array is a job of its own."""
    return f"{starts} tasks" if kind == OF_ARRAY else f"{starts}"


def _row(name: str, times: Sequence[float]) -> list[str | float | None]:
    return [name, min(times), statistics.median(times), max(times)]


def _nodes(runs: int) -> int:
    single = sum(size for kind, size in KINDS.items() if kind != OF_ARRAY)
    return runs * single + ARRAY + 1


def open_bench(  # noqa: PLR0913 - what the two benchmarks vary
    stack: ExitStack,
    folder: Path,
    broker: Broker,
    nodes: int,
    *,
    slots: int | None,
    worker: bool = False,
) -> Bench:
    """A slurmctld with a slurm worker and the prolog, with so many slots; None: without the prolog.

    Without the prolog there is a worker only if `worker` says so.
    """
    settings = SlurmSettings(nodes=nodes, suspend_time=3600, resume_timeout=900)
    waiting = folder / "waiting"
    folder.mkdir()
    folder.chmod(0o755)
    if slots is not None:
        program = site_prolog(folder / "site-prolog", waiting)
        settings = replace(
            settings,
            extra_conf=(f"PrologSlurmctld={program}",),
            environment=(("GLIBC_TUNABLES", TUNABLES),),
        )
    slurm = stack.enter_context(PrivateSlurm(folder / "slurm", settings))
    names = iter(expand(f"node[1-{settings.nodes}]"))
    if slots is None and not worker:
        return Bench(slurm, names)
    more = (
        "[slurm]\nresume_timeout = 900\n"
        + ("" if slots is None else f'prolog = "{waiting}"\nprolog_slots = {slots}\n')
        + f'[groups.g]\nnodes = "node[1-{settings.nodes}]"\n'
        'cloud = "c"\n[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
        'source = { type = "password", username = "u", password_command = ["true"] }\n'
    )
    site = Installation(slurm.conf_dir, broker.amqp_url(broker.create_vhost()), more=more)
    site.make_hook_folders()
    site.prepare()
    child = stack.enter_context(site.start("worker", "slurm"))
    ready = "worker_started" if slots is None else "prolog_watched"
    until(lambda: ready in site.logs(), 30, "the slurm worker")
    return Bench(slurm, names, child)


if __name__ == "__main__":
    main()
