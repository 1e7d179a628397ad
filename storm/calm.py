"""After a storm: wait for rest, as the operator does what Lamplighter leaves to people."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

import requests

from storm.collect import beats, queues
from storm.evidence import BatchJob, Beats
from storm.faults.carrier import Faults
from storm.jobs import Jobs
from storm.plan import STRATEGIES, PlannedJob
from storm.rules.jobs import ends_of, has_ended
from storm.site import Site
from tests.testbed.slurm import SlurmError
from tests.testbed.waiting import until, until_none

# How long rest may take, on a busy machine: the longest tier that a request can reach here lasts 30 s.
_CALM = 240.0
_FAULTS_END = 120.0
# What is looked for after something that took all of that time: a node that is idle powers down.
_LEAST = 60.0
# The states of a part of a heterogeneous job that has not ended.
_GOES_ON = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED"}
# A server's task that lasts longer does not end; Lamplighter has said so after 25 s.
_STUCK = 35.0
_PROOF_SECONDS = 2
# How our reason begins for a node whose server was deleted.
_MISSING = "lamplighter: server_missing"


def rest(site: Site, faults: Faults, jobs: Jobs) -> Iterator[str]:
    """Wait for rest; one line for each thing that does not come to rest."""
    faults.end(_FAULTS_END)
    site.log_in()
    site.release(",".join(site.slurm.settings.node_names))
    tasks: dict[tuple[str, str], float] = {}
    yield from _drained(lambda: _after_repair(_queue, site, faults, tasks))
    yield from _wait(
        "nodes in use or between two states",
        lambda: _after_repair(_awake, site, faults, tasks),
        time.monotonic() + _CALM,
    )
    # After all that, each strategy still brings nodes to a job.
    deadline = time.monotonic() + _CALM
    for strategy in STRATEGIES:
        job = PlannedJob(0, "nodes", strategy, 2, _PROOF_SECONDS)
        yield from _wait(
            f"sbatch to take a job of {strategy}", partial(_refused, jobs, job), deadline
        )
    proofs = jobs.batch[-len(STRATEGIES) :]
    for what, find in (
        ("ends of the jobs after the storm", lambda: without_end(proofs, beats(site.beats))),
        ("jobs after the storm", lambda: _queue(site)),
        ("nodes in use after the storm", lambda: _awake(site)),
        ("messages in queues", lambda: _messages(site)),
        ("servers to be off", lambda: _running(site)),
    ):
        yield from _wait(what, find, deadline)


def _refused(jobs: Jobs, job: PlannedJob) -> list[PlannedJob]:
    refused = jobs.refused
    jobs.submit(job)
    return [job] if jobs.refused > refused else []


def without_end(batch: Iterable[BatchJob], seen: Iterable[Beats]) -> list[str]:
    """The batch jobs, each with its nodes, of which not all nodes have shown the end."""
    ends = ends_of(seen)
    return [
        f"{name}: {len(set(ends[name]))} of {job.nodes} nodes"
        for job in batch
        for name in job.tasks
        if not has_ended(job, ends[name])
    ]


def _repair(site: Site, faults: Faults, tasks: dict[tuple[str, str], float]) -> None:
    """Do what Lamplighter leaves to people.

    Servers in ERROR; those whose task never ends, by when `tasks` first saw it; nodes whose server the
    storm's operator has deleted, and which `deploy` skipped then; nodes that Slurm itself
    set down or drained, and jobs that it holds: a slurmctld that was killed in the middle of a launch
    finds "Duplicate jobid" and "launch failed". Het jobs that it has torn apart are cancelled.
    """
    now = time.monotonic()
    site.slurm.start_ctld()  # it can end by itself
    states = site.slurm.node_states()
    servers = site.simulated.all_servers()
    busy = {(server.id, server.task_state) for server in servers if server.task_state}
    for ended in tasks.keys() - busy:
        del tasks[ended]
    for server in servers:
        since = tasks.setdefault((server.id, server.task_state), now) if server.task_state else now
        if server.status == "ERROR" or now - since > _STUCK:
            faults.cut_power.append((server.name, time.time()))
            site.simulated.set_power(server.name, on=False)
    for node, state in states.items():
        if {"DOWN", "POWERED_DOWN"} <= state:
            _return(site, node, "IDLE")
        elif "DRAIN" in state:
            _return(site, node, "RESUME")
    for job in _queue(site):
        if "launch failed requeued held" in job:
            site.slurm.scontrol("release", job.split()[0])
    for job in half_ended(site.slurm.run("squeue", "-h", "--states=all", "--format=%i %T")):
        site.slurm.run("scancel", job)


def _return(site: Site, node: str, state: str) -> None:
    reason = site.slurm.node_reason(node)
    if reason.startswith(_MISSING):
        _deploy(site, node)
    elif not reason.startswith("lamplighter"):
        site.slurm.scontrol("update", f"NodeName={node}", f"State={state}")


def _deploy(site: Site, node: str) -> None:
    """Create the server that our words about the node miss, as `nodes deploy` asks: drained."""
    site.slurm.scontrol("update", f"NodeName={node}", "State=DRAIN", "Reason=deploy")
    site.operator("snapshot")
    site.operator("nodes", "deploy", node, "--reason", "storm", "--timeout", "60s")
    site.slurm.scontrol("update", f"NodeName={node}", "State=RESUME")


def half_ended(listed: str) -> list[str]:
    """The heterogeneous jobs of which a part waits for ever, because another has ended, or is forgotten.

    A slurmctld that was killed has forgotten that the leader has run. It is the first in its partition,
    and never starts: only backfill starts others.

    Args:
        listed: squeue's lines: job (`302+1`) and state.
    """
    states: dict[str, list[str]] = defaultdict(list)
    for line in listed.splitlines():
        job, state = line.split()
        leader, part, _ = job.partition("+")
        if part:
            states[leader].append(state)
    return [
        job
        for job, found in states.items()
        if "PENDING" in found and (len(found) == 1 or set(found) - _GOES_ON)
    ]


def _drained(find: Callable[[], list[str]]) -> Iterator[str]:
    """Wait as long as the queue becomes shorter: jobs that name the same node run one after the other."""
    left = find()

    def shorter() -> tuple[list[str]] | None:
        found = find()
        return (found,) if len(found) < len(left) else None

    try:
        while left:
            (left,) = until(shorter, _CALM, "the end of a job in the queue", interval=0.5)
    except TimeoutError:
        yield f"no job ended for {_CALM:g} s: {left}"[:1000]


def _wait(what: str, find: Callable[[], object], deadline: float) -> Iterator[str]:
    try:
        until_none(find, max(_LEAST, deadline - time.monotonic()), what)
    except TimeoutError as error:
        yield str(error)[:1000]


def _queue(site: Site) -> list[str]:
    try:
        return site.slurm.run("squeue", "--noheader", "--format=%i %T %r %N").splitlines()
    except SlurmError as error:
        return [str(error)]


def _after_repair(
    find: Callable[[Site], list[str]],
    site: Site,
    faults: Faults,
    tasks: dict[tuple[str, str], float],
) -> list[str]:
    with suppress(SlurmError):
        _repair(site, faults, tasks)
    return find(site)


def _awake(site: Site) -> list[str]:
    """The nodes that Slurm has not powered down; those out of service for a failed boot return."""
    try:
        states = site.slurm.node_states()
    except SlurmError as error:
        return [str(error)]
    return [
        f"{node} {'+'.join(sorted(state))}"
        for node, state in states.items()
        if not ("POWERED_DOWN" in state and "IDLE" in state and "POWERING_DOWN" not in state)
    ]


def _messages(site: Site) -> list[str]:
    try:
        return [
            f"{q.name}: {q.messages}" for q in queues(site) if q.messages and q.name != "power.dlq"
        ]
    except requests.RequestException as error:
        return [str(error)]


def _running(site: Site) -> list[str]:
    """The servers that run, or have a task, though Slurm has powered all nodes down."""
    servers = site.simulated.all_servers()
    return [
        f"{server.name}: {server.status}"
        for server in servers
        if server.powered or server.task_state
    ]
