"""One storm: from the start of an installation to the verdict."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from storm import checker
from storm.checker import Verdict
from storm.collect import collect, queues
from storm.evidence import Evidence
from storm.faults.carrier import Faults, carry_out
from storm.jobs import Jobs
from storm.plan import STRATEGIES, PlannedJob, store_of, storm
from storm.site import Site, workers_of
from tests.testbed.processes import Child
from tests.testbed.slurm import SlurmError
from tests.testbed.waiting import until, until_none

_MIB = 1 << 20
_SAMPLE_EVERY = 3.0
# How long rest may take, on a busy machine: the longest tier that a request can reach here lasts
# 30 s, and jobs that ask for the same node by name run one after the other.
_CALM = 240.0
_FAULTS_END = 120.0
# A server's task that lasts longer does not end; Lamplighter has said so after 25 s.
_STUCK = 35.0
_PROOF_SECONDS = 2


@dataclass(frozen=True)
class Result:
    """What came of a storm; `failed` are faults that could not be carried out, or undone."""

    seed: int
    seconds: float
    nodes: int
    brokers: int
    store: str
    failed: tuple[str, ...]
    jobs: int
    evidence: Evidence
    verdict: Verdict


def run(  # noqa: PLR0913 - most are keyword-only
    folder: Path,
    *,
    seed: int,
    seconds: float,
    nodes: int = 51,
    brokers: int = 1,
    store: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Let a storm of `seconds` pass over an installation in `folder`; wait for rest, and check.

    Raises:
        RuntimeError, TimeoutError: the installation does not start, or a fault cannot be undone.
    """
    store = store or store_of(seed)
    planned = storm(seed, seconds, brokers, store, nodes)
    with Site(folder, nodes, brokers, store, say) as site:
        jobs = Jobs(site.slurm, folder, site.beats, site.partitions)
        faults = Faults(site, folder / "faults.log", random.Random(seed))  # noqa: S311 - no secret
        say(f"a storm of {seconds:g} s: {len(planned.faults)} faults, {len(planned.jobs)} jobs")
        try:
            with _sampled(site) as memory:
                coming = list(planned.jobs)
                began = time.monotonic()

                def tick() -> None:
                    while coming and time.monotonic() >= began + coming[0].at:
                        jobs.submit(coming.pop(0))
                    if not (site.slurm.ctld_runs or faults.is_under_way("slurmctld")):
                        say("slurmctld has ended by itself: it is started again, as by systemd")
                        site.slurm.start_ctld()

                carry_out(faults, planned.faults, began, tick)
                until(lambda: tick() or not coming, seconds, "the last job")  # type: ignore[func-returns-value]
                say("calm: everything comes to rest")
                unsettled = list(_rest(site, faults, jobs))
                sizes = {name: tuple(values) for name, values in memory.items()}
        finally:
            jobs.close()
        say("the checks")
        seen = collect(
            site,
            injected=faults.injected,
            outside=faults.cut_power,
            memory=sizes,
            unsettled=[*unsettled, *faults.hung],
        )
        return Result(
            seed=seed,
            seconds=seconds,
            nodes=nodes,
            brokers=brokers,
            store=store,
            failed=tuple(faults.failed),
            jobs=jobs.submitted,
            evidence=seen,
            verdict=checker.check(seen),
        )


def _rest(site: Site, faults: Faults, jobs: Jobs) -> Iterator[str]:
    """Wait for rest; one line for each thing that does not come to rest."""
    faults.end(_FAULTS_END)
    site.log_in()
    site.release(",".join(site.slurm.settings.node_names))
    deadline = time.monotonic() + _CALM
    tasks: dict[tuple[str, str], float] = {}
    for what, find in (
        ("jobs in the queue", lambda: _after_repair(_queue, site, tasks)),
        ("nodes in use or between two states", lambda: _after_repair(_awake, site, tasks)),
    ):
        yield from _wait(what, find, deadline)
    # After all that, each strategy still brings nodes to a job.
    for strategy in STRATEGIES:
        jobs.submit(PlannedJob(0, "nodes", strategy, 2, _PROOF_SECONDS))
    deadline = time.monotonic() + _CALM
    for what, find in (
        ("jobs after the storm", lambda: _queue(site)),
        ("nodes in use after the storm", lambda: _awake(site)),
        ("messages in queues", lambda: _messages(site)),
        ("differences that no drift names", lambda: _differences(site)),
    ):
        yield from _wait(what, find, deadline)


def _repair(site: Site, tasks: dict[tuple[str, str], float]) -> None:
    """Do what Lamplighter leaves to people.

    Servers in ERROR; those whose task never ends, by when `tasks` first saw it; nodes that Slurm itself
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
            site.simulated.set_power(server.name, on=False)
    for node, state in states.items():
        is_off = {"DOWN", "POWERED_DOWN"} <= state
        if (is_off or "DRAIN" in state) and not site.slurm.node_reason(node).startswith(
            "lamplighter"
        ):
            to = "IDLE" if is_off else "RESUME"
            site.slurm.scontrol("update", f"NodeName={node}", f"State={to}")
    for job in _queue(site):
        if "launch failed requeued held" in job:
            site.slurm.scontrol("release", job.split()[0])
    for job in half_ended(site.slurm.run("squeue", "-h", "--states=all", "--format=%i %T")):
        site.slurm.run("scancel", job)


def half_ended(listed: str) -> list[str]:
    """The heterogeneous jobs of which a part waits for ever, because another has ended.

    A slurmctld that was killed has forgotten that the leader has run. It is the first in its partition,
    and never starts: only backfill starts others.

    Args:
        listed: squeue's lines: job (`302+1`) and state.
    """
    states: dict[str, set[str]] = defaultdict(set)
    for line in listed.splitlines():
        job, state = line.split()
        leader, part, _ = job.partition("+")
        if part:
            states[leader].add(state)
    return [job for job, found in states.items() if {"PENDING", "COMPLETED"} <= found]


def _wait(what: str, find: Callable[[], object], deadline: float) -> Iterator[str]:
    try:
        until_none(find, max(10.0, deadline - time.monotonic()), what)
    except TimeoutError as error:
        yield str(error)[:1000]


def _queue(site: Site) -> list[str]:
    try:
        return site.slurm.run("squeue", "--noheader", "--format=%i %T %r %N").splitlines()
    except SlurmError as error:
        return [str(error)]


def _after_repair(
    find: Callable[[Site], list[str]], site: Site, tasks: dict[tuple[str, str], float]
) -> list[str]:
    with suppress(SlurmError):
        _repair(site, tasks)
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


def _differences(site: Site) -> list[str]:
    servers = site.simulated.all_servers()
    return [
        f"{server.name}: {server.status}"
        for server in servers
        if server.powered or server.task_state
    ]


@contextmanager
def _sampled(site: Site) -> Iterator[dict[str, list[float]]]:
    """The memory of each worker over time, in MiB; a new process goes on where the old one was."""
    memory: dict[str, list[float]] = {}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_EVERY):
            for owner, prefix in ((site.workers, ""), (site.second, "second ")):
                for name, size in _sizes(owner):
                    memory.setdefault(prefix + name, []).append(size)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _sizes(owner: Child | None) -> Iterator[tuple[str, float]]:
    for name, process in workers_of(owner).items():
        with suppress(psutil.NoSuchProcess):
            yield name, process.memory_info().rss / _MIB
