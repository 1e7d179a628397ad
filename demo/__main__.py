"""Run one job on powered-down nodes: they are lit, the job runs, they go out; then show the audit.

If a step fails, the reason and the ends of the logs are printed, and the folder with all logs is kept.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from rich.text import Text

from demo.screen import Screen
from demo.state import DemoState, read_state
from schemas.events import Transition
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.failures import describe
from tests.testbed.processes import tail
from tests.testbed.slurm_conf import SlurmSettings
from workers.store.database import connect

_STEP_TIMEOUT = 110.0
_POLL_INTERVAL = 0.25
_INTERRUPTED = 130
_REASON_LINES = 4
_JOB = """#!/bin/sh
echo "the job runs on $SLURM_JOB_NODELIST"
srun sh -c 'echo "hello from $SLURMD_NODENAME"' | sort
"""


def main() -> int:
    """Run the demo; return 0 if every step succeeded."""
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-demo-"))
    # slurmd runs jobs as other users, which must reach the files below
    folder.chmod(0o755)
    try:
        with Screen() as screen:
            _run(folder, screen)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the reason of any failure is shown
        _print_failure(error, folder)
        return 1
    else:
        code = 0
    shutil.rmtree(folder, ignore_errors=True)
    return code


def _run(folder: Path, screen: Screen) -> None:
    slurm = SlurmSettings(nodes=4, suspend_time=10, suspend_timeout=5)
    plan = ClusterPlan(slurm, snapshot_interval=10.0, prolog=True)
    with Cluster(folder, plan, say=lambda what: screen.step(f"Starting {what}")) as cluster:
        try:
            _run_job(cluster, screen)
        except Exception as error:
            # now: the servers write to their logs when they stop
            error.add_note(describe([folder]))
            raise
        screen.console.print("\nStopping all servers")


def _print_failure(error: Exception, folder: Path) -> None:
    known = isinstance(error, (TimeoutError, RuntimeError))
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    notes = getattr(error, "__notes__", [describe([folder])])
    lines = ("", *notes, f"demo: {reason}", f"demo: all logs are in {folder}", "")
    sys.stderr.write("\n".join(lines))


@dataclass(frozen=True)
class _Watch:
    """Watches a job on a cluster."""

    cluster: Cluster
    audit: sa.Engine
    job_id: int
    screen: Screen

    def wait(self, text: str, until: Callable[[DemoState], bool]) -> DemoState:
        """Show the state until a condition holds.

        Raises:
            TimeoutError: the condition does not hold in time; the message names the step.
            RuntimeError: the cloud could not start or stop a node's slurmd.
        """
        self.screen.step(text)
        deadline = time.monotonic() + _STEP_TIMEOUT
        while time.monotonic() < deadline:
            state = read_state(self.cluster, self.audit, self.job_id)
            self.screen.show(state)
            if until(state):
                return state
            if self.cluster.simulated.state().hook.failed:
                log = tail(Path(self.cluster.hook.log_file), _REASON_LINES)
                raise RuntimeError(f"a node's slurmd cannot be started or stopped:\n{log}")
            time.sleep(_POLL_INTERVAL)
        raise TimeoutError(f"timeout after {_STEP_TIMEOUT:g} s at: {text}")


def _run_job(cluster: Cluster, screen: Screen) -> None:
    screen.step("sbatch --nodes=2: a job for nodes that are out")
    job_id = cluster.slurm.sbatch(_JOB, nodes=2)
    with _connected(cluster.settings.store.audit_url) as audit:
        watch = _Watch(cluster, audit, job_id, screen)
        watch.wait("slurmctld runs lamplighter-resume: two nodes are lit", _two_are_lit)
        watch.wait(
            "slurmd registers on both nodes: lamplighter-prolog lets Slurm start the job at once",
            _job_completed,
        )
        watch.wait("The nodes are idle: slurmctld runs lamplighter-suspend, they go out", _all_out)
        state = watch.wait("The audit records the last event", _all_recorded)
    screen.freeze()
    _print_end(cluster, job_id, state.events[0].request_id or "", screen)


@contextmanager
def _connected(url: str) -> Iterator[sa.Engine]:
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _job_completed(state: DemoState) -> bool:
    return state.job == "COMPLETED"


def _two_are_lit(state: DemoState) -> bool:
    return sum(lamp.light == "lit" for lamp in state.lamps) >= 2  # noqa: PLR2004 - the job's nodes


def _all_out(state: DemoState) -> bool:
    return all(lamp.light == "out" and lamp.cloud == "SHUTOFF" for lamp in state.lamps)


def _all_recorded(state: DemoState) -> bool:
    terminal = [e for e in state.events if e.transition and Transition(e.transition).terminal]
    return len(terminal) == len({e.request_id for e in state.events if e.request_id})


def _print_end(cluster: Cluster, job_id: int, first: str, screen: Screen) -> None:
    console = screen.console
    console.print(Text(f"\nThe output of job {job_id}", style="bold"))
    console.print(Text(cluster.slurm.output(job_id).rstrip()))
    command = [str(PROGRAMS / "lamplighter"), "--config", str(cluster.settings.path)]
    for words in (["audit", "list"], ["audit", "show", first]):
        console.print(Text(f"\n$ lamplighter {' '.join(words)}", style="bold"))
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
        console.print(Text(done.stdout.rstrip()), soft_wrap=True)
    counts = cluster.simulated.call_counts()
    console.print(
        Text(
            f"\nCalls to the cloud: {counts.calls['start']} starts, {counts.calls['stop']} stops, "
            f"{counts.calls['list_detail']} listings, {counts.calls.get('rescope', 0)} scoped token",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
