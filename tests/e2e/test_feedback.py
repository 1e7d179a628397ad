"""P5: a boot that cannot succeed is reported to Slurm, and the job runs elsewhere within seconds.

Real slurmctld and RabbitMQ, simulated cloud. All tests share one cluster: each has its own node, and
the job runs instead on a spare node that is powered on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from producers.amqp import connection_parameters
from schemas.commands import Kind, PowerCommand
from schemas.envelope import parse
from schemas.events import Cause, RequestEvent, Transition, event_from, transition_event
from schemas.roles import Role
from tests.testbed.cluster import Cluster, ClusterPlan
from tests.testbed.leaks import issued_pieces
from tests.testbed.messages import published
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer, GoesToError, NeverCompletes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.audit.queries import Filter, find
from workers.broker.link import Link
from workers.config.settings import load
from workers.store.database import connect, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NS = 1_000_000_000
GIVE_BACK_AFTER = 3
BOOT_TIMEOUT = 3
RETURN_AFTER = 60
# The goal is 5 s, which an idle machine reaches; ResumeTimeout would be 90 s.
LIMIT = 10.0
QUOTA, NO_HOST, NO_IMAGE, MISSING, ENDLESS, REVOKED, LATE, SPARE = (f"node{i}" for i in range(1, 9))
JOB = "#!/bin/sh\ndate +%s.%N\necho $SLURMD_NODENAME\n"
GROUPS = f"""
[groups.made]
nodes = "{QUOTA},{NO_HOST},{NO_IMAGE}"
cloud = "steady"
strategy = "delete"
cool_down = 0.5
[groups.made.server]
image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
flavor = "m1.tiny"
networks = ["none"]
[groups.deployed]
nodes = "{MISSING},{LATE},{SPARE}"
cloud = "steady"
[groups.slow]
nodes = "{ENDLESS}"
cloud = "steady"
boot_timeout = {BOOT_TIMEOUT}
[groups.elsewhere]
nodes = "{REVOKED}"
cloud = "simulated"
"""
STEADY = f"""
[clouds.steady]
auth_url = "$auth_url"
project_id = "$project_id"
[clouds.steady.source]
type = "password"
username = "{credentials.USERNAME}"
password_command = ["/bin/echo", "{credentials.PASSWORD}"]
"""


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Iterator[Cluster]:
    """Eight nodes in four groups on two clouds; the spare node is powered on."""
    plan = ClusterPlan(
        SlurmSettings(
            nodes=8, suspend_time=600, suspend_timeout=5, resume_timeout=90, cred_expire=120
        ),
        boot=1.0,
        groups=GROUPS,
        clouds=STEADY,
        slurm_toml=f"give_back_after = {GIVE_BACK_AFTER}\nreturn_after = {RETURN_AFTER}",
        absent=(QUOTA, NO_HOST, NO_IMAGE, MISSING),
    )
    with Cluster(session_dir / "feedback", plan) as running:
        running.slurm.scontrol("update", f"NodeName={SPARE}", "State=POWER_UP")
        until(lambda: is_powered_on(running, SPARE), 60, "the spare node")
        yield running
        assert issued_pieces(running) == {}


def is_powered_on(cluster: Cluster, node: str) -> bool:
    state = cluster.slurm.node_state(node)
    return "IDLE" in state and not state & {"POWERED_DOWN", "POWERING_UP", "POWER_UP"}


def submit_for(cluster: Cluster, node: str) -> int:
    """Submit a job for which Slurm powers that node up; after that, the spare node is free.

    The cloud is slow until Slurm knows that the spare node responds.
    """
    slurm = cluster.slurm
    cluster.simulated.set_latency(1.5)
    until(lambda: is_powered_on(cluster, SPARE), 60, "the spare node to be idle")
    slurm.scontrol("update", f"NodeName={SPARE}", "State=DRAIN", "Reason=test")
    others = set(slurm.settings.node_names) - {node, SPARE}
    job_id = slurm.sbatch(JOB, exclude=",".join(sorted(others)))
    until(lambda: "POWERING_UP" in slurm.node_state(node), 30, f"{node} to be powered up")
    slurm.scontrol("update", f"NodeName={SPARE}", "State=RESUME")
    until(lambda: responds(cluster, SPARE), 10, "the spare node to be free")
    cluster.simulated.set_latency(0.02)
    return job_id


def responds(cluster: Cluster, node: str) -> bool:
    shown = cluster.slurm.scontrol("show", "node", node)
    return "State=IDLE+CLOUD " in shown and "NOT_RESPONDING" not in shown


def ran(cluster: Cluster, job_id: int) -> tuple[float, str]:
    """When the job started (s since the epoch), and on which node."""
    words = until(lambda: cluster.slurm.output(job_id).split()[1:2], 30, "the job to run")
    return float(cluster.slurm.output(job_id).split()[0]), words[0]


def event_of(cluster: Cluster, node: str, transition: Transition) -> RequestEvent:
    """The last such event of a resume of the node in the audit log."""

    def last() -> RequestEvent | None:
        engine = connect(cluster.settings.store.audit_url)
        try:
            with reading(engine) as connection:
                entries = find(connection, Filter(nodes=(node,), transitions=(str(transition),)))
        finally:
            engine.dispose()
        events = [event_from(parse(entry.body)) for entry in entries]
        return next((e for e in reversed(events) if e.kind is Kind.RESUME), None)

    return until(last, 20, f"{node} to have {transition}")


def run_elsewhere(
    cluster: Cluster, node: str, transition: Transition, since: Callable[[RequestEvent], int]
) -> RequestEvent:
    """Submit a job that waits for the node in vain and runs on the spare node; print the duration."""
    job_id = submit_for(cluster, node)
    began, where = ran(cluster, job_id)
    ended = event_of(cluster, node, transition)
    seconds = began - since(ended) / NS
    cause = ended.cause.error if ended.cause else ""
    print(f"\n{cause}: the job ran on {where} {seconds:.2f} s after the cloud's answer")  # noqa: T201
    print(f"  {node}: {'+'.join(sorted(cluster.slurm.node_state(node)))}")  # noqa: T201
    print(f"  reason: {cluster.slurm.node_reason(node)}")  # noqa: T201
    assert where == SPARE
    assert seconds < LIMIT
    return ended


def is_out(cluster: Cluster, node: str, cause: str) -> bool:
    """Whether the node is powered down in Slurm, with this reason."""
    state, words = cluster.slurm.node_state(node), cluster.slurm.node_reason(node)
    return {"DOWN", "POWERED_DOWN"} <= state and words.startswith(f"lamplighter: {cause}")


def no_server(cluster: Cluster, node: str) -> bool:
    server = cluster.simulated.servers().get(node)
    return server is None or (server.status == "SHUTOFF" and not server.task_state)


def last_call(ended: RequestEvent) -> int:
    return ended.actions[-1].time


def test_a_job_whose_node_exceeds_the_quota_runs_elsewhere(cluster: Cluster) -> None:
    words = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
    cluster.simulated.inject(
        Fault(effect=Answer(status=403, message=words), kind="create", times=1)
    )
    run_elsewhere(cluster, QUOTA, Transition.FAILED, last_call)


def test_a_job_whose_node_finds_no_host_runs_elsewhere(cluster: Cluster) -> None:
    effect = GoesToError(after_seconds=0.0)
    cluster.simulated.inject(Fault(effect=effect, kind="create", times=1))
    run_elsewhere(cluster, NO_HOST, Transition.FAILED, lambda ended: ended.actions[0].time)


def test_a_job_whose_node_lacks_its_image_runs_elsewhere(cluster: Cluster) -> None:
    effect = Answer(status=400, message="Can not find requested image (HTTP 400)")
    cluster.simulated.inject(Fault(effect=effect, kind="create", times=1))
    run_elsewhere(cluster, NO_IMAGE, Transition.FAILED, last_call)


def test_a_job_whose_node_has_no_server_runs_elsewhere(cluster: Cluster) -> None:
    run_elsewhere(cluster, MISSING, Transition.FAILED, lambda ended: ended.generation)


def test_failed_nodes_stay_out_of_service_with_a_reason_and_leave_no_server(
    cluster: Cluster,
) -> None:
    causes = {
        QUOTA: "quota: Quota exceeded for instances: Requested 1, but already used 10 of 10",
        NO_HOST: "no_valid_host: No valid host was found",
        NO_IMAGE: "bad_request: HTTP 400: Can not find requested image",
        MISSING: "server_missing: no server has this node's name",
    }
    for node, words in causes.items():
        until(lambda n=node, w=words: is_out(cluster, n, w), 30, f"{node} to be out")  # type: ignore[misc]
        assert no_server(cluster, node)


def test_endless_boot_is_given_back_and_tried_again_later(cluster: Cluster) -> None:
    """Retryable: the node stays in service; after the second failure in a row it is out of service."""
    number = cluster.simulated.inject(Fault(effect=NeverCompletes(), kind="start", server=ENDLESS))
    gives_up = lambda ended: last_call(ended) + BOOT_TIMEOUT * NS  # noqa: E731
    run_elsewhere(cluster, ENDLESS, Transition.FAILED, gives_up)
    in_service = {"IDLE", "POWERED_DOWN"}
    until(lambda: in_service <= cluster.slurm.node_state(ENDLESS), 30, "the node in service")
    cluster.simulated.change_servers(ENDLESS, status="SHUTOFF")
    run_elsewhere(cluster, ENDLESS, Transition.FAILED, gives_up)
    cluster.simulated.remove_fault(number)
    until(lambda: "DOWN" in cluster.slurm.node_state(ENDLESS), 10, "the node to be out")
    assert cluster.slurm.node_reason(ENDLESS).startswith("lamplighter: boot_timeout: ")


def test_revoked_login_never_sets_a_node_down(cluster: Cluster) -> None:
    """After a wait, the node is given back: it is in service, and its job runs elsewhere."""
    cluster.simulated.revoke_grants()
    cluster.simulated.revoke_tokens()
    run_elsewhere(
        cluster, REVOKED, Transition.PARKED, lambda ended: ended.time + GIVE_BACK_AFTER * NS
    )
    assert "DOWN" not in cluster.slurm.node_state(REVOKED)
    assert cluster.slurm.node_reason(REVOKED).startswith("lamplighter: invalid_grant: ")
    assert no_server(cluster, REVOKED)


def test_late_failure_affects_neither_a_running_node_nor_a_newer_boot(cluster: Cluster) -> None:
    slurm = cluster.slurm
    job_id = slurm.sbatch("#!/bin/sh\ndate +%s.%N\nhostname\nsleep 60\n", nodelist=SPARE)
    until(lambda: slurm.job_state(job_id) == "RUNNING", 40, "a job on the spare node")
    booted = event_of(cluster, SPARE, Transition.COMPLETED)
    cluster.simulated.set(boot_seconds=2.0)
    slurm.scontrol("update", f"NodeName={LATE}", "State=POWER_UP")
    until(lambda: "POWERING_UP" in slurm.node_state(LATE), 20, "a newer boot")
    accepted = event_of(cluster, LATE, Transition.ACCEPTED)
    late = [failure_of(booted), failure_of(accepted, older=1)]
    assert late[0].generation == booted.generation
    publish(cluster, late)
    until(lambda: is_powered_on(cluster, LATE), 30, "the newer boot")
    assert slurm.job_state(job_id) == "RUNNING"
    assert slurm.job_node(job_id) == SPARE
    assert slurm.node_reason(SPARE) in {"", "test"}


def test_failed_node_returns_after_its_cool_down(cluster: Cluster) -> None:
    back = {"IDLE", "POWERED_DOWN"}
    until(lambda: back <= cluster.slurm.node_state(QUOTA), 60, "the node to be in service")


def failure_of(ended: RequestEvent, older: int = 0) -> RequestEvent:
    """A failure of the same request, or of an older one."""
    requested = PowerCommand(
        kind=ended.kind,
        cluster=ended.cluster,
        node=ended.node,
        generation=ended.generation - older,
        correlation_id=ended.correlation_id,
    )
    failed = transition_event(requested, Transition.FAILED, round_=2, time=time.time_ns())
    return replace(failed, cause=Cause("quota", "late"))


def publish(cluster: Cluster, events: list[RequestEvent]) -> None:
    """Publish events as the power worker does."""
    power = load(cluster.settings.path, role=Role.POWER)
    link = Link(connection_parameters(power.broker, "late events"))
    link.start()
    try:
        assert link.wait_up(10)
        for future in [link.publish(published(ended)) for ended in events]:
            future.result(10)
    finally:
        link.stop()
