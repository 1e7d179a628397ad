"""A job on powered-down nodes: they are lit, it runs, they go out; then the audit's story of it."""

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
from demo.state import Sight, look
from schemas.events import Transition
from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.slurm_conf import SlurmSettings
from workers.store.database import connect

_PATIENCE = 110.0
_LOOK = 0.25
_JOB = """#!/bin/sh
echo "the job runs on $SLURM_JOB_NODELIST"
srun sh -c 'echo "hello from $SLURMD_NODENAME"' | sort
"""


def main() -> int:
    """Run it; 0 when the story went as told."""
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-demo-"))
    # slurmd runs jobs as other users, who must reach what is below
    folder.chmod(0o755)
    screen = Screen()
    try:
        with screen:
            plan = ClusterPlan(
                SlurmSettings(nodes=4, suspend_time=10, suspend_timeout=5), snapshot_interval=10.0
            )
            screen.step("Starting what the story needs")
            with Cluster(folder, plan, say=lambda what: screen.step(f"Starting {what}")) as cluster:
                _tell(cluster, screen)
                screen.console.print("\nStopping all of it")
    except (TimeoutError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)  # noqa: T201 - for whoever ran make demo
        return 1
    else:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Story:
    """A cluster, a job on it, and where to show them."""

    cluster: Cluster
    audit: sa.Engine
    job_id: int
    screen: Screen

    def wait(self, text: str, until: Callable[[Sight], bool]) -> Sight:
        """Show what is to be seen until it is as awaited.

        Raises:
            TimeoutError: naming the step.
        """
        self.screen.step(text)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            sight = look(self.cluster, self.audit, self.job_id)
            self.screen.show(sight)
            if until(sight):
                return sight
            time.sleep(_LOOK)
        raise TimeoutError(f"gave up after {_PATIENCE:g} s at: {text}")


def _tell(cluster: Cluster, screen: Screen) -> None:
    screen.step("sbatch --nodes=2: a job for nodes that are out")
    job_id = cluster.slurm.sbatch(_JOB, nodes=2)
    with closing_engine(cluster.settings.store.audit_url) as audit:
        story = _Story(cluster, audit, job_id, screen)
        story.wait("slurmctld runs lamplighter-resume; the nodes are lit", _two_lit)
        story.wait("Their slurmd have registered; Slurm starts the job", _job_done)
        story.wait("The nodes idle, slurmctld runs lamplighter-suspend, they go out", _all_out)
        sight = story.wait("The audit hears the last of it", _all_told)
    screen.freeze()
    _print_end(cluster, job_id, sight.events[0].request_id or "", screen)


@contextmanager
def closing_engine(url: str) -> Iterator[sa.Engine]:
    """A store to look into."""
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _job_done(sight: Sight) -> bool:
    return sight.job == "COMPLETED"


def _two_lit(sight: Sight) -> bool:
    return sum(lamp.light == "lit" for lamp in sight.lamps) >= 2  # noqa: PLR2004 - the job's nodes


def _all_out(sight: Sight) -> bool:
    return all(lamp.light == "out" and lamp.cloud == "SHUTOFF" for lamp in sight.lamps)


def _all_told(sight: Sight) -> bool:
    terminal = [e for e in sight.events if e.transition and Transition(e.transition).terminal]
    return len(terminal) == len({e.request_id for e in sight.events if e.request_id})


def _print_end(cluster: Cluster, job_id: int, first: str, screen: Screen) -> None:
    console = screen.console
    console.print(Text(f"\nThe output of job {job_id}", style="bold"))
    console.print(Text(cluster.slurm.output(job_id).rstrip()))
    command = [str(PROGRAMS / "lamplighter"), "--config", str(cluster.settings.path)]
    for told in (["audit", "list"], ["audit", "show", first]):
        console.print(Text(f"\n$ lamplighter {' '.join(told)}", style="bold"))
        done = subprocess.run([*command, *told], capture_output=True, text=True, check=True)
        console.print(Text(done.stdout.rstrip()), soft_wrap=True)
    calls = cluster.simulated.call_counts()
    console.print(
        Text(
            f"\nCalls to the cloud: {calls.calls['start']} starts, {calls.calls['stop']} stops, "
            f"{calls.calls['list_detail']} listings; "
            f"{calls.calls.get('rescope', 0)} scoped token for all of it",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
