"""The slurm worker with a real slurmctld and broker; the test acts as the power worker."""

from __future__ import annotations

import signal
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from producers.message import Message
from schemas.commands import Desired, Kind, PowerCommand, WaitingJob
from schemas.events import Cause, RequestEvent, Transition, transition_event
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import CORRELATION, published
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.broker import topology
from workers.slurm.causes import reason
from workers.slurm.node_memory import Due, NodeMemory, recall
from workers.store.database import connect, open_store, reading
from workers.store.lease_owner import Lease, Owner
from workers.store.nodes import NodeTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.testbed.broker import Broker

QUOTA = Cause("quota", "used 10 of 10")
NODES = 60
JOB = "#!/bin/sh\nsleep 30\n"


@dataclass
class Bench:
    """A slurmctld, an installation beside it, and the events of a power worker."""

    slurm: PrivateSlurm
    site: Installation

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run the slurm worker inside the block."""
        with self.site.start("worker", "slurm"):
            yield

    def resume(self, *nodes: str, jobs: tuple[int, ...] = ()) -> list[PowerCommand]:
        """Let Slurm power nodes up, and a power worker accept the requests."""
        states = self.slurm.node_states()
        if any("POWERING_UP" not in states[node] for node in nodes):
            self.slurm.scontrol("update", f"NodeName={','.join(nodes)}", "State=POWER_UP")
        until(lambda: all(self.has(n, "POWERING_UP") for n in nodes), 20, f"{nodes} to power up")
        return self.accept(Kind.RESUME, *nodes, jobs=jobs)

    def accept(self, kind: Kind, *nodes: str, jobs: tuple[int, ...] = ()) -> list[PowerCommand]:
        """A hook's request that a power worker has accepted."""
        generation = time.time_ns()
        commands = [
            PowerCommand(
                kind=kind,
                cluster=CLUSTER,
                node=node,
                generation=generation,
                correlation_id=CORRELATION,
                jobs=tuple(WaitingJob(job) for job in jobs),
            )
            for node in nodes
        ]
        store = open_store(self.site.settings.store.url, "state")
        with closing(Owner(store.url)) as owner:
            with store.begin() as connection:
                lease = Lease(owner, 60.0, settling=5.0)
                table = NodeTable(store, CLUSTER, lease)
                table.accept(connection, commands, generation)
                table.release(connection, nodes)
            store.dispose()
        return commands

    def publish(self, *events: RequestEvent) -> None:
        """Publish events."""
        self.site.publish([published(ended_event) for ended_event in events])

    def has(self, node: str, *flags: str) -> bool:
        return set(flags) <= self.slurm.node_state(node)

    def wait_acknowledged(self) -> None:
        """Wait until all events are acknowledged."""
        self.site.wait_depth(topology.FEEDBACK_QUEUE, 0, 30)


@pytest.fixture(scope="module")
def bench(session_dir: Path, broker: Broker) -> Iterator[Bench]:
    settings = SlurmSettings(nodes=NODES, suspend_time=600, suspend_timeout=5, resume_timeout=300)
    vhost = broker.create_vhost()
    with PrivateSlurm(session_dir / "worker", replace(settings, cred_expire=120)) as slurm:
        site = Installation(slurm.conf_dir, broker.amqp_url(vhost))
        site.config.write_text(
            site.config.read_text()
            + "[slurm]\nset_addresses = true\nreturn_after = 2\ngive_back_after = 2\n"
            '[clouds.c]\nauth_url = "http://127.0.0.1:1/v3"\nproject_id = "p"\n'
            'source = { type = "password", username = "u", password_command = ["true"] }\n'
            f'[groups.g]\nnodes = "node[1-{NODES}]"\ncloud = "c"\nhostname = "$node.cloud"\n'
        )
        site.prepare()
        yield Bench(slurm, site)
    broker.delete_vhost(vhost)


def ended(
    requested: PowerCommand, transition: Transition, cause: Cause | None = None
) -> RequestEvent:
    return replace(
        transition_event(requested, transition, round_=1, time=time.time_ns()), cause=cause
    )


def test_many_failed_nodes_are_updated_together_and_return(bench: Bench) -> None:
    """With one command for a hostlist, not one for each node; unreadable messages are ignored."""
    names = [f"node{i}" for i in range(21, NODES + 1)]
    requested = bench.resume(*names)
    bench.site.publish([Message(topology.EVENTS, "node.request.failed", b"no JSON", "x")])
    bench.publish(*(ended(command, Transition.FAILED, QUOTA) for command in requested))
    with bench.worker():
        until(lambda: all(bench.has(n, "DOWN") for n in names), 20, "all nodes down", interval=0.2)
        assert bench.slurm.node_reason(names[-1]) == reason(QUOTA)
        bench.wait_acknowledged()
        calls = bench.slurm.log.read_text().count("_slurm_rpc_update_node")
        assert calls < NODES / 4
        until(
            lambda: all(bench.has(n, "IDLE", "POWERED_DOWN") for n in names),
            60,
            "all nodes back in service",
            interval=0.5,
        )
        assert not any("NOT_RESPONDING" in state for state in states(bench, names))


def test_failure_is_reported_once_slurmctld_is_back(bench: Bench) -> None:
    (requested,) = bench.resume("node1")
    with bench.worker():
        until(lambda: bench.site.consumers(topology.FEEDBACK_QUEUE), 20, "the worker")
        bench.slurm.stop_ctld()
        bench.publish(ended(requested, Transition.FAILED, QUOTA))
        until(lambda: "slurmctld_away" in bench.site.logs(), 20, "the worker to notice")
        bench.slurm.start_ctld()
        until(lambda: bench.has("node1", "DOWN"), 30, "the node to be down")


def test_next_worker_starts_the_jobs_after_a_crash(bench: Bench) -> None:
    """The crashed worker had set DOWN and POWER_DOWN; then Slurm has called SuspendProgram."""
    slurm = bench.slurm
    others = f"node1,node[3-{NODES}]"
    job_id = slurm.sbatch(JOB, exclude=others)
    (requested,) = bench.resume("node2", jobs=(job_id,))
    slurm.scontrol("update", "NodeName=node2", "State=DOWN", f"Reason={reason(QUOTA)}")
    slurm.scontrol("update", "NodeName=node2", "State=POWER_DOWN")
    bench.accept(Kind.SUSPEND, "node2")
    before = eligible_time(bench, job_id)
    with bench.worker():
        bench.publish(ended(requested, Transition.FAILED, QUOTA))
        until(lambda: eligible_time(bench, job_id) != before, 20, "the job to be started")
        bench.wait_acknowledged()
    slurm.run("scancel", str(job_id))


def eligible_time(bench: Bench, job_id: int) -> str:
    shown = bench.slurm.scontrol("--oneliner", "show", "job", str(job_id))
    return shown.partition("EligibleTime=")[2].split()[0]


def test_job_of_two_nodes_starts_when_it_has_left_the_other_node(bench: Bench) -> None:
    slurm = bench.slurm
    bench.resume("node3")
    slurm.boot("node3")
    until(lambda: not bench.has("node3", "POWERING_UP"), 20, "node3 to register")
    job_id = slurm.sbatch(JOB, nodes=2, exclude=f"node[1-2],node[5-{NODES}]")
    until(lambda: bench.has("node4", "POWERING_UP"), 20, "node4 to power up")
    (requested,) = bench.resume("node4", jobs=(job_id,))
    with bench.worker():
        bench.publish(ended(requested, Transition.FAILED, QUOTA))
        until(lambda: bench.has("node4", "DOWN"), 20, "the node to be down")
        # the delay of cred_expire would be two minutes
        until(lambda: slurm.job_state(job_id) == "PENDING", 40, "the job to leave node3")
        until(lambda: "requeued_jobs_started" in bench.site.logs(), 20, "the job to be started")
        assert not bench.has("node3", "DOWN")
    slurm.run("scancel", str(job_id))


def test_boot_that_slurm_abandoned_gets_a_reason_and_the_node_returns(bench: Bench) -> None:
    slurm = bench.slurm
    slurm.scontrol("update", "NodeName=node5", "State=DOWN", "Reason=ResumeTimeout reached")
    slurm.scontrol("update", "NodeName=node6", "State=DOWN", "Reason=broken disk")
    slurm.scontrol("update", "NodeName=node[5-6]", "State=POWER_DOWN")
    requested = bench.accept(Kind.RESUME_FAIL, "node5", "node6")
    with bench.worker():
        bench.publish(*(ended(command, Transition.COMPLETED) for command in requested))
        until(lambda: "resume_timeout" in slurm.node_reason("node5"), 20, "its reason")
        until(lambda: bench.has("node5", "IDLE"), 40, "its return")
        bench.wait_acknowledged()
    assert slurm.node_reason("node6") == "broken disk"
    assert bench.has("node6", "DOWN")


def test_addresses_are_reported_and_parked_nodes_given_back(bench: Bench) -> None:
    """Only parked nodes are given back: a node on which a power worker works gets its time."""
    booted, parked, busy = bench.resume("node7", "node8", "node9")
    store = open_store(bench.site.settings.store.url, "state")
    with closing(Owner(store.url)) as owner:
        lease = Lease(owner, 600.0, settling=5.0)
        with store.begin() as connection:
            table = NodeTable(store, CLUSTER, lease)
            table.accept(connection, [busy], busy.generation)
        away = Cause("network", "no route")
        ended_event = replace(ended(booted, Transition.COMPLETED), address="127.0.0.7")
        waiting = [ended(command, Transition.PARKED, away) for command in (parked, busy)]
        with bench.worker():
            bench.publish(ended_event, *waiting)
            until(lambda: bench.has("node8", "POWERING_DOWN"), 20, "node8 to be given back")
            shown = bench.slurm.scontrol("--oneliner", "show", "node", "node7")
            assert "NodeAddr=127.0.0.7 NodeHostName=node7.cloud " in shown
            assert bench.slurm.node_reason("node8") == reason(away)
            assert bench.has("node9", "POWERING_UP")
            with store.begin() as connection:
                table.release(connection, ["node9"])
            until(lambda: bench.has("node9", "POWERING_DOWN"), 20, "node9 to be given back")
            assert not bench.has("node9", "DOWN")
    store.dispose()


def test_late_failure_does_not_affect_a_newer_request(bench: Bench) -> None:
    (older,) = bench.resume("node10")
    (newer,) = bench.accept(Kind.RESUME, "node10")
    assert newer.generation > older.generation
    assert newer.desired is Desired.UP
    with bench.worker():
        bench.publish(ended(older, Transition.FAILED, QUOTA))
        bench.wait_acknowledged()
        assert bench.has("node10", "POWERING_UP")
        assert not bench.has("node10", "DOWN")
        bench.publish(ended(newer, Transition.FAILED, QUOTA))
        until(lambda: bench.has("node10", "DOWN"), 20, "the node to be down")


def test_killed_workers_lose_no_report_and_count_none_twice(bench: Bench) -> None:
    names = [f"node{i}" for i in range(11, 21)]
    requested = bench.resume(*names)
    for part in (requested[:4], requested[4:7], requested[7:]):
        with bench.site.start("worker", "slurm") as worker:
            bench.publish(*(ended(command, Transition.FAILED, QUOTA) for command in part))
            until(lambda: "slurm_updated" in bench.site.logs(), 30, "an update", interval=0.005)
            worker.kill()
    with bench.worker():
        until(
            lambda: sum(m.failures > 0 for m in recalled(bench, names).values()) == len(names),
            30,
            "all to be remembered",
        )
        bench.wait_acknowledged()
        assert {memory.failures for memory in recalled(bench, names).values()} == {1}
        until(
            lambda: all(bench.has(n, "IDLE", "POWERED_DOWN") for n in names),
            60,
            "all nodes back in service",
            interval=0.5,
        )


@pytest.mark.parametrize("waits", [False, True], ids=["failed", "parked"])
def test_node_that_registers_while_others_are_updated_keeps_its_job(
    bench: Bench, *, waits: bool
) -> None:
    """Reports with different reasons take long; the worker's process is even stopped meanwhile.

    The cloud gave up node60, or did not answer for it, but its slurmd started late.
    """
    slurm, others = bench.slurm, [f"node{i}" for i in range(21, 60)]
    job_id = slurm.sbatch(JOB, nodelist="node60", no_requeue=True)
    # otherwise the test itself powers node60 up, and the scheduler may come after the end of the test
    wait_shown(bench, job_id, "CONFIGURING node60 None")
    requested = bench.resume(*others, "node60")
    transition, error = (
        (Transition.PARKED, "network") if waits else (Transition.FAILED, "server_side")
    )
    events = [
        ended(command, transition, Cause(error, f"request {command.id} failed"))
        for command in requested
    ]
    with bench.site.start("worker", "slurm") as worker:
        until(lambda: bench.site.consumers(topology.FEEDBACK_QUEUE), 20, "the worker")
        bench.publish(*events)
        until(
            lambda: any("POWERING_UP" not in s for s in states(bench, others)),
            30,
            "the first update",
            interval=0.01,
        )
        worker.send(signal.SIGSTOP)
        if bench.has("node60", "POWERING_UP"):
            slurm.boot("node60")
            until(lambda: not bench.has("node60", "POWERING_UP"), 20, "node60 to register")
        worker.send(signal.SIGCONT)
        until(
            lambda: all("POWERING_UP" not in state for state in states(bench, others)),
            60,
            "the other nodes",
            interval=0.2,
        )
        bench.wait_acknowledged()
        names = [*others, "node60"]
        until(
            lambda: all(m.due is not Due.GIVE_BACK for m in recalled(bench, names).values()),
            20,
            "the worker",
        )
    assert shown(bench, job_id) in {"CONFIGURING node60 None", "RUNNING node60 None"}
    assert not any("POWER" in flag for flag in bench.slurm.node_state("node60"))
    slurm.run("scancel", str(job_id))
    slurm.halt("node60")
    slurm.scontrol("update", f"NodeName=node60,{','.join(others)}", "State=POWER_DOWN_FORCE")
    until(
        lambda: all("POWERED_DOWN" in s for s in states(bench, ["node60", *others])),
        60,
        "all nodes to power down",
        interval=0.5,
    )
    # Slurm may have set nodes DOWN as not responding, between POWER_DOWN_FORCE and its suspend call
    if down := [node for node in names if bench.has(node, "DOWN")]:
        slurm.scontrol("update", f"NodeName={','.join(down)}", "State=RESUME")


def wait_shown(bench: Bench, job_id: int, wanted: str) -> None:
    """Wait until squeue shows this of a job, and perhaps more; the error tells what it shows, and of the nodes."""
    try:
        until(lambda: shown(bench, job_id).startswith(wanted), 60, wanted)
    except TimeoutError as error:
        nodes = {name: sorted(state) for name, state in bench.slurm.node_states().items()}
        raise AssertionError(f"{error}: {shown(bench, job_id)!r}; {nodes}") from None


def shown(bench: Bench, job_id: int) -> str:
    """A job's state, its nodes, and why it waits."""
    return bench.slurm.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%T %N %r").strip()


def test_powered_down_node_that_slurm_lost_from_view_gets_jobs_again(bench: Bench) -> None:
    """RESUME sets NOT_RESPONDING; with the next reconfigure, the node is lost for jobs."""
    slurm = bench.slurm
    bench.resume("node21")
    slurm.scontrol("update", "NodeName=node21", "State=DOWN", "Reason=odd")
    slurm.scontrol("update", "NodeName=node21", "State=POWER_DOWN")
    until(lambda: bench.has("node21", "DOWN", "POWERED_DOWN"), 60, "it to power down", interval=0.3)
    slurm.scontrol("update", "NodeName=node21", "State=RESUME")
    slurm.scontrol("reconfigure")
    job_id = slurm.sbatch(JOB, nodelist="node21")
    # 22.05 goes on with "UnavailableNodes:node21", 24.11 with "May be reserved for other job"
    wait_shown(bench, job_id, "PENDING  ReqNodeNotAvail, ")
    with bench.worker():
        wait_shown(bench, job_id, "CONFIGURING node21 None")
    slurm.run("scancel", str(job_id))


def states(bench: Bench, names: list[str]) -> list[frozenset[str]]:
    found = bench.slurm.node_states()
    return [found[name] for name in names]


def test_return_that_slurmctld_lost_is_repeated(bench: Bench) -> None:
    """It was killed before it saved the RESUME: the node is as it was before."""
    (requested,) = bench.resume("node1")
    with bench.worker():
        bench.publish(ended(requested, Transition.FAILED, QUOTA))
        until(lambda: bench.has("node1", "DOWN"), 20, "the node to be down")
        until(lambda: bench.has("node1", "IDLE", "POWERED_DOWN"), 60, "its return", interval=0.2)
        lose_return(bench, "node1")
        until(lambda: bench.has("node1", "IDLE"), 60, "its second return", interval=0.5)


def test_lost_return_is_repeated_by_the_next_worker(bench: Bench) -> None:
    """Also if the store forgot the node."""
    lose_return(bench, "node2")
    with bench.worker():
        until(lambda: bench.has("node2", "IDLE"), 60, "its return", interval=0.5)
    assert "node_not_returned" in bench.site.logs()


def lose_return(bench: Bench, node: str) -> None:
    scontrol = bench.slurm.scontrol
    scontrol("update", f"NodeName={node}", "State=DOWN", f"Reason={reason(QUOTA)}")
    scontrol("update", f"NodeName={node}", "State=POWER_DOWN")
    until(lambda: bench.has(node, "DOWN", "POWERED_DOWN"), 60, "the lost return", interval=0.2)


def recalled(bench: Bench, names: list[str]) -> Mapping[str, NodeMemory]:
    """What the worker remembers of nodes."""
    store = connect(bench.site.settings.store.url)
    try:
        with reading(store) as connection:
            return recall(connection, CLUSTER, names)
    finally:
        store.dispose()
