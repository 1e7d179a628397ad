"""`lamplighter worker snapshot`: on slurmctld's host, as SlurmUser, without any cloud's credential.

It publishes the state of Slurm's nodes, then what has started and ended since the last time.
"""

import os
from dataclasses import replace

import structlog

from producers import snapshot as producer
from producers.clock import ClockError
from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name
from schemas.snapshot import SlurmNode, Snapshot
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.runtime import declare_topology, runtime
from workers.slurm.commands import SlurmAwayError
from workers.slurm.nodes import JobState, NodeState
from workers.slurm.run_reporter import publish, report_changes, report_uws_jobs
from workers.slurm.scontrol import Slurm
from workers.store.heartbeats import problem


def main(settings: Settings) -> int:
    """Take snapshots until SIGTERM or SIGINT.

    Raises:
        ConfigError: Slurm's commands are not installed here.
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    slurm = Slurm(settings)
    log = structlog.get_logger()
    with runtime("snapshot", settings) as run:
        declare_topology(run)
        while run.stop.next_turn():
            try:
                taken = take_and_publish(settings, slurm)
                run.state = f"{len(taken.nodes)} nodes in the last snapshot"
                report_changes(settings, slurm)
                report_uws_jobs(settings, slurm, run.store)
            except SlurmAwayError as error:
                run.state = problem(f"waits for slurmctld: {error}")
                log.warning("slurmctld_away", error=str(error))
            except (ClockError, MalformedMessageError, BrokerError) as error:
                run.state = problem(str(error))
                log.warning("snapshot_failed", error=str(error))
            except OSError as error:
                run.state = problem(f"hooks.state: {error}")
                log.warning("reported_runs_not_written", error=str(error))
            run.stop.rest(settings.slurm.snapshot_interval)
    return 0


def take_and_publish(settings: Settings, slurm: Slurm) -> Snapshot:
    """Take a generation, query Slurm, and publish the snapshot.

    Raises:
        SlurmAwayError: slurmctld does not answer.
        MalformedMessageError: its answer cannot be parsed.
        ClockError: no generation can be taken.
        BrokerError: the broker did not accept the snapshot.
    """
    state = settings.hook.state
    if os.geteuid() == 0 and not state.is_dir():
        # the hooks cannot write to a folder that root creates
        raise ClockError(f"hooks.state: {state} does not exist; create it, owned by SlurmUser")
    taken = producer.take(settings.cluster, state, lambda: read_nodes(slurm))
    taken = replace(taken, power_saving=slurm.power_saving())
    publish(settings, producer.messages(taken))
    return taken


def read_nodes(slurm: Slurm) -> list[SlurmNode]:
    """All nodes, and the jobs on them.

    Nodes come first: a job that starts on a node in between is then seen there.

    Raises:
        SlurmAwayError, MalformedMessageError: see `take_and_publish`.
    """
    states = slurm.nodes()
    return nodes_with_jobs(list(states.values()), list(slurm.running().values()))


def nodes_with_jobs(states: list[NodeState], jobs: list[JobState]) -> list[SlurmNode]:
    """The nodes of a snapshot; names that a hook may not use are omitted.

    Raises:
        MalformedMessageError: the nodes of a job cannot be parsed: then no node is known to be free.
    """
    by_node: dict[str, list[int]] = {}
    for job in jobs:
        for name in expand(job.nodes) if job.nodes else ():
            by_node.setdefault(name, []).append(job.job_id)
    return [
        SlurmNode(
            node.node,
            node.state,
            node.reason,
            tuple(sorted(by_node.get(node.node, ()))),
        )
        for node in states
        if is_node_name(node.node)
    ]
