"""How the installation of a storm is laid out: its groups and times, its disks, its hooks."""

from collections.abc import Mapping
from pathlib import Path

from storm.plan import STRATEGIES
from tests.testbed.cluster import PROGRAMS, ClusterPlan
from tests.testbed.slurm_conf import SlurmSettings

# Megabytes of each disk; PostgreSQL's only where it runs.
DISKS = {"spool": 4, "state": 64, "audit": 128}
DATABASE_DISK = 256
_SCHEDULER = "sched_interval=3,bf_interval=3,batch_sched_delay=0"
# Slurm's commands run by the machine's clock.
_COMMAND = '#!/bin/sh\nunset LD_PRELOAD\nexec {program} "$@"\n'
_CALLER = """#!/bin/sh
# Runs a hook as slurmctld does, without descriptors 0 to 2, and records the call.
calls={folder}/hook-calls
echo "$$ begin $(/usr/bin/date +%s.%N) {kind} $1" >>$calls
if /usr/bin/mv {folder}/kill-hook {folder}/kill-hook.$$ 2>/dev/null; then
  killer="/usr/bin/timeout -s KILL $(/usr/bin/cat {folder}/kill-hook.$$)"
fi
/usr/bin/env {clock} $killer {program} "$1" <&- >&- 2>&-
status=$?
echo "$$ end $(/usr/bin/date +%s.%N) $status" >>$calls
exit $status
"""


def layout(nodes: int) -> ClusterPlan:
    """A third of the nodes for each strategy, one partition each; times short enough for a storm."""
    names = [f"node{number}" for number in range(1, nodes + 1)]
    of = {name: STRATEGIES[number * 3 // nodes] for number, name in enumerate(names)}
    partitions = [
        f"PartitionName={strategy} Nodes={','.join(n for n in names if of[n] == strategy)}"
        for strategy in STRATEGIES
    ]
    slurm = SlurmSettings(
        nodes=nodes,
        suspend_time=4,
        suspend_timeout=6,
        resume_timeout=45,
        cred_expire=5,
        # each job by itself: more calls of hooks
        extra_conf=(
            *partitions,
            "KillWait=5",
            "InactiveLimit=30",
            f"SchedulerParameters={_SCHEDULER}",
        ),
    )
    return ClusterPlan(
        slurm,
        boot=2.0,
        stop=1.0,
        strategies=of,
        group="boot_timeout = 25.0\nstop_timeout = 25.0\ncool_down = 5.0",
        slurm_toml='bin = "../../slurm-bin"\n'
        "return_after = 10.0\nreturn_at_most = 40.0\ngive_back_after = 30.0",
        prolog=True,
        snapshot_interval=5.0,
        grace=4.0,
        stores=("state/state.db", "audit/audit.db"),
        more=(
            "[power]\npoll_interval = 0.5\nlease = 8.0\napi_timeout = 4.0\nattempts = 3\n"
            '[audit]\nkey_file = "audit.key"\nheads_file = "audit.heads"\nheads_every = 10.0\n'
            '[tokens]\nkey_file = "token.key"\n'
        ),
    )


def hook_caller(folder: Path, kind: str, clock: Mapping[str, str]) -> str:
    """The program that slurmctld runs as a hook."""
    return _CALLER.format(
        folder=folder,
        kind=kind,
        clock=" ".join(f"{name}={value}" for name, value in clock.items()),
        program=PROGRAMS / f"lamplighter-{kind}",
    )


def slurm_command(program: str | None) -> str:
    """A command of Slurm, run by the machine's clock."""
    return _COMMAND.format(program=program)
