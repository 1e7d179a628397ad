"""`lamplighter worker snapshot`: on slurmctld's host, as SlurmUser, without any cloud's credential.

It says how Slurm sees its nodes, and then what has begun and ended there since it looked last.
"""

import os

import structlog

from producers import snapshot as producer
from producers.clock import ClockError
from producers.hosts import expand
from producers.message import Batch
from producers.outbox import deliver
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name
from schemas.snapshot import SlurmNode, Snapshot
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.runtime import declare_topology, runtime
from workers.slurm.nodes import JobState, NodeState
from workers.slurm.run_reporter import tell
from workers.slurm.scontrol import Slurm, SlurmAwayError

_PUBLISH_SECONDS = 20.0


def main(settings: Settings) -> int:
    """Take snapshots until SIGTERM or SIGINT.

    Raises:
        ConfigError: Slurm's commands are not here.
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    slurm = Slurm(settings)
    log = structlog.get_logger()
    with runtime("snapshot", settings) as run:
        declare_topology(run)
        while not run.stop.is_set():
            try:
                taken = take_and_publish(settings, slurm)
                run.state = f"{len(taken.nodes)} nodes said"
                tell(settings, slurm)
            except SlurmAwayError as error:
                run.state = "waits for slurmctld"
                log.warning("slurmctld_away", error=str(error))
            except (ClockError, MalformedMessageError, BrokerError) as error:
                run.state = str(error)
                log.warning("no_snapshot_taken", error=str(error))
            except OSError as error:
                run.state = f"hooks.state: {error}"
                log.warning("chronicle_not_kept", error=str(error))
            run.stop.wait(settings.slurm.snapshot_interval)
    return 0


def take_and_publish(settings: Settings, slurm: Slurm) -> Snapshot:
    """Stamp, read Slurm, publish.

    Raises:
        SlurmAwayError, MalformedMessageError: slurmctld does not answer, or not as it should.
        ClockError: no generation can be stamped.
        BrokerError: the broker did not take it.
    """
    state = settings.hook.state
    if os.geteuid() == 0 and not state.is_dir():
        # root's would be shut to the hooks
        raise ClockError(f"hooks.state: {state} does not exist; make it, owned by SlurmUser")
    taken = producer.take(settings.cluster, state, lambda: read_nodes(slurm))
    batch = Batch(producer.messages(taken), lambda: None)
    problem = deliver(settings.hook, "lamplighter snapshot", [batch], _PUBLISH_SECONDS).problem
    if problem is not None:
        raise BrokerError(problem)
    return taken


def read_nodes(slurm: Slurm) -> list[SlurmNode]:
    """All nodes, and the jobs on them.

    Nodes first: a job that takes a node in between is then seen on it.

    Raises:
        SlurmAwayError, MalformedMessageError: as `take_and_publish`.
    """
    states = slurm.nodes()
    return with_jobs(list(states.values()), list(slurm.running().values()))


def with_jobs(states: list[NodeState], jobs: list[JobState]) -> list[SlurmNode]:
    """The nodes as they are said; others than such names as hooks may say are left out.

    Raises:
        MalformedMessageError: a job's nodes cannot be read: then no node is surely free.
    """
    by_node: dict[str, list[int]] = {}
    for job in jobs:
        for name in expand(job.nodes) if job.nodes else ():
            by_node.setdefault(name, []).append(job.job_id)
    return [
        SlurmNode(
            node.node,
            "+".join((node.base or "UNKNOWN", *sorted(node.flags))),
            node.reason,
            tuple(sorted(by_node.get(node.node, ()))),
        )
        for node in states
        if is_node_name(node.node)
    ]
