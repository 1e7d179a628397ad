"""The checker of a storm blames nobody for what is nobody's fault; but what nobody has seen is not in order."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from storm.checker import check
from storm.evidence import (
    BatchJob,
    Command,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
    QueueSeen,
)
from storm.rules import violation
from storm.rules.end import PROCESSES, QUEUES
from tests.unit.storm_history import AGAIN, GOOD, IN_USE, REFUSED, SILENT, step

if TYPE_CHECKING:
    from collections.abc import Callable


GAVE_UP = HookCall("suspend", ("node1",), 156.0, 0, 156.2)
ALLOWED: dict[str, Callable[[Evidence], Evidence]] = {
    "a failed call whose request was made all the same": lambda e: replace(
        e,
        calls=(e.calls[0], replace(e.calls[1], status=1)),
        injected=(*e.injected, Injected("disk", "spool", 139.0, 141.0)),
    ),
    "a call that the storm killed": lambda e: replace(
        e, calls=(*e.calls, HookCall("resume", ("node1",), 150.0, 137, 150.1))
    ),
    "a resume that Slurm gave up": lambda e: replace(
        e,
        calls=(*e.calls, HookCall("resume", ("node1",), 150.0, 0, 150.2), GAVE_UP),
        steps=(
            *e.steps,
            step("r3", "accepted", 151.0, origin="hook", asked=150.1),
            step("r3", "superseded", 160.0),
            step("r4", "accepted", 159.0, origin="hook", kind="suspend", asked=156.1),
            step("r4", "completed", 160.0, kind="suspend"),
        ),
    ),
    "a resume that slurmctld forgot": lambda e: replace(
        e,
        calls=(*e.calls, HookCall("resume", ("node1",), 150.0, 0, 150.2)),
        steps=(
            *e.steps,
            step("r3", "accepted", 151.0, origin="hook", asked=150.1),
            step("r3", "superseded", 160.0),
        ),
        injected=(*e.injected, Injected("slurmctld", "kill", 152.0, 153.0)),
    ),
    "a suspend of a node that Slurm has resumed": lambda e: replace(
        e,
        calls=(*e.calls, HookCall("resume", ("node1",), 141.0, 137, 141.1)),
        steps=(*e.steps[:3], step("r2", "superseded", 142.0, kind="suspend")),
    ),
    "a suspend of a node whose slurmd registered once more": lambda e: replace(
        e,
        steps=(*e.steps[:3], step("r2", "superseded", 145.0, kind="suspend")),
        injected=(*e.injected, Injected("slurmctld", "reconfigure", 142.0, 143.0)),
    ),
    "a failed request in a dead letter": lambda e: replace(
        e,
        steps=(*e.steps, step("r3", "accepted", 116.0, origin="resync"), REFUSED),
        letters=(replace(e.letters[0], request_id="r3"),),
    ),
    "a server of a shelved node whose power the storm cut": lambda e: replace(
        e, strategies={"node1": "shelve"}, outside=(("node1", 141.0),)
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
    "a task that began on a node whose power had been cut a moment before": lambda e: replace(
        e, beats=(replace(SILENT, began=129.5), AGAIN), outside=(("node1", 129.4),)
    ),
    "a task whose server died by itself": lambda e: replace(
        e,
        beats=(SILENT, AGAIN),
        ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
        outside=(("node1", 129.9),),
    ),
    "a task on a node that Slurm itself gave up": lambda e: replace(
        e,
        beats=(SILENT, AGAIN),
        calls=(e.calls[0], replace(e.calls[1], began=128.0)),
        ledger=(PoweredOn("node1", "s1", 104.0, 130.0),),
    ),
    "a task that was cancelled": lambda e: replace(
        e, beats=(replace(SILENT, end="term"),), gave_up={"7": "REQUEST_KILL_JOB"}
    ),
    "a task whose job slurmctld ended at its limit": lambda e: replace(
        e, beats=(SILENT,), gave_up={"7": "Time limit exhausted"}
    ),
    "a task whose job slurmctld forgot": lambda e: replace(
        e,
        beats=(SILENT, AGAIN),
        injected=(*e.injected, Injected("slurmctld", "kill", 125.0, 127.0)),
    ),
    "a batch job that failed when slurmctld was restarted": lambda e: replace(
        e,
        beats=(replace(e.beats[0], job="6"),),
        gave_up={"7": "WEXITSTATUS 1"},
        gave_up_at={"7": 130.0},
        injected=(*e.injected, Injected("slurmctld", "restart", 120.0, 122.0)),
    ),
    "a batch job with the number of one that slurmctld has forgotten": lambda e: replace(
        e,
        batch=(BatchJob(("7_1",), 1, 127.0),),
        beats=(
            replace(SILENT, end="end"),
            replace(SILENT, job="7_1", began=127.5, last=128.0, end="term"),
        ),
        injected=(*e.injected, Injected("slurmctld", "kill", 125.0, 126.0)),
    ),
    "a batch job whose requeue ended its next run": lambda e: replace(
        e,
        beats=(replace(e.beats[0], job="6"),),
        gave_up={"7": "WTERMSIG 15"},
        gave_up_at={"7": 130.0},
        requeued=(("7", 128.0),),
    ),
    "a server that is started again for a node whose suspend an ending slurmctld forgot": lambda e: (
        replace(
            e,
            ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0)),
            injected=(*e.injected, Injected("slurmctld", "restart", 139.9, 145.0)),
        )
    ),
    "a server powered off after a resume that an ending slurmctld forgot": lambda e: replace(
        e,
        beats=(replace(e.beats[0], node="node2"),),
        ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
        injected=(*e.injected, Injected("slurmctld", "restart", 99.9, 101.5)),
        ctld_starts=(1.0, 101.5),
    ),
    "a resume that an ending slurmctld forgot": lambda e: replace(
        e,
        calls=(*e.calls, HookCall("resume", ("node1",), 150.0, 0, 150.2)),
        steps=(
            *e.steps,
            step("r3", "accepted", 150.3, origin="hook", asked=150.1),
            step("r3", "superseded", 155.0),
        ),
        injected=(*e.injected, Injected("slurmctld", "restart", 149.9, 152.0)),
    ),
    "a second server that is deleted at once": lambda e: replace(
        e, ledger=(*e.ledger, PoweredOn("node1", "s2", 120.0, 130.0))
    ),
    "a server that the operator retired": lambda e: replace(
        e,
        ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
        commands=(Command(("nodes", "retire", "node1", "--yes"), 133.0, 136.0),),
    ),
    "a heterogeneous job whose parts ran on one node": lambda e: replace(
        e,
        batch=(BatchJob(("7",), 2, 100.0, 2),),
        beats=(*e.beats, replace(e.beats[0], began=110.1)),
    ),
    "a server that failed at its reboot": lambda e: replace(
        e,
        ledger=(PoweredOn("node1", "s1", 90.0, 135.0), PoweredOn("node1", "s2", 136.0, 142.0)),
        reboots=(("node1", 133.0),),
        injected=(*e.injected, Injected("work", "error", 132.0, 134.0)),
    ),
    "a server that failed at a reboot before its resume": lambda e: replace(
        e,
        ledger=(PoweredOn("node1", "s1", 90.0, 135.0), PoweredOn("node1", "s2", 136.0, 142.0)),
        reboots=(("node1", 95.0),),
        injected=(*e.injected, Injected("work", "error", 94.0, 96.0)),
    ),
    "a server that was adopted while it was on": lambda e: replace(
        e,
        steps=(
            *e.steps,
            step("r3", "accepted", 120.0, kind="adopt", origin="operator"),
            step("r3", "completed", 121.0, kind="adopt", server="s1"),
        ),
    ),
    "a server that was going off when it was resumed, by a call that Nova never ended": lambda e: (
        replace(e, ledger=(PoweredOn("node1", "s1", 90.0, 135.0),), stuck=(("s1", 95.0),))
    ),
    "a server that the operator asked to power off": lambda e: replace(
        e,
        ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
        steps=(
            *e.steps,
            step("r3", "accepted", 134.0, origin="operator", kind="suspend", asked=133.0),
            step("r3", "completed", 135.0, kind="suspend"),
        ),
    ),
    "a server that the storm started": lambda e: replace(
        e,
        ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0)),
        injected=(*e.injected, Injected("server", "runs", 169.9, 170.1)),
    ),
    "a server that the operator deployed": lambda e: replace(
        e,
        ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0)),
        commands=(Command(("nodes", "deploy", "node1"), 168.0, 181.0),),
    ),
    "a server that was on its way when Slurm powered its node off": lambda e: replace(
        e, ledger=(*e.ledger, PoweredOn("node1", "s1", 150.0, 160.0))
    ),
    "a server whose suspend slurmctld forgot": lambda e: replace(
        e,
        ledger=(*e.ledger, PoweredOn("node1", "s1", 170.0, 180.0)),
        injected=(*e.injected, Injected("slurmctld", "kill", 141.0, 142.0)),
    ),
    "a server whose resume slurmctld forgot": lambda e: replace(
        e,
        ledger=(PoweredOn("node1", "s1", 104.0, 135.0),),
        injected=(*e.injected, Injected("slurmctld", "kill", 102.0, 103.0)),
    ),
    "an outcome by a clock that was stepped": lambda e: replace(
        e,
        steps=(*e.steps[:3], replace(e.steps[3], time=102.0)),
        injected=(*e.injected, Injected("clock", "workers -45", 141.0, 150.0)),
    ),
    "a request by a clock that was stepped": lambda e: replace(
        e,
        steps=(replace(e.steps[0], asked=145.1), *e.steps[1:]),
        injected=(*e.injected, Injected("clock", "hooks +45", 99.0, 101.0)),
    ),
    "a permanent no that was replayed, and another that was discarded": lambda e: replace(
        e,
        steps=(
            *e.steps,
            *(step("r3", "accepted", 116.0, origin="resync"), REFUSED),
            *(step("r3", "replayed", 121.0, round=2), step("r3", "accepted", 122.0, round=2)),
            *(replace(REFUSED, round=2), step("r3", "discarded", 125.0, round=3)),
        ),
    ),
    "a job that slurmctld had not saved when it was killed": lambda e: replace(
        e,
        beats=(replace(SILENT, job="6", end="end"),),
        injected=(*e.injected, Injected("slurmctld", "kill", 102.0, 103.0)),
    ),
    "a node that drift names": lambda e: replace(e, states=IN_USE, named=frozenset({"node1"})),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_nobodys_fault_is_no_violation(name: str) -> None:
    assert not check(ALLOWED[name](GOOD)).violations


LEFT = (
    *("calls", "steps", "ledger", "beats", "servers", "states", "injected", "batch"),
    *("suspending", "ctld_starts"),
)
MISSING: dict[str, Callable[[Evidence], Evidence]] = {
    **{f"no {name}": partial(replace, **{name: ()}) for name in LEFT if name != "states"},
    "no states": lambda e: replace(e, states={}),
    **{
        f"no queue {name}": partial(
            lambda name, e: replace(e, queues=tuple(q for q in e.queues if q.name != name)), name
        )
        for name in sorted(QUEUES)
    },
    **{
        f"{len(sizes)} measurements of the memory of {name}": partial(
            lambda name, sizes, e: replace(e, memory={**e.memory, name: sizes}), name, sizes
        )
        for name in sorted(PROCESSES)
        for sizes in ((), (90.0,) * 9)
    },
    "no state of a node for which hooks were called": lambda e: replace(
        e, calls=(*e.calls, HookCall("resume", ("node2",), 150.0, 137, 150.1))
    ),
    "a dead letter that was not listed": lambda e: replace(
        e, queues=(*(q for q in e.queues if q.name != "power.dlq"), QueueSeen("power.dlq", 2, 0))
    ),
    "a command that showed nothing": lambda e: replace(e, refused=("drift: exit status 1",)),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_nobody_looked_at_is_not_in_order(name: str) -> None:
    assert violation.EVIDENCE in {one.promise for one in check(MISSING[name](GOOD)).violations}


def test_no_evidence_at_all_is_not_in_order() -> None:
    promises = {one.promise for one in check(Evidence()).violations}
    assert promises == {violation.EVIDENCE, violation.AUDIT}
