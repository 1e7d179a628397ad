"""The checker of a storm finds each broken promise, in a history that is otherwise in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from storm.checker import check
from storm.evidence import (
    BatchJob,
    Command,
    DeadLetter,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
    QueueSeen,
)
from storm.rules import violation
from storm.rules.violation import Violation
from tests.unit.storm_history import AGAIN, GOOD, IN_USE, REFUSED, RUNNING, SILENT, step

if TYPE_CHECKING:
    from collections.abc import Callable


def test_history_in_order_has_no_violation() -> None:
    verdict = check(GOOD)
    assert not verdict.violations
    assert verdict.checked["nodes of hook calls with a record"] == 2
    assert verdict.checked["rounds with one outcome"] == 2


BROKEN: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a call without a request": (
        violation.LOST,
        lambda e: replace(e, steps=e.steps[:2]),
    ),
    "a second call whose request is missing": (
        violation.LOST,
        lambda e: replace(e, calls=(*e.calls, HookCall("resume", ("node1",), 200.0, 0))),
    ),
    "a request that nobody called for": (
        violation.INVENTED,
        lambda e: replace(e, calls=e.calls[:1]),
    ),
    "a request of another time in the place of the lost one": (
        violation.LOST,
        lambda e: replace(e, steps=(replace(e.steps[0], asked=180.0), *e.steps[1:])),
    ),
    "a request whose own call nobody made": (
        violation.INVENTED,
        lambda e: replace(e, steps=(replace(e.steps[0], asked=180.0), *e.steps[1:])),
    ),
    "a round that nobody began": (
        violation.UNOPENED,
        lambda e: replace(e, steps=(*e.steps, step("r1", "completed", 110.0, round=5))),
    ),
    "a first round that was never accepted": (
        violation.UNOPENED,
        lambda e: replace(e, steps=(*e.steps, step("r3", "completed", 110.0))),
    ),
    "a replay of what had not failed": (
        violation.UNOPENED,
        lambda e: replace(
            e,
            steps=(
                *e.steps,
                *(step("r1", "replayed", 150.0, round=2), step("r1", "accepted", 151.0, round=2)),
                step("r1", "completed", 152.0, round=2),
            ),
        ),
    ),
    "a request that failed for an outage, and was replayed since": (
        violation.FAILED,
        lambda e: replace(
            e,
            letters=(),
            steps=(
                *e.steps,
                *(step("r3", "accepted", 116.0), replace(REFUSED, error="network")),
                *(step("r3", "replayed", 121.0, round=2), step("r3", "accepted", 122.0, round=2)),
                step("r3", "completed", 123.0, round=2),
            ),
        ),
    ),
    "a request that failed without a cause": (
        violation.FAILED,
        lambda e: replace(e, steps=(*e.steps, replace(REFUSED, error=None))),
    ),
    "a completed resume, and nothing in the cloud": (
        violation.OUTCOME,
        lambda e: replace(e, ledger=()),
    ),
    "a completed resume that names another server than the one that ran": (
        violation.OUTCOME,
        lambda e: replace(e, steps=(e.steps[0], replace(e.steps[1], server="s9"), *e.steps[2:])),
    ),
    "a completed resume whose server came a minute later": (
        violation.OUTCOME,
        lambda e: replace(e, ledger=(PoweredOn("node1", "s1", 165.0, 170.0),)),
    ),
    "a completed suspend whose server stayed on": (
        violation.OUTCOME,
        lambda e: replace(e, ledger=(PoweredOn("node1", "s1", 104.0, 190.0),)),
    ),
    "an idle node that was powered off though nobody asked": (
        violation.UNASKED,
        lambda e: replace(e, ledger=(PoweredOn("node1", "s1", 104.0, 135.0),)),
    ),
    "a booting node that a suspend of before its resume powered off": (
        violation.UNASKED,
        lambda e: replace(
            e,
            calls=(HookCall("suspend", ("node1",), 95.0, 0, 95.2), *e.calls),
            ledger=(PoweredOn("node1", "s1", 104.0, 108.0),),
        ),
    ),
    "a node powered off by a call after its resume that Nova never ended": (
        violation.UNASKED,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 90.0, 135.0),),
            stuck=(("s1", 120.0), ("s2", 95.0), ("s1", 80.0)),
        ),
    ),
    "a node powered off that was rebooted since the call that Nova never ended": (
        violation.UNASKED,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 90.0, 135.0),),
            stuck=(("s1", 95.0),),
            reboots=(("node1", 97.0),),
        ),
    ),
    "a node powered off that was rebooted well since Nova failed at a reboot": (
        violation.UNASKED,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 90.0, 135.0),),
            reboots=(("node1", 95.0), ("node1", 102.0)),
            injected=(*e.injected, Injected("work", "error", 94.0, 96.0)),
        ),
    ),
    "a node powered off on a look of the operator's": (
        violation.UNASKED,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
            commands=(Command(("audit", "list", "node1"), 133.0, 136.0),),
        ),
    ),
    "a server powered off after a job on it, though slurmctld was killed after its resume": (
        violation.UNASKED,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
            injected=(*e.injected, Injected("slurmctld", "kill", 102.0, 103.0)),
            ctld_starts=(1.0, 103.0),
        ),
    ),
    "a node that was powered on though Slurm had powered it off": (
        violation.UNWANTED,
        lambda e: replace(e, ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0))),
    ),
    "a resume superseded after slurmctld was restarted before its call": (
        violation.UNTIMELY,
        lambda e: replace(
            e,
            calls=(*e.calls, HookCall("resume", ("node1",), 155.0, 0, 155.2)),
            steps=(
                *e.steps,
                step("r3", "accepted", 155.3, origin="hook", asked=155.1),
                step("r3", "superseded", 159.0),
            ),
            injected=(*e.injected, Injected("slurmctld", "restart", 149.9, 152.0)),
        ),
    ),
    "a server that is started again after slurmctld was restarted before its suspend": (
        violation.UNWANTED,
        lambda e: replace(
            e,
            ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0)),
            injected=(*e.injected, Injected("slurmctld", "restart", 120.0, 130.0)),
        ),
    ),
    "a batch job that failed after another one was requeued": (
        violation.UNENDED,
        lambda e: replace(
            e,
            beats=(replace(e.beats[0], job="6"),),
            gave_up={"7": "WTERMSIG 15"},
            gave_up_at={"7": 130.0},
            requeued=(("8", 128.0),),
        ),
    ),
    "a batch job that never ended": (
        violation.UNENDED,
        lambda e: replace(e, beats=(SILENT,)),
    ),
    "a batch job that failed though nothing happened to slurmctld or its tasks": (
        violation.UNENDED,
        lambda e: replace(
            e,
            beats=(replace(e.beats[0], job="6"),),
            gave_up={"7": "WEXITSTATUS 1"},
            gave_up_at={"7": 130.0},
        ),
    ),
    "a batch job that failed long after slurmctld was restarted": (
        violation.UNENDED,
        lambda e: replace(
            e,
            beats=(replace(e.beats[0], job="6"),),
            gave_up={"7": "WEXITSTATUS 1"},
            gave_up_at={"7": 230.0},
            injected=(*e.injected, Injected("slurmctld", "restart", 120.0, 122.0)),
        ),
    ),
    "a batch job with the number of an earlier one, though slurmctld was not killed": (
        violation.UNENDED,
        lambda e: replace(
            e,
            batch=(BatchJob(("7_1",), 1, 127.0),),
            beats=(
                replace(SILENT, end="end"),
                replace(SILENT, job="7_1", began=127.5, last=128.0, end="term"),
            ),
        ),
    ),
    "a batch job that ended on one of its two nodes": (
        violation.UNENDED,
        lambda e: replace(e, batch=(BatchJob(("7",), 2, 100.0),)),
    ),
    "an array of which one task never ended": (
        violation.UNENDED,
        lambda e: replace(e, batch=(*e.batch, BatchJob(("7", "7_2"), 1, 100.0))),
    ),
    "a job that ended on no node, long before slurmctld was killed": (
        violation.UNENDED,
        lambda e: replace(
            e,
            beats=(SILENT,),
            injected=(*e.injected, Injected("slurmctld", "kill", 106.0, 107.0)),
        ),
    ),
    "a round without an end": (
        "open round",
        lambda e: replace(e, steps=(*e.steps, step("r1", "replayed", 150.0, round=2))),
    ),
    "a request whose outcome is another node's": (
        violation.OPEN,
        lambda e: replace(e, steps=(*e.steps[:3], replace(e.steps[3], node="node2"))),
    ),
    "an outcome of another kind than its request": (
        violation.UNOPENED,
        lambda e: replace(e, steps=(*e.steps[:3], replace(e.steps[3], kind="resume_fail"))),
    ),
    "a request that was discarded though it had not failed": (
        violation.UNOPENED,
        lambda e: replace(
            e, steps=(*e.steps, step("r3", "accepted", 150.0), step("r3", "discarded", 151.0))
        ),
    ),
    "a request that nobody is known to have sent": (
        violation.INVENTED,
        lambda e: replace(
            e, steps=(*e.steps, step("r3", "accepted", 150.0), step("r3", "superseded", 151.0))
        ),
    ),
    "a request that is early, though only the workers' clock was set back": (
        violation.LOST,
        lambda e: replace(
            e,
            steps=(replace(e.steps[0], asked=60.0), *e.steps[1:]),
            injected=(*e.injected, Injected("clock", "workers -45", 95.0, 105.0)),
        ),
    ),
    "a call that failed though its spool had room": (
        violation.REFUSED,
        lambda e: replace(
            e,
            calls=(e.calls[0], replace(e.calls[1], status=1)),
            injected=(*e.injected, Injected("disk", "spool", 100.0, 120.0)),
        ),
    ),
    "a hook that took two minutes": (
        violation.REFUSED,
        lambda e: replace(e, calls=(e.calls[0], replace(e.calls[1], ended=260.0))),
    ),
    "a resume that was superseded before Slurm called for the suspend": (
        violation.UNTIMELY,
        lambda e: replace(e, steps=(e.steps[0], step("r1", "superseded", 105.0), *e.steps[2:])),
    ),
    "a suspend that was superseded though Slurm wanted nothing else": (
        violation.UNTIMELY,
        lambda e: replace(e, steps=(*e.steps[:3], step("r2", "superseded", 142.0, kind="suspend"))),
    ),
    "a failed request that is in no dead letter": (
        violation.LETTER,
        lambda e: replace(
            e, steps=(*e.steps, step("r3", "accepted", 116.0, origin="resync"), REFUSED)
        ),
    ),
    "a round with two ends": (
        violation.DOUBLED,
        lambda e: replace(e, steps=(*e.steps, step("r1", "failed", 150.0))),
    ),
    "a task that fell silent when its server was powered off": (
        violation.ENDED_JOB,
        lambda e: replace(e, beats=(SILENT,), ledger=(PoweredOn("node1", "s1", 104.0, 129.0),)),
    ),
    "a task that fell silent when its server was rebooted": (
        violation.ENDED_JOB,
        lambda e: replace(e, beats=(SILENT,), reboots=(("node1", 130.2),)),
    ),
    "a task that Slurm ended because its node was set down": (
        violation.ENDED_JOB,
        lambda e: replace(e, beats=(replace(SILENT, end="term"),), set_down=(("node1", 129.9),)),
    ),
    "a task that a resume-fail of an earlier boot ended": (
        violation.ENDED_JOB,
        lambda e: replace(
            e,
            beats=(SILENT,),
            ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
            calls=(*e.calls, HookCall("resume-fail", ("node1",), 109.0, 1)),
        ),
    ),
    "a task whose server was powered off some seconds after the storm had cut its power": (
        violation.ENDED_JOB,
        lambda e: replace(
            e,
            beats=(SILENT,),
            ledger=(PoweredOn("node1", "s1", 104.0, 130.5),),
            outside=(("node1", 121.0),),
        ),
    ),
    "a task whose server was powered off just before the storm cut its power": (
        violation.ENDED_JOB,
        lambda e: replace(
            e,
            beats=(SILENT,),
            ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
            outside=(("node1", 130.8),),
        ),
    ),
    "a task whose server was rebooted before Slurm asked to power it off": (
        violation.ENDED_JOB,
        lambda e: replace(
            e,
            beats=(SILENT,),
            reboots=(("node1", 129.0),),
            calls=(e.calls[0], HookCall("suspend", ("node1",), 129.5, 0, 129.7)),
            ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
        ),
    ),
    "a task that fell silent though nothing happened to its node": (
        violation.SILENT,
        lambda e: replace(e, beats=(SILENT, AGAIN)),
    ),
    "a task that fell silent long after slurmctld was killed": (
        violation.SILENT,
        lambda e: replace(
            e,
            beats=(SILENT, AGAIN),
            injected=(*e.injected, Injected("slurmctld", "kill", 95.0, 97.0)),
        ),
    ),
    "two servers that run at the end": (
        violation.SECOND,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, None), PoweredOn("node1", "s2", 120.0, None)),
            states=IN_USE,
            servers=RUNNING,
        ),
    ),
    "two servers that run for a minute": (
        violation.SECOND,
        lambda e: replace(
            e,
            ledger=(PoweredOn("node1", "s1", 104.0, 170.0), PoweredOn("node1", "s2", 110.0, 300.0)),
        ),
    ),
    "a server beside another, though a third one came and went between": (
        violation.SECOND,
        lambda e: replace(
            e,
            ledger=(
                PoweredOn("node1", "s1", 0.0, 300.0),
                PoweredOn("node1", "s2", 10.0, 20.0),
                PoweredOn("node1", "s3", 30.0, 200.0),
            ),
        ),
    ),
    "two servers of one name": (
        violation.SECOND,
        lambda e: replace(e, servers=(*e.servers, replace(e.servers[0], server_id="s2"))),
    ),
    "a server of a node that is powered down": (
        violation.LEAKED,
        lambda e: replace(e, servers=RUNNING),
    ),
    "a server of a node that is powered down, though drift names it": (
        violation.LEAKED,
        lambda e: replace(e, servers=RUNNING, named=frozenset({"node1"})),
    ),
    "a server of no node": (
        violation.LEAKED,
        lambda e: replace(e, servers=(replace(RUNNING[0], node="node9"),)),
    ),
    "a server of no node that is off": (
        violation.LEAKED,
        lambda e: replace(e, servers=(*e.servers, replace(e.servers[0], node="node9"))),
    ),
    "a node in use without a server": (
        violation.WRONG,
        lambda e: replace(e, states=IN_USE),
    ),
    "a node out of service that drift does not name": (
        violation.WRONG,
        lambda e: replace(e, states={"node1": frozenset({"DOWN", "CLOUD", "POWERED_DOWN"})}),
    ),
    "a node that is down though its server runs": (
        violation.WRONG,
        lambda e: replace(e, states={"node1": frozenset({"DOWN", "CLOUD"})}, servers=RUNNING),
    ),
    "a shelved node that was only stopped": (
        violation.WRONG,
        lambda e: replace(e, strategies={"node1": "shelve"}),
    ),
    "a deleted node whose server is still there": (
        violation.WRONG,
        lambda e: replace(e, strategies={"node1": "delete"}),
    ),
    "a node that is drained and powered down": (
        violation.WRONG,
        lambda e: replace(
            e, states={"node1": frozenset({"IDLE", "CLOUD", "DRAIN", "POWERED_DOWN"})}
        ),
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
        lambda e: replace(e, queues=(*e.queues, QueueSeen("power.suspend", 1, 2))),
    ),
    "a message in a retry tier": (
        "queue",
        lambda e: replace(e, queues=(*e.queues, QueueSeen("power.retry.5s", 1, 0))),
    ),
    "a queue without a consumer": (
        "queue",
        lambda e: replace(e, queues=(*e.queues, QueueSeen("audit", 0, 0))),
    ),
    "a queue that one of two power workers consumes": (
        "queue",
        lambda e: replace(
            e,
            queues=tuple(
                replace(q, consumers=1) if q.name == "power.resume" else q for q in e.queues
            ),
        ),
    ),
    "an audit that does not verify": (
        "audit",
        lambda e: replace(e, verify=(1, "record 7 was changed")),
    ),
    "a traceback": ("traceback", lambda e: replace(e, tracebacks=("power.log:7",))),
    "memory that grows": (
        "memory",
        lambda e: replace(e, memory={**e.memory, "power": (*(90.0,) * 10, *(150.0,) * 10)}),
    ),
    "memory that grows steadily": (
        "memory",
        lambda e: replace(e, memory={**e.memory, "power": tuple(60.0 + n for n in range(90))}),
    ),
    "what does not come to rest": ("not at rest", lambda e: replace(e, unsettled=("jobs",))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_found(name: str) -> None:
    promise, breaks = BROKEN[name]
    found = check(breaks(GOOD)).violations
    assert promise in {violation.promise for violation in found}, found


def test_violation_names_promise_node_and_times() -> None:
    line = str(Violation("lost request", "node7", "no record", (0.5,)))
    assert line == "lost request | node7 | no record | 00:00:00.500"
