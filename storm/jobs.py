"""The jobs of a storm: each task shows twice a second, in a file of its own, that it is alive."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from storm.evidence import BatchJob
from storm.plan import PlannedJob
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.slurm import PrivateSlurm

# No process is started for a beat: many jobs run on few cores.
_BEAT = """#!/bin/bash
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
file={beats}/${{job:-$SLURM_JOB_ID}}.$SLURMD_NODENAME.$EPOCHREALTIME
say() {{ echo "$1 $EPOCHREALTIME" >>"$file"; }}
trap 'say term; exit 143' TERM
say begin
exec 9<> <(:)
for ((i = 0; i < $1 * 2; i++)); do read -t 0.5 -u 9; say alive; done
say end
"""
_TASKS = (1, 2, 3)  # of an array


def _asked(number: str, job: PlannedJob) -> BatchJob:
    if job.kind == "array":
        return BatchJob(tuple(f"{number}_{task}" for task in _TASKS), 1, time.time())
    parts = 2 if job.kind == "het" else 1
    return BatchJob((number,), job.nodes + parts - 1, time.time(), parts)


class Jobs:
    """Submits jobs to a private Slurm.

    Args:
        slurm: where they run.
        folder: for the program that they run.
        beats: the folder of their files.
        partitions: the nodes of each.

    Attributes:
        submitted: how many jobs slurmctld has taken, an array as one.
        refused: how many it could not take, because it was away.
        batch: the batch jobs that it has taken, but for those that are cancelled.
    """

    def __init__(
        self,
        slurm: PrivateSlurm,
        folder: Path,
        beats: Path,
        partitions: Mapping[str, Sequence[str]],
    ) -> None:
        self._slurm, self._partitions = slurm, partitions
        self.beat = folder / "beat"
        self.beat.write_text(_BEAT.format(beats=beats))
        self.beat.chmod(0o755)
        self.submitted = self.refused = 0
        self.batch: list[BatchJob] = []
        self._waiting: list[subprocess.Popen[bytes]] = []
        self._timers: dict[str, threading.Timer] = {}

    def submit(self, job: PlannedJob) -> None:
        """Submit a job, without waiting for it."""
        # a step whose slurmd died while slurmctld was away is waited for without end: two minutes do
        many = ["--time=2", "--ntasks-per-node=1", f"--nodes={job.nodes}"]
        many.append(f"--partition={job.partition}")
        if job.first is not None:
            many.append(f"--nodelist={self._named(job, job.first)}")
        script = f"exec srun {self.beat} {job.seconds}"
        match job.kind:
            case "srun":
                self._spawn("srun", *many, str(self.beat), str(job.seconds))
            case "salloc":
                self._spawn("salloc", *many, "srun", str(self.beat), str(job.seconds))
            case "array":
                self._batch(
                    job,
                    f"exec {self.beat} {job.seconds}",
                    *many,
                    f"--array={_TASKS[0]}-{_TASKS[-1]}",
                )
            case "het":
                # each part says its size: otherwise srun takes the leader's for both, and fails
                parts = (
                    f"--het-group={part} --nodes={nodes} --ntasks={nodes} {self.beat} {job.seconds}"
                    for part, nodes in enumerate((job.nodes, 1))
                )
                srun = f"exec srun {' : '.join(parts)}"
                self._batch(job, srun, *many, ":", "--nodes=1", f"--partition={job.partition}")
            case "batch" | "unrequeueable":
                more = ["--no-requeue"] if job.kind == "unrequeueable" else []
                self._batch(job, f"exec {self.beat} {job.seconds}", *many, *more)
            case _:
                self._batch(job, script, *many)

    def _named(self, job: PlannedJob, part: float) -> str:
        nodes = self._partitions[job.partition]
        first = int(part * (len(nodes) - job.nodes + 1))
        return ",".join(nodes[first : first + job.nodes])

    def _batch(self, job: PlannedJob, command: str, *options: str) -> None:
        try:
            said = self._slurm.run(
                "sbatch",
                *("--parsable", "--output=/dev/null", "--chdir=/", "--requeue"),
                *options,
                text=f"#!/bin/bash\n{command}\n",
            )
        except (RuntimeError, subprocess.TimeoutExpired):
            self.refused += 1
            return
        self.submitted += 1
        number = said.strip().partition(";")[0]
        if earlier := self._timers.pop(number, None):
            earlier.cancel()  # slurmctld was killed, has forgotten that job, and gives its number again
        if job.kind not in {"cancelled", "unrequeueable"}:
            self.batch.append(_asked(number, job))
        if job.whim is not None:
            words = ["scontrol", "requeue"] if job.kind == "requeued" else ["scancel"]
            words.append(number)
            timer = threading.Timer(job.whim, partial(self._quietly, self._slurm.run, *words))
            timer.daemon = True
            timer.start()
            self._timers[number] = timer

    def _spawn(self, *words: str) -> None:
        self.submitted += 1
        self._waiting.append(
            subprocess.Popen(
                [*self._slurm._loopback.prefix, *words],  # noqa: SLF001 - as PrivateSlurm.run does
                env=MINIMAL_ENVIRONMENT | {"SLURM_CONF": str(self._slurm.conf)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    @staticmethod
    def _quietly(run: Callable[..., object], *words: str) -> None:
        # the job may have ended, and slurmctld may be away
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            run(*words)

    def close(self) -> None:
        """End what waits for nodes."""
        for timer in self._timers.values():
            timer.cancel()
        for process in self._waiting:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the srun that an salloc has started
            process.wait()
