"""The time from the last node's registration to the job's start, with lamplighter-prolog and without."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.table import Figure, render
from benchmarks.timing import temporary_folder
from producers.hosts import expand
from tests.testbed.broker_choice import choose
from tests.testbed.cluster import site_prolog
from tests.testbed.installation import Installation
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

RUNS = 5
JOB = "#!/bin/sh\ndate +%s.%N\n"
KINDS = ("sbatch -N1", "sbatch -N3", "array of 4", "het job", "srun", "salloc")
# Nodes of each kind, in the order of KINDS.
SIZES = (1, 3, 4, 2, 1, 1)
MEDIAN, MOST = 0.3, 1.0


@dataclass(frozen=True)
class Bench:
    """A slurmctld whose nodes are powered down."""

    slurm: PrivateSlurm
    nodes: Iterator[str]

    def measure(self, kind: str, size: int) -> float:
        """Seconds from the last registration to the last start of a job on new nodes."""
        names = [next(self.nodes) for _ in range(size)]
        run, outputs = self._submit(kind, names)
        until(lambda: self._configuring() == size, 60, "the nodes to be allocated")
        for name in names:
            self.slurm.boot(name)
        until(lambda: not self._configuring(), 60, "the nodes to register", interval=0.01)
        registered = time.time()
        until(lambda: all(output() for output in outputs), 90, "the job to start")
        if run is not None:
            run.wait(60)
        return max(float(output().split()[0]) for output in outputs) - registered

    def _configuring(self) -> int:
        return sum("POWERING_UP" in state for state in self.slurm.node_states().values())

    def _submit(
        self, kind: str, names: list[str]
    ) -> tuple[subprocess.Popen[str] | None, list[Callable[[], str]]]:
        slurm = self.slurm
        where = f"--nodelist={','.join(names)}"
        if kind in {"srun", "salloc"}:
            out = slurm.layout.output_dir / f"{names[0]}.out"
            command = [kind, where, "sh", "-c", "date +%s.%N"]
            with out.open("w") as file:
                run = subprocess.Popen(
                    command,
                    env=slurm.environment(),
                    stdout=file,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            return run, [out.read_text]
        if kind == "array of 4":
            others = ",".join(name for name in slurm.settings.node_names if name not in names)
            job = slurm.sbatch(
                JOB, array="1-4", exclusive=True, nodes=1, exclude=others, output=self._out("%A_%a")
            )
            paths = [slurm.layout.output_dir / f"{job}_{task}.out" for task in range(1, 5)]
        elif kind == "het job":
            words = ["--parsable", f"--output={self._out('%j')}", f"-w{names[0]}", ":"]
            job = int(slurm.run("sbatch", *words, f"-w{names[1]}", text=JOB))
            paths = [slurm.layout.output_dir / f"{job}.out"]
        else:
            job = slurm.sbatch(JOB, nodelist=",".join(names), nodes=len(names))
            paths = [slurm.layout.output_dir / f"{job}.out"]
        return None, [partial(_read, path) for path in paths]

    def _out(self, name: str) -> str:
        return f"{self.slurm.layout.output_dir}/{name}.out"


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main() -> None:
    """`python -m benchmarks.prolog [--runs N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    runs: int = parser.parse_args().runs
    times: dict[tuple[str, bool], list[float]] = {}
    with temporary_folder() as folder, choose().open(folder) as broker:
        for waits in (False, True):
            with ExitStack() as stack:
                bench = _bench(
                    stack, folder / ("with" if waits else "alone"), broker, runs, waits=waits
                )
                for _ in range(runs):
                    for kind, size in zip(KINDS, SIZES, strict=True):
                        times.setdefault((kind, waits), []).append(bench.measure(kind, size))
    print(f"seconds from the last registration to the start; {runs} runs of each kind")
    figures = []
    for kind in KINDS:
        ours, alone = times[kind, True], times[kind, False]
        figures += [
            Figure(f"{kind}, median", statistics.median(ours), MEDIAN, "s"),
            Figure(f"{kind}, maximum", max(ours), MOST, "s"),
        ]
        spread = f"{min(alone):.2f} to {max(alone):.2f}, median {statistics.median(alone):.2f}"
        print(f"  Slurm alone, {kind}: {spread}")
    print(render(figures))


def _bench(stack: ExitStack, folder: Path, broker: Broker, runs: int, *, waits: bool) -> Bench:
    settings = SlurmSettings(nodes=runs * sum(SIZES), suspend_time=3600, resume_timeout=300)
    waiting = folder / "waiting"
    folder.mkdir()
    folder.chmod(0o755)
    if waits:
        program = site_prolog(folder / "site-prolog", waiting)
        settings = replace(settings, extra_conf=(f"PrologSlurmctld={program}",))
    slurm = stack.enter_context(PrivateSlurm(folder / "slurm", settings))
    if waits:
        vhost = broker.create_vhost()
        more = (
            f'[slurm]\nprolog = "{waiting}"\n[groups.g]\nnodes = "node[1-{settings.nodes}]"\n'
            'cloud = "c"\n[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
        )
        site = Installation(slurm.conf_dir, broker.amqp_url(vhost), more=more)
        site.make_hook_folders()
        site.prepare()
        stack.enter_context(site.start("worker", "slurm"))
        until(lambda: "prolog_watched" in site.logs(), 30, "the slurm worker")
    return Bench(slurm, iter(expand(f"node[1-{settings.nodes}]")))


if __name__ == "__main__":
    main()
