"""The checker of a storm finds each broken promise, in a history that is otherwise in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from storm import checker
from storm.checker import Violation, check
from storm.collect import beats, hook_calls, set_down, steps, tracebacks
from storm.dead_letters import EXPLAINED, Cause, objection
from storm.evidence import (
    Beats,
    DeadLetter,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
    QueueSeen,
    ServerSeen,
    Step,
)
from storm.faults.carrier import FAULTS
from storm.plan import storm
from storm.run import half_ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def step(request: str, transition: str, time: float, **more: object) -> Step:
    fields: dict[str, object] = {"round": 1, "kind": "resume", "node": "node1", **more}
    return Step(request_id=request, transition=transition, time=time, **fields)  # type: ignore[arg-type]


# node1 is resumed at 100, runs a job from 110 to 130, and is suspended at 140.
GOOD = Evidence(
    calls=(
        HookCall("resume", ("node1",), 100.0, 0),
        HookCall("suspend", ("node1",), 140.0, 0),
    ),
    steps=(
        step("r1", "accepted", 101.0, origin="hook"),
        step("r1", "completed", 105.0),
        step("r2", "accepted", 141.0, origin="hook", kind="suspend"),
        step("r2", "completed", 142.0, kind="suspend"),
    ),
    ledger=(PoweredOn("node1", "s1", 104.0, 142.0),),
    beats=(Beats("7", "node1", 110.0, 130.0, "end"),),
    servers=(ServerSeen("node1", "s1", "SHUTOFF", powered=False),),
    queues=(
        QueueSeen("power.resume", 0, 2),
        QueueSeen("power.dlq", 3, 0),
        QueueSeen("audit", 0, 1),
    ),
    letters=(DeadLetter("node1", "quota", "too many", 120.0),),
    injected=(Injected("answers", "403", 115.0, 119.0),),
    states={"node1": frozenset({"IDLE", "CLOUD", "POWERED_DOWN"})},
    memory={"power": (90.0,) * 12},
)
RUNNING = (ServerSeen("node1", "s1", "ACTIVE", powered=True),)
IN_USE = {"node1": frozenset({"IDLE", "CLOUD"})}
SILENT = Beats("7", "node1", 110.0, 130.0, None)


def test_history_in_order_has_no_violation() -> None:
    verdict = check(GOOD)
    assert not verdict.violations
    assert verdict.checked["nodes of hook calls with a record"] == 2
    assert verdict.checked["rounds with one outcome"] == 2


BROKEN: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a call without a request": (
        checker.LOST,
        lambda e: replace(e, steps=e.steps[:2]),
    ),
    "a second call whose request is missing": (
        checker.LOST,
        lambda e: replace(e, calls=(*e.calls, HookCall("resume", ("node1",), 200.0, 0))),
    ),
    "a request that nobody called for": (
        "invented request",
        lambda e: replace(e, calls=e.calls[:1]),
    ),
    "a round without an end": (
        "open round",
        lambda e: replace(e, steps=(*e.steps, step("r1", "replayed", 150.0, round=2))),
    ),
    "a round with two ends": (
        checker.DOUBLED,
        lambda e: replace(e, steps=(*e.steps, step("r1", "failed", 150.0))),
    ),
    "a task that fell silent when its server was powered off": (
        checker.ENDED_JOB,
        lambda e: replace(e, beats=(SILENT,), ledger=(PoweredOn("node1", "s1", 104.0, 129.0),)),
    ),
    "a task that fell silent when its server was rebooted": (
        checker.ENDED_JOB,
        lambda e: replace(e, beats=(SILENT,), reboots=(("node1", 130.2),)),
    ),
    "a task that Slurm ended because its node was set down": (
        checker.ENDED_JOB,
        lambda e: replace(e, beats=(replace(SILENT, end="term"),), set_down=(("node1", 129.9),)),
    ),
    "a task that a resume-fail of an earlier boot ended": (
        checker.ENDED_JOB,
        lambda e: replace(
            e,
            beats=(SILENT,),
            ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
            calls=(*e.calls, HookCall("resume-fail", ("node1",), 109.0, 1)),
        ),
    ),
    "two servers that run at the end": (
        checker.SECOND,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, None), PoweredOn("node1", "s2", 120.0, None)),
            states=IN_USE,
            servers=RUNNING,
        ),
    ),
    "two servers that run for a minute": (
        checker.SECOND,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, 170.0), PoweredOn("node1", "s2", 110.0, 300.0)),
        ),
    ),
    "two servers of one name": (
        checker.SECOND,
        lambda e: replace(e, servers=(*e.servers, replace(e.servers[0], server_id="s2"))),
    ),
    "a server of a node that is powered down": (
        checker.LEAKED,
        lambda e: replace(e, servers=RUNNING),
    ),
    "a server of no node": (
        checker.LEAKED,
        lambda e: replace(e, servers=(replace(RUNNING[0], node="node9"),)),
    ),
    "a node in use without a server": (
        checker.WRONG,
        lambda e: replace(e, states=IN_USE),
    ),
    "a node out of service that drift does not name": (
        checker.WRONG,
        lambda e: replace(e, states={"node1": frozenset({"DOWN", "CLOUD", "POWERED_DOWN"})}),
    ),
    "a dead letter for an outage": (
        "dead letter",
        lambda e: replace(e, letters=(DeadLetter("node1", "network", "reset", 120.0),)),
    ),
    "a dead letter of a class that nobody has heard of": (
        "dead letter",
        lambda e: replace(e, letters=(DeadLetter("node1", "new_class", "what?", 120.0),)),
    ),
    "a dead letter for a no that no fault explains": (
        "dead letter",
        lambda e: replace(e, injected=()),
    ),
    "a dead letter long after the cloud said no": (
        "dead letter",
        lambda e: replace(e, letters=(DeadLetter("node1", "quota", "too many", 500.0),)),
    ),
    "a dead letter before the cloud said no": (
        "dead letter",
        lambda e: replace(e, letters=(DeadLetter("node1", "quota", "too many", 20.0),)),
    ),
    "a message in a queue": (
        "queue",
        lambda e: replace(e, queues=(QueueSeen("power.suspend", 1, 2),)),
    ),
    "a message in a retry tier": (
        "queue",
        lambda e: replace(e, queues=(QueueSeen("power.retry.5s", 1, 0),)),
    ),
    "a queue without a consumer": (
        "queue",
        lambda e: replace(e, queues=(QueueSeen("audit", 0, 0),)),
    ),
    "an audit that does not verify": (
        "audit",
        lambda e: replace(e, verify=(1, "record 7 was changed")),
    ),
    "a traceback": ("traceback", lambda e: replace(e, tracebacks=("power.log:7",))),
    "memory that grows": (
        "memory",
        lambda e: replace(e, memory={"power": (*(90.0,) * 10, *(150.0,) * 10)}),
    ),
    "what does not come to rest": ("not at rest", lambda e: replace(e, unsettled=("jobs",))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_found(name: str) -> None:
    promise, breaks = BROKEN[name]
    found = check(breaks(GOOD)).violations
    assert promise in {violation.promise for violation in found}, found


ALLOWED: dict[str, Callable[[Evidence], Evidence]] = {
    "a failed call whose request was made all the same": lambda e: replace(
        e, calls=(e.calls[0], replace(e.calls[1], status=1))
    ),
    "a killed call without a request": lambda e: replace(
        e, calls=(*e.calls, HookCall("resume", ("node1",), 150.0, None))
    ),
    "a request of resync": lambda e: replace(
        e,
        steps=(
            *e.steps,
            step("r3", "accepted", 150.0, origin="other"),
            step("r3", "superseded", 151.0),
        ),
    ),
    "a task whose server died by itself": lambda e: replace(
        e,
        beats=(SILENT,),
        ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
        outside=(("node1", 129.9),),
    ),
    "a task on a node that Slurm itself gave up": lambda e: replace(
        e,
        beats=(SILENT,),
        calls=(e.calls[0], replace(e.calls[1], began=128.0)),
        ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
    ),
    "a task that was cancelled": lambda e: replace(e, beats=(replace(SILENT, end="term"),)),
    "a second server that is deleted at once": lambda e: replace(
        e, ledger=(*e.ledger, PoweredOn("node1", "s2", 120.0, 130.0))
    ),
    "a node that drift names": lambda e: replace(e, states=IN_USE, named=frozenset({"node1"})),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_nobodys_fault_is_no_violation(name: str) -> None:
    assert not check(ALLOWED[name](GOOD)).violations


PASSING = (
    *("network", "timeout", "server_side", "over_limit", "unauthorized", "invalid_grant", "token"),
    *("token_service_away", "provider_away", "unreadable_answer", "boots_stuck", "unconfirmed"),
    *("lease_held", "held_long", "on_hold", "unknown", "malformed", "not_allowed", ""),
    *("broker_delivery_limit", "ambiguous_server", "not_ours", "implausible_generation"),
)
TABLE = [(error, cause) for error, causes in EXPLAINED.items() for cause in causes]


@pytest.mark.parametrize(("error", "cause"), TABLE)
def test_a_permanent_no_is_explained_by_its_fault_and_by_no_other(error: str, cause: Cause) -> None:
    planned = {
        (fault.kind, fault.target)
        for brokers, store in ((1, "sqlite"), (3, "postgresql"))
        for fault in storm(3, 20_000, brokers, store, 51).faults
    }
    assert (cause.kind, cause.target) in planned
    letter = DeadLetter("node1", error, "no", 5000.0)
    assert not objection(letter, [Injected(cause.kind, cause.target, 4990.0, 4995.0)])
    early, late = (Injected(cause.kind, cause.target, at, at + 5.0) for at in (100.0, 9000.0))
    assert bool(objection(letter, [early])) is not cause.lasting
    assert objection(letter, [late, Injected("answers", "500", 4990.0, 4995.0)])


def test_each_class_of_error_that_passes_is_a_violation() -> None:
    """An outage, a lease, a hold, a defect of ours: none may end a request, whatever was injected."""
    planned = storm(2, 20_000, 3, "postgresql", 51).faults
    faults = [Injected(fault.kind, fault.target, 0.0, 1000.0) for fault in planned]
    for error in PASSING:
        assert objection(DeadLetter("node1", error, "", 500.0), faults), error


def test_violation_names_promise_node_and_times() -> None:
    line = str(Violation("lost request", "node7", "no record", (0.5,)))
    assert line == "lost request | node7 | no record | 00:00:00.500"


def test_storm_depends_on_its_seed_alone() -> None:
    one, again, other = (storm(seed, 300, 3, "sqlite", 51) for seed in (1, 1, 2))
    assert one == again != other
    assert {fault.kind for fault in storm(1, 3000, 3, "postgresql", 51).faults} == FAULTS.keys()
    assert {fault.kind for fault in one.faults} >= {
        "kill",
        "freeze",
        "broker",
        "answers",
        "operator",
    }
    assert all(fault.at + fault.lasts <= 300 for fault in one.faults)
    assert not any(fault.kind == "partition" for fault in storm(1, 300, 1, "sqlite", 51).faults)


def test_hook_calls_are_read_with_their_ends() -> None:
    lines = ("7 begin 1.5 resume node[1-2]", "8 begin 2.0 suspend node3", "7 end 2.5 0")
    assert set(hook_calls(lines)) == {
        HookCall("resume", ("node1", "node2"), 1.5, 0),
        HookCall("suspend", ("node3",), 2.0, None),
    }


def test_set_down_is_read_from_slurmctlds_log() -> None:
    log = (
        "[2026-11-28T21:19:44.496] update_node: node node19 reason set to: lamplighter: quota\n"
        "[2026-11-28T21:19:44.497] update_node: node node19 state set to DOWN\n"
        "[2026-11-28T21:20:30.725] update_node: node node9 state set to IDLE\n"
        "[2026-11-28T21:20:31.725] update_node: node node7 reason set to: lamplighter: network: x\n"
        "[2026-11-28T21:20:31.726] powering down node node7\n"
        "[2026-11-28T21:20:32.725] update_node: node node8 reason set to: storm\n"
        "[2026-11-28T21:20:32.726] powering down node node8\n"
    )
    assert [node for node, _ in set_down(log)] == ["node19", "node7"]


def test_steps_tell_hooks_from_others() -> None:
    def line(more: str) -> str:
        return (
            '{"type": "lamplighter.node.request.accepted.v1", "subject": "node1", '
            '"time": "2026-11-28T21:19:44Z", "data": {"request_id": "r", "round": 1, '
            f'"kind": "resume", "note": "by root: x"{more}}}}}'
        )

    senders = ("test-5-hook", "test-5-relay", "test-5-operator", "test-5-resync")
    read = steps([line(""), *(line(f', "sender": "{name}"') for name in senders)])
    assert [one.origin for one in read] == [None, "hook", "hook", "other", "other"]


def test_a_het_job_is_torn_apart_if_one_part_waits_and_another_has_ended() -> None:
    lines = (
        "302+0 PENDING\n302+1 COMPLETED\n400+0 PENDING\n400+1 PENDING\n"
        "401+0 COMPLETED\n401+1 COMPLETED\n500 PENDING\n501_2 COMPLETED\n501_3 PENDING\n"
    )
    assert half_ended(lines) == ["302"]


def test_beats_and_tracebacks_are_read_from_files(tmp_path: Path) -> None:
    folder = tmp_path / "beats"
    folder.mkdir()
    (folder / "7.node1.1.0").write_text("begin 1.0\nalive 1.5\n")
    (folder / "8.node2.2.0").write_text("begin 2.0\nterm 2.5\n")
    assert [(task.job, task.node, task.last, task.end) for task in beats(folder)] == [
        ("7", "node1", 1.5, None),
        ("8", "node2", 2.5, "term"),
    ]
    log = tmp_path / "power.log"
    log.write_text('fine\n{"exception": "Traceback (most recent call last): ..."}\n')
    assert list(tracebacks([log])) == [f"{log}:2"]
